//! Ends: by a stopper, by a shutdown, by a drop, from wherever they are asked for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use netwheel::{
    Client, CloseReason, ErrorKind, Pipeline, Reactor, RunningServer, Server, ShutdownReport,
};

use crate::address_of;
use crate::util::{PATIENCE, any_port, ask, dial, read_to_end, serve};

/// Runs it on a thread of its own, so that a hang is a failure.
fn soon<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    thread::spawn(move || done.send(call()));
    result
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("{what} never returned"))
}

#[test]
fn a_handler_stops_the_server_that_runs() {
    let server = Server::new();
    let stopper = server.stopper();
    let server = server
        .workers(1)
        .pipeline(move |_| {
            let stopper = stopper.clone();
            Pipeline::raw().handle(move |cx, bytes| {
                stopper.stop();
                cx.write(bytes)
            })
        })
        .listen(any_port())
        .unwrap();
    let address = address_of(&server);
    let (done, ran) = channel();
    thread::spawn(move || done.send(server.run().is_ok()));
    let socket = dial(address);
    assert_eq!(ask(&socket, b"quit"), b"quit");
    assert_eq!(read_to_end(&socket), b"");
    drop(socket);
    assert!(ran.recv_timeout(PATIENCE).unwrap());
}

#[test]
fn a_server_that_was_stopped_before_its_start_ends_as_soon_as_it_runs() {
    let server = Server::new()
        .workers(1)
        .pipeline(|_| Pipeline::raw().handle(|_, _| Ok(())))
        .listen(any_port())
        .unwrap();
    server.stopper().stop();
    soon("run", move || server.run()).unwrap();
}

fn echo_on(reactor: &Reactor) -> RunningServer {
    Server::on(reactor)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

#[test]
fn a_peer_that_was_answered_counts_as_drained_though_it_sends_no_fin() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let socket = dial(server.address());
    assert_eq!(ask(&socket, b"x"), b"x");
    let report = server.shutdown(Duration::from_millis(20));
    assert_eq!((report.drained, report.aborted), (1, 0));
}

#[test]
fn a_connection_that_is_not_drained_in_time_counts_as_aborted() {
    let server = serve(1, |_| {
        Pipeline::raw().handle(|cx, bytes| cx.write(vec![bytes[0]; 64 << 20].into()))
    });
    let socket = dial(server.address());
    std::io::Write::write_all(&mut &socket, b"x").unwrap();
    std::io::Read::read_exact(&mut &socket, &mut [0]).unwrap();
    let report = server.shutdown(Duration::from_millis(20));
    assert_eq!((report.drained, report.aborted), (0, 1));
}

#[test]
fn an_end_at_once_does_not_wait_for_one_service_after_the_other() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let servers: Vec<_> = (0..3).map(|_| echo_on(&reactor)).collect();
    let sockets: Vec<_> = servers
        .iter()
        .map(|server| dial(server.address()))
        .collect();
    for socket in &sockets {
        assert_eq!(ask(socket, b"x"), b"x");
    }
    let report = soon("shutdown", move || {
        reactor.shutdown(Duration::from_millis(20))
    });
    assert_eq!((report.drained, report.aborted), (3, 0));
}

/// A server in a slot, whose end a callback of the same reactor asks for.
type Victim = Arc<Mutex<Option<RunningServer>>>;

/// A server whose handler does `deed` with the victim, and answers whether that panicked.
fn murderer(reactor: &Reactor, victim: &Victim, deed: fn(RunningServer)) -> RunningServer {
    let victim = Arc::clone(victim);
    Server::on(reactor)
        .pipeline(move |_| {
            let victim = Arc::clone(&victim);
            Pipeline::raw().handle(move |cx, _| {
                let server = victim.lock().unwrap().take().unwrap();
                let survived = catch_unwind(AssertUnwindSafe(|| deed(server))).is_ok();
                cx.write(if survived { "ok" } else { "no" }.into())
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

fn a_callback_ends(deed: fn(RunningServer)) -> Vec<u8> {
    // One worker, which would have to wait for itself.
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let victim: Victim = Arc::new(Mutex::new(Some(echo_on(&reactor))));
    let address = victim.lock().unwrap().as_ref().unwrap().address();
    let socket = dial(address);
    assert_eq!(ask(&socket, b"x"), b"x");
    let server = murderer(&reactor, &victim, deed);
    let answer = ask(&dial(server.address()), b"do");
    // FIN or RST, as it happens: it was cut off.
    assert!(matches!(
        std::io::Read::read(&mut &socket, &mut [0]),
        Ok(0) | Err(_)
    ));
    crate::util::eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err()
    });
    answer
}

#[test]
fn a_server_that_a_callback_drops_is_cut_off_without_a_wait() {
    assert_eq!(a_callback_ends(drop), b"ok");
}

#[test]
fn a_shutdown_in_a_callback_is_refused_by_a_panic() {
    let answer = a_callback_ends(|server| {
        let _: ShutdownReport = server.shutdown(Duration::ZERO);
    });
    assert_eq!(answer, b"no");
}

#[test]
fn a_choice_of_a_worker_may_drop_a_server() {
    let slot: Victim = Arc::default();
    let theirs = Arc::clone(&slot);
    let reactor = Reactor::builder()
        .workers(1)
        .choose_worker(move |_, _| {
            drop(theirs.lock().unwrap().take());
            0
        })
        .start()
        .unwrap();
    let victim = echo_on(&reactor);
    let address = victim.address();
    let other = echo_on(&reactor);
    *slot.lock().unwrap() = Some(victim);
    assert_eq!(ask(&dial(other.address()), b"x"), b"x");
    assert!(slot.lock().unwrap().is_none());
    crate::util::eventually("nobody listens any more", || {
        std::net::TcpStream::connect(address).is_err()
    });
}

#[test]
fn nothing_starts_on_a_reactor_that_has_ended() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let net = reactor.net().clone();
    let server = serve(1, |_| Pipeline::raw().handle(|_, _| Ok(())));
    let late = Server::on(&net)
        .pipeline(|_| Pipeline::raw().handle(|_, _| Ok(())))
        .listen(any_port())
        .unwrap();
    reactor.shutdown(Duration::ZERO);
    assert_eq!(late.start().unwrap_err().kind(), ErrorKind::Closed);
    let client = Client::on(&net).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    let refused = client.connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
}

#[test]
fn many_clients_come_and_go_and_the_last_ends_with_the_reactor() {
    let server = serve(1, |_| Pipeline::raw().handle(|_, _| Ok(())));
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let client = Client::on(&reactor).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    let mut kept = client.connect(server.address()).unwrap();
    for n in 0..500 {
        let handle = client.connect(server.address()).unwrap();
        handle.wait_open(PATIENCE).unwrap();
        if n == 250 {
            kept.close();
            kept = handle;
        } else {
            handle.close();
        }
    }
    soon("shutdown", move || reactor.shutdown(PATIENCE));
    assert_eq!(kept.wait_closed(PATIENCE).unwrap(), CloseReason::Shutdown);
}

#[test]
fn a_shutdown_tells_of_a_handler_that_blocks_and_waits_for_it() {
    let (entered, inside) = channel();
    let (open, door) = channel::<()>();
    let door: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(door));
    let server = serve(1, move |_| {
        let (entered, door) = (entered.clone(), Arc::clone(&door));
        Pipeline::raw().handle(move |_, _| {
            entered.send(())?;
            let _ = door.lock().unwrap().recv_timeout(PATIENCE);
            Ok(())
        })
    });
    let socket = dial(server.address());
    std::io::Write::write_all(&mut &socket, b"x").unwrap();
    inside.recv_timeout(PATIENCE).unwrap();
    let (done, result) = channel();
    thread::spawn(move || done.send(server.shutdown(Duration::ZERO)));
    assert!(
        result.recv_timeout(Duration::from_millis(1500)).is_err(),
        "it waits for the thread"
    );
    open.send(()).unwrap();
    let report: ShutdownReport = result.recv_timeout(PATIENCE).unwrap();
    assert_eq!(report.aborted, 1);
}
