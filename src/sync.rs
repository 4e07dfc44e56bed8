//! The synchronisation that the mailbox and the pool's parking are built from, by one name.
//!
//! `tests/loom.rs` builds `mailbox.rs` and `executor/parking.rs` against a `sync` module of its own, made of loom's types, and
//! explores every interleaving; nothing in the library depends on loom.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

/// Locks, also after a panic elsewhere: what the crate guards is consistent at every unlock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
