//! What a writable connection promises: it takes the next message, and says when it is writable again.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::sync::mpsc::channel;

use bytes::Bytes;
use netwheel::codec::{FRAME_BYTES_MAX, LengthField};
use netwheel::limits::{HIGH_WATER_BYTES, OUTPUT_BYTES_MAX};
use netwheel::{Context, Event, Executor, Handler, Pipeline, Result, RunningServer};
use util::{Gate, MORE_THAN_THE_KERNEL_TAKES, PATIENCE, dial, end, eventually, frame, read, serve};

type Cx<'a> = Context<'a, Bytes, Bytes>;

fn zeroes(bytes: usize) -> Bytes {
    vec![0; bytes].into()
}

/// Asks `server` and takes so many bytes of answer.
fn asked(server: RunningServer, answer_bytes: usize) {
    let mut socket = dial(server.address());
    socket.write_all(b"?").unwrap();
    assert_eq!(read(&socket, answer_bytes).len(), answer_bytes);
    drop(socket);
    end(server);
}

/// As much as may wait on a writable connection.
const SMALL: usize = HIGH_WATER_BYTES - 1;
const LARGE: usize = OUTPUT_BYTES_MAX + 1;

#[test]
fn a_callback_may_write_a_message_of_any_size() {
    let server = serve(1, |_| {
        Pipeline::raw().handle(|cx, _| {
            cx.write(zeroes(SMALL))?;
            assert!(cx.is_writable());
            cx.write(zeroes(LARGE))?;
            assert!(!cx.is_writable() && cx.try_write(zeroes(1)).unwrap_err().is_full());
            Ok(())
        })
    });
    asked(server, SMALL + LARGE);
}

#[test]
fn a_handler_on_the_pool_may_write_a_message_of_any_size() {
    let pool = Executor::new(1);
    let server = serve(1, move |_| {
        Pipeline::raw().handle_on(&pool, |cx, _| {
            cx.write(zeroes(SMALL))?;
            cx.write(zeroes(LARGE))
        })
    });
    asked(server, SMALL + LARGE);
}

#[test]
fn a_handle_may_send_a_message_of_any_size() {
    let (handles, opened) = channel();
    let server = serve(1, move |_| {
        let handles = handles.clone();
        Pipeline::raw().handle(move |cx, _| Ok(handles.send(cx.handle())?))
    });
    let mut socket = dial(server.address());
    socket.write_all(b"?").unwrap();
    let handle = opened.recv_timeout(PATIENCE).unwrap();
    handle.try_send(zeroes(SMALL)).unwrap();
    handle.try_send(zeroes(LARGE)).unwrap();
    read(&socket, SMALL + LARGE);
    drop(socket);
    end(server);
}

#[test]
fn the_longest_frames_come_back_one_behind_the_other() {
    let server = serve(1, |_| {
        Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame))
    });
    echoes_the_longest_frames(server);
}

#[test]
fn the_longest_frames_come_back_from_the_pool_one_behind_the_other() {
    let pool = Executor::new(1);
    let server = serve(1, move |_| {
        Pipeline::new(LengthField::u32()).handle_on(&pool, |cx, frame| cx.write(frame))
    });
    echoes_the_longest_frames(server);
}

/// The second message is in the lane already, but not among those that the thread has taken, when the first
/// is answered with more than the socket takes.
#[test]
fn a_handler_on_the_pool_gets_no_message_while_its_answers_are_not_read() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let server = serve(1, {
        let (pool, gate) = (pool.clone(), gate.clone());
        move |_| {
            let (gate, mut number) = (gate.clone(), 0);
            let frames = LengthField::u32().frame_bytes_max(MORE_THAN_THE_KERNEL_TAKES);
            Pipeline::new(frames).handle_on(&pool, move |cx, _| {
                number += 1;
                match number {
                    1 => {
                        gate.pass();
                        cx.write(zeroes(MORE_THAN_THE_KERNEL_TAKES))
                    }
                    _ => cx.write(zeroes(LARGE)),
                }
            })
        }
    });
    let mut socket = dial(server.address());
    socket.write_all(&frame(b"")).unwrap();
    gate.wait();
    socket.write_all(&frame(b"")).unwrap();
    eventually("both are in the lane", || pool.queued() == 2);
    gate.open();
    read(&socket, 4 + MORE_THAN_THE_KERNEL_TAKES + 4 + LARGE);
    drop(socket);
    end(server);
}

fn echoes_the_longest_frames(server: RunningServer) {
    let socket = dial(server.address());
    let frames = frame(&vec![7; FRAME_BYTES_MAX]).repeat(16);
    let mut writer = socket.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&frames).unwrap());
        assert!(read(&socket, frames.len()) == frames);
    });
    drop((socket, writer));
    end(server);
}

/// Writes as long as the connection is writable, and goes on when it is told to.
struct Pump {
    left: usize,
}

impl Pump {
    fn pump(&mut self, cx: &mut Cx<'_>) -> Result {
        while self.left > 0 && cx.is_writable() {
            cx.write(zeroes(HIGH_WATER_BYTES / 4))?;
            self.left -= 1;
        }
        Ok(())
    }
}

impl Handler<Bytes, Bytes> for Pump {
    fn on_message(&mut self, cx: &mut Cx<'_>, _: Bytes) -> Result {
        self.pump(cx)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result {
        match event {
            Event::Writable => self.pump(cx),
            _ => Ok(()),
        }
    }
}

/// The socket takes the first burst whole, so no flush ever ends above the high water mark.
#[test]
fn who_found_it_not_writable_is_told_when_it_is() {
    const MESSAGES: usize = 400;
    let server = serve(1, |_| Pipeline::raw().handler(Pump { left: MESSAGES }));
    asked(server, MESSAGES * HIGH_WATER_BYTES / 4);
}
