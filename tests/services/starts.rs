//! Starts that are refused: for settings that cannot work, before anything has begun.

use netwheel::limits::{ConnectionLimits, WorkerLimits};
use netwheel::{Client, Error, ErrorKind, Pipeline, Reactor, Server};

use crate::util::any_port;

#[track_caller]
fn is_refused<T>(outcome: Result<T, Error>, word: &str) {
    let error = outcome.err().expect("it cannot work");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn a_reactor_with_limits_that_cannot_work_does_not_start() {
    let mut limits = WorkerLimits::default();
    limits.read_buffer_bytes = 0;
    is_refused(
        Reactor::builder().limits(limits).start(),
        "read_buffer_bytes",
    );
    is_refused(
        Reactor::builder().connections_max(0).start(),
        "connections_max",
    );
    is_refused(Reactor::builder().workers(65_536).start(), "65,535");
}

#[test]
fn servers_and_clients_with_limits_that_cannot_work_do_not_start() {
    let mut limits = ConnectionLimits::default();
    limits.low_water_bytes = limits.high_water_bytes + 1;
    let server = || {
        Server::new()
            .workers(1)
            .pipeline(|_| Pipeline::raw().handle(|_, _| Ok(())))
    };
    is_refused(
        server().limits(limits.clone()).listen(any_port()),
        "low_water_bytes",
    );
    let late = server().listen(any_port()).unwrap().limits(limits.clone());
    is_refused(late.start(), "low_water_bytes");
    is_refused(server().backlog(0).listen(any_port()), "backlog");

    let reactor = Reactor::builder().workers(1).start().unwrap();
    let client = Client::on(&reactor).limits(limits);
    let client = client.pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    is_refused(client.connect("127.0.0.1:1"), "low_water_bytes");
}
