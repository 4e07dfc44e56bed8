//! What all have seen, crashes or not: the eye that the nodes cannot have.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use netwheel::ConnectionId;

/// Sent by a callback of the client, again and again until it is answered.
pub const QUESTION: u8 = 0;
/// Sent once, by the client's handle: it may be lost and never comes twice.
pub const NOTE: u8 = 1;

/// A message of a client: what it is, whose, and a number that is used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub kind: u8,
    pub client: u8,
    pub serial: u32,
    /// Of the question that it asks.
    pub question: u32,
}

impl Tag {
    pub fn read(message: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        Self {
            kind: message[0],
            client: message[1],
            serial: word(2),
            question: word(6),
        }
    }

    /// The message, and bytes that follow from it.
    pub fn message(self) -> Bytes {
        let mut message = vec![self.kind, self.client];
        message.extend_from_slice(&self.serial.to_be_bytes());
        message.extend_from_slice(&self.question.to_be_bytes());
        let more = self.serial.wrapping_mul(2_654_435_761) >> 26;
        message.extend((0..more).map(|n| (n ^ self.serial) as u8));
        message.into()
    }
}

/// What servers have got, in all their lives.
#[derive(Default)]
pub struct Ledger {
    seen: BTreeSet<Tag>,
    last: BTreeMap<(u32, ConnectionId, u8), u32>,
    /// What should not be. Told at the end: a callback that panics costs its own connection only.
    pub faults: Vec<String>,
}

impl Ledger {
    /// A message has arrived whole, for the first time, and on its connection in order.
    pub fn note(&mut self, life: u32, connection: ConnectionId, message: &Bytes) {
        let Some(tag) = self.check(message) else {
            return;
        };
        if !self.seen.insert(tag) {
            self.faults.push(format!("{tag:?} has come twice"));
        }
        let last = self.last.insert((life, connection, tag.kind), tag.serial);
        if last.is_some_and(|last| last >= tag.serial) {
            let fault = format!("{tag:?} came behind {last:?} on {connection}");
            self.faults.push(fault);
        }
    }

    /// Whose message it is, if it has arrived as it was sent.
    pub fn check(&mut self, message: &Bytes) -> Option<Tag> {
        let tag = (message.len() >= 10).then(|| Tag::read(message));
        let tag = tag.filter(|tag| *message == tag.message());
        if tag.is_none() {
            self.faults.push(format!("never sent: {message:?}"));
        }
        tag
    }
}
