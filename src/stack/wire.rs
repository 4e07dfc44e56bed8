//! The stack as the link engine sees it.

use bytes::Bytes;

use super::codec::{FrameLimits, Layout, Profile, StackCodec, check, weigh};
use super::message::{
    ACKNOWLEDGED, CHALLENGE, EPOCH, Message, MessageType, NODE_ID, PROOF, REASON, REQUEST_ID,
    SEQUENCE,
};
use crate::error::{Error, Failure, Result};
use crate::link::{Hello, Kind, NodeId, Position, Refusal, Reply, Stamp, Wire};

/// Body of an accepting answer to a login, of a challenge, and of a refusal.
const ACCEPTED: u8 = 0x00;
const CHALLENGED: u8 = 0x01;
const REFUSED: u8 = 0xff;

/// Priorities from here on are urgent.
const URGENT_FROM: u8 = 128;

/// The wire of the private stack, for [`LinkListener`](crate::link::LinkListener) and
/// [`LinkDialer`](crate::link::LinkDialer); a [`Node`](crate::stack::Node) makes its own.
#[derive(Clone, Debug, Default)]
pub struct StackWire {
    pub(super) layout: Layout,
    pub(super) ignores_unknown: bool,
    tells_reasons: bool,
}

impl StackWire {
    /// The wire of this profile.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        let mut wire = Self::default();
        wire.layout.profile = profile;
        wire
    }

    /// How large frames may be.
    #[must_use]
    pub const fn limits(mut self, limits: FrameLimits) -> Self {
        self.layout.limits = limits;
        self
    }

    /// Whether each frame carries a checksum, and those that come are checked where they carry one.
    #[must_use]
    pub const fn checksum(mut self, on: bool) -> Self {
        self.layout.checksum = on;
        self
    }

    /// Whether a refusal says why, in the attachment `reason`; by default it is the 23 bytes of the standard.
    #[must_use]
    pub const fn tell_reasons(mut self, on: bool) -> Self {
        self.tells_reasons = on;
        self
    }

    /// Whether frames of unknown types are passed over; by default they close the connection.
    #[must_use]
    pub const fn ignore_unknown(mut self, on: bool) -> Self {
        self.ignores_unknown = on;
        self
    }
}

fn handshake(message: &Message) -> Result<Kind> {
    let node = message.attachment(NODE_ID).map(|name| {
        let name = std::str::from_utf8(name).map_err(Failure::protocol)?;
        NodeId::new(name).map_err(Failure::protocol)
    });
    Ok(Kind::Hello(Hello {
        node: node.transpose()?,
        proof: message.attachment(PROOF).cloned(),
    }))
}

fn answer_to_handshake(message: &Message) -> Result<Kind> {
    let reply = match message.body[..] {
        [ACCEPTED] => Reply::Accepted,
        [CHALLENGED] => {
            let challenge = message.attachment(CHALLENGE).cloned();
            Reply::Challenge(challenge.ok_or_else(|| Failure::protocol("a challenge of nothing"))?)
        }
        [REFUSED] => {
            let reason = message.attachment(REASON).map_or(&[][..], |reason| reason);
            Reply::Refused(Refusal::of_name(reason))
        }
        _ => return Err(Failure::protocol("an answer to a login that is none")),
    };
    Ok(Kind::Reply(reply))
}

impl Wire for StackWire {
    type Frame = Message;
    type Codec = StackCodec;

    fn codec(&self) -> StackCodec {
        StackCodec::new(&self.layout)
    }

    fn kind(&self, message: &Message) -> Result<Kind> {
        match message.kind {
            MessageType::Request | MessageType::OneWay => Ok(Kind::Message),
            MessageType::Response => {
                let id = message.number(REQUEST_ID);
                let id =
                    id.ok_or_else(|| Failure::protocol("an answer without its question's id"))?;
                Ok(Kind::Answer(id))
            }
            MessageType::HandshakeRequest => handshake(message),
            MessageType::HandshakeResponse => answer_to_handshake(message),
            MessageType::HeartbeatRequest => Ok(Kind::Ping),
            MessageType::HeartbeatResponse if message.attachment(ACKNOWLEDGED).is_some() => {
                Ok(Kind::Ack)
            }
            MessageType::HeartbeatResponse => Ok(Kind::Pong),
            MessageType::Unknown(_) if self.ignores_unknown => Ok(Kind::Ignored),
            MessageType::Unknown(number) => Err(Failure::protocol(format!(
                "a message of type {number}, which nobody knows"
            ))),
        }
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        if !message.kind.is_business() {
            let text = format!("{:?} is the link's own to send", message.kind);
            return Err(Error::new(crate::error::ErrorKind::Config, text));
        }
        check(message, &self.layout.limits)
    }

    fn weigh(&self, message: &Message) -> usize {
        weigh(message)
    }

    fn hello(&self, hello: &Hello) -> Message {
        let mut message = Message::new(MessageType::HandshakeRequest, Bytes::new());
        if let Some(node) = &hello.node {
            message.set(NODE_ID, node.as_str().to_owned());
        }
        if let Some(proof) = &hello.proof {
            message.set(PROOF, proof.clone());
        }
        message
    }

    fn reply(&self, reply: &Reply) -> Message {
        let answer = |body: u8| Message::new(MessageType::HandshakeResponse, vec![body]);
        match reply {
            Reply::Accepted => answer(ACCEPTED),
            Reply::Challenge(challenge) => answer(CHALLENGED).attach(CHALLENGE, challenge.clone()),
            Reply::Refused(why) if self.tells_reasons => answer(REFUSED).attach(REASON, why.name()),
            Reply::Refused(_) => answer(REFUSED),
        }
    }

    fn ping(&self) -> Message {
        Message::new(MessageType::HeartbeatRequest, Bytes::new())
    }

    fn pong(&self, _: &Message) -> Message {
        Message::new(MessageType::HeartbeatResponse, Bytes::new())
    }

    fn set_question(&self, message: &mut Message, id: u64) {
        message.set_number(REQUEST_ID, id);
    }

    fn is_urgent(&self, message: &Message) -> bool {
        message.priority >= URGENT_FROM
    }

    fn stamp(&self, message: &mut Message, stamp: Stamp) {
        if let Some(position) = stamp.position {
            message.set_number(SEQUENCE, position.seq);
            message.set_number(EPOCH, position.epoch);
        }
        if let Some(ack) = stamp.ack {
            message.set_number(ACKNOWLEDGED, ack);
        }
    }

    fn stamp_of(&self, message: &Message) -> Result<Stamp> {
        let number = |key| match message.attachment(key) {
            None => Ok(None),
            Some(_) => match message.number(key) {
                Some(number) => Ok(Some(number)),
                None => Err(Failure::protocol(format!(
                    "the attachment {key} is not 8 bytes"
                ))),
            },
        };
        let position = match (number(EPOCH)?, number(SEQUENCE)?) {
            (Some(epoch), Some(seq)) if seq > 0 => Some(Position::new(epoch, seq)),
            (None, None) => None,
            _ => {
                return Err(Failure::protocol(
                    "epoch and seq go together, and count from 1",
                ));
            }
        };
        let ack = number(ACKNOWLEDGED)?;
        Ok(Stamp { position, ack })
    }

    fn ack(&self, seq: u64) -> Option<Message> {
        let mut message = self.pong(&self.ping());
        message.set_number(ACKNOWLEDGED, seq);
        Some(message)
    }
}
