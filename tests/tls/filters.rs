//! Filters in general, and TLS among others.

use bytes::{Buf, BytesMut};
use netwheel::testing::Harness;
use netwheel::{CloseReason, Filter, Inbound, Output, Pipeline, Result};

use crate::authority::Authority;
use crate::counterpart::Counterpart;

/// Turns every bit around, behind a preamble of two bytes from the peer, and one of its own.
#[derive(Default)]
struct Mirror {
    begun: bool,
    panics: bool,
}

impl Filter for Mirror {
    fn open(&mut self, wire: &mut Output) -> Result<()> {
        wire.put(b"<");
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.begun
    }

    fn inbound(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        _: &mut Output,
    ) -> Result<Inbound> {
        assert!(!self.panics, "as it was told");
        if !self.begun {
            if wire.len() < 2 {
                return Ok(Inbound::Open);
            }
            wire.advance(2);
            self.begun = true;
        }
        plain.extend(wire.split().iter().map(|byte| !byte));
        Ok(Inbound::Open)
    }

    fn outbound(&mut self, plain: &mut dyn Buf, wire: &mut Output) -> Result<()> {
        while plain.has_remaining() {
            wire.put(&[!plain.get_u8()]);
        }
        Ok(())
    }

    fn close(&mut self, wire: &mut Output) {
        wire.put(b">");
    }
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

#[test]
fn a_filter_is_given_again_what_it_left() {
    let mut harness = Harness::new(
        Pipeline::raw()
            .filter(Mirror::default())
            .handle(|cx, bytes| cx.write(bytes)),
    );
    harness
        .receive(b"P")
        .receive(b"P")
        .receive(&turned(b"hello"));
    assert_eq!(harness.sent(), [b"<", &turned(b"hello")[..]].concat());
    harness.receive_eof();
    assert_eq!(harness.sent(), b">");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn filters_stack() {
    let authority = Authority::new();
    let mut harness = Harness::new(
        Pipeline::raw()
            .filter(Mirror::default())
            .tls(&authority.server())
            .handle(|cx, bytes| cx.write(bytes)),
    );
    let mut client = Counterpart::client(&authority);
    let hello = client.wire();
    assert_eq!(harness.sent(), b"<");
    harness
        .receive(b"P")
        .receive(&[b"P", &turned(&hello)[..]].concat());
    client.take(&turned(&harness.sent()));
    client.write(b"through both");
    for byte in client.wire() {
        harness.receive(&[!byte]);
    }
    client.take(&turned(&harness.sent()));
    assert_eq!(client.read(), b"through both");
    harness.shutdown();
    let farewell = harness.sent();
    assert_eq!(farewell.last(), Some(&b'>'), "last to first");
    client.take(&turned(&farewell[..farewell.len() - 1]));
    assert!(client.tls.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn a_filter_that_panics_ends_its_connection() {
    let mirror = Mirror {
        begun: true,
        panics: true,
    };
    let mut harness = Harness::new(
        Pipeline::raw()
            .filter(mirror)
            .handle(|cx, bytes| cx.write(bytes)),
    );
    harness.receive(b"hello");
    assert_eq!(harness.closed(), Some(CloseReason::Panic));
    assert_eq!(harness.stats().panics, 1);
    assert_eq!(harness.sent(), b"<");
}
