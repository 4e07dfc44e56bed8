//! Whoever stops reading early comes back by itself: after a budget, a pause of the handler, a full output, a
//! full lane, a full pool.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::unbounded;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::{
    Context, Event, Executor, Handler, Pipeline, Result, RunningServer, Server, TimerKey, WhenFull,
};
use util::{
    PATIENCE, Pattern, any_port, ask, dial, end, eventually, frame, read, read_to_end, reset,
    serve, write_and_finish,
};

fn with_budgets(
    reads: usize,
    read_bytes: usize,
    write_bytes: usize,
    framed: bool,
) -> RunningServer {
    let mut limits = ConnectionLimits::default();
    limits.reads_per_turn = reads;
    limits.read_bytes_per_turn = read_bytes;
    limits.write_bytes_per_turn = write_bytes;
    let server = Server::new().workers(1).limits(limits);
    let server = if framed {
        server.pipeline(|_| Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame)))
    } else {
        server.pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
    };
    server.listen(any_port()).unwrap().start().unwrap()
}

#[test]
fn the_smallest_budgets_delay_and_lose_nothing() {
    const SIZE: usize = 3 << 20;
    // A budget of nothing counts as the smallest one.
    for (reads, read_bytes, write_bytes) in [
        (1, 1, 1),
        (1, usize::MAX, 1),
        (16, 1, usize::MAX),
        (0, 0, 0),
    ] {
        let server = with_budgets(reads, read_bytes, write_bytes, false);
        let socket = dial(server.address());
        thread::scope(|scope| {
            scope.spawn(|| {
                Pattern::default().write(&socket, SIZE);
                socket.shutdown(Shutdown::Write).unwrap();
            });
            Pattern::default().read(&socket, SIZE, 100_000);
        });
        assert_eq!(read_to_end(&socket), b"");
        end(server);
    }
}

#[test]
fn many_frames_of_one_read_are_all_answered_whatever_the_budgets() {
    let server = with_budgets(1, 1, 1, true);
    let socket = dial(server.address());
    let wire: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| frame(&n.to_be_bytes()))
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| write_and_finish(&socket, &wire));
        assert!(read_to_end(&socket) == wire);
    });
    end(server);
}

/// Answers that are much larger than the questions, so that decoding stops in the middle of a read.
#[test]
fn decoding_goes_on_after_every_stop_for_a_full_output() {
    let server = serve(1, |_| {
        Pipeline::new(LengthField::u32())
            .handle(|cx, frame: Bytes| cx.write(vec![frame[0]; 30_000].into()))
    });
    let socket = dial(server.address());
    let questions: Vec<u8> = (0..=255_u8).flat_map(|n| frame(&[n])).collect();
    write_and_finish(&socket, &questions);
    for n in 0..=255_u8 {
        assert!(read(&socket, 30_004) == frame(&[n; 30_000]), "answer {n}");
    }
    assert_eq!(read_to_end(&socket), b"");
    end(server);
}

#[test]
fn a_lane_that_fills_again_and_again_gets_every_message_in_order() {
    let pool = Executor::new(1);
    let server = serve(1, move |_| {
        Pipeline::new(LengthField::u32()).handle_on(&pool, |cx, frame| cx.write(frame))
    });
    let socket = dial(server.address());
    let wire: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| frame(&n.to_be_bytes()))
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| write_and_finish(&socket, &wire));
        assert!(read_to_end(&socket) == wire);
    });
    end(server);
}

#[test]
fn connections_that_share_a_pool_without_room_all_get_their_turn() {
    let pool = Executor::new(2).queue_max(3);
    let server = serve(2, move |_| {
        Pipeline::new(LengthField::u32()).handle_on(&pool, |cx, frame| cx.write(frame))
    });
    let wire: Vec<u8> = (0..300_u32).flat_map(|n| frame(&n.to_be_bytes())).collect();
    let sockets: Vec<_> = (0..20).map(|_| dial(server.address())).collect();
    for socket in &sockets {
        write_and_finish(socket, &wire);
    }
    for socket in &sockets {
        assert!(read_to_end(socket) == wire);
    }
    end(server);
}

#[test]
fn one_who_waited_for_the_pool_and_went_away_keeps_nobody_waiting() {
    let (open, gate) = unbounded::<()>();
    let pool = Executor::new(1).queue_max(1);
    let server = serve(1, move |_| {
        let gate = gate.clone();
        Pipeline::new(LengthField::u32()).handle_on(&pool, move |cx, frame: Bytes| {
            if frame.starts_with(b"stop") {
                gate.recv_timeout(PATIENCE)?;
            }
            cx.write(frame)
        })
    });
    let sockets = [(); 3].map(|()| dial(server.address()));
    for (n, mut socket) in sockets.iter().enumerate() {
        socket
            .write_all(&frame(if n == 0 { b"stop" } else { b"wait" }))
            .unwrap();
        eventually("it is decoded", || {
            server.stats().messages_in == 1 + n as u64
        });
    }
    let [running, waiting, last] = sockets;
    reset(waiting);
    eventually("it is gone", || server.connections() == 2);
    open.send(()).unwrap();
    assert_eq!(read(&running, 8), frame(b"stop"));
    assert_eq!(read(&last, 8), frame(b"wait"));
    drop((running, last));
    end(server);
}

#[test]
fn jobs_that_waited_for_the_pool_all_run() {
    let (open, gate) = unbounded::<()>();
    let pool = Executor::new(1).queue_max(1);
    let server = serve(1, move |_| {
        let (pool, gate) = (pool.clone(), gate.clone());
        Pipeline::new(LengthField::u32()).handle(move |cx, frame: Bytes| {
            let gate = gate.clone();
            let job = move || gate.recv_timeout(PATIENCE).map(|()| frame);
            cx.offload(&pool, job, |cx, frame| cx.write(frame?))
        })
    });
    let sockets = [(); 5].map(|()| dial(server.address()));
    for (n, mut socket) in sockets.iter().enumerate() {
        socket.write_all(&frame(b"job")).unwrap();
        eventually("it is decoded", || {
            server.stats().messages_in == 1 + n as u64
        });
    }
    for socket in &sockets {
        open.send(()).unwrap();
        assert_eq!(read(socket, 7), frame(b"job"));
    }
    drop(sockets);
    end(server);
}

#[test]
fn a_pool_that_rejects_gives_the_message_to_the_one_who_refuses() {
    let (open, gate) = unbounded::<()>();
    let pool = Executor::new(1).queue_max(1).on_full(WhenFull::Reject);
    let server = serve(1, move |_| {
        let gate = gate.clone();
        Pipeline::new(LengthField::u32()).handle_on_or(
            &pool,
            move |cx, frame| {
                gate.recv_timeout(PATIENCE)?;
                cx.write(frame)
            },
            |cx, _| cx.write(Bytes::from_static(b"busy")),
        )
    });
    let (first, second) = (dial(server.address()), dial(server.address()));
    (&first).write_all(&frame(b"work")).unwrap();
    eventually("it is decoded", || server.stats().messages_in == 1);
    assert_eq!(ask(&second, &frame(b"more")), frame(b"busy"));
    open.send(()).unwrap();
    assert_eq!(read(&first, 8), frame(b"work"));
    drop((first, second));
    end(server);
}

/// Pauses by itself while its output is above the high water mark too; goes on when the test says so.
struct TwoReasons {
    messages: Arc<AtomicUsize>,
    goes_on: Arc<AtomicBool>,
    writable: Arc<AtomicBool>,
}

const LARGE: usize = 16 << 20;

impl Handler<Bytes, Bytes> for TwoReasons {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result {
        if self.messages.fetch_add(1, Ordering::SeqCst) > 0 {
            return cx.write(Bytes::from_static(b"second"));
        }
        cx.pause_reading();
        cx.timer(Duration::from_millis(1), TimerKey(0));
        cx.write(vec![0; LARGE].into())
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        match event {
            Event::Writable => self.writable.store(true, Ordering::SeqCst),
            Event::Timer(_) if self.goes_on.load(Ordering::SeqCst) => cx.resume_reading(),
            Event::Timer(key) => cx.timer(Duration::from_millis(1), *key),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn reading_goes_on_when_the_last_of_several_reasons_has_gone() {
    let (messages, goes_on, writable) =
        <(Arc<AtomicUsize>, Arc<AtomicBool>, Arc<AtomicBool>)>::default();
    let (seen, goes, room) = (
        Arc::clone(&messages),
        Arc::clone(&goes_on),
        Arc::clone(&writable),
    );
    let server = serve(1, move |peer| {
        let pipeline = Pipeline::new(LengthField::u32().frame_bytes_max(LARGE));
        if peer.address.ip() == Some([127, 0, 0, 2].into()) {
            return pipeline.handle(|cx, frame| cx.write(frame));
        }
        pipeline.handler(TwoReasons {
            messages: Arc::clone(&seen),
            goes_on: Arc::clone(&goes),
            writable: Arc::clone(&room),
        })
    });
    let socket = dial(server.address());
    (&socket)
        .write_all(&[frame(b"first"), frame(b"second")].concat())
        .unwrap();
    assert_eq!(read(&socket, 4 + LARGE).len(), 4 + LARGE);
    eventually("output is low again", || writable.load(Ordering::SeqCst));
    let other = util::dial_from(2, server.address());
    for _ in 0..10 {
        assert_eq!(ask(&other, &frame(b"turn")), frame(b"turn"));
    }
    assert_eq!(
        messages.load(Ordering::SeqCst),
        1,
        "the handler's own pause still holds"
    );
    goes_on.store(true, Ordering::SeqCst);
    assert_eq!(read(&socket, 10), frame(b"second"));
    drop((socket, other));
    end(server);
}

#[test]
fn a_peer_that_resets_is_noticed_while_it_is_not_read() {
    let server = serve(1, |_| {
        Pipeline::raw().handle(|cx, _| {
            cx.pause_reading();
            cx.write(Bytes::from_static(b"paused"))
        })
    });
    let socket = dial(server.address());
    assert_eq!(ask(&socket, b"unread"), b"paused");
    reset(socket);
    eventually("the connection is gone", || server.connections() == 0);
    end(server);
}
