//! What breaks the protocol ends its own connection, with a reason that is logged and counted, and disturbs
//! nobody else.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use netwheel::codec::{LengthField, OnFrameError};
use netwheel::{CloseReason, Failure, Pipeline, RunningServer};
use util::{Random, ask, dial, end, eventually, frame, log, read, serve, write_and_finish};

fn echo(framing: LengthField) -> RunningServer {
    log::capture();
    serve(1, move |_| {
        Pipeline::new(framing.clone()).handle(|cx, frame| cx.write(frame))
    })
}

/// Reads until the server ends the connection, by FIN or by RST.
fn until_closed(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = socket.read_to_end(&mut bytes);
    bytes
}

/// A frame by a framing, what is bad about it, and what the log says.
fn bad_frames() -> Vec<(LengthField, Vec<u8>, CloseReason, &'static str)> {
    let signed = |length: i64| length.to_be_bytes().to_vec();
    let counts_header = || {
        LengthField::builder(4)
            .adjustment(-8)
            .strip(4)
            .decode_only()
            .build()
            .unwrap()
    };
    vec![
        (
            LengthField::u32(),
            vec![0x00, 0x10, 0x00, 0x01],
            CloseReason::OverLimit,
            "a message of 1048577 bytes, where at most 1048576 are allowed",
        ),
        (
            LengthField::u32(),
            vec![0xff; 4],
            CloseReason::OverLimit,
            "a message of 4294967295 bytes",
        ),
        (
            LengthField::u16().frame_bytes_max(10),
            vec![0, 11],
            CloseReason::OverLimit,
            "a message of 11 bytes, where at most 10 are allowed",
        ),
        (
            LengthField::u64(),
            signed(-1),
            CloseReason::ProtocolError,
            "a negative length, -1",
        ),
        (
            LengthField::u64(),
            signed(i64::MIN),
            CloseReason::ProtocolError,
            "a negative length, -9223372036854775808",
        ),
        (
            LengthField::u64(),
            signed(i64::MAX),
            CloseReason::OverLimit,
            "a length of 9223372036854775807",
        ),
        (
            counts_header(),
            vec![0, 0, 0, 3],
            CloseReason::ProtocolError,
            "a length of 3, where the header alone counts for",
        ),
        (
            LengthField::u32().includes_length(),
            vec![0, 0, 0, 0],
            CloseReason::ProtocolError,
            "a length of 0, where the header alone counts for 4",
        ),
        (
            LengthField::u32(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            CloseReason::OverLimit,
            "which looks like HTTP",
        ),
    ]
}

#[test]
fn a_bad_length_ends_its_own_connection_with_a_reason_that_is_logged_and_counted() {
    for (framing, bytes, reason, words) in bad_frames() {
        let server = echo(framing.clone());
        let (bad, good) = (dial(server.address()), dial(server.address()));
        (&bad).write_all(&bytes).unwrap();
        assert_eq!(until_closed(&bad), b"", "{words}");
        let peer = bad.local_addr().unwrap().to_string();
        drop(bad);
        // The other may not have been accepted yet, so the count of connections tells nothing.
        eventually("it is gone", || server.stats().closed == 1);
        let stats = server.stats();
        assert_eq!(
            (stats.closes(reason), stats.decode_errors, stats.panics),
            (1, 1, 0),
            "{words}"
        );
        let lines = log::lines_with(&["WARN netwheel::connection", &peer, reason.name(), words]);
        assert_eq!(lines.len(), 1, "{words}: {:?}", log::lines_with(&[&peer]));
        (&good).write_all(&bytes[..1]).unwrap();
        assert_eq!(server.connections(), 1, "the other goes on");
        drop(good);
        end(server);
    }
}

#[test]
fn what_came_before_a_bad_frame_is_answered_and_what_comes_behind_it_is_not_looked_at() {
    let server = echo(LengthField::u32());
    let (bad, good) = (dial(server.address()), dial(server.address()));
    let wire = [frame(b"one"), frame(b"two"), vec![0xff; 4], frame(b"three")].concat();
    (&bad).write_all(&wire).unwrap();
    assert_eq!(until_closed(&bad), [frame(b"one"), frame(b"two")].concat());
    assert_eq!(ask(&good, &frame(b"still here")), frame(b"still here"));
    assert_eq!(server.stats().messages_in, 3);
    drop((bad, good));
    end(server);
}

#[test]
fn a_framing_that_skips_goes_on_behind_the_bad_frame() {
    let server = echo(
        LengthField::u32()
            .frame_bytes_max(100)
            .on_error(OnFrameError::Skip),
    );
    let socket = dial(server.address());
    for bad in [101, 70_000, 1_000_000] {
        (&socket).write_all(&frame(&vec![0; bad])).unwrap();
        assert_eq!(ask(&socket, &frame(b"behind")), frame(b"behind"));
    }
    assert_eq!(server.stats().decode_errors, 3);
    drop(socket);
    end(server);
}

#[test]
fn garbage_of_many_peers_disturbs_nobody_else() {
    let server = echo(LengthField::u32().frame_bytes_max(5_000));
    let good = dial(server.address());
    let mut random = Random(7);
    for round in 0..300_u32 {
        let garbage: Vec<u8> = (0..random.next() % 2_000)
            .map(|_| random.next() as u8)
            .collect();
        let bad = dial(server.address());
        // The server may be quicker to close than this is to send.
        let _ = (&bad).write_all(&garbage);
        let question = frame(&round.to_be_bytes());
        assert_eq!(ask(&good, &question), question);
    }
    eventually("the bad ones are gone", || server.connections() == 1);
    assert_eq!(server.stats().panics, 0);
    drop(good);
    end(server);
}

#[test]
fn a_handler_that_finds_fault_ends_its_own_connection() {
    log::capture();
    let server = serve(1, |_| {
        Pipeline::new(LengthField::u32()).handle(|cx, frame: Bytes| {
            if frame.starts_with(b"bad") {
                return Err(Failure::protocol(format!(
                    "no such command: {}",
                    String::from_utf8_lossy(&frame)
                )));
            }
            cx.write(frame)
        })
    });
    let (bad, good) = (dial(server.address()), dial(server.address()));
    (&bad)
        .write_all(&[frame(b"fine"), frame(b"bad \x1b[2J\r\n")].concat())
        .unwrap();
    assert_eq!(until_closed(&bad), frame(b"fine"));
    let lines = log::lines_with(&["WARN", "protocol_error: no such command"]);
    assert_eq!(lines.len(), 1);
    assert!(
        !lines[0].contains(|letter: char| letter.is_control()),
        "{:?}",
        lines[0]
    );
    drop(bad);
    eventually("it is gone", || server.connections() == 1);
    assert_eq!(server.stats().closes(CloseReason::ProtocolError), 1);
    assert_eq!(ask(&good, &frame(b"fine")), frame(b"fine"));
    drop(good);
    end(server);
}

#[test]
fn a_frame_that_fin_cuts_off_is_no_fault_of_the_server() {
    let server = echo(LengthField::u32());
    let socket = dial(server.address());
    write_and_finish(&socket, &frame(b"half a frame")[..9]);
    assert_eq!(until_closed(&socket), b"");
    eventually("it is gone", || server.connections() == 0);
    assert_eq!(server.stats().closes(CloseReason::PeerClosed), 1);
    end(server);
}

#[test]
fn an_answer_too_long_to_frame_ends_the_connection_and_not_the_worker() {
    let server = serve(1, |_| {
        Pipeline::new(LengthField::u8())
            .handle(|cx, frame: Bytes| cx.write(frame.repeat(100).into()))
    });
    let (large, small) = (dial(server.address()), dial(server.address()));
    (&large).write_all(b"\x05hello").unwrap();
    assert_eq!(until_closed(&large), b"");
    (&small).write_all(b"\x02hi").unwrap();
    assert_eq!(read(&small, 201)[..3], *b"\xc8hi");
    drop((large, small));
    end(server);
}
