//! A system that refuses descriptors: whatever cannot start whole leaves nothing behind.
//!
//! In a child process whose limit is low, so that no other test runs out of them.
#![cfg(target_os = "linux")]

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use netwheel::{Pipeline, Place, Reactor, Server};

use crate::address_of;
use crate::util::{Baseline, any_port, ask, dial};

const CHILD: &str = "NETWHEEL_TEST_CHILD";

/// Runs a test of this file again, alone in a process with few descriptors; answers whether this is it.
fn is_child(test: &str) -> bool {
    if env::var_os(CHILD).is_some() {
        return true;
    }
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success(), "the child says why");
    false
}

/// Takes all descriptors but so many.
fn leave(spare: usize) -> Vec<File> {
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    all.truncate(all.len() - spare);
    all
}

#[test]
fn a_reactor_that_cannot_start_whole_leaves_no_thread_and_no_descriptor() {
    if !is_child("faults::a_reactor_that_cannot_start_whole_leaves_no_thread_and_no_descriptor") {
        return;
    }
    let baseline = Baseline::now();
    let mut refused = 0;
    for spare in 0.. {
        let taken = leave(spare);
        let started = Reactor::builder().workers(3).start();
        drop(taken);
        match started {
            Ok(reactor) => {
                reactor.shutdown(Duration::ZERO);
                break;
            }
            Err(_) => refused += 1,
        }
        baseline.is_back_after("a start that was refused");
    }
    assert!(
        refused > 3,
        "each of the threads was the first that could not start"
    );
    baseline.is_back_after("everything");
}

#[test]
fn a_server_that_cannot_listen_everywhere_listens_nowhere() {
    if !is_child("faults::a_server_that_cannot_listen_everywhere_listens_nowhere") {
        return;
    }
    let reactor = Reactor::builder().workers(4).start().unwrap();
    let file = env::temp_dir().join(format!("netwheel-{}-nowhere.sock", std::process::id()));
    let server = Server::on(&reactor)
        .reuse_port(true)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(Place::from(file.as_path()))
        .unwrap()
        .listen(any_port())
        .unwrap();
    let address = address_of(&server);
    let taken = leave(0);
    assert!(
        server.start().is_err(),
        "the other workers' listeners find no descriptor"
    );
    drop(taken);
    assert!(TcpStream::connect(address).is_err());
    assert!(UnixStream::connect(&file).is_err());
    assert!(!file.exists());
}

#[test]
fn who_waits_is_told_that_no_descriptor_is_left_and_who_comes_later_is_served() {
    if !is_child(
        "faults::who_waits_is_told_that_no_descriptor_is_left_and_who_comes_later_is_served",
    ) {
        return;
    }
    for reuse_port in [false, true] {
        let server = Server::new()
            .reactor(Reactor::builder().workers(1).connections_max(1000))
            .reuse_port(reuse_port)
            .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap();
        let inside = dial(server.address());
        assert_eq!(ask(&inside, b"x"), b"x");
        let taken = leave(1);
        let mut waiting = dial(server.address());
        let told = waiting.read(&mut [0]).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::ConnectionReset);
        let stats = server.stats();
        assert_eq!((stats.refused, stats.accepted), (1, 1));
        // At the first failure it waits for better times.
        assert_eq!(stats.accept_errors, 2);
        assert_eq!(ask(&inside, b"x"), b"x", "who is in is served");
        let turns = server.stats().loop_turns;
        assert!(turns < 1000, "it does not spin: {turns} turns");
        drop((taken, waiting));
        assert_eq!(ask(&dial(server.address()), b"x"), b"x");
    }
}

#[test]
fn a_shortage_that_passes_costs_nobody_a_connection() {
    if !is_child("faults::a_shortage_that_passes_costs_nobody_a_connection") {
        return;
    }
    let server = crate::util::serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let taken = leave(1);
    let waiting = dial(server.address());
    crate::util::eventually("the accept has failed", || server.stats().accept_errors > 0);
    drop(taken);
    assert_eq!(ask(&waiting, b"x"), b"x");
    assert_eq!(server.stats().refused, 0);
}
