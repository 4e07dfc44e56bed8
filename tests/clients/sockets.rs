//! The same over real sockets.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use netwheel::{Address, ErrorKind, Reactor, WhileDown};

use super::util::{A_WHILE, PATIENCE, any_port, eventually};
use super::*;

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind(any_port()).unwrap().local_addr().unwrap()
}

fn fast() -> Backoff {
    Backoff::every(Duration::from_millis(10))
}

#[test]
fn a_client_that_was_refused_is_up_once_somebody_listens() {
    let (reactor, states, address) = (reactor(), States::default(), free_address());
    let handle = Client::on(&reactor)
        .reconnect(fast())
        .while_down(WhileDown::queue())
        .on_state(states.keeper())
        .pipeline(frames)
        .connect(address)
        .unwrap();
    handle.try_send("kept".into()).unwrap();
    eventually("it waits", || states.waits().len() >= 2);
    assert_eq!(
        handle.wait_up(Duration::ZERO).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    let listener = TcpListener::bind(address).unwrap();
    handle.wait_up(PATIENCE).unwrap();
    let (mut socket, peer) = listener.accept().unwrap();
    assert_eq!(handle.connection().unwrap().local(), Address::Inet(peer));
    let mut frame = [0; 8];
    std::io::Read::read_exact(&mut socket, &mut frame).unwrap();
    assert_eq!(&frame, b"\0\0\0\x04kept");
    drop(socket);
    let (_socket, again) = listener.accept().unwrap();
    assert_ne!(peer, again);
    eventually("it is up again", || states.is_up());
    states.check();
    handle.close();
    assert_eq!(
        handle.wait_up(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(states.words().last().unwrap(), "closed cancelled");
    eventually("its connection is closed", || reactor.stats().active() == 0);
}

#[test]
fn a_name_is_looked_up_off_the_io_threads() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (reactor, states) = (reactor(), States::default());
    let handle = Client::on(&reactor)
        .reconnect(fast())
        .on_state(states.keeper())
        .pipeline(frames)
        .connect(format!("localhost:{port}"))
        .unwrap();
    // `localhost` may be ::1 first; the next try has the next address.
    handle.wait_up(PATIENCE).unwrap();
    assert!(
        states
            .tried()
            .iter()
            .all(|to| *to == format!("localhost:{port}"))
    );
}

#[test]
fn a_name_that_nobody_has_is_a_failed_try() {
    let (reactor, states) = (reactor(), States::default());
    let handle = Client::on(&reactor)
        .reconnect(fast().tries_max(2))
        .on_state(states.keeper())
        .pipeline(frames)
        .connect("no-such-name.invalid:1")
        .unwrap();
    assert_eq!(
        handle.wait_up(PATIENCE).unwrap_err().kind(),
        ErrorKind::Closed
    );
    eventually("it is told", || {
        states
            .words()
            .last()
            .is_some_and(|word| word == "closed tries used up")
    });
    assert_eq!(states.words()[..2], ["connecting 1", "down failed"]);
}

#[test]
fn a_reactor_that_is_shut_down_ends_its_clients_also_those_that_wait() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let reactor = reactor();
    let connect = |to: SocketAddr| {
        let states = States::default();
        let client = Client::on(&reactor)
            .reconnect(Backoff::every(HOUR))
            .on_state(states.keeper());
        (client.pipeline(frames).connect(to).unwrap(), states)
    };
    let (up, up_states) = connect(listener.local_addr().unwrap());
    up.wait_up(PATIENCE).unwrap();
    let (waiting, waiting_states) = connect(free_address());
    eventually("it waits", || waiting_states.waits().len() == 1);
    reactor.shutdown(PATIENCE);
    for (handle, states) in [(up, up_states), (waiting, waiting_states)] {
        assert_eq!(
            handle.wait_up(PATIENCE).unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert_eq!(states.words().last().unwrap(), "closed shutdown");
        states.check();
    }
    let late = Client::on(&Reactor::builder().workers(1).start().unwrap())
        .reconnect(fast())
        .pipeline(frames)
        .connect(free_address())
        .unwrap();
    eventually("a client ends with its reactor", || {
        matches!(late.state(), ClientState::Closed(_))
    });
}

#[test]
fn an_io_thread_may_not_wait_for_a_client() {
    let reactor = reactor();
    let listener = TcpListener::bind(any_port()).unwrap();
    let (tell, told) = mpsc::channel();
    let asking = Client::on(&reactor)
        .reconnect(Backoff::every(HOUR))
        .pipeline(frames)
        .connect(free_address())
        .unwrap();
    let _handle = Client::on(&reactor)
        .reconnect(fast())
        .on_state(move |state| {
            if matches!(state, ClientState::Up { .. }) {
                let _ = tell.send(asking.wait_up(PATIENCE).unwrap_err().kind());
            }
        })
        .pipeline(frames)
        .connect(listener.local_addr().unwrap())
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), ErrorKind::Misuse);
}

#[test]
fn a_close_that_races_a_redial_is_the_last_word() {
    let reactor = reactor();
    let address = free_address();
    for round in 0..100_u64 {
        let states = States::default();
        let handle = Client::on(&reactor)
            .reconnect(Backoff::every(Duration::from_millis(1)))
            .on_state(states.keeper())
            .pipeline(frames)
            .connect(address)
            .unwrap();
        for _ in 0..round % 10 * 50 {
            std::thread::yield_now();
        }
        handle.close();
        eventually("it is told", || {
            states
                .words()
                .last()
                .is_some_and(|word| word == "closed cancelled")
        });
        states.check();
    }
    eventually("nothing is left", || reactor.stats().active() == 0);
}

#[test]
fn an_io_thread_may_dial_a_name() {
    let reactor = reactor();
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let net = reactor.net().clone();
    let (tell, told) = mpsc::channel();
    let _handle = Client::on(&reactor)
        .reconnect(fast())
        .on_state(move |state| {
            if matches!(state, ClientState::Up { .. }) {
                let name = format!("localhost:{}", address.port());
                let _ = tell.send(Client::on(&net).pipeline(frames).connect(name).unwrap());
            }
        })
        .pipeline(frames)
        .connect(address)
        .unwrap();
    let by_name = told.recv_timeout(PATIENCE).unwrap();
    // Its first address may be ::1, where nobody listens.
    let outcome = by_name.wait_open(PATIENCE).map_err(|error| error.kind());
    assert!(
        matches!(outcome, Ok(()) | Err(ErrorKind::Closed)),
        "{outcome:?}"
    );
}

/// What the simulator cannot try, as it has one thread: sends, opens, resets and completions at once.
#[test]
fn senders_on_many_threads_are_answered_once_each_while_the_server_keeps_resetting() {
    const THREADS: u32 = 4;
    const MESSAGES: u32 = 500;
    let reactor = Reactor::builder().workers(2).start().unwrap();
    let received: Shared<Vec<Vec<u32>>> = Shared::default();
    let keep = received.clone();
    let server = Server::on(&reactor)
        .linger(Duration::ZERO)
        .pipeline(move |_| {
            let (keep, mut own) = (keep.clone(), Vec::new());
            Pipeline::new(LengthField::u32()).handle(move |cx, bytes: Bytes| {
                own.push(u32::from_be_bytes(bytes[..].try_into()?));
                if own.len() == 50 {
                    keep.lock().unwrap().push(own.split_off(0));
                    cx.close(netwheel::CloseReason::Local);
                }
                Ok(())
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let states = States::default();
    let handle = Client::on(&reactor)
        .reconnect(Backoff::every(Duration::from_millis(1)))
        .while_down(WhileDown::Queue {
            messages_max: 10_000,
            bytes_max: 1 << 20,
        })
        .on_state(states.keeper())
        .pipeline(frames)
        .connect(server.address())
        .unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (handle, tell) = (handle.clone(), tell.clone());
            scope.spawn(move || {
                for n in 0..MESSAGES {
                    let (number, tell) = (thread * MESSAGES + n, tell.clone());
                    let done = move |outcome: Result<(), _>| {
                        let _ = tell.send((number, outcome.is_ok()));
                    };
                    let message = number.to_be_bytes().to_vec();
                    handle.try_send_then(message.into(), done).unwrap();
                    if n % 16 == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    eventually("nothing waits", || handle.waiting() == 0);
    handle.close_after_flush();
    let answers = THREADS * MESSAGES;
    let mut answered: Vec<u32> = (0..answers)
        .map(|_| told.recv_timeout(PATIENCE).unwrap().0)
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, (0..answers).collect::<Vec<_>>());
    drop((handle, tell));
    assert!(told.recv_timeout(A_WHILE).is_err(), "each once");
    reactor.shutdown(PATIENCE);
    states.check();
    let received = received.lock().unwrap();
    let mut all = received.concat();
    for thread in 0..THREADS {
        let of_one = |one: &Vec<u32>| one.iter().filter(|n| **n / MESSAGES == thread).is_sorted();
        assert!(received.iter().all(of_one), "in order");
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "at most once");
}
