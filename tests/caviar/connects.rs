//! Connecting, coming back, closing.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use netwheel::caviar::{
    CaviarClient, CaviarErrorKind, CaviarServer, RequestContext, SessionContext,
};
use netwheel::{Backoff, ClientState, Clock, ClosedCause, Reactor};
use socket2::{Domain, Socket as Socket2, Type};

use crate::raw::{Raw, Socket};
use crate::util::{A_WHILE, Baseline, Gate, PATIENCE, any_port, eventually, is_alone, reset};
use crate::{builder, connect, echo, heard, serve, start, until};

fn closed_port() -> SocketAddr {
    TcpListener::bind(any_port()).unwrap().local_addr().unwrap()
}

/// Scenario 31, first half.
#[test]
fn a_closed_port_fails_at_once_and_not_after_the_timeout() {
    let clock = Clock::system();
    let start = clock.now();
    let refused = builder().connect(closed_port()).unwrap_err();
    assert_eq!(refused.kind(), CaviarErrorKind::ClientConnectFail);
    assert!(clock.now().since(start) < PATIENCE / 4, "{refused}");
}

/// Scenario 31, second half: a backlog that is full answers nobody.
#[test]
fn a_silent_address_fails_after_the_timeout_and_not_before() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let silent = Socket2::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent
        .bind(&any_port().parse::<SocketAddr>().unwrap().into())
        .unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    // The first fills it; how many more the kernel takes is its own affair.
    let filling: Vec<_> = (0..3)
        .map(|_| {
            let socket = Socket2::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let clock = Clock::system();
    let start = clock.now();
    let late = builder().timeout(TIMEOUT).connect(address).unwrap_err();
    assert_eq!(late.kind(), CaviarErrorKind::ClientConnectTimeout, "{late}");
    let waited = clock.now().since(start);
    assert!(waited >= TIMEOUT && waited < PATIENCE / 4, "{waited:?}");
    drop(filling);
}

#[test]
fn a_name_without_an_address_is_told_apart() {
    let unknown = builder().connect("no-such-host.invalid:7001").unwrap_err();
    assert_eq!(unknown.kind(), CaviarErrorKind::UnknownHost, "{unknown}");
}

#[test]
fn a_taken_address_fails_the_start_of_a_server_and_is_named() {
    let server = serve(echo);
    let again = CaviarServer::new(echo)
        .listen(server.address())
        .unwrap()
        .start();
    let error = again.unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::ServerStartFail);
    assert!(
        error.to_string().contains(&server.address().to_string()),
        "{error}"
    );
}

/// Scenario 36.
#[test]
fn one_client_reconnects_and_the_pending_request_of_the_other_completes() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(move |session: &SessionContext, request: RequestContext| {
        match &request.body()[..] {
            b"wait" => held.pass(),
            b"hang up" => {
                session.channel().unwrap().close();
                return Ok(());
            }
            _ => {}
        }
        echo(session, request)
    });
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let one = builder().on(&reactor).connect(server.address()).unwrap();
    let (other, states) = heard(builder().on(&reactor));
    let other = other.connect(server.address()).unwrap();
    let waiting = thread::spawn(move || one.send_sync("wait"));
    gate.wait();
    let lost = other.send_sync("hang up").unwrap_err();
    assert_eq!(lost.kind(), CaviarErrorKind::LinkDown);
    until(&states, |state| matches!(state, ClientState::Down(_)));
    until(&states, |state| matches!(state, ClientState::Up { .. }));
    assert_eq!(other.send_sync("back").unwrap(), "back");
    gate.open();
    assert_eq!(waiting.join().unwrap().unwrap(), "wait");
}

/// Scenario 35: the server dies during a request.
#[test]
fn a_request_fails_at_once_when_the_server_is_killed() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let client = builder().start(listener.local_addr().unwrap()).unwrap();
    let asking = thread::spawn(move || client.send_sync("?").unwrap_err());
    let socket = Socket::accept(&listener);
    assert_eq!(socket.receive().body, b"?");
    let clock = Clock::system();
    let killed = clock.now();
    reset(socket.0);
    let error = asking.join().unwrap();
    assert_eq!(error.kind(), CaviarErrorKind::LinkDown);
    assert!(
        clock.now().since(killed) < PATIENCE / 2,
        "not after the full timeout"
    );
}

#[test]
fn requests_made_while_the_server_is_away_arrive_once_it_is_back_in_order() {
    let address = closed_port();
    let client = builder().start(address).unwrap();
    let (tell, told) = channel();
    for number in 0..100 {
        let tell = tell.clone();
        let done = move |outcome: Result<_, _>| tell.send(outcome).unwrap();
        client.send_async(format!("{number}"), done).unwrap();
    }
    assert_eq!(client.stats().kept, 100);
    let server = CaviarServer::new(echo)
        .listen(address)
        .unwrap()
        .start()
        .unwrap();
    for number in 0..100 {
        let answer = told.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(answer, number.to_string());
    }
    assert_eq!(client.stats().kept, 0);
    server.shutdown(PATIENCE);
}

#[test]
fn what_may_be_heard_twice_goes_again_with_the_same_id_and_the_rest_fails() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let client = builder().start(listener.local_addr().unwrap()).unwrap();
    let asking = thread::spawn({
        let client = client.resending();
        move || client.send_sync("again").unwrap()
    });
    let first = Socket::accept(&listener);
    let question = first.receive();
    let (tell, told) = channel();
    let done = move |outcome: Result<_, _>| tell.send(outcome).unwrap();
    client.send_async("once", done).unwrap();
    assert_eq!(first.receive().body, b"once");
    drop(first);
    let lost = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!(lost.kind(), CaviarErrorKind::LinkDown);
    let second = Socket::accept(&listener);
    assert_eq!(second.receive(), question, "the same request, whole");
    second.send(&Raw::new(2003, question.id, b"answered"));
    assert_eq!(asking.join().unwrap(), "answered");
}

#[test]
fn a_full_cache_refuses_the_next_and_gives_it_back() {
    let rules = netwheel::link::OutboxRules::default().messages_max(10);
    let client = builder().outbox(rules).start(closed_port()).unwrap();
    let ask = |body: &'static str| client.send_async(body, |_: Result<_, _>| {});
    for _ in 0..10 {
        ask("kept").unwrap();
    }
    let refused = ask("one too many").unwrap_err();
    assert_eq!(refused.kind(), CaviarErrorKind::QueueFull);
    assert_eq!(refused.into_body().unwrap(), "one too many");
}

/// Scenario 42.
#[test]
fn a_close_during_the_wait_is_quick_and_final() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let (builder, states) = heard(builder().reconnect(Backoff::every(PATIENCE)));
    let client = builder.start(address).unwrap();
    drop(Socket::accept(&listener));
    until(&states, |state| matches!(state, ClientState::Waiting(_)));
    let clock = Clock::system();
    let start = clock.now();
    client.close();
    assert!(clock.now().since(start) < PATIENCE / 4);
    assert_eq!(client.state(), ClientState::Closed(ClosedCause::Cancelled));
    listener.set_nonblocking(true).unwrap();
    thread::park_timeout(A_WHILE);
    assert!(listener.accept().is_err(), "nobody dials any more");
    let refused = client.send_sync("late").unwrap_err();
    assert_eq!(refused.kind(), CaviarErrorKind::Closed);
    assert_eq!(refused.into_body().unwrap(), "late");
}

#[test]
fn a_close_tells_everybody_who_waits() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(move |_: &SessionContext, _request: RequestContext| {
        held.pass();
        Ok(())
    });
    let client = connect(&server);
    let (tell, told) = channel();
    let done = move |outcome: Result<_, _>| tell.send(outcome).unwrap();
    client.send_async("never answered", done).unwrap();
    gate.wait();
    let asking = thread::spawn({
        let client = client.clone();
        move || client.send_sync("nor this").unwrap_err()
    });
    eventually("both wait", || client.stats().calls == 2);
    client.close();
    let error = told.recv_timeout(PATIENCE).unwrap().unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::Closed);
    assert_eq!(asking.join().unwrap().kind(), CaviarErrorKind::Closed);
    gate.open();
}

#[test]
fn the_last_clone_takes_the_connection_and_the_threads_with_it() {
    let server = serve(echo);
    let client = connect(&server);
    let clone = client.timeout(PATIENCE);
    drop(client);
    assert_eq!(clone.send_sync("still here").unwrap(), "still here");
    drop(clone);
    eventually("the session ends", || server.sessions().online() == 0);
}

#[test]
fn a_client_of_a_reactor_that_was_shut_down_is_not_running() {
    let server = serve(echo);
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let (builder, states) = heard(builder().on(&reactor));
    let client = builder.connect(server.address()).unwrap();
    reactor.shutdown(PATIENCE);
    until(&states, |state| matches!(state, ClientState::Closed(_)));
    let error = client.send_sync("?").unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::ClientNotRunning, "{error:?}");
}

/// Scenario 44.
#[test]
fn a_wait_on_an_io_thread_is_refused_instead_of_waiting_for_ever() {
    let server = start(CaviarServer::new(echo));
    let (tell, told) = channel();
    let holder = std::sync::Arc::new(std::sync::OnceLock::<CaviarClient>::new());
    let inside = holder.clone();
    let client = builder()
        .on_state(move |state| {
            if let (ClientState::Down(_), Some(client)) = (state, inside.get()) {
                let kinds =
                    [client.send_sync("?"), client.login("?")].map(|r| r.unwrap_err().kind());
                let _ = tell.send(kinds);
            }
        })
        .connect(server.address())
        .unwrap();
    assert!(holder.set(client.clone()).is_ok());
    assert_eq!(client.send_sync("in").unwrap(), "in");
    for session in server.sessions().all() {
        session.close();
    }
    let kinds = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(kinds, [CaviarErrorKind::WouldDeadlock; 2]);
    client.close();
}

/// Handles, buffers, tables and threads: S2.15.
#[test]
fn clients_and_servers_leave_nothing_behind() {
    if !is_alone("connects::clients_and_servers_leave_nothing_behind") {
        return;
    }
    let baseline = Baseline::now();
    for _ in 0..5 {
        let server = serve(echo);
        let (builder, states) = heard(builder());
        let client = builder.connect(server.address()).unwrap();
        for _ in 0..5 {
            assert_eq!(client.resending().send_sync("?").unwrap(), "?");
            for session in server.sessions().all() {
                session.close();
            }
            until(&states, |state| matches!(state, ClientState::Down(_)));
        }
        assert_eq!(client.resending().send_sync("last").unwrap(), "last");
        client.close();
        assert_eq!(client.stats().calls, 0);
        drop(client);
        server.shutdown(PATIENCE);
    }
    baseline.is_back_after("five servers and clients");
}

#[test]
fn a_refused_connect_leaves_nothing_behind() {
    if !is_alone("connects::a_refused_connect_leaves_nothing_behind") {
        return;
    }
    let baseline = Baseline::now();
    let address = closed_port();
    for _ in 0..20 {
        let refused = builder().connect(address).unwrap_err();
        assert_eq!(refused.kind(), CaviarErrorKind::ClientConnectFail);
    }
    baseline.is_back_after("twenty refused connects");
}
