//! The messages of one connection are handled one at a time and answered in their order, on the worker and on
//! the pool.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use netwheel::codec::LengthField;
use netwheel::{Executor, Failure, Pipeline, Result, RunningServer};
use util::{dial, end, read, serve};

const CONNECTIONS: u32 = 64;
const MESSAGES: u32 = 20_000;
/// Messages written to one connection before it is the next one's turn.
const BURST: usize = 2_500;
/// Bytes of a message: its length, its connection, its number.
const MESSAGE_BYTES: usize = 12;

/// What the handler of one connection expects next, and whether it is inside.
#[derive(Default)]
struct Place {
    next: u32,
    inside: Arc<AtomicBool>,
}

impl Place {
    /// Fails unless `frame` is the next message of its connection and nobody else handles one.
    fn enter(&mut self, mut frame: Bytes) -> Result {
        let overlaps = self.inside.swap(true, Ordering::SeqCst);
        frame.advance(4);
        let number = frame.get_u32();
        let expected = std::mem::replace(&mut self.next, number + 1);
        self.inside.store(false, Ordering::SeqCst);
        if overlaps || number != expected {
            return Err(Failure::msg(format!(
                "message {number}, not {expected}; overlap: {overlaps}"
            )));
        }
        Ok(())
    }
}

/// All messages to one connection, as they stand on the wire.
fn wire(connection: u32) -> Vec<u8> {
    let mut wire = Vec::with_capacity(MESSAGES as usize * MESSAGE_BYTES);
    for number in 0..MESSAGES {
        for field in [8, connection, number] {
            wire.extend_from_slice(&field.to_be_bytes());
        }
    }
    wire
}

/// Sends everything over all connections, in turn and in bursts, and checks every answer.
fn exchange(server: &RunningServer) {
    let wires: Vec<_> = (0..CONNECTIONS).map(wire).collect();
    let sockets: Vec<_> = wires.iter().map(|_| dial(server.address())).collect();
    for burst in 0..MESSAGES as usize / BURST {
        let bytes = burst * BURST * MESSAGE_BYTES..(burst + 1) * BURST * MESSAGE_BYTES;
        for (mut socket, wire) in sockets.iter().zip(&wires) {
            socket.write_all(&wire[bytes.clone()]).unwrap();
        }
    }
    for (connection, (socket, wire)) in sockets.iter().zip(&wires).enumerate() {
        assert!(read(socket, wire.len()) == *wire, "connection {connection}");
    }
    assert_eq!(
        server.stats().messages_in,
        u64::from(CONNECTIONS * MESSAGES)
    );
}

#[test]
fn on_the_worker_nothing_overlaps_and_nothing_is_reordered() {
    let server = serve(4, |_| {
        let mut place = Place::default();
        Pipeline::new(LengthField::u32()).handle(move |cx, frame: Bytes| {
            place.enter(frame.clone())?;
            cx.write(frame)
        })
    });
    exchange(&server);
    end(server);
}

#[test]
fn on_the_pool_nothing_overlaps_and_nothing_is_reordered() {
    let pool = Executor::new(4);
    let busy = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (entered, seen) = (Arc::clone(&busy), Arc::clone(&most));
    let server = serve(4, move |_| {
        let mut place = Place::default();
        let (entered, seen) = (Arc::clone(&entered), Arc::clone(&seen));
        Pipeline::new(LengthField::u32()).handle_on(&pool, move |cx, frame: Bytes| {
            seen.fetch_max(
                entered.fetch_add(1, Ordering::Relaxed) + 1,
                Ordering::Relaxed,
            );
            place.enter(frame.clone())?;
            entered.fetch_sub(1, Ordering::Relaxed);
            cx.write(frame)
        })
    });
    exchange(&server);
    end(server);
    assert!(
        most.load(Ordering::Relaxed) > 1,
        "different connections were handled at once"
    );
}
