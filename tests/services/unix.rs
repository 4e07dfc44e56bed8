//! Unix sockets: served like any other, and their files neither in the way nor deleted by mistake.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use netwheel::{Client, ErrorKind, HasPipeline, Pipeline, Place, Reactor, Server};

use crate::util::{PATIENCE, end};

/// A path of the test's own; what stands there at the end goes.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("netwheel-{}-{name}.sock", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn place(&self) -> Place {
        Place::from(self.0.as_path())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn echo() -> Server<HasPipeline> {
    Server::new()
        .workers(1)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
}

fn answers(path: &PathBuf) {
    let mut socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn a_path_is_served_and_its_file_goes_with_the_server() {
    let path = Scratch::new("served");
    let server = echo().listen(path.place()).unwrap().start().unwrap();
    answers(&path.0);
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let client = Client::on(&reactor).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    let handle = client.connect(path.place()).unwrap();
    handle.wait_open(PATIENCE).unwrap();
    drop(reactor);
    end(server);
    assert!(!path.0.exists());
}

#[test]
fn the_file_of_a_process_that_died_is_no_obstacle() {
    let path = Scratch::new("left-over");
    // A listener of the standard library leaves its file behind, as one does whose process was killed.
    drop(UnixListener::bind(&path.0).unwrap());
    assert!(path.0.exists());
    let server = echo().listen(path.place()).unwrap().start().unwrap();
    answers(&path.0);
    end(server);
}

#[test]
fn a_path_that_is_served_is_refused_and_goes_on_being_served() {
    let path = Scratch::new("taken");
    let server = echo().listen(path.place()).unwrap().start().unwrap();
    let refused = echo().listen(path.place()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Address);
    answers(&path.0);
    end(server);
}

#[test]
fn a_file_that_is_no_socket_is_never_deleted() {
    let path = Scratch::new("precious");
    fs::write(&path.0, "data").unwrap();
    let refused = echo().listen(path.place()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Address);
    assert_eq!(fs::read(&path.0).unwrap(), b"data");
}

#[test]
fn a_server_that_never_started_leaves_no_file() {
    let path = Scratch::new("unstarted");
    drop(echo().listen(path.place()).unwrap());
    assert!(!path.0.exists());
}
