//! The login of one connection: the engine's first part, on both sides.

use std::sync::Arc;

use log::warn;

use super::engine::{Cx, Engine, Side};
use super::handshake::{DialerStep, ListenerStep, Refusal, Reply};
use super::identity::PeerKey;
use super::wire::{Kind, Wire};
use crate::error::{CloseReason, Result};
use crate::pipeline::Terminal;

impl<W: Wire, T: Terminal<W::Frame, W::Frame>> Engine<W, T> {
    /// Turns the other side away, in the protocol's words.
    pub(super) fn refuse(&self, cx: &mut Cx<'_, W>, why: Refusal) -> Result<()> {
        warn!(target: "netwheel::link", "{} {}: refused, reason={why}", cx.id(), cx.peer());
        let reply = self.side.wire().reply(&Reply::Refused(why));
        cx.write(reply)?;
        cx.close_after_flush(reason_of(why));
        Ok(())
    }

    /// Something else came than the login asks for.
    pub(super) fn no_handshake(cx: &mut Cx<'_, W>) {
        let why = Refusal::NotHandshake;
        warn!(target: "netwheel::link", "{} {}: closed, reason={why}", cx.id(), cx.peer());
        cx.close(CloseReason::ProtocolError);
    }

    pub(super) fn handle_login(&mut self, cx: &mut Cx<'_, W>, kind: &Kind) -> Result<()> {
        match (&mut self.side, kind) {
            (Side::Dialer { shared, handshake }, Kind::Reply(reply)) => {
                match handshake.handle_reply(reply) {
                    DialerStep::Say(hello) => cx.write(shared.wire.hello(&hello)),
                    DialerStep::Active => {
                        let shared = Arc::clone(shared);
                        self.come_up(cx, shared)
                    }
                    DialerStep::Refused(why) => {
                        warn!(target: "netwheel::link", "{}: refused us, reason={why}", shared.name);
                        cx.close(reason_of(why));
                        Ok(())
                    }
                }
            }
            (Side::Listener { hub, handshake, .. }, Kind::Hello(hello)) => {
                let hub = Arc::clone(hub);
                let seed = hub.net.network().seed();
                let handle = cx.handle();
                let claim = |key: &PeerKey| hub.claim(key, &handle);
                match handshake.handle_hello(hello, &hub.door, seed, claim) {
                    ListenerStep::Challenge(challenge) => {
                        cx.write(hub.wire.reply(&Reply::Challenge(challenge)))
                    }
                    ListenerStep::Refused(why) => self.refuse(cx, why),
                    ListenerStep::Active(_, (session, shared)) => {
                        self.side.take_place(session);
                        cx.write(hub.wire.reply(&Reply::Accepted))?;
                        self.come_up(cx, shared)
                    }
                }
            }
            _ => {
                Self::no_handshake(cx);
                Ok(())
            }
        }
    }
}

/// What a connection closes with that was turned away.
pub(super) const fn reason_of(why: Refusal) -> CloseReason {
    match why {
        Refusal::Duplicate => CloseReason::Duplicate,
        Refusal::NotHandshake => CloseReason::ProtocolError,
        Refusal::Timeout => CloseReason::HandshakeTimeout,
        Refusal::OverLimit => CloseReason::OverLimit,
        Refusal::IpDenied | Refusal::BadNodeId | Refusal::Unknown => CloseReason::Refused,
    }
}
