//! A peer that has gone never kills the program, also where SIGPIPE is at its default.
//!
//! The default is set in child processes: this test binary again, told to run one of the tests that are
//! ignored otherwise. One of them proves that the default does kill.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test"
)]
#![allow(
    unsafe_code,
    reason = "nothing safe changes what a signal does, nor writes without its own guard against it"
)]
#![cfg(unix)]

mod util;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use netwheel::{CloseReason, FileRegion, Pipeline, Place, RunningServer, Server};
use util::{PATIENCE, any_port, dial, end, eventually, reset};

/// Runs one of the ignored tests in a process of its own.
fn run(test: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            test,
            "--nocapture",
            "--test-threads=1",
        ])
        .output()
        .unwrap()
}

#[test]
fn a_peer_that_has_gone_kills_a_plain_write_and_nothing_of_ours() {
    let plain = run("child_writes_plainly");
    assert_eq!(plain.status.signal(), Some(libc::SIGPIPE), "{plain:?}");
    let ours = run("child_serves_peers_that_have_gone");
    assert!(ours.status.success(), "{ours:?}");
    assert!(
        String::from_utf8_lossy(&ours.stdout).contains("served on"),
        "{ours:?}"
    );
}

/// What a host program that was not written in Rust starts with.
fn put_sigpipe_to_its_default() {
    // SAFETY: SIG_DFL is a disposition that every process may ask for; no handler of ours is involved.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

#[test]
#[ignore = "run in a child process, which it kills"]
fn child_writes_plainly() {
    put_sigpipe_to_its_default();
    let (here, there) = UnixStream::pair().unwrap();
    drop(there);
    // SAFETY: the descriptor is open, and the pointer and length are those of the bytes.
    let written = unsafe { libc::write(here.as_raw_fd(), b"x".as_ptr().cast(), 1) };
    panic!("the write came back with {written}");
}

/// What follows the small piece that each read is answered with.
#[derive(Clone, Copy)]
enum Behind {
    Nothing,
    Bytes,
    File,
}

/// A server that answers each read with one small piece and what is to stand behind it; it does so when the
/// test says that the peer has gone.
fn holding(place: Place, gone: &Receiver<()>, behind: Behind) -> RunningServer {
    let gone = gone.clone();
    Server::new()
        .workers(1)
        .half_open(true)
        .pipeline(move |_| {
            let gone = gone.clone();
            let mut is_first = true;
            Pipeline::raw().handle(move |cx, bytes| {
                if bytes == "live" {
                    return cx.write(bytes);
                }
                if std::mem::take(&mut is_first) {
                    gone.recv_timeout(PATIENCE)?;
                }
                let small = Bytes::from_static(b"small");
                match behind {
                    Behind::Nothing => cx.write(small)?,
                    Behind::Bytes => {
                        cx.write(small)?;
                        cx.write(vec![0; 10_000].into())?;
                    }
                    Behind::File => {
                        cx.write_file(small, FileRegion::open(std::env::current_exe()?)?)?;
                    }
                }
                cx.flush();
                Ok(())
            })
        })
        .listen(place)
        .unwrap()
        .start()
        .unwrap()
}

#[test]
#[ignore = "run in a child process, whose signals it changes"]
fn child_serves_peers_that_have_gone() {
    put_sigpipe_to_its_default();
    for behind in [Behind::Nothing, Behind::Bytes, Behind::File] {
        over_unix_sockets(behind);
        over_tcp(behind);
    }
    println!("served on");
}

fn over_unix_sockets(behind: Behind) {
    let path = std::env::temp_dir().join(format!("netwheel-sigpipe-{}.sock", std::process::id()));
    let (tell, gone) = unbounded();
    let server = holding(Place::Unix(path.clone()), &gone, behind);
    let mut socket = UnixStream::connect(&path).unwrap();
    socket.write_all(b"question").unwrap();
    drop(socket);
    tell.send(()).unwrap();
    eventually("the write has failed", || {
        server.stats().closes(CloseReason::Reset) == 1
    });
    end(server);
}

/// The peer sends more than one read takes and goes; so the answer to the first read is sent and comes back
/// as RST, and the answer to the second is what raises the signal.
fn over_tcp(behind: Behind) {
    let (tell, gone) = unbounded();
    let server = holding(any_port().parse().unwrap(), &gone, behind);
    let mut socket = dial(server.address());
    socket.write_all(&[7; 70_000]).unwrap();
    eventually("the handler holds the worker", || {
        server.stats().messages_in > 0
    });
    drop(socket);
    tell.send(()).unwrap();
    eventually("the write has failed", || {
        server.stats().closes(CloseReason::Reset) == 1
    });

    let before = server.stats().bytes_in;
    let (mut rude, live) = (dial(server.address()), dial(server.address()));
    rude.write_all(b"question").unwrap();
    eventually("the handler holds the worker", || {
        server.stats().bytes_in > before
    });
    reset(rude);
    tell.send(()).unwrap();
    assert_eq!(util::ask(&live, b"live"), b"live");
    eventually("the write has failed", || {
        server.stats().closes(CloseReason::Reset) == 2
    });
    drop(live);
    end(server);
}
