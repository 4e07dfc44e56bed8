//! What passes once the handshake is done.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Group, Pipeline};

use crate::authority::Authority;
use crate::counterpart::Counterpart;
use crate::util::{Pattern, frame};

fn echo(authority: &Authority) -> Pipeline<Bytes, Bytes> {
    let frames = LengthField::u32().frame_bytes_max(1 << 20);
    Pipeline::new(frames)
        .tls(&authority.server())
        .handle(|cx, frame| cx.write(frame))
}

fn message(bytes: usize) -> Vec<u8> {
    let mut message = Vec::new();
    Pattern::default().write(&mut message, bytes);
    message
}

#[test]
fn messages_of_any_size_come_back() {
    let authority = Authority::new();
    let mut harness = Harness::new(echo(&authority));
    let mut client = Counterpart::client(&authority);
    for bytes in [0, 1, 64, 16 << 10, (16 << 10) + 1, 1 << 20, 64] {
        let framed = frame(&message(bytes));
        client.write(&framed).exchange(&mut harness);
        assert!(client.read() == framed, "{bytes} bytes");
    }
    assert_eq!(harness.stats().messages_in, 7);
    assert_eq!(harness.closed(), None);
}

#[test]
fn a_conversation_is_the_same_however_its_bytes_are_cut() {
    let authority = Authority::new();
    for cut in [1, 2, 3, 7, 100] {
        let mut harness = Harness::new(echo(&authority));
        let mut client = Counterpart::client(&authority);
        let (small, large) = (frame(b"hello"), frame(&message(20_000)));
        client.write(&small).exchange_cut(&mut harness, cut);
        client.write(&large).write(&small);
        client.exchange_cut(&mut harness, cut);
        assert!(
            client.read() == [&small[..], &large, &small].concat(),
            "{cut}"
        );
    }
}

#[test]
fn many_messages_of_one_read_leave_in_few_records() {
    let authority = Authority::new();
    let mut harness = Harness::new(echo(&authority));
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    for _ in 0..100 {
        client.write(&frame(b"hello"));
    }
    harness.receive(&client.wire());
    let wire = harness.sent();
    assert!(wire.len() < 100 * 9 + 100, "{} bytes for 900", wire.len());
    client.take(&wire);
    assert_eq!(client.read(), frame(b"hello").repeat(100));
}

#[test]
fn nothing_leaves_in_the_clear() {
    let authority = Authority::new();
    let mut harness = Harness::new(
        Pipeline::raw()
            .tls(&authority.server())
            .handle(|cx, bytes| {
                cx.write(Bytes::from_static(b"a secret"))?;
                cx.flush();
                cx.handle().try_send(Bytes::from(vec![b'x'; 8192]))?;
                cx.write(bytes)
            }),
    );
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    harness.receive(&client.write(b"tell").wire()).mail();
    let wire = harness.sent();
    for clear in [&b"secret"[..], b"xxxxxxxx", b"tell"] {
        assert!(!wire.windows(clear.len()).any(|window| window == clear));
    }
    client.take(&wire);
    assert!(client.read().starts_with(b"a secret"));
}

#[test]
fn a_peer_that_does_not_read_pauses_its_own_messages() {
    let authority = Authority::new();
    let mut harness = Harness::new(echo(&authority));
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    harness.block();
    let framed = frame(&message(30_000));
    for _ in 0..100 {
        client.write(&framed);
    }
    for piece in client.wire().chunks(64 << 10) {
        harness.receive(piece);
    }
    assert!(harness.is_paused());
    let queued = harness.handle().queued_bytes();
    assert!((60_000..200_000).contains(&queued), "{queued} bytes wait");
    // Little by little at first, so that writes come up short in the middle of records.
    for _ in 0..200 {
        client.take(&harness.accept_bytes(777).sent());
    }
    harness.unblock();
    client.exchange(&mut harness);
    assert!(client.read() == framed.repeat(100));
    assert!(!harness.is_paused());
}

#[test]
fn a_message_has_left_when_its_wire_bytes_have() {
    let authority = Authority::new();
    let left = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&left);
    let mut harness = Harness::new(Pipeline::raw().tls(&authority.server()).handle(
        move |cx, bytes| {
            let told = Arc::clone(&told);
            cx.write_then(bytes, move |outcome| told.lock().unwrap().push(outcome))
        },
    ));
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    harness.block().receive(&client.write(&[7; 100]).wire());
    // As many bytes as the message has, but not its last.
    client.take(&harness.accept_bytes(100).sent());
    assert_eq!(*left.lock().unwrap(), []);
    client.take(&harness.accept_bytes(100).sent());
    assert_eq!(*left.lock().unwrap(), [Ok(())]);
    harness.block().receive(&client.write(&[7; 100]).wire());
    harness.reset();
    assert_eq!(*left.lock().unwrap(), [Ok(()), Err(CloseReason::Reset)]);
    assert_eq!(client.read(), [7; 100]);
}

#[test]
fn new_keys_are_taken_and_a_flood_of_them_is_not() {
    let authority = Authority::new();
    let mut harness = Harness::new(echo(&authority));
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    for _ in 0..3 {
        client.tls.refresh_traffic_keys().unwrap();
        client.write(&frame(b"hello")).exchange(&mut harness);
        assert_eq!(client.read(), frame(b"hello"));
    }
    for _ in 0..100 {
        client.tls.refresh_traffic_keys().unwrap();
        client.exchange(&mut harness);
    }
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
}

#[test]
fn a_file_is_sealed_a_little_at_a_time_and_keeps_its_place() {
    let path = std::env::temp_dir().join(format!("netwheel-tls-{}.bin", std::process::id()));
    let content = message(1_000_000);
    std::fs::write(&path, &content).unwrap();
    let (authority, told) = (Authority::new(), Arc::new(Mutex::new(Vec::new())));
    let (file, tell) = (path.clone(), Arc::clone(&told));
    let pipeline = Pipeline::raw()
        .tls(&authority.server())
        .handle(move |cx, _: Bytes| {
            let tell = |name| {
                let tell = Arc::clone(&tell);
                move |outcome: netwheel::Result<(), CloseReason>| {
                    tell.lock().unwrap().push((name, outcome.is_ok()));
                }
            };
            cx.write_then("head".into(), tell("head"))?;
            cx.write_file(Bytes::new(), netwheel::FileRegion::open(&file)?)?;
            cx.write_then("tail".into(), tell("tail"))
        });
    let mut harness = Harness::new(pipeline);
    let mut client = Counterpart::client(&authority);
    client.write(b"go").exchange(&mut harness);
    let expected = [b"head", &content[..], b"tail"].concat();
    assert!(client.read() == expected);
    assert_eq!(*told.lock().unwrap(), [("head", true), ("tail", true)]);

    // A peer that reads slowly: what is sealed ahead of it is little, and completions wait for their bytes.
    client.write(b"again");
    harness.block().receive(&client.wire());
    let mut got = Vec::new();
    while got.len() < expected.len() {
        assert!(
            harness.handle().queued_bytes() <= 70_000,
            "{}",
            harness.handle().queued_bytes()
        );
        let is_told = told.lock().unwrap().len();
        assert!(is_told >= 2 && is_told <= 3 + usize::from(got.len() + 30_000 > expected.len()));
        client.take(&harness.accept_bytes(20_000).sent());
        got.extend(client.read());
    }
    assert!(got == expected);
    assert_eq!(told.lock().unwrap().len(), 4);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn broadcasts_are_sealed_for_each_member() {
    let authority = Authority::new();
    let group = Group::new(LengthField::u32());
    let mut members: Vec<_> = (0..2)
        .map(|_| {
            let mut harness = Harness::new(echo(&authority));
            let mut client = Counterpart::client(&authority);
            client.exchange(&mut harness);
            group.join(&harness.handle()).expect("it is open");
            (harness, client)
        })
        .collect();
    let message = message(20_000);
    group
        .broadcast(message.clone().into())
        .expect("there is room");
    for (harness, client) in &mut members {
        let wire = harness.mail().sent();
        assert!(!wire.windows(100).any(|window| window == &message[..100]));
        client.take(&wire);
        assert!(client.read() == frame(&message));
    }
}
