//! tarpc: what a user of tokio takes who wants calls over one connection, as its documentation shows it.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use tarpc::context::Context;
use tarpc::serde_transport;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tokio::runtime::Builder;

use super::{ServeArgs, announce};
use crate::rpc::Echo;

/// Work stealing runtime, as the other servers on tokio; a task a call.
pub fn serve(args: &ServeArgs) -> io::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(args.workers)
        .enable_all()
        .build()?;
    let args = args.clone();
    runtime.block_on(async { tokio::spawn(listen(args)).await? })
}

async fn listen(args: ServeArgs) -> io::Result<()> {
    let mut listener = serde_transport::tcp::listen(args.listen, Bincode::default).await?;
    announce(listener.local_addr())?;
    while let Some(transport) = listener.next().await {
        let transport = transport?;
        transport.get_ref().set_nodelay(true)?;
        let calls = BaseChannel::with_defaults(transport).execute(Echoes.serve());
        tokio::spawn(calls.for_each(|call| async {
            tokio::spawn(call);
        }));
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Echoes;

impl Echo for Echoes {
    async fn echo(self, _: Context, body: Bytes) -> Bytes {
        body
    }
}
