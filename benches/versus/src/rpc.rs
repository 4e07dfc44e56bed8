//! The service that tarpc's server and its load have in common.

use bytes::Bytes;

/// Answers with what it was asked.
#[tarpc::service]
pub trait Echo {
    async fn echo(body: Bytes) -> Bytes;
}
