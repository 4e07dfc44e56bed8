//! A peer that stops reading costs bounded memory, nobody else anything, and loses nothing.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::{Codec, LengthField, Raw};
use netwheel::limits::{
    ConnectionLimits, HIGH_WATER_BYTES, LANE_MESSAGES_MAX, OUTPUT_BYTES_MAX, READ_BUFFER_BYTES,
};
use netwheel::{
    CloseReason, ConnectionHandle, Context, Event, Executor, Handler, Pipeline, Result,
    RunningServer, Server,
};
use util::{
    MORE_THAN_THE_KERNEL_TAKES, PATIENCE, Pattern, any_port, ask, dial, end, eventually, frame,
    serve,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Unwritable,
    Writable,
    Closed(CloseReason),
}

/// Echoes, hands out its handle, and tells of the water marks.
struct Watched {
    handing: Sender<ConnectionHandle<Bytes>>,
    seen: Sender<Seen>,
}

impl Handler<Bytes, Bytes> for Watched {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.handing.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        let seen = match event {
            Event::Unwritable => Seen::Unwritable,
            Event::Writable => Seen::Writable,
            _ => return Ok(()),
        };
        assert_eq!(cx.is_writable(), seen == Seen::Writable);
        Ok(self.seen.send(seen)?)
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        let _ = self.seen.send(Seen::Closed(reason));
    }
}

type Watching = (
    RunningServer,
    Receiver<ConnectionHandle<Bytes>>,
    Receiver<Seen>,
);

fn watched<C: Codec<In = Bytes, Out = Bytes> + Clone + Send + Sync>(
    codec: C,
    auto_pause: bool,
) -> Watching {
    let ((handing, handed), (seen, saw)) = (channel(), channel());
    let mut limits = ConnectionLimits::default();
    if !auto_pause {
        limits.write_stall_timeout = Duration::from_millis(100);
    }
    let server = Server::new()
        .workers(1)
        .limits(limits)
        .auto_pause(auto_pause)
        .pipeline(move |_| {
            let watched = Watched {
                handing: handing.clone(),
                seen: seen.clone(),
            };
            Pipeline::new(codec.clone()).handler(watched)
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    (server, handed, saw)
}

/// Bytes that the server has read and not yet written: what lies in its memory.
fn held(server: &RunningServer) -> usize {
    let stats = server.stats();
    usize::try_from(stats.bytes_in.saturating_sub(stats.bytes_out)).unwrap()
}

/// Sends all of `wire` without reading, until the server stops reading too; then reads it all back.
fn flood(
    server: &RunningServer,
    wire: &[u8],
    bytes_max: usize,
    mut is_stopped: impl FnMut() -> bool,
) {
    let socket = dial(server.address());
    thread::scope(|scope| {
        scope.spawn(|| std::io::Write::write_all(&mut &socket, wire).unwrap());
        eventually("the server stops reading", || {
            assert!(
                held(server) <= bytes_max,
                "the server holds {} bytes",
                held(server)
            );
            is_stopped()
        });
        // The one worker goes on with others, and with nothing more of this one.
        let other = dial(server.address());
        for _ in 0..200 {
            assert_eq!(ask(&other, &frame(b"ping")), frame(b"ping"));
            assert!(
                held(server) <= bytes_max,
                "the server holds {} bytes",
                held(server)
            );
        }
        drop(other);
        let back = util::read(&socket, wire.len());
        assert!(back == wire, "bytes were lost or changed");
    });
}

#[test]
fn raw_bytes_of_a_peer_that_does_not_read_stay_in_the_kernel() {
    let (server, handed, saw) = watched(Raw, true);
    let mut wire = Vec::new();
    Pattern::default().write(&mut wire, MORE_THAN_THE_KERNEL_TAKES);
    // Output just above the mark, one read more, and what of it is not decoded.
    let bytes_max = HIGH_WATER_BYTES + 2 * READ_BUFFER_BYTES;
    let mut stopped = false;
    flood(&server, &wire, bytes_max, || {
        stopped |= saw.try_iter().any(|seen| seen == Seen::Unwritable);
        stopped
    });
    drop(handed);
    end(server);
}

#[test]
fn frames_of_a_peer_that_does_not_read_stay_in_the_kernel() {
    let (server, _handed, saw) = watched(LengthField::u32(), true);
    let wire = frames(MORE_THAN_THE_KERNEL_TAKES, 50_000);
    let bytes_max = HIGH_WATER_BYTES + 2 * READ_BUFFER_BYTES + 50_000;
    let mut stopped = false;
    flood(&server, &wire, bytes_max, || {
        stopped |= saw.try_iter().any(|seen| seen == Seen::Unwritable);
        stopped
    });
    end(server);
}

#[test]
fn frames_on_the_pool_of_a_peer_that_does_not_read_stay_in_the_kernel() {
    const FRAME: usize = 8_000;
    let pool = Executor::new(2);
    let handlers = pool.clone();
    let server = serve(1, move |_| {
        Pipeline::new(LengthField::u32()).handle_on(&handlers, |cx, frame| cx.write(frame))
    });
    let wire = frames(MORE_THAN_THE_KERNEL_TAKES, FRAME);
    let bytes_max = HIGH_WATER_BYTES + 3 * READ_BUFFER_BYTES + 2 * LANE_MESSAGES_MAX * FRAME;
    let mut last = 0;
    flood(&server, &wire, bytes_max, || {
        // Nothing tells of a lane's pause, so this waits for the stream to stand still for a while.
        let before = std::mem::replace(&mut last, server.stats().bytes_in);
        let still = (0..20).all(|_| {
            thread::park_timeout(Duration::from_millis(5));
            server.stats().bytes_in == before
        });
        before > 0 && still
    });
    assert_eq!(
        pool.queued(),
        0,
        "a lane that nobody reads gives its room back"
    );
    end(server);
}

fn frames(bytes: usize, size: usize) -> Vec<u8> {
    let mut pattern = Pattern::default();
    let mut wire = Vec::new();
    while wire.len() < bytes {
        let mut message = Vec::new();
        pattern.write(&mut message, size);
        wire.extend(frame(&message));
    }
    wire
}

/// Sends pieces of the pattern until the connection takes no more and has told so; answers how many bytes
/// it took.
fn fill(
    handle: &ConnectionHandle<Bytes>,
    pattern: &mut Pattern,
    saw: &Receiver<Seen>,
    events: &mut Vec<Seen>,
) -> usize {
    let mut taken = 0;
    eventually("the connection is full", || {
        loop {
            let before = *pattern;
            let piece = pattern.take(10_000);
            if let Err(refused) = handle.try_send(Bytes::from_static(piece)) {
                assert!(refused.is_full());
                assert_eq!(refused.into_inner(), piece, "the message comes back");
                *pattern = before;
                break;
            }
            taken += piece.len();
            assert!(handle.queued_bytes() <= OUTPUT_BYTES_MAX);
        }
        events.extend(saw.try_iter());
        events.last() == Some(&Seen::Unwritable)
    });
    taken
}

#[test]
fn a_full_connection_gives_messages_back_and_tells_once_when_it_is_writable_again() {
    let (server, handed, saw) = watched(Raw, true);
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    let (mut sent, mut received) = (Pattern::default(), Pattern::default());
    for round in 0..3 {
        let mut events = Vec::new();
        let taken = fill(&handle, &mut sent, &saw, &mut events);
        received.read(&socket, taken, 100_000);
        eventually("it is writable again", || {
            let is_empty = handle.queued_bytes() == 0;
            events.extend(saw.try_iter());
            is_empty && events.last() == Some(&Seen::Writable)
        });
        // The kernel may make room for a moment while it fills, so there may be several pairs.
        for pair in events.chunks(2) {
            assert_eq!(
                pair,
                &[Seen::Unwritable, Seen::Writable],
                "round {round}: {events:?}"
            );
        }
    }
    drop(socket);
    end(server);
}

#[test]
fn without_the_automatic_pause_a_write_over_the_bound_ends_the_connection() {
    let (server, _handed, saw) = watched(Raw, false);
    let socket = dial(server.address());
    thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = vec![7; 64 << 10];
            while std::io::Write::write_all(&mut &socket, &bytes).is_ok() {
                // Until the server has closed.
            }
        });
        // What was answered before cannot leave, so the end comes with the write stall's deadline.
        eventually("the connection ends", || {
            let held = held(&server);
            assert!(
                held <= OUTPUT_BYTES_MAX + 2 * READ_BUFFER_BYTES,
                "the server holds {held} bytes"
            );
            server.connections() == 0
        });
    });
    assert_eq!(
        saw.try_iter().last(),
        Some(Seen::Closed(CloseReason::OverLimit))
    );
    assert_eq!(server.stats().closes(CloseReason::OverLimit), 1);
    end(server);
}

#[test]
fn a_connection_that_is_empty_takes_one_message_of_any_size() {
    let (server, handed, _saw) = watched(Raw, true);
    let socket: TcpStream = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    let mut message = Vec::new();
    Pattern::default().write(&mut message, 20 * OUTPUT_BYTES_MAX);
    handle.try_send(message.into()).unwrap();
    assert!(
        handle
            .try_send(Bytes::from_static(b"x"))
            .unwrap_err()
            .is_full()
    );
    Pattern::default().read(&socket, 20 * OUTPUT_BYTES_MAX, 1 << 20);
    drop(socket);
    end(server);
}
