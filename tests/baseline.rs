//! Whatever was started and stopped, in whichever way, leaves no thread and no descriptor behind.
//!
//! One test, so that the process is its own: every scenario is followed by a look at the baseline.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]
#![cfg(target_os = "linux")]

mod util;

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::{
    Client, CloseReason, ConnectionHandle, ErrorKind, Executor, HasPipeline, Pipeline, Reactor,
    Server,
};
use util::{Baseline, PATIENCE, any_port, ask, dial, eventually, frame, serve};

fn echo() -> Server<HasPipeline> {
    Server::new()
        .workers(2)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
}

fn connect(reactor: &Reactor, address: std::net::SocketAddr) -> ConnectionHandle<Bytes> {
    Client::on(reactor)
        .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
        .connect(address)
        .unwrap()
}

/// A server, connections that talk, and the server's shutdown.
fn shut_down() {
    let server = echo().listen(any_port()).unwrap().start().unwrap();
    let sockets: Vec<TcpStream> = (0..10).map(|_| dial(server.address())).collect();
    for socket in &sockets {
        assert_eq!(ask(socket, b"hello"), b"hello");
    }
    drop(sockets);
    assert_eq!(server.shutdown(PATIENCE).aborted, 0);
}

/// The same with a drop, and connections that are still open.
fn dropped() {
    let server = echo().listen(any_port()).unwrap().start().unwrap();
    let sockets: Vec<TcpStream> = (0..10).map(|_| dial(server.address())).collect();
    for socket in &sockets {
        assert_eq!(ask(socket, b"hello"), b"hello");
    }
    drop(server);
}

/// A shutdown that has to cut off peers which do not read.
fn cut_off() {
    let server = serve(1, |_| {
        Pipeline::raw().handle(|cx, _| cx.write(vec![0; 32 << 20].into()))
    });
    let sockets: Vec<TcpStream> = (0..3).map(|_| dial(server.address())).collect();
    for mut socket in &sockets {
        socket.write_all(b"x").unwrap();
    }
    eventually("all are answered", || server.stats().messages_out == 3);
    assert_eq!(server.shutdown(Duration::from_millis(20)).aborted, 3);
}

/// Reactors without anything on them.
fn bare_reactors() {
    drop(Reactor::builder().workers(3).start().unwrap());
    Reactor::builder()
        .workers(1)
        .start()
        .unwrap()
        .shutdown(PATIENCE);
}

/// A server that listened and never started.
fn never_started() {
    drop(echo().listen(any_port()).unwrap());
    let nowhere = echo().start().unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Config);
}

/// A busy port, found out when listening: by itself, and as the second of two.
fn busy_port() {
    let taken = TcpListener::bind(any_port()).unwrap();
    let address = taken.local_addr().unwrap();
    let refused = echo().listen(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Address);
    assert!(
        refused.to_string().contains(&address.to_string()),
        "{refused}"
    );

    let path = std::env::temp_dir().join(format!("netwheel-busy-{}.sock", std::process::id()));
    let refused = echo()
        .listen(netwheel::Place::from(path.as_path()))
        .unwrap()
        .listen(address)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Address);
    assert!(!path.exists(), "the socket's file is left behind");
}

/// A connection that is refused, one that is cut off by the drop of its reactor, and one after that.
fn clients() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let free = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let reactor = Reactor::builder().workers(1).start().unwrap();
    assert_eq!(
        connect(&reactor, free).wait_closed(PATIENCE).unwrap(),
        CloseReason::Refused
    );
    let handle = connect(&reactor, listener.local_addr().unwrap());
    handle.wait_open(PATIENCE).unwrap();
    let net = reactor.net().clone();
    drop(reactor);
    assert_eq!(handle.closed(), Some(CloseReason::Shutdown));
    let late = Client::on(&net)
        .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
        .connect(listener.local_addr().unwrap());
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}

/// Servers that come and go on a reactor that stays; its threads end with it.
fn servers_on_a_reactor() {
    let reactor = Reactor::builder().workers(2).start().unwrap();
    let before = Baseline::now();
    for round in 0..20 {
        let server = Server::on(&reactor)
            .reuse_port(round % 2 == 0)
            .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap();
        let socket = dial(server.address());
        assert_eq!(ask(&socket, b"hello"), b"hello");
        if round % 3 == 0 {
            drop(server);
        } else {
            drop(socket);
            assert_eq!(server.shutdown(PATIENCE).aborted, 0);
        }
    }
    before.is_back_after("servers that came and went on a reactor");
    reactor.shutdown(PATIENCE);
}

/// A pool that was used by a server; the last handle to it waits for its threads.
fn pools() {
    let pool = Executor::new(3);
    let handlers = pool.clone();
    let server = serve(1, move |_| {
        Pipeline::new(LengthField::u32()).handle_on(&handlers, |cx, frame| cx.write(frame))
    });
    let socket = dial(server.address());
    assert_eq!(ask(&socket, &frame(b"pool")), frame(b"pool"));
    drop(server);
    drop(pool);
    // One that never got any work.
    drop(Executor::new(3));
}

/// A server that waits is stopped from elsewhere, more often than it takes.
fn stopped_twice() {
    let server = echo().listen(any_port()).unwrap().start().unwrap();
    let stopper = server.stopper();
    let stopping = thread::spawn({
        let stopper = stopper.clone();
        move || {
            stopper.stop();
            stopper.stop();
        }
    });
    assert_eq!(server.wait().aborted, 0);
    stopping.join().unwrap();
    stopper.stop();
}

/// A server that is dropped by one of its own handlers.
fn dropped_by_itself() {
    let (giving, given) = mpsc::channel();
    let given = std::sync::Mutex::new(given);
    let server = serve(2, move |_| {
        let server: netwheel::RunningServer = given.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        let mut server = Some(server);
        Pipeline::raw().handle(move |_, _| {
            drop(server.take());
            Ok(())
        })
    });
    let socket = dial(server.address());
    giving.send(server).unwrap();
    (&socket).write_all(b"go").unwrap();
    assert_eq!(util::read_to_end(&socket), b"");
}

/// One after the other on the same port, with connections that the server was the first to close.
fn restarted_on_its_port() {
    let port = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    for _ in 0..10 {
        let server = echo().listen(port).unwrap().start().unwrap();
        let socket = dial(port);
        assert_eq!(ask(&socket, b"hello"), b"hello");
        server.shutdown(Duration::ZERO);
    }
}

/// Takes all descriptors that the process may have; none where their limit is too high for a test.
fn take_all_descriptors() -> Vec<File> {
    const MAX: usize = 100_000;
    let open = || File::open("/dev/null").ok();
    let files: Vec<File> = std::iter::from_fn(open).take(MAX).collect();
    if files.len() < MAX { files } else { Vec::new() }
}

/// A reactor that finds too few descriptors, at each of the steps that take one.
fn reactor_without_descriptors() {
    let before = Baseline::now().threads();
    let mut files = take_all_descriptors();
    let mut is_started = files.is_empty();
    while !is_started {
        match Reactor::builder().workers(2).start() {
            Ok(_) => is_started = true,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
        }
        eventually("its threads have ended", || {
            files.pop();
            Baseline::now().threads() == before
        });
    }
}

/// A server that finds too few descriptors when a part of it listens already.
fn server_without_descriptors() {
    let reactor = Reactor::builder().workers(2).start().unwrap();
    let server = Server::on(&reactor)
        .reuse_port(true)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let listening = TcpListener::bind(any_port()).unwrap();
    let first = listening.local_addr().unwrap();
    drop(listening);
    let server = server.listen(first).unwrap().listen(any_port()).unwrap();
    let mut files = take_all_descriptors();
    // Each address needs one more, for the second worker.
    if files.pop().is_some() {
        assert_eq!(server.start().unwrap_err().kind(), ErrorKind::Io);
        files.clear();
        TcpListener::bind(first).unwrap();
    }
}

#[test]
fn nothing_is_left_behind() {
    // The first use of some things keeps a descriptor or so for good.
    shut_down();
    let baseline = Baseline::now();
    let scenarios: [(&str, fn()); 15] = [
        ("a shutdown", shut_down),
        ("a drop", dropped),
        ("a shutdown that cuts off", cut_off),
        ("bare reactors", bare_reactors),
        ("a server that never started", never_started),
        ("a busy port", busy_port),
        ("clients", clients),
        ("servers on a reactor", servers_on_a_reactor),
        ("pools", pools),
        ("a second stop", stopped_twice),
        ("a server dropped by itself", dropped_by_itself),
        ("restarts on one port", restarted_on_its_port),
        ("a reactor without descriptors", reactor_without_descriptors),
        ("a server without descriptors", server_without_descriptors),
        ("many starts", || (0..30).for_each(|_| shut_down())),
    ];
    for (what, scenario) in scenarios {
        scenario();
        baseline.is_back_after(what);
    }
}
