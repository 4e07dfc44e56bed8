//! The registry of sessions: a look-up, and a login with its logout, by one thread and by four at once.
//!
//! All of them pass one lock. Sharding would help only where that is what logins and messages wait for.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use divan::Bencher;
use netwheel::testing::Harness;
use netwheel::{ConnectionHandle, Pipeline, Sessions};

/// Users that are logged in.
const USERS: u64 = 10_000;

fn handle() -> ConnectionHandle<Bytes> {
    Harness::new(Pipeline::raw().handle(|cx, bytes| cx.write(bytes))).handle()
}

/// The sessions of one of ten thousand users, as before a message to it.
#[divan::bench(threads = [1, 4], sample_size = 1000)]
fn of_user(bencher: Bencher<'_, '_>) {
    let (sessions, handle) = (Sessions::new(), handle());
    let guards: Vec<_> = (0..USERS)
        .map(|user| sessions.login(user, &handle).expect("a new user"))
        .collect();
    let next = AtomicU64::new(0);
    bencher.bench(|| sessions.of_user(&(next.fetch_add(7919, Ordering::Relaxed) % USERS)));
    drop(guards);
}

/// A login beside ten thousand others, and its end.
#[divan::bench(threads = [1, 4], sample_size = 1000)]
fn login_and_logout(bencher: Bencher<'_, '_>) {
    let (sessions, handle) = (Sessions::new(), handle());
    let guards: Vec<_> = (0..USERS)
        .map(|user| sessions.login(user, &handle).expect("a new user"))
        .collect();
    let next = AtomicU64::new(USERS);
    bencher.bench(|| drop(sessions.login(next.fetch_add(1, Ordering::Relaxed), &handle)));
    drop(guards);
}
