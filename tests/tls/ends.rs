//! How a connection under TLS ends.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use netwheel::testing::Harness;
use netwheel::tls::Tls;
use netwheel::{CloseReason, Context, Event, Handler, Pipeline, Result};

use crate::authority::Authority;
use crate::counterpart::Counterpart;

fn echo(tls: &Tls) -> Pipeline<Bytes, Bytes> {
    Pipeline::raw().tls(tls).handle(|cx, bytes| {
        let bye = bytes == "bye";
        cx.write(bytes)?;
        if bye {
            cx.close_after_flush(CloseReason::Local);
        }
        Ok(())
    })
}

fn has_closed(client: &mut Counterpart) -> bool {
    client.tls.process_new_packets().unwrap().peer_has_closed()
}

fn shaken() -> (Harness<Bytes, Bytes>, Counterpart) {
    let authority = Authority::new();
    let mut harness = Harness::new(echo(&authority.server()));
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    (harness, client)
}

#[test]
fn a_farewell_of_the_peer_is_answered_behind_the_last_message() {
    let (mut harness, mut client) = shaken();
    client.write(b"last").tls.send_close_notify();
    client.exchange(&mut harness);
    assert_eq!(client.read(), b"last");
    assert!(has_closed(&mut client));
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn our_farewell_comes_behind_the_last_answer() {
    let (mut harness, mut client) = shaken();
    harness.block().receive(&client.write(b"bye").wire());
    assert_eq!(harness.closed(), None, "the peer has not read the answer");
    client.take(&harness.unblock().sent());
    assert_eq!(client.read(), b"bye");
    assert!(has_closed(&mut client));
    assert_eq!(harness.closed(), Some(CloseReason::Local));
}

#[test]
fn a_shutdown_says_farewell() {
    let (mut harness, mut client) = shaken();
    harness.shutdown();
    client.exchange(&mut harness);
    assert!(has_closed(&mut client));
    assert_eq!(harness.closed(), Some(CloseReason::Shutdown));
}

#[test]
fn a_handle_that_closes_says_farewell_behind_what_it_has_sent() {
    let (mut harness, mut client) = shaken();
    for _ in 0..10 {
        harness
            .handle()
            .try_send(Bytes::from(vec![1; 50_000]))
            .unwrap();
    }
    harness.handle().close_after_flush();
    harness.mail();
    client.exchange(&mut harness);
    assert_eq!(client.read().len(), 500_000);
    assert!(has_closed(&mut client));
    assert_eq!(harness.closed(), Some(CloseReason::Local));
}

#[test]
fn a_fin_without_a_farewell_may_have_cut_something_off() {
    let (mut harness, mut client) = shaken();
    harness
        .receive(&client.write(b"all of it?").wire())
        .receive_eof();
    client.exchange(&mut harness);
    assert_eq!(client.read(), b"all of it?", "what came is answered");
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));

    let authority = Authority::new();
    let tls = authority.server().danger_accept_truncation();
    let mut harness = Harness::new(echo(&tls));
    let mut client = Counterpart::client(&authority);
    client.exchange(&mut harness);
    harness.receive_eof();
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_forged_record_ends_the_connection() {
    let (mut harness, mut client) = shaken();
    let mut wire = client.write(b"hello").wire();
    *wire.last_mut().unwrap() ^= 1;
    harness.receive(&wire);
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
    client.exchange(&mut harness);
    assert!(client.error.is_some(), "it is told");
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl Handler<Bytes, Bytes> for Listener {
    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, bytes: Bytes) -> Result {
        let text = String::from_utf8_lossy(&bytes);
        self.0.lock().unwrap().push(text.into());
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result {
        if let Event::ReadClosed = event {
            self.0.lock().unwrap().push("no more".into());
            cx.write(Bytes::from_static(b"a late answer"))?;
            cx.close_after_flush(CloseReason::Local);
        }
        Ok(())
    }
}

#[test]
fn half_open_the_other_half_goes_on() {
    let authority = Authority::new();
    let heard = Listener::default();
    let pipeline = Pipeline::raw()
        .tls(&authority.server())
        .handler(heard.clone());
    let mut harness = Harness::builder().half_open(true).open(pipeline);
    let mut client = Counterpart::client(&authority);
    client.write(b"question").exchange(&mut harness);
    client.tls.send_close_notify();
    client.exchange(&mut harness);
    assert_eq!(*heard.0.lock().unwrap(), ["question", "no more"]);
    assert_eq!(client.read(), b"a late answer");
    assert!(has_closed(&mut client));
    assert_eq!(harness.closed(), Some(CloseReason::Local));
}
