//! The deadlines of a connection: one that does not take its bytes, one that does not go, one that a handler
//! set. Never early; how late is measured elsewhere.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use netwheel::limits::ConnectionLimits;
use netwheel::{
    Clock, CloseReason, Context, Handler, Instant, Pipeline, Result, RunningServer, Server,
};
use util::{MORE_THAN_THE_KERNEL_TAKES, PATIENCE, any_port, ask, dial, end, eventually, read};

const SHORT: Duration = Duration::from_millis(100);

/// Does what its peer asks for, and tells when it was asked and when it ended.
struct Obeying {
    clock: Clock,
    tell: mpsc::Sender<(Instant, Option<CloseReason>)>,
}

impl Obeying {
    fn obey(&self, cx: &mut Context<'_, Bytes, Bytes>, letter: u8) -> Result {
        match letter {
            b'w' => cx.write(vec![0; MORE_THAN_THE_KERNEL_TAKES].into())?,
            b'c' => {
                cx.write(vec![7; 100_000].into())?;
                cx.close_after_flush(CloseReason::Local);
            }
            b'd' => cx.deadline(SHORT, CloseReason::Idle),
            b'l' => {
                cx.cancel_deadline(CloseReason::Idle);
                cx.write(Bytes::from_static(b"l"))?;
            }
            // Makes for a long turn.
            b'h' => thread::park_timeout(2 * SHORT),
            // What comes behind a close is not looked at.
            b'x' => {}
            letter => cx.write(vec![letter].into())?,
        }
        Ok(())
    }
}

impl Handler<Bytes, Bytes> for Obeying {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        message
            .iter()
            .try_for_each(|letter| self.obey(cx, *letter))?;
        Ok(self.tell.send((self.clock.now(), None))?)
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        let _ = self.tell.send((self.clock.now(), Some(reason)));
    }
}

type Told = mpsc::Receiver<(Instant, Option<CloseReason>)>;

fn obeying(limits: ConnectionLimits) -> (RunningServer, Told) {
    obeying_by(Clock::system(), limits)
}

fn obeying_by(clock: Clock, limits: ConnectionLimits) -> (RunningServer, Told) {
    let (tell, told) = mpsc::channel();
    let server = Server::new()
        .workers(1)
        .limits(limits)
        .pipeline(move |_| {
            Pipeline::raw().handler(Obeying {
                clock: clock.clone(),
                tell: tell.clone(),
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    (server, told)
}

fn limits(set: impl FnOnce(&mut ConnectionLimits)) -> ConnectionLimits {
    let mut limits = ConnectionLimits::default();
    set(&mut limits);
    limits
}

fn command(mut socket: &TcpStream, letter: u8) {
    socket.write_all(&[letter]).unwrap();
}

/// Waits for the end of the connection, which must come for `expected` and no earlier than `after` the last
/// message; tells when it came.
fn ends(told: &Told, after: Duration, expected: CloseReason) -> Instant {
    let mut asked = Instant::START;
    loop {
        match told.recv_timeout(PATIENCE).unwrap() {
            (at, None) => asked = at,
            (at, Some(reason)) => {
                assert_eq!(reason, expected);
                assert!(
                    at.since(asked) >= after,
                    "early: after {:?}",
                    at.since(asked)
                );
                return at;
            }
        }
    }
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_at_the_write_stalls_deadline() {
    let (server, told) = obeying(limits(|limits| limits.write_stall_timeout = SHORT));
    let (stuck, other) = (dial(server.address()), dial(server.address()));
    command(&stuck, b'w');
    ends(&told, SHORT, CloseReason::WriteStall);
    eventually("it is gone", || server.connections() == 1);
    assert_eq!(server.stats().closes(CloseReason::WriteStall), 1);
    assert_eq!(ask(&other, b"e"), b"e");
    drop((stuck, other));
    end(server);
}

#[test]
fn a_long_turn_takes_nothing_off_the_write_stalls_deadline() {
    let (server, told) = obeying(limits(|limits| limits.write_stall_timeout = SHORT));
    let mut stuck = dial(server.address());
    stuck.write_all(b"wh").unwrap();
    ends(&told, SHORT, CloseReason::WriteStall);
    drop(stuck);
    end(server);
}

#[test]
fn a_long_turn_takes_nothing_off_the_lingers_deadline() {
    let clock = Clock::system();
    let (server, told) = obeying_by(
        clock.clone(),
        limits(|limits| limits.linger_timeout = SHORT),
    );
    let mut socket = dial(server.address());
    socket.write_all(b"ch").unwrap();
    let ended = ends(&told, Duration::ZERO, CloseReason::Local);
    eventually("the socket is let go", || server.connections() == 0);
    assert!(clock.now().since(ended) >= SHORT, "let go too early");
    drop(socket);
    end(server);
}

#[test]
fn a_peer_that_has_taken_all_is_never_cut_off_for_it() {
    let (server, told) = obeying(limits(|limits| limits.write_stall_timeout = SHORT));
    let socket = dial(server.address());
    command(&socket, b'w');
    assert_eq!(
        read(&socket, MORE_THAN_THE_KERNEL_TAKES).len(),
        MORE_THAN_THE_KERNEL_TAKES
    );
    // Beyond the deadline, as another connection's tells.
    let other = dial(server.address());
    command(&other, b'd');
    ends(&told, SHORT, CloseReason::Idle);
    assert_eq!(ask(&socket, b"e"), b"e");
    eventually("no timer is left", || server.stats().timers_live == 0);
    drop(socket);
    end(server);
}

#[test]
fn a_peer_that_keeps_its_side_open_is_let_go_at_the_lingers_deadline() {
    let (server, told) = obeying(limits(|limits| limits.linger_timeout = SHORT));
    let socket = dial(server.address());
    command(&socket, b'c');
    ends(&told, Duration::ZERO, CloseReason::Local);
    assert_eq!(
        util::read_to_end(&socket).len(),
        100_000,
        "the answer, then FIN"
    );
    // The handler has been told, and only the socket waits for the peer's FIN, which never comes.
    eventually("the socket is let go", || server.connections() == 0);
    let stats = server.stats();
    assert_eq!(
        (stats.closes(CloseReason::Local), stats.timers_live),
        (1, 0)
    );
    drop(socket);
    end(server);
}

#[test]
fn a_lingering_socket_is_gone_at_once_when_the_peer_closes_too() {
    let (server, told) = obeying(limits(|limits| limits.linger_timeout = 100 * PATIENCE));
    let socket = dial(server.address());
    command(&socket, b'c');
    ends(&told, Duration::ZERO, CloseReason::Local);
    assert_eq!(util::read_to_end(&socket).len(), 100_000);
    assert_eq!(server.connections(), 1, "it lingers");
    drop(socket);
    eventually("the socket is let go", || server.connections() == 0);
    end(server);
}

#[test]
fn what_a_peer_still_sends_does_not_destroy_its_last_answer() {
    let (server, _told) = obeying(ConnectionLimits::default());
    for _ in 0..20 {
        let mut socket = dial(server.address());
        command(&socket, b'c');
        // A close with these unread would send RST, and what is on its way would be lost.
        socket.write_all(&[b'x'; 300_000]).unwrap();
        assert_eq!(util::read_to_end(&socket), [7; 100_000]);
    }
    end(server);
}

#[test]
fn a_peer_that_goes_on_sending_is_cut_off_before_the_deadline() {
    let (server, told) = obeying(limits(|limits| {
        limits.linger_timeout = 100 * PATIENCE;
        limits.linger_bytes_max = 100_000;
    }));
    let mut socket = dial(server.address());
    command(&socket, b'c');
    ends(&told, Duration::ZERO, CloseReason::Local);
    while socket.write_all(&[0; 50_000]).is_ok() {
        // Until the server resets.
    }
    eventually("the socket is let go", || server.connections() == 0);
    end(server);
}

#[test]
fn a_handlers_deadline_ends_its_connection_unless_it_is_lifted() {
    let (server, told) = obeying(ConnectionLimits::default());
    let (late, lifted) = (dial(server.address()), dial(server.address()));
    command(&lifted, b'd');
    assert_eq!(ask(&lifted, b"l"), b"l");
    command(&late, b'd');
    ends(&told, SHORT, CloseReason::Idle);
    assert!(!matches!((&late).read(&mut [0]), Ok(1..)));
    assert_eq!(
        ask(&lifted, b"e"),
        b"e",
        "its deadline was before the other's"
    );
    assert_eq!(server.stats().closes(CloseReason::Idle), 1);
    drop((late, lifted));
    end(server);
}
