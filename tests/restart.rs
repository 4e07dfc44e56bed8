//! Servers that are killed and started again, and listeners that outlive them.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]
#![cfg(target_os = "linux")]

mod util;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use netwheel::{ErrorKind, HasPipeline, Pipeline, Server};
use util::{any_port, ask, dial, end, read};

/// What the child is to do; set in a child only.
const CHILD: &str = "NETWHEEL_TEST_CHILD";

fn echo() -> Server<HasPipeline> {
    Server::new()
        .workers(1)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
}

/// In a child process: serves until it is killed, and never returns.
#[expect(clippy::print_stdout, reason = "its parent reads it")]
fn serve_if_child() {
    let Ok(at) = env::var(CHILD) else { return };
    let server = match at.as_str() {
        "handed over" => echo().listen_fds(),
        at => echo().listen(at),
    };
    let server = server.unwrap().start().unwrap();
    println!("listening on {}", server.address());
    server.wait();
}

/// A child that serves; killed with SIGKILL when it is dropped.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// Runs `test` again in a process of its own, which listens at `at`, and waits until it does.
    fn start(test: &str, at: &str, listener: Option<TcpListener>) -> Self {
        let mut command = Command::new("sh");
        // The shell has the number of the process that it becomes.
        command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0"]);
        command.arg(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
        command.env(CHILD, at).stdout(Stdio::piped());
        if let Some(listener) = listener {
            command
                .env("LISTEN_FDS", "1")
                .stdin(OwnedFd::from(listener));
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| Some(line.unwrap().split_once("listening on ")?.1.to_owned()))
            .expect("it listens");
        Self {
            address: address.parse().unwrap(),
            child,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }
}

#[test]
fn a_server_that_was_killed_starts_again_on_its_port_at_once() {
    serve_if_child();
    let test = "a_server_that_was_killed_starts_again_on_its_port_at_once";
    let killed = Served::start(test, any_port(), None);
    let address = killed.address;
    // Some that the kill cuts off, and some whose end is remembered (TIME_WAIT).
    let sockets: Vec<TcpStream> = (0..10).map(|_| dial(address)).collect();
    for socket in &sockets {
        assert_eq!(ask(socket, b"x"), b"x");
    }
    drop(killed);
    // At the first try: nothing of the dead one is in the way.
    let server = echo().listen(address).unwrap().start().unwrap();
    assert_eq!(ask(&dial(address), b"y"), b"y");
    drop(sockets);
    end(server);
}

#[test]
fn a_listener_that_was_handed_over_outlives_its_server_and_nobody_is_refused() {
    serve_if_child();
    let test = "a_listener_that_was_handed_over_outlives_its_server_and_nobody_is_refused";
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let hand_over = || {
        let listener = listener.try_clone().unwrap();
        Served::start(test, "handed over", Some(listener))
    };
    let first = hand_over();
    assert_eq!(first.address, address);
    assert_eq!(ask(&dial(address), b"x"), b"x");
    drop(first);
    // Between two servers the kernel keeps who comes.
    let mut waiting = dial(address);
    waiting.write_all(b"later").unwrap();
    let second = hand_over();
    assert_eq!(read(&waiting, 5), b"later");
    drop(second);
}

#[test]
fn a_listener_of_the_program_serves_one_server_after_the_other() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = || {
        let listener = listener.try_clone().unwrap();
        echo().listen_on(listener).unwrap().start().unwrap()
    };
    let (first, second) = (serve(), serve());
    assert_eq!((first.address(), second.address()), (address, address));
    end(first);
    for _ in 0..10 {
        assert_eq!(ask(&dial(address), b"x"), b"x");
    }
    assert_eq!(second.stats().accepted, 10);
    end(second);
    let waiting = dial(address);
    let third = serve();
    assert_eq!(ask(&waiting, b"x"), b"x");
    drop(waiting);
    end(third);
}

#[test]
fn what_does_not_listen_is_refused() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = UdpSocket::bind(any_port()).unwrap();
    for stranger in [OwnedFd::from(stream), OwnedFd::from(datagrams)] {
        let error = echo().listen_on(stranger).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("does not listen"), "{error}");
    }
    // This process was started with none.
    let error = echo().listen_fds().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().contains("LISTEN_FDS is not set"),
        "{error}"
    );
}
