//! What the protocol does not allow: the connection closes, one line says so, and memory stays as it is.

use std::io::Write;

use netwheel::caviar::{RequestContext, SessionContext};

use crate::raw::{Raw, SYNC, Socket};
use crate::serve;
use crate::util::{eventually, log};

/// Scenario 45.
#[test]
fn an_unknown_type_another_version_or_a_negative_length_closes_with_one_line() {
    log::capture();
    let server = serve(|_: &SessionContext, request: RequestContext| {
        panic!("a bad message was handled: {request:?}");
    });
    let good = Raw::new(SYNC, 1, b"never handled");
    let with_length = |length: i32| {
        let mut bytes = good.bytes();
        bytes[28..32].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let unknown = Raw {
        kind: 4242,
        ..good.clone()
    };
    let other = Raw {
        version: 2,
        ..good.clone()
    };
    let not_for_servers = Raw {
        kind: 2003,
        ..good.clone()
    };
    assert_ne!(not_for_servers, good);
    for (bytes, words) in [
        (unknown.bytes(), "unknown message type 4242"),
        (other.bytes(), "version 2 instead of 1"),
        (with_length(-1), "a body of -1 bytes"),
        (with_length(i32::MIN), "a body of -2147483648 bytes"),
        (with_length(i32::MAX), "a body of 2147483647 bytes"),
        (with_length((1 << 20) + 1), "a body of 1048577 bytes"),
        (not_for_servers.bytes(), "is not for a Server"),
    ] {
        let socket = Socket::dial(server.address());
        (&socket.0).write_all(&bytes).unwrap();
        assert!(socket.try_receive().is_none(), "{words}");
        let peer = socket.0.local_addr().unwrap().to_string();
        eventually(words, || !log::lines_with(&[&peer, words]).is_empty());
        let warned = |line: &&String| line.starts_with("WARN") || line.starts_with("ERROR");
        let lines = log::lines_with(&[&peer]);
        assert_eq!(lines.iter().filter(warned).count(), 1, "{lines:#?}");
    }
    assert_eq!(server.server().stats().panics, 0);
}

#[test]
fn a_length_that_promises_much_takes_no_memory() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
        number.unwrap_or(0)
    };
    if !crate::util::is_alone("bad_input::a_length_that_promises_much_takes_no_memory") {
        return;
    }
    let server = serve(crate::echo);
    let promise = |length: i32| {
        let mut bytes = Raw::new(SYNC, 1, b"").bytes();
        bytes[28..32].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let warm = Socket::dial(server.address());
    warm.send(&Raw::new(SYNC, 1, b"warm"));
    assert_eq!(warm.receive().body, b"warm");
    let before = resident();
    for _ in 0..200 {
        let socket = Socket::dial(server.address());
        (&socket.0).write_all(&promise(i32::MAX)).unwrap();
        assert!(socket.try_receive().is_none());
    }
    // Promises that may be kept hold nothing either, before their bytes come.
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let socket = Socket::dial(server.address());
            (&socket.0).write_all(&promise(1 << 20)).unwrap();
            socket
        })
        .collect();
    eventually("all are accepted", || {
        server.server().stats().accepted >= 401
    });
    let grown = resident().saturating_sub(before);
    assert!(grown < 20_000, "{grown} KiB for {} promises", waiting.len());
}
