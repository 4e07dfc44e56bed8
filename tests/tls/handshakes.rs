//! How a connection under TLS begins, or does not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use netwheel::testing::Harness;
use netwheel::tls::{Tls, TlsPeer, rustls};
use netwheel::{CloseReason, Context, ErrorKind, Handler, Pipeline, Result};
use rustls::AlertDescription;

use crate::authority::Authority;
use crate::counterpart::Counterpart;

/// What a handler has heard.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Handler<Bytes, Bytes> for Heard {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        let tls = cx.attribute::<TlsPeer>().unwrap();
        let alpn = tls.alpn().map(String::from_utf8_lossy);
        self.note(format!(
            "open {:?} {:?} {}",
            tls.server_name(),
            alpn.as_deref(),
            tls.certificates().len()
        ));
        assert!(tls.version().is_some() && tls.cipher_suite().is_some());
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, bytes: Bytes) -> Result {
        cx.write(bytes)
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        self.note(reason.to_string());
    }
}

fn open(tls: &Tls) -> (Harness<Bytes, Bytes>, Heard) {
    let heard = Heard::default();
    let harness = Harness::new(Pipeline::raw().tls(tls).handler(heard.clone()));
    (harness, heard)
}

#[test]
fn the_handler_is_opened_when_the_handshake_is_done() {
    let authority = Authority::new();
    let (mut harness, heard) = open(&authority.server());
    assert_eq!(heard.all(), [""; 0]);
    Counterpart::client(&authority).exchange(&mut harness);
    assert_eq!(heard.all(), [r#"open Some("localhost") None 0"#]);
    harness.reset();
    assert_eq!(heard.all().len(), 2);
}

#[test]
fn what_was_sent_before_the_handshake_waits_for_it() {
    let authority = Authority::new();
    let (mut harness, heard) = open(&authority.client());
    harness
        .handle()
        .try_send(Bytes::from_static(b"early"))
        .unwrap();
    harness.mail();
    let mut server = Counterpart::server(&authority, "localhost");
    server.exchange(&mut harness);
    assert_eq!(server.read(), b"early");
    assert_eq!(heard.all(), ["open None None 1"]);
}

#[test]
fn both_agree_on_a_protocol_or_on_none() {
    let authority = Authority::new();
    let tls = authority.identified("localhost").alpn(["b", "c"]).server();
    let tls = tls.unwrap();
    let (mut harness, heard) = open(&tls);
    Counterpart::client_with(&authority, &["a", "c", "b"]).exchange(&mut harness);
    assert_eq!(heard.all(), [r#"open Some("localhost") Some("b") 0"#]);

    let (mut harness, heard) = open(&tls);
    let mut client = Counterpart::client_with(&authority, &["x"]);
    client.exchange(&mut harness);
    let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    assert_eq!(client.error, Some(alert));
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
    assert_eq!(heard.all(), [""; 0]);
}

#[test]
fn clients_are_told_by_their_certificates() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let asking = || authority.identified("localhost").trust_pem(authority.pem());
    let required = asking().unwrap().require_client_certificates().server();
    let optional = asking().unwrap().ask_for_client_certificates().server();
    let (required, optional) = (required.unwrap(), optional.unwrap());
    let known = || Counterpart::certified_client(&authority, &authority);
    let unknown = || Counterpart::certified_client(&authority, &stranger);
    let none = || Counterpart::client(&authority);
    for (tls, mut client, certificates) in [
        (&required, known(), Some(1)),
        (&required, unknown(), None),
        (&required, none(), None),
        (&optional, known(), Some(1)),
        (&optional, unknown(), None),
        (&optional, none(), Some(0)),
    ] {
        let (mut harness, heard) = open(tls);
        client.write(b"hello").exchange(&mut harness);
        match certificates {
            Some(count) => {
                assert_eq!(client.read(), b"hello");
                assert!(heard.all()[0].ends_with(&format!(" {count}")));
            }
            None => {
                assert!(matches!(
                    client.error,
                    Some(rustls::Error::AlertReceived(_))
                ));
                assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
                assert_eq!(heard.all(), [""; 0]);
            }
        }
    }
}

#[test]
fn a_server_is_refused_that_nobody_vouches_for_or_that_has_another_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (signer, name) in [(&stranger, "localhost"), (&authority, "elsewhere")] {
        let (mut harness, heard) = open(&authority.client());
        let mut server = Counterpart::server(signer, name);
        server.exchange(&mut harness);
        assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
        assert!(matches!(
            server.error,
            Some(rustls::Error::AlertReceived(_))
        ));
        assert_eq!(heard.all(), [""; 0]);

        let any = Tls::builder()
            .danger_accept_any_server()
            .client("localhost");
        let (mut harness, heard) = open(&any.unwrap());
        Counterpart::server(signer, name).exchange(&mut harness);
        assert_eq!(heard.all().len(), 1);
    }
}

#[test]
fn a_handshake_has_its_time_however_it_trickles() {
    let authority = Authority::new();
    let (mut harness, heard) = open(&authority.server());
    let hello = Counterpart::client(&authority).wire();
    for byte in &hello[..4] {
        harness.receive(&[*byte]).pass(Duration::from_secs(1));
    }
    harness.pass(Duration::from_millis(999));
    assert_eq!(harness.closed(), None);
    harness.pass(Duration::from_millis(2));
    assert_eq!(harness.closed(), Some(CloseReason::HandshakeTimeout));
    assert_eq!(heard.all(), [""; 0]);

    let (mut harness, _) = open(
        &authority
            .server()
            .handshake_timeout(Duration::from_secs(60)),
    );
    Counterpart::client(&authority).exchange(&mut harness);
    harness.pass(Duration::from_secs(3600));
    assert_eq!(harness.closed(), None, "it was in time");
}

#[test]
fn what_is_no_tls_is_answered_by_an_alert() {
    let authority = Authority::new();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 100],
        &[0x16, 3, 1, 0xff, 0xff],
    ] {
        let (mut harness, heard) = open(&authority.server());
        harness.receive(garbage);
        assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
        assert_eq!(harness.sent().first(), Some(&0x15), "an alert");
        assert_eq!(heard.all(), [""; 0]);
    }
}

#[test]
fn a_greeting_with_any_byte_wrong_harms_nobody() {
    let authority = Authority::new();
    let tls = authority.server();
    let hello = Counterpart::client(&authority).wire();
    for place in 0..hello.len() {
        let (mut harness, heard) = open(&tls);
        let mut wrong = hello.clone();
        wrong[place] ^= 0xff;
        harness.receive(&wrong).receive(&wrong).receive_eof();
        assert_eq!(harness.stats().panics, 0, "byte {place}");
        assert!(harness.closed().is_some() && heard.all().is_empty());
    }
}

#[test]
fn a_client_may_be_refused_after_its_handshake() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority
        .identified("localhost")
        .trust_pem(stranger.pem())
        .unwrap();
    let server = server.require_client_certificates().server().unwrap();
    let (mut server, refused) = open(&server);
    let (mut client, heard) = open(&authority.client());
    for _ in 0..4 {
        let (theirs, ours) = (server.sent(), client.sent());
        if server.closed().is_none() {
            server.receive(&ours);
        }
        client.receive(&theirs);
    }
    assert_eq!(server.closed(), Some(CloseReason::ProtocolError));
    assert_eq!(client.closed(), Some(CloseReason::ProtocolError));
    assert_eq!(refused.all(), [""; 0]);
    assert_eq!(heard.all().len(), 2, "opened and closed");
}

#[test]
fn a_peer_that_leaves_in_the_middle_has_closed() {
    let authority = Authority::new();
    let (mut harness, heard) = open(&authority.server());
    let hello = Counterpart::client(&authority).wire();
    harness.receive(&hello[..20]).receive_eof();
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
    assert_eq!(heard.all(), [""; 0]);
}

#[test]
fn a_shutdown_does_not_wait_for_a_handshake() {
    let authority = Authority::new();
    let (mut harness, heard) = open(&authority.server());
    harness.shutdown();
    assert_eq!(harness.closed(), Some(CloseReason::Shutdown));
    assert_eq!(heard.all(), [""; 0]);
}

#[test]
fn a_configuration_that_cannot_work_says_what_would() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("a"), authority.sign("b"));
    let mixed = Tls::builder().certificate_pem(&one.certificate, &other.key);
    for (outcome, word) in [
        (Tls::builder().server().map(drop), "certificate_pem"),
        (Tls::builder().client("a").map(drop), "trust_pem"),
        (mixed.unwrap().server().map(drop), "key"),
        (Tls::builder().trust_pem("nothing").map(drop), "PEM"),
        (authority.trusting().client("a b").map(drop), "a b"),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(
            error
                .to_string()
                .to_lowercase()
                .contains(&word.to_lowercase()),
            "{error}"
        );
    }
}
