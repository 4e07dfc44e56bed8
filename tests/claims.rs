//! A claimed length costs nothing: memory grows with what has arrived, never on a peer's word.
//!
//! One test, because it measures the memory of the whole process.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]
#![cfg(target_os = "linux")]

mod util;

use std::io::Write;
use std::net::TcpStream;

use netwheel::Pipeline;
use netwheel::codec::LengthField;
use netwheel::limits::FRAME_BYTES_MAX;
use util::{ask, dial, end, eventually, frame, serve};

const CONNECTIONS: usize = 400;

/// Address space and resident memory of the process, in bytes.
fn memory() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    };
    (field("VmSize:"), field("VmRSS:"))
}

/// Sends `bytes` over many connections, waits until the server has read them, and tells how much the address
/// space and the resident memory have grown.
fn grown_by(bytes: &[u8]) -> (usize, usize) {
    let server = serve(1, |_| {
        Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame))
    });
    let honest = dial(server.address());
    assert_eq!(ask(&honest, &frame(b"warm")), frame(b"warm"));
    let sockets: Vec<TcpStream> = (0..CONNECTIONS).map(|_| dial(server.address())).collect();
    eventually("all are taken in", || {
        server.connections() == CONNECTIONS + 1
    });
    let before = (memory(), server.stats().bytes_in);
    for mut socket in &sockets {
        socket.write_all(bytes).unwrap();
    }
    let arrived = before.1 + (CONNECTIONS * bytes.len()) as u64;
    eventually("all is read", || server.stats().bytes_in == arrived);
    assert_eq!(ask(&honest, &frame(b"here")), frame(b"here"));
    let after = memory();
    drop((honest, sockets));
    end(server);
    (
        after.0.saturating_sub(before.0.0),
        after.1.saturating_sub(before.0.1),
    )
}

#[test]
fn memory_grows_by_what_has_arrived_and_not_by_what_is_claimed() {
    // Each claims 4 GiB, which is refused.
    let (size, resident) = grown_by(&[0xff; 4]);
    assert!(
        size < 64 << 20 && resident < 16 << 20,
        "absurd claims: {size} and {resident} bytes"
    );

    // Each claims the most that is allowed, 1 MiB, and sends the first 100 bytes of it.
    let claim = u32::try_from(FRAME_BYTES_MAX).unwrap().to_be_bytes();
    let (size, resident) = grown_by(&[&claim[..], &[0; 100]].concat());
    assert!(
        size < 64 << 20 && resident < 16 << 20,
        "claims: {size} and {resident} bytes"
    );
}
