//! A plain conversation that goes on under TLS.

use bytes::Bytes;
use netwheel::testing::Harness;
use netwheel::tls::{Tls, TlsPeer};
use netwheel::{CloseReason, Pipeline};

use crate::authority::Authority;
use crate::counterpart::Counterpart;

const GO: &[u8] = b"220 go ahead\r\n";

/// Answers in capitals under TLS, and only there.
fn server(tls: &Tls) -> Pipeline<Bytes, Bytes> {
    let tls = tls.clone();
    let lines = netwheel::codec::LengthField::u8();
    Pipeline::new(lines).handle(move |cx, word| {
        if word != "STARTTLS" {
            return cx.write(word);
        }
        cx.write(Bytes::from_static(GO))?;
        cx.upgrade(Pipeline::raw().tls(&tls).handle(|cx, bytes| {
            assert!(cx.attribute::<TlsPeer>().is_some());
            cx.write(bytes.to_ascii_uppercase().into())
        }));
        Ok(())
    })
}

fn word(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// Takes the plain answer off what the server has sent.
fn plain_answer(wire: &[u8]) -> (&[u8], &[u8]) {
    wire.split_at(1 + GO.len())
}

#[test]
fn the_bytes_behind_the_word_belong_to_tls_however_they_are_cut() {
    let authority = Authority::new();
    let tls = authority.server();
    for cut in 0..40 {
        let mut harness = Harness::new(server(&tls));
        harness.receive(&word("plain"));
        assert_eq!(harness.sent(), word("plain"));
        let mut client = Counterpart::client(&authority);
        let wire = [word("STARTTLS"), client.wire()].concat();
        harness.receive(&wire[..cut]).receive(&wire[cut..]);
        let sent = harness.sent();
        let (plain, behind) = plain_answer(&sent);
        assert_eq!(&plain[1..], GO);
        client.take(behind);
        client.write(b"hello").exchange(&mut harness);
        assert_eq!(client.read(), b"HELLO", "cut at {cut}");
        assert_eq!(harness.closed(), None);
    }
}

#[test]
fn the_plain_answer_goes_first_also_when_the_peer_reads_late() {
    let authority = Authority::new();
    let mut harness = Harness::new(server(&authority.server()));
    let mut client = Counterpart::client(&authority);
    let wire = [word("STARTTLS"), client.wire()].concat();
    harness.block().receive(&wire).accept_bytes(5);
    let sent = harness.unblock().sent();
    let (plain, behind) = plain_answer(&sent);
    assert_eq!(&plain[1..], GO);
    client.take(behind);
    client.write(b"hello").exchange(&mut harness);
    assert_eq!(client.read(), b"HELLO");
}

#[test]
fn nothing_can_be_slipped_in_before_the_handshake() {
    let authority = Authority::new();
    let mut harness = Harness::new(server(&authority.server()));
    let client = Counterpart::client(&authority).wire();
    harness.receive(&[word("STARTTLS"), word("delete everything"), client].concat());
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
    assert!(
        !String::from_utf8_lossy(&harness.sent())
            .to_lowercase()
            .contains("delete")
    );
}

#[test]
fn a_client_starts_tls_too() {
    let authority = Authority::new();
    let tls = authority.client();
    let mut harness = Harness::new(Pipeline::raw().handle(move |cx, answer| {
        assert_eq!(answer, GO);
        cx.upgrade(
            Pipeline::raw()
                .tls(&tls)
                .handle(|cx, bytes| cx.write(bytes)),
        );
        Ok(())
    }));
    let mut counterpart = Counterpart::server(&authority, "localhost");
    harness.receive(GO);
    counterpart.exchange(&mut harness);
    counterpart.write(b"once").exchange(&mut harness);
    assert_eq!(counterpart.read(), b"once");
}

#[test]
fn tls_stays_when_the_protocol_over_it_changes() {
    let authority = Authority::new();
    let mut harness = Harness::new(
        Pipeline::raw()
            .tls(&authority.server())
            .handle(|cx, bytes| {
                cx.write(bytes)?;
                cx.upgrade(
                    Pipeline::raw().handle(|cx, bytes| cx.write(bytes.to_ascii_uppercase().into())),
                );
                Ok(())
            }),
    );
    let mut client = Counterpart::client(&authority);
    client.write(b"one, ").exchange(&mut harness);
    client.write(b"two").exchange(&mut harness);
    assert_eq!(client.read(), b"one, TWO");
}
