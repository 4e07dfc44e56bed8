//! Files on their way out: every byte once, in its place, whatever the peer does.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::{ConnectionLimits, FILES_WAITING_MAX};
use netwheel::testing::Harness;
use netwheel::{
    CloseReason, ConnectionHandle, Context, FileRegion, Pipeline, Result, TrySendError,
};
use util::{PATIENCE, dial, end, serve};

/// A file of its own for each test, gone with it.
struct Scratch {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Scratch {
    fn new(bytes: usize) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("netwheel-files-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // No two stretches of it are alike.
        let bytes: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        Self { path, bytes }
    }

    fn region(&self) -> FileRegion {
        FileRegion::open(&self.path).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

type Cx<'a> = Context<'a, Bytes, Bytes>;

/// Answers every read by calling `answer`; nobody reads but when told to.
fn harness(
    limits: ConnectionLimits,
    answer: impl FnMut(&mut Cx<'_>, Bytes) -> Result + 'static,
) -> Harness<Bytes, Bytes> {
    Harness::builder()
        .limits(limits)
        .open(Pipeline::raw().handle(answer))
}

#[test]
fn a_file_leaves_between_what_was_written_before_and_behind_it() {
    let scratch = Scratch::new(5_000_000);
    let (first, second) = (scratch.region(), File::open(&scratch.path).unwrap());
    let mut files = Some((first, FileRegion::new(second, 1_000..1_000_000)));
    let (tell, told) = mpsc::channel();
    let (files_handed, handles) = mpsc::channel::<ConnectionHandle<Bytes>>();
    let progress = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&progress);
    files = files.map(|(first, second)| {
        let first = first.on_progress(move |sent, all| {
            assert!(seen.swap(sent, Ordering::Relaxed) < sent && sent <= all);
        });
        (first, second)
    });
    let files = std::sync::Mutex::new(files);
    let files = Arc::new(files);
    let server = serve(1, move |_| {
        let (files, tell, handed) = (Arc::clone(&files), tell.clone(), files_handed.clone());
        Pipeline::raw().handle(move |cx, _| {
            let (first, second) = files.lock().unwrap().take().expect("asked once");
            cx.write_file("head".into(), first)?;
            let tell = tell.clone();
            cx.write_then("middle".into(), move |done| tell.send(done).unwrap())?;
            cx.write_file("second".into(), second)?;
            cx.write("tail".into())?;
            Ok(handed.send(cx.handle())?)
        })
    });
    let mut socket = dial(server.address());
    socket.write_all(b"go").unwrap();
    let handle = handles.recv_timeout(PATIENCE).unwrap();
    handle.try_send("later".into()).unwrap();
    let mut got = vec![0; 5_000_000 + 999_000 + 4 + 6 + 6 + 4 + 5];
    socket.read_exact(&mut got).unwrap();
    let expected = [
        b"head",
        &scratch.bytes[..],
        b"middle",
        b"second",
        &scratch.bytes[1_000..1_000_000],
        b"tail",
        b"later",
    ]
    .concat();
    assert!(got == expected, "not what was sent, in its order");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Ok(()));
    assert_eq!(progress.load(Ordering::Relaxed), 5_000_000);
    drop(socket);
    end(server);
}

#[test]
fn a_handle_sends_files_in_its_order_and_gets_back_what_has_no_room() {
    let scratch = Scratch::new(300_000);
    let (hand, handles) = mpsc::channel();
    let server = serve(1, move |_| {
        let hand = hand.clone();
        Pipeline::new(LengthField::u32()).handle(move |cx, _: Bytes| Ok(hand.send(cx.handle())?))
    });
    let mut socket = dial(server.address());
    socket.write_all(&util::frame(b"hello")).unwrap();
    let handle: ConnectionHandle<Bytes> = handles.recv_timeout(PATIENCE).unwrap();
    for round in 0..20_u8 {
        handle.try_send(vec![round].into()).unwrap();
        handle
            .try_send_file(vec![round, 1].into(), scratch.region())
            .unwrap();
        let mut got = vec![0; 5 + 6 + 300_000];
        socket.read_exact(&mut got).unwrap();
        assert_eq!(got[..11], [0, 0, 0, 1, round, 0, 0, 0, 2, round, 1]);
        assert!(got[11..] == scratch.bytes);
    }
    handle.close();
    handle.wait_closed(PATIENCE).unwrap();
    let refused = handle.try_send_file("x".into(), scratch.region());
    assert!(matches!(refused, Err(TrySendError::Closed((_, file))) if file.len() == 300_000));
    end(server);
}

#[test]
fn a_slow_reader_costs_no_memory_and_gets_every_byte() {
    let scratch = Scratch::new(1_000_000);
    let path = scratch.path.clone();
    let mut wire = harness(ConnectionLimits::default(), move |cx, _| {
        cx.write_file("head".into(), FileRegion::open(&path)?)?;
        assert!(cx.is_writable(), "a file is no output");
        cx.write("tail".into())
    });
    wire.block().receive(b"go");
    let mut got = Vec::new();
    while got.len() < 1_000_008 {
        assert!(
            wire.handle().queued_bytes() <= 65_540,
            "{}",
            wire.handle().queued_bytes()
        );
        assert!(!wire.is_paused());
        got.extend(wire.accept_bytes(7_777).sent());
        assert_eq!(wire.closed(), None);
    }
    assert!(got == [b"head", &scratch.bytes[..], b"tail"].concat());
}

#[test]
fn so_many_files_wait_and_the_next_is_refused() {
    let scratch = Scratch::new(50_000);
    let path = scratch.path.clone();
    let mut wire = harness(ConnectionLimits::default(), move |cx, _| {
        cx.write_file(Bytes::new(), FileRegion::open(&path)?)
    });
    wire.block();
    for _ in 0..FILES_WAITING_MAX {
        wire.receive(b"one more");
    }
    assert_eq!(wire.closing(), None);
    wire.receive(b"one too many");
    assert_eq!(wire.closing(), Some(CloseReason::OverLimit));
    let sent = wire.unblock().sent();
    assert!(
        sent == scratch.bytes.repeat(FILES_WAITING_MAX),
        "what was taken still leaves"
    );
}

#[test]
fn what_is_written_behind_a_file_has_its_bound() {
    let scratch = Scratch::new(10);
    let path = scratch.path.clone();
    let mut limits = ConnectionLimits::default();
    (
        limits.low_water_bytes,
        limits.high_water_bytes,
        limits.output_bytes_max,
    ) = (100, 200, 1_000);
    let mut wire = harness(limits, move |cx, bytes| match &bytes[..] {
        b"file" => cx.write_file(Bytes::new(), FileRegion::open(&path)?),
        _ => cx.write(bytes),
    });
    wire.block().receive(b"file").receive(&[1; 300]);
    assert!(
        wire.is_paused(),
        "above the high water mark, behind the file"
    );
    assert_eq!(wire.unblock().sent().len(), 310);
    assert!(!wire.is_paused());
}

#[test]
fn a_file_that_has_become_shorter_ends_its_connection() {
    let scratch = Scratch::new(100_000);
    let path = scratch.path.clone();
    let mut wire = harness(ConnectionLimits::default(), move |cx, _| {
        cx.write_file("head".into(), FileRegion::open(&path)?)?;
        cx.write("tail".into())
    });
    wire.block().receive(b"go");
    File::options()
        .write(true)
        .open(&scratch.path)
        .unwrap()
        .set_len(50_000)
        .unwrap();
    let sent = wire.unblock().sent();
    assert_eq!(wire.closed(), Some(CloseReason::IoError));
    assert!(
        [b"head", &scratch.bytes[..]].concat().starts_with(&sent),
        "no byte of what follows"
    );
    over_a_socket(&scratch);
}

/// The same where the kernel reads the file.
fn over_a_socket(scratch: &Scratch) {
    let path = scratch.path.clone();
    let server = serve(1, move |_| {
        let path = path.clone();
        Pipeline::raw().handle(move |cx, _| {
            let file = FileRegion::new(File::open(&path)?, 0..100_000);
            cx.write_file("head".into(), file)?;
            cx.write("tail".into())
        })
    });
    let mut socket = dial(server.address());
    socket.write_all(b"go").unwrap();
    let mut got = Vec::new();
    let _ = socket.read_to_end(&mut got);
    assert!(
        [b"head", &scratch.bytes[..]].concat().starts_with(&got),
        "no byte of what follows"
    );
    util::eventually("it has closed", || {
        server.stats().closes(CloseReason::IoError) == 1
    });
    end(server);
}

#[test]
fn a_progress_that_panics_costs_its_connection() {
    let scratch = Scratch::new(10);
    let path = scratch.path.clone();
    let mut wire = harness(ConnectionLimits::default(), move |cx, _| {
        let file = FileRegion::open(&path)?.on_progress(|_, _| panic!("on purpose"));
        cx.write_file(Bytes::new(), file)
    });
    wire.receive(b"go");
    assert_eq!(wire.closed(), Some(CloseReason::Panic));
    assert_eq!(wire.stats().panics, 1);
}

#[test]
fn an_empty_file_holds_nothing_up() {
    let scratch = Scratch::new(0);
    let path = scratch.path.clone();
    let mut wire = harness(ConnectionLimits::default(), move |cx, _| {
        cx.write_file("head".into(), FileRegion::open(&path)?)?;
        cx.write("tail".into())
    });
    assert_eq!(wire.receive(b"go").sent(), b"headtail");
    wire.receive_eof();
    assert_eq!(wire.closed(), Some(CloseReason::PeerClosed));
}
