//! A peer that has finished sending is answered in full before it gets FIN.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use netwheel::codec::LengthField;
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, Event, Executor, Handler, Pipeline, Reactor,
    Result, RunningServer, Server, TimerKey,
};
use util::{
    PATIENCE, Pattern, any_port, ask, dial, dial_from, end, eventually, frame, read_to_end, serve,
    write_and_finish,
};

/// Lets the one worker of a server go through everything that has arrived: two turns at least.
fn let_turn(server: &RunningServer, question: &[u8]) {
    let other = dial_from(2, server.address());
    for _ in 0..2 {
        assert_eq!(ask(&other, question), question);
    }
}

#[test]
fn data_and_fin_in_one_edge_are_both_seen() {
    let (open, gate) = unbounded::<()>();
    let server = serve(1, move |_| {
        let gate = gate.clone();
        Pipeline::raw().handle(move |cx, bytes| {
            if bytes.starts_with(b"stop") {
                gate.recv_timeout(PATIENCE)?;
            }
            cx.write(bytes)
        })
    });
    // Sizes below, at and above one read.
    for size in [1, 1000, 65_535, 65_536, 65_537, 131_072, 262_144, 300_000] {
        let (stopping, socket) = (dial(server.address()), dial(server.address()));
        assert_eq!(ask(&socket, b"known to the worker"), b"known to the worker");
        let before = server.stats().messages_in;
        (&stopping).write_all(b"stop").unwrap();
        eventually("the worker has read it", || {
            server.stats().messages_in > before
        });
        // The worker stands still now, so data and FIN wait together for its next look.
        let mut data = Vec::new();
        Pattern::default().write(&mut data, size);
        write_and_finish(&socket, &data);
        open.send(()).unwrap();
        assert!(read_to_end(&socket) == data, "{size} bytes and FIN");
    }
    end(server);
}

#[test]
fn a_fin_without_data_behind_it_ends_an_idle_connection() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let socket = dial(server.address());
    assert_eq!(ask(&socket, b"x"), b"x");
    write_and_finish(&socket, b"");
    assert_eq!(read_to_end(&socket), b"");
    eventually("it is counted", || {
        server.stats().closes(CloseReason::PeerClosed) == 1
    });
    end(server);
}

/// Frames on the pool, each of which is only answered once the test says so; those from 127.0.0.2 at once.
fn gated_pool() -> (RunningServer, Sender<()>) {
    let (open, gate) = unbounded::<()>();
    let pool = Executor::new(2);
    let server = serve(1, move |peer| {
        let gate = gate.clone();
        let ungated = peer.address.ip() == Some([127, 0, 0, 2].into());
        Pipeline::new(LengthField::u32()).handle_on(&pool, move |cx, frame| {
            if !ungated {
                gate.recv_timeout(PATIENCE)?;
            }
            cx.write(frame)
        })
    });
    (server, open)
}

#[test]
fn what_the_pool_still_works_on_is_answered_before_fin() {
    // Few messages, as many as a lane holds, and many more than that.
    for count in [1, 5, 64, 65, 300_usize] {
        let (server, open) = gated_pool();
        let socket = dial(server.address());
        let wire: Vec<u8> = (0..count).flat_map(|n| frame(&n.to_le_bytes())).collect();
        write_and_finish(&socket, &wire);
        eventually("the server reads", || server.stats().messages_in > 0);
        let_turn(&server, &frame(b"ping"));
        for _ in 0..count {
            open.send(()).unwrap();
        }
        assert!(read_to_end(&socket) == wire, "{count} messages");
        end(server);
    }
}

#[test]
fn jobs_that_are_still_running_are_answered_before_fin() {
    let (open, gate) = unbounded::<()>();
    let pool = Executor::new(2);
    let server = serve(1, move |_| {
        let (pool, gate) = (pool.clone(), gate.clone());
        Pipeline::new(LengthField::u32()).handle(move |cx, frame: Bytes| {
            if frame.starts_with(b"ping") {
                return cx.write(frame);
            }
            let gate = gate.clone();
            cx.offload(
                &pool,
                move || gate.recv_timeout(PATIENCE).map(|()| frame),
                |cx, frame| cx.write(frame?),
            )
        })
    });
    let socket = dial(server.address());
    write_and_finish(&socket, &[frame(b"same"), frame(b"same")].concat());
    eventually("the server reads", || server.stats().messages_in == 2);
    let_turn(&server, &frame(b"ping"));
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(
        read_to_end(&socket),
        [frame(b"same"), frame(b"same")].concat()
    );
    end(server);
}

/// Gives its handle to the test, and echoes.
struct Handing(Sender<ConnectionHandle<Bytes>>);

impl Handler<Bytes, Bytes> for Handing {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.0.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }
}

#[test]
fn what_handles_have_sent_leaves_before_fin() {
    let (handing, handed) = unbounded();
    let server = serve(1, move |_| {
        Pipeline::raw().handler(Handing(handing.clone()))
    });
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    // Enough that a part of it is still held back when FIN arrives.
    let mut pattern = Pattern::default();
    while handle.queued_bytes() < 500_000 {
        let mut piece = Vec::new();
        let before = pattern;
        pattern.write(&mut piece, 50_000);
        if handle.try_send(piece.into()).is_err() {
            pattern = before;
        }
    }
    write_and_finish(&socket, b"");
    let sent = pattern.position();
    let mut received = Pattern::default();
    received.read(&socket, sent, 100_000);
    assert_eq!(read_to_end(&socket), b"", "FIN behind the last byte");
    end(server);
}

/// Pauses at each message and resumes by a timer.
struct Halting;

impl Handler<Bytes, Bytes> for Halting {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.pause_reading();
        cx.timer(Duration::from_millis(1), TimerKey(1));
        cx.write(message)
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        if let Event::Timer(TimerKey(1)) = event {
            cx.resume_reading();
        }
        Ok(())
    }
}

#[test]
fn a_handler_that_pauses_answers_everything_before_fin() {
    let server = serve(1, |_| Pipeline::new(LengthField::u32()).handler(Halting));
    let socket = dial(server.address());
    let wire: Vec<u8> = (0..50_u8).flat_map(|n| frame(&[n])).collect();
    write_and_finish(&socket, &wire);
    assert_eq!(read_to_end(&socket), wire);
    end(server);
}

#[test]
fn a_frame_cut_off_by_fin_costs_no_answer_to_those_before_it() {
    let (server, open) = gated_pool();
    let socket = dial(server.address());
    let whole = [frame(b"one"), frame(b"two")].concat();
    write_and_finish(&socket, &[&whole[..], b"\x00\x00\x00\x09thr"].concat());
    eventually("the server reads", || server.stats().messages_in == 2);
    let_turn(&server, &frame(b"ping"));
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(read_to_end(&socket), whole);
    eventually("both are gone", || server.connections() == 0);
    assert_eq!(server.stats().closes(CloseReason::PeerClosed), 2);
    end(server);
}

/// Tells of FIN, and of the end.
struct HalfOpen {
    handing: Sender<ConnectionHandle<Bytes>>,
    told: Sender<String>,
}

impl Handler<Bytes, Bytes> for HalfOpen {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.handing.send(cx.handle())?)
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        Ok(self
            .told
            .send(String::from_utf8_lossy(&message).into_owned())?)
    }

    fn on_event(&mut self, _: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        Ok(self.told.send(format!("{event:?}"))?)
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        let _ = self.told.send(reason.to_string());
    }
}

fn tells(told: &Receiver<String>) -> String {
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_half_open_connection_is_told_of_fin_and_goes_on_sending() {
    let ((handing, handed), (tell, told)) = (unbounded(), unbounded());
    let server = Server::new()
        .workers(1)
        .half_open(true)
        .pipeline(move |_| {
            Pipeline::raw().handler(HalfOpen {
                handing: handing.clone(),
                told: tell.clone(),
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    write_and_finish(&socket, b"question");
    assert_eq!(
        (tells(&told), tells(&told)),
        ("question".into(), "ReadClosed".into())
    );
    for piece in ["answer ", "after ", "FIN"] {
        handle.try_send(piece.into()).unwrap();
        assert_eq!(util::read(&socket, piece.len()), piece.as_bytes());
    }
    assert_eq!(server.connections(), 1, "nobody has closed it");
    handle.close_after_flush();
    assert_eq!(read_to_end(&socket), b"");
    assert_eq!(tells(&told), "local");
    assert!(told.try_recv().is_err(), "nothing is told twice");
    end(server);
}

#[test]
fn a_client_of_ours_gets_the_last_answer_before_it_is_told_of_the_end() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let ((handing, _handed), (tell, told)) = (unbounded(), unbounded());
    let client = Client::on(&reactor)
        .pipeline(move || {
            Pipeline::raw().handler(HalfOpen {
                handing: handing.clone(),
                told: tell.clone(),
            })
        })
        .connect(listener.local_addr().unwrap())
        .unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    socket.write_all(b"the last answer").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        (tells(&told), tells(&told)),
        ("the last answer".into(), "peer_closed".into())
    );
    assert_eq!(
        client.wait_closed(PATIENCE).unwrap(),
        CloseReason::PeerClosed
    );
    assert_eq!(read_to_end(&socket), b"");
}
