//! Every way in which servers, reactors and clients end: what is answered, what is cut off, what is left behind.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::{
    Client, CloseReason, Context, ErrorKind, Event, Executor, Flow, Handler, Pipeline, Reactor,
    Result, RunningServer, Server, Stage,
};
use util::{
    Baseline, Caller, Gate, PATIENCE, any_port, ask, dial, end, eventually, is_alone, read,
    read_to_end, serve,
};

/// What a handler holds and its own server is in.
type Shared<T> = Arc<Mutex<Option<T>>>;

fn echo_on(reactor: &Reactor) -> RunningServer {
    Server::on(reactor)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

/// Tells the test of the shutdown and of the end.
struct Told(mpsc::Sender<Option<CloseReason>>);

impl<In: 'static, Out: 'static> Stage<In, Out> for Told {
    fn on_event(&mut self, _: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if matches!(event, Event::ShuttingDown) {
            self.0.send(None)?;
        }
        Ok(Flow::Next)
    }

    fn on_close(&mut self, _: &mut Context<'_, In, Out>, reason: CloseReason) {
        let _ = self.0.send(Some(reason));
    }
}

/// Waits until nobody listens any more.
fn refuses(address: SocketAddr) {
    eventually("new connections are refused", || {
        TcpStream::connect(address).is_err()
    });
}

#[test]
fn what_was_read_is_answered_on_the_pool_before_the_close() {
    const MESSAGES: u32 = 10;
    let (lane, gate) = (Executor::new(1), Gate::new());
    let (telling, told) = mpsc::channel();
    let held = gate.clone();
    let server = serve(1, move |_| {
        let held = held.clone();
        Pipeline::new(LengthField::u32())
            .stage("told", Told(telling.clone()))
            .handle_on(&lane, move |cx, frame: Bytes| {
                if frame[..] == 0_u32.to_be_bytes() {
                    held.pass();
                }
                cx.write(frame)
            })
    });
    let address = server.address();
    let mut caller = Caller::new(address);
    caller.send_all((0..MESSAGES).map(u32::to_be_bytes));
    gate.wait();
    eventually("all is read", || {
        server.stats().messages_in == u64::from(MESSAGES)
    });
    thread::scope(|scope| {
        let report = scope.spawn(|| server.shutdown(PATIENCE));
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), None);
        refuses(address);
        gate.open();
        for number in 0..MESSAGES {
            assert_eq!(caller.expect_number(), number);
        }
        caller.expect_end();
        drop(caller);
        let report = report.join().unwrap();
        assert_eq!((report.drained, report.aborted), (1, 0));
        assert!(report.elapsed < PATIENCE);
    });
    assert_eq!(
        told.recv_timeout(PATIENCE).unwrap(),
        Some(CloseReason::Shutdown)
    );
}

#[test]
fn what_was_read_is_answered_on_the_worker_before_the_close() {
    const MESSAGES: u32 = 10;
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(1, move |_| {
        let held = held.clone();
        Pipeline::new(LengthField::u32()).handle(move |cx, frame: Bytes| {
            if frame[..] == 0_u32.to_be_bytes() {
                held.pass();
            }
            cx.write(frame)
        })
    });
    let address = server.address();
    let mut caller = Caller::new(address);
    caller.send_all((0..MESSAGES).map(u32::to_be_bytes));
    gate.wait();
    thread::scope(|scope| {
        let report = scope.spawn(|| server.shutdown(PATIENCE));
        // The worker is held; the listener is closed all the same.
        refuses(address);
        gate.open();
        for number in 0..MESSAGES {
            assert_eq!(caller.expect_number(), number);
        }
        caller.expect_end();
        drop(caller);
        assert_eq!(report.join().unwrap().aborted, 0);
    });
}

/// Says goodbye, at length.
struct Goodbye;

const GOODBYE_BYTES: usize = 512 << 10;

impl Handler<Bytes, Bytes> for Goodbye {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        match event {
            Event::ShuttingDown => cx.write(vec![b'!'; GOODBYE_BYTES].into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn handlers_are_told_and_can_still_write() {
    let server = serve(2, |_| Pipeline::raw().handler(Goodbye));
    let sockets = [(); 4].map(|()| dial(server.address()));
    for socket in &sockets {
        ask(socket, b"hello");
    }
    thread::scope(|scope| {
        let report = scope.spawn(|| server.shutdown(PATIENCE));
        for socket in sockets {
            assert_eq!(read_to_end(&socket), [b'!'; GOODBYE_BYTES]);
        }
        let report = report.join().unwrap();
        assert_eq!((report.drained, report.aborted), (4, 0));
    });
}

#[test]
fn the_deadline_cuts_off_who_is_stuck_and_the_report_says_so() {
    const DEADLINE: Duration = Duration::from_secs(1);
    let (pool, gate) = (Executor::new(1), Gate::new());
    let (telling, told) = mpsc::channel();
    let (lane, held) = (pool.clone(), gate.clone());
    let server = serve(1, move |_| {
        let held = held.clone();
        Pipeline::new(LengthField::u32())
            .stage("told", Told(telling.clone()))
            .handle_on(&lane, move |cx, frame: Bytes| {
                if &*frame == b"hold" {
                    held.pass();
                }
                cx.write(frame)
            })
    });
    let (mut stuck, mut free) = (Caller::new(server.address()), Caller::new(server.address()));
    assert_eq!(free.ask(b"hello"), b"hello");
    stuck.send(b"hold");
    gate.wait();
    thread::scope(|scope| {
        let report = scope.spawn(|| server.shutdown(DEADLINE));
        free.expect_end();
        drop(free);
        stuck.expect_end();
        let report = report.join().unwrap();
        assert_eq!((report.drained, report.aborted), (1, 1));
        assert!(report.elapsed >= DEADLINE);
        assert!(report.elapsed < PATIENCE);
    });
    let reasons = told.try_iter().flatten();
    assert!(reasons.eq([CloseReason::Shutdown; 2]));
    gate.open();
    // Held so far, so that the shutdown was not the one to wait for the handler.
    drop(pool);
}

#[test]
fn a_drop_closes_everything_and_waits_for_the_threads() {
    let name = "a_drop_closes_everything_and_waits_for_the_threads";
    if !is_alone(name) {
        return;
    }
    let baseline = Baseline::now();
    let (telling, told) = mpsc::channel();
    let server = serve(2, move |_| {
        let told = Told(telling.clone());
        Pipeline::raw()
            .stage("told", told)
            .handle(|cx, bytes| cx.write(bytes))
    });
    let sockets = [(); 5].map(|()| dial(server.address()));
    for socket in &sockets {
        ask(socket, b"hello");
    }
    drop(server);
    let reasons: Vec<_> = told.try_iter().flatten().collect();
    assert_eq!(reasons, [CloseReason::Shutdown; 5]);
    for socket in sockets {
        assert_eq!(read_to_end(&socket), b"");
    }
    baseline.is_back_after("a drop");
}

#[test]
fn a_shutdown_leaves_nothing_behind() {
    let name = "a_shutdown_leaves_nothing_behind";
    if !is_alone(name) {
        return;
    }
    let baseline = Baseline::now();
    for _ in 0..5 {
        let reactor = Reactor::builder().workers(3).start().unwrap();
        let server = echo_on(&reactor);
        let client = Client::on(&reactor)
            .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
            .connect(server.address())
            .unwrap();
        client.wait_open(PATIENCE).unwrap();
        let socket = dial(server.address());
        ask(&socket, b"hello");
        drop(socket);
        reactor.shutdown(PATIENCE);
        // Its own end, or that of the server beside it, whichever it hears of first.
        let ended = client.closed();
        let expected = [CloseReason::Shutdown, CloseReason::PeerClosed].map(Some);
        assert!(expected.contains(&ended), "{ended:?}");
        drop((client, server));
        baseline.is_back_after("a shutdown");
    }
}

#[test]
fn one_server_of_a_reactor_ends_and_the_other_does_not() {
    let reactor = reactor();
    let (first, second) = (echo_on(&reactor), echo_on(&reactor));
    let (one, other) = (dial(first.address()), dial(second.address()));
    ask(&one, b"hello");
    ask(&other, b"hello");
    let address = first.address();
    thread::scope(|scope| {
        let report = scope.spawn(|| first.shutdown(PATIENCE));
        assert_eq!(read_to_end(&one), b"");
        drop(one);
        let report = report.join().unwrap();
        assert_eq!((report.drained, report.aborted), (1, 0));
    });
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(ask(&other, b"still here"), b"still here");
    assert_eq!(ask(&dial(second.address()), b"and new"), b"and new");
    let third = echo_on(&reactor);
    assert_eq!(ask(&dial(third.address()), b"later"), b"later");
    drop(other);
    end(second);
    end(third);
}

#[test]
fn a_stopper_ends_the_wait_from_any_thread_also_twice() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let stopper = server.stopper();
    let socket = dial(server.address());
    ask(&socket, b"hello");
    thread::scope(|scope| {
        let report = scope.spawn(|| server.wait());
        let twice = stopper.clone();
        scope.spawn(move || {
            twice.stop();
            twice.stop();
        });
        assert_eq!(read_to_end(&socket), b"");
        drop(socket);
        let report = report.join().unwrap();
        assert_eq!((report.drained, report.aborted), (1, 0));
    });
    stopper.stop();
}

#[test]
fn a_handler_may_stop_its_own_server_and_is_answered() {
    let stop: Shared<netwheel::Stopper> = Arc::default();
    let stopper = Arc::clone(&stop);
    let server = serve(1, move |_| {
        let stopper = Arc::clone(&stopper);
        Pipeline::raw().handle(move |cx, bytes| {
            stopper.lock().unwrap().take().unwrap().stop();
            cx.write(bytes)
        })
    });
    *stop.lock().unwrap() = Some(server.stopper());
    let socket = dial(server.address());
    thread::scope(|scope| {
        let report = scope.spawn(|| server.wait());
        (&socket).write_all(b"stop").unwrap();
        assert_eq!(read_to_end(&socket), b"stop");
        drop(socket);
        assert_eq!(report.join().unwrap().aborted, 0);
    });
}

/// Connections of this machine in TIME_WAIT on a port.
#[cfg(target_os = "linux")]
fn in_time_wait(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[1].ends_with(&port) && fields[3] == "06")
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_starts_again_on_its_port_at_once() {
    let start = |address: SocketAddr| {
        Server::new()
            .workers(1)
            .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
            .listen(address)
            .unwrap()
            .start()
            .unwrap()
    };
    let mut address = any_port().parse().unwrap();
    for _ in 0..3 {
        let server = start(address);
        address = server.address();
        let sockets = [(); 3].map(|()| dial(address));
        for socket in &sockets {
            ask(socket, b"hello");
        }
        thread::scope(|scope| {
            let report = scope.spawn(|| server.shutdown(PATIENCE));
            for socket in sockets {
                assert_eq!(read_to_end(&socket), b"");
            }
            assert_eq!(report.join().unwrap().aborted, 0);
        });
        eventually("the side that closed first remembers", || {
            in_time_wait(address.port()) >= 3
        });
    }
}

#[test]
fn whatever_has_ended_may_be_ended_again() {
    let reactor = reactor();
    let net = reactor.net().clone();
    let (first, second) = (echo_on(&reactor), echo_on(&reactor));
    drop(first);
    let report = reactor.shutdown(PATIENCE);
    assert_eq!((report.drained, report.aborted), (0, 0));
    let report = second.shutdown(PATIENCE);
    assert_eq!((report.drained, report.aborted), (0, 0));
    assert!(report.elapsed < PATIENCE);
    let client = Client::on(&net).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    let somewhere = TcpListener::bind(any_port()).unwrap();
    let refused = client.connect(somewhere.local_addr().unwrap()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed, "{refused}");
}

#[test]
fn a_server_on_a_reactor_that_has_ended_does_not_start() {
    let reactor = reactor();
    let net = reactor.net().clone();
    reactor.shutdown(PATIENCE);
    let late = Server::on(&net)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .and_then(Server::start);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left_behind() {
    let name = "a_port_that_is_taken_is_named_and_nothing_is_left_behind";
    if !is_alone(name) {
        return;
    }
    let taken = TcpListener::bind(any_port()).unwrap();
    let address = taken.local_addr().unwrap();
    let baseline = Baseline::now();
    let error = Server::new()
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .listen(address)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Address);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(Baseline::now(), baseline, "after {error}");
}

#[test]
fn clients_of_a_reactor_that_ends_hear_of_the_shutdown() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let (telling, told) = mpsc::channel();
    let reactor = reactor();
    let client = Client::on(&reactor)
        .pipeline(move || {
            let told = Told(telling.clone());
            Pipeline::raw().stage("told", told).handle(|_, _| Ok(()))
        })
        .connect(server.address())
        .unwrap();
    client.wait_open(PATIENCE).unwrap();
    let report = reactor.shutdown(PATIENCE);
    assert_eq!((report.drained, report.aborted), (1, 0));
    assert_eq!(client.wait_closed(PATIENCE).unwrap(), CloseReason::Shutdown);
    assert!(client.try_send(Bytes::from_static(b"late")).is_err());
    assert!(told.iter().eq([None, Some(CloseReason::Shutdown)]));
    end(server);
}

#[test]
fn clients_of_a_reactor_that_is_dropped_hear_of_the_shutdown() {
    let silent = TcpListener::bind(any_port()).unwrap();
    let reactor = reactor();
    let clients = [(); 3].map(|()| {
        Client::on(&reactor)
            .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
            .connect(silent.local_addr().unwrap())
            .unwrap()
    });
    drop(reactor);
    for client in clients {
        assert_eq!(client.closed(), Some(CloseReason::Shutdown));
    }
}

/// A server whose handler does `what` with it.
fn ended_by_its_handler(
    server: impl FnOnce(Shared<RunningServer>) -> RunningServer,
) -> (SocketAddr, Shared<RunningServer>) {
    let own: Shared<RunningServer> = Arc::default();
    let server = server(Arc::clone(&own));
    let address = server.address();
    *own.lock().unwrap() = Some(server);
    (address, own)
}

#[test]
fn a_handler_that_drops_its_server_does_not_wait_for_itself() {
    let name = "a_handler_that_drops_its_server_does_not_wait_for_itself";
    if !is_alone(name) {
        return;
    }
    let baseline = Baseline::now();
    let (address, own) = ended_by_its_handler(|own| {
        serve(2, move |_| {
            let own = Arc::clone(&own);
            Pipeline::raw().handle(move |_, _| {
                drop(own.lock().unwrap().take());
                Ok(())
            })
        })
    });
    let sockets = [(); 4].map(|()| dial(address));
    // Those not yet accepted would be reset.
    eventually("all are let in", || {
        let own = own.lock().unwrap();
        own.as_ref().unwrap().stats().accepted == 4
    });
    (&sockets[0]).write_all(b"end").unwrap();
    for socket in sockets {
        assert_eq!(read_to_end(&socket), b"");
    }
    drop(own);
    baseline.is_back_after("a drop by its own handler");
}

#[test]
fn a_handler_that_shuts_its_reactor_down_fails_and_does_not_wait_for_itself() {
    let name = "a_handler_that_shuts_its_reactor_down_fails_and_does_not_wait_for_itself";
    if !is_alone(name) {
        return;
    }
    let baseline = Baseline::now();
    let (address, own) = ended_by_its_handler(|own| {
        serve(1, move |_| {
            let own = Arc::clone(&own);
            Pipeline::raw().handle(move |_, _| {
                let server = own.lock().unwrap().take();
                server.unwrap().shutdown(PATIENCE);
                Ok(())
            })
        })
    });
    let socket = dial(address);
    (&socket).write_all(b"end").unwrap();
    assert_eq!(read_to_end(&socket), b"");
    drop((socket, own));
    baseline.is_back_after("a shutdown by its own handler");
}

#[test]
fn a_handler_that_drops_its_server_on_a_shared_reactor_ends_it_only() {
    let reactor = reactor();
    let other = echo_on(&reactor);
    let there = dial(other.address());
    ask(&there, b"hello");
    let (address, _own) = ended_by_its_handler(|own| {
        Server::on(&reactor)
            .pipeline(move |_| {
                let own = Arc::clone(&own);
                Pipeline::raw().handle(move |_, _| {
                    drop(own.lock().unwrap().take());
                    Ok(())
                })
            })
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap()
    });
    let socket = dial(address);
    (&socket).write_all(b"end").unwrap();
    assert_eq!(read_to_end(&socket), b"");
    refuses(address);
    assert_eq!(ask(&there, b"still here"), b"still here");
    drop(there);
    end(other);
}

#[test]
fn a_job_of_the_pool_may_shut_its_server_down() {
    let lane = Executor::new(1);
    let (reporting, reported) = mpsc::channel();
    let (address, _own) = ended_by_its_handler(|own| {
        serve(1, move |_| {
            let (own, reporting) = (Arc::clone(&own), reporting.clone());
            Pipeline::raw().handle_on(&lane, move |cx, bytes: Bytes| {
                cx.write(bytes)?;
                let server = own.lock().unwrap().take().unwrap();
                reporting.send(server.shutdown(Duration::ZERO))?;
                Ok(())
            })
        })
    });
    let socket = dial(address);
    (&socket).write_all(b"end").unwrap();
    let report = reported.recv_timeout(PATIENCE).unwrap();
    assert_eq!(report.aborted, 1, "it waited for no answer to itself");
    assert_eq!(read(&socket, 0), b"");
}
