//! A chat for many users on netwheel: the service of `chat_server` and the client of `chat_client`, as a library,
//! so that both run in simulated worlds too. The README beside `src` tells how to use the programs.
//!
//! ```text
//!   protocol/  frames and messages on the wire
//!   store/     keys and values that survive, on a disk or in memory; ledger/: what they mean
//!   office/    who is there, and what goes to whom: all of it done by one job at a time, on a pool
//!   service/   connections: login, chat, heartbeat
//!   users.rs   who may log in
//!   client/    the other side
//! ```

pub mod client;
pub mod ledger;
pub mod limits;
pub mod office;
pub mod protocol;
pub mod service;
pub mod store;
pub mod users;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, by the system's clock.
#[must_use]
pub fn wall_clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Locks, also after a panic elsewhere: what is guarded here is consistent at every unlock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what may panic; `None` where it has, which the panic's hook has told of.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
