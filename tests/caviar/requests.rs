//! Requests and their answers: in time, late, in order, at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use netwheel::Clock;
use netwheel::caviar::{
    Callback, CaviarError, CaviarErrorKind, CaviarServer, RequestContext, SessionContext,
};

use crate::raw::{Raw, SYNC, Socket};
use crate::util::{Gate, PATIENCE, Random, eventually, log, threads_named};
use crate::{connect, echo, serve, start};

/// Scenario 32.
#[test]
fn a_late_reply_is_dropped_and_the_next_call_succeeds() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(move |session: &SessionContext, request: RequestContext| {
        if request.body() == "late" {
            held.pass();
        }
        echo(session, request)
    });
    let client = connect(&server);
    let error = client
        .timeout(Duration::from_millis(50))
        .send_sync("late")
        .unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::ClientReqTimeout);
    gate.open();
    assert_eq!(client.send_sync("next").unwrap(), "next");
    assert_eq!(client.stats().late_answers, 1);
}

#[test]
fn answers_find_their_questions_in_any_order() {
    let keep = Mutex::new(Vec::<RequestContext>::new());
    let server = serve(move |_: &SessionContext, request: RequestContext| {
        let mut kept = keep.lock().unwrap();
        kept.push(request);
        if kept.len() == 1000 {
            for request in kept.drain(..).rev() {
                let body = request.body().clone();
                request.respond(body)?;
            }
        }
        Ok(())
    });
    let client = connect(&server);
    let (tell, told) = channel();
    for number in 0..1000 {
        let tell = tell.clone();
        let body = Bytes::from(format!("{number}"));
        let asked = body.clone();
        let done = move |outcome: Result<Bytes, _>| tell.send((asked, outcome.unwrap())).unwrap();
        client.send_async(body, done).unwrap();
    }
    for _ in 0..1000 {
        let (asked, answered) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(asked, answered);
    }
}

/// Scenario 33, over sockets; its times are those of the simulator in `time.rs`.
#[test]
fn each_of_ten_thousand_callbacks_is_called_exactly_once_answered_or_not() {
    const COUNT: usize = 10_000;
    let server = serve(|session: &SessionContext, request: RequestContext| {
        // Every third is never answered.
        if request.request_id() % 3 == 0 {
            return Ok(());
        }
        echo(session, request)
    });
    let rules = netwheel::link::OutboxRules::default().messages_max(COUNT);
    let client = crate::builder()
        .outbox(rules)
        .connect(server.address())
        .unwrap()
        .timeout(Duration::from_secs(3));
    let calls: Arc<Vec<AtomicUsize>> = Arc::new((0..COUNT).map(|_| AtomicUsize::new(0)).collect());
    let (tell, told) = channel();
    for number in 0..COUNT {
        let (calls, tell) = (calls.clone(), tell.clone());
        let done = move |outcome: Result<Bytes, CaviarError>| {
            calls[number].fetch_add(1, Ordering::Relaxed);
            tell.send(outcome.map_err(|error| error.kind())).unwrap();
        };
        client.send_async("?", done).unwrap();
    }
    let mut outcomes = HashMap::new();
    for _ in 0..COUNT {
        let outcome = told.recv_timeout(PATIENCE).unwrap();
        *outcomes.entry(outcome.is_ok()).or_insert(0) += 1;
        if let Err(kind) = outcome {
            assert_eq!(kind, CaviarErrorKind::ClientReqTimeout);
        }
    }
    assert!(calls.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    assert!(outcomes[&false] >= COUNT / 3, "{outcomes:?}");
    assert!(told.try_recv().is_err());
}

/// Scenario 34: not before the time that was set, and long before the default of 5 s.
#[test]
fn an_unanswered_callback_is_told_of_the_timeout_that_was_set_with_its_request() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    struct Told(std::sync::mpsc::Sender<Result<&'static str, Bytes>>);
    impl Callback for Told {
        fn on_response(self, _: Bytes) {
            self.0.send(Ok("answered")).unwrap();
        }
        fn on_timeout(self, request: Bytes) {
            self.0.send(Err(request)).unwrap();
        }
        fn on_error(self, _: CaviarError) {
            self.0.send(Ok("failed")).unwrap();
        }
    }
    let server = serve(|_: &SessionContext, request: RequestContext| {
        drop(request);
        Ok(())
    });
    let client = connect(&server);
    let (tell, told) = channel();
    let clock = Clock::system();
    let start = clock.now();
    client
        .timeout(TIMEOUT)
        .send_async("mine", Told(tell))
        .unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Err("mine".into()));
    let waited = clock.now().since(start);
    assert!(
        waited >= TIMEOUT && waited < Duration::from_secs(4),
        "{waited:?}"
    );
}

#[test]
fn callbacks_run_one_after_the_other_on_the_pool_and_may_ask_again() {
    let server = serve(echo);
    let client = connect(&server);
    let (tell, told) = channel();
    let inside = client.clone();
    let done = move |outcome: Result<Bytes, _>| {
        let name = thread::current().name().unwrap_or_default().to_owned();
        let more = inside.send_sync("more").unwrap();
        tell.send((name, outcome.unwrap(), more)).unwrap();
    };
    client.send_async("first", done).unwrap();
    let (name, first, more) = told.recv_timeout(PATIENCE).unwrap();
    assert!(name.starts_with("netwheel-pool"), "{name}");
    assert_eq!((&first[..], &more[..]), (&b"first"[..], &b"more"[..]));
}

#[test]
fn a_cancelled_callback_is_never_called_and_a_panic_in_one_costs_only_itself() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(move |session: &SessionContext, request: RequestContext| {
        held.pass();
        echo(session, request)
    });
    let client = connect(&server);
    let called = Arc::new(AtomicUsize::new(0));
    let counted = called.clone();
    let cancelled = move |_: Result<Bytes, CaviarError>| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let pending = client.send_async("taken back", cancelled).unwrap();
    let panicking = |_: Result<Bytes, CaviarError>| panic!("on purpose");
    client.send_async("panics", panicking).unwrap();
    let (tell, told) = channel();
    let done = move |outcome: Result<Bytes, _>| tell.send(outcome.unwrap()).unwrap();
    client.send_async("last", done).unwrap();
    assert!(pending.cancel());
    assert!(!pending.cancel(), "it was taken back already");
    for _ in 0..3 {
        gate.open();
    }
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "last");
    assert_eq!(called.load(Ordering::Relaxed), 0);
}

/// The slowest of a hundred but one, over all these links in turn.
fn latency(links: &[Socket]) -> Duration {
    let clock = Clock::system();
    let times = (0..).zip(links).map(|(id, link)| {
        let start = clock.now();
        link.send(&Raw::new(SYNC, id, b"free"));
        assert_eq!(link.receive().id, id);
        clock.now().since(start)
    });
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Scenario 37, as a ratio to the same links while nobody blocks.
#[test]
fn a_handler_that_blocks_holds_up_its_own_session_only() {
    let gate = Gate::new();
    let held = gate.clone();
    let server = serve(move |session: &SessionContext, request: RequestContext| {
        if request.body() == "block" {
            held.pass();
        }
        echo(session, request)
    });
    let others: Vec<_> = (0..1000).map(|_| Socket::dial(server.address())).collect();
    let control = latency(&others);
    let blocked = Socket::dial(server.address());
    blocked.send(&Raw::new(SYNC, 1, b"block"));
    gate.wait();
    let beside = latency(&others);
    let most = 20 * control + Duration::from_millis(20);
    assert!(beside < most, "{beside:?} instead of {control:?}");
    gate.open();
    assert_eq!(blocked.receive().body, b"block");
}

/// Scenario 38.
#[test]
fn a_thousand_requests_of_one_client_are_answered_in_order_by_a_jittering_handler() {
    let seed = AtomicU64::new(1);
    let server = serve(move |session: &SessionContext, request: RequestContext| {
        let mut random = Random(seed.fetch_add(1, Ordering::Relaxed));
        (0..random.next() % 2000).for_each(|_| std::hint::spin_loop());
        echo(session, request)
    });
    let socket = Socket::dial(server.address());
    for id in 1..=1000 {
        socket.send(&Raw::new(SYNC, id, b"?"));
    }
    for id in 1..=1000 {
        assert_eq!(socket.receive().id, id);
    }
}

#[test]
fn a_concurrent_server_handles_the_requests_of_one_client_at_once() {
    let gate = Gate::new();
    let held = gate.clone();
    let listener = move |session: &SessionContext, request: RequestContext| {
        if request.body() == "slow" {
            held.pass();
        }
        echo(session, request)
    };
    let server = start(CaviarServer::new(listener).concurrent(true).threads(4));
    let socket = Socket::dial(server.address());
    socket.send(&Raw::new(SYNC, 1, b"slow"));
    gate.wait();
    socket.send(&Raw::new(SYNC, 2, b"quick"));
    assert_eq!(socket.receive().id, 2);
    gate.open();
    assert_eq!(socket.receive().id, 1);
    assert!(threads_named("netwheel-pool") >= 4);
}

/// Scenario 43.
#[test]
fn a_panic_in_a_listener_costs_its_session_and_the_server_goes_on() {
    log::capture();
    let server = serve(|session: &SessionContext, request: RequestContext| {
        assert_ne!(request.body(), "boom", "on purpose");
        echo(session, request)
    });
    let (victim, other) = (connect(&server), connect(&server));
    let error = victim.send_sync("boom").unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::LinkDown);
    assert_eq!(other.send_sync("fine").unwrap(), "fine");
    assert_eq!(victim.send_sync("back").unwrap(), "back");
    assert_eq!(server.server().stats().panics, 1);
    eventually("it is logged", || {
        !log::lines_with(&["panicked"]).is_empty()
    });
}

#[test]
fn a_session_may_outlive_a_panic_of_its_listener() {
    let listener = |session: &SessionContext, request: RequestContext| {
        assert_ne!(request.body(), "boom", "on purpose");
        echo(session, request)
    };
    for concurrent in [false, true] {
        let server = CaviarServer::new(listener).keep_after_panic(true);
        let server = start(server.concurrent(concurrent));
        let socket = Socket::dial(server.address());
        socket.send(&Raw::new(SYNC, 1, b"boom"));
        socket.send(&Raw::new(SYNC, 2, b"fine"));
        assert_eq!(socket.receive().id, 2);
    }
}

#[test]
fn an_error_of_a_listener_closes_its_session() {
    for concurrent in [false, true] {
        let listener = |_: &SessionContext, _: RequestContext| Err(netwheel::Failure::msg("no"));
        let server = start(CaviarServer::new(listener).concurrent(concurrent));
        let socket = Socket::dial(server.address());
        socket.send(&Raw::new(SYNC, 1, b"?"));
        assert!(socket.try_receive().is_none());
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let server = serve(echo);
    let client = connect(&server);
    let error = client.send_sync(vec![0; (1 << 20) + 1]).unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::Protocol);
    assert_eq!(
        error.into_body().map(|body| body.len()),
        Some((1 << 20) + 1)
    );
    assert_eq!(client.send_sync("fine").unwrap(), "fine");
}
