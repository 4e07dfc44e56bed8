//! How the parts of a link look on a wire: what a protocol gives the engine.

use super::handshake::{Hello, Reply};
use super::position::Position;
use crate::codec::Codec;
use crate::error::{Error, Result};

/// What a frame is to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "wires make it")]
pub enum Kind {
    /// A dialer logs in.
    Hello(Hello),
    /// A listener answers the login.
    Reply(Reply),
    /// Are you there?
    Ping,
    /// I am.
    Pong,
    /// An acknowledgement that goes alone.
    Ack,
    /// The answer to the question of this id.
    Answer(u64),
    /// A question, or a message that wants no answer: the program's own.
    Message,
    /// What the protocol allows to be passed over.
    Ignored,
}

/// What acknowledged mode adds to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "wires write it and read it")]
pub struct Stamp {
    /// What names the frame's message over all connections.
    pub position: Option<Position>,
    /// All messages of the other side up to this number have been handled.
    pub ack: Option<u64>,
}

/// A protocol, as the engine sees it: its codec, and the frames that the engine makes and reads.
///
/// One value serves all links of a server or client. Business frames are the program's; the engine only numbers
/// them ([`set_question`](Self::set_question), [`stamp`](Self::stamp)) and tells them apart.
///
/// Threads: any. Cost: each method is called once a frame, inlined.
pub trait Wire: Send + Sync + 'static {
    /// What goes over the wire; a clone should share its bytes, since frames are kept until they are safe.
    type Frame: Clone + Send + 'static;
    /// Bytes to frames and back.
    type Codec: Codec<In = Self::Frame, Out = Self::Frame>;

    /// A codec for a new connection.
    fn codec(&self) -> Self::Codec;

    /// What a frame is.
    ///
    /// # Errors
    ///
    /// A frame that the protocol does not allow; closes the connection with the reason it carries.
    fn kind(&self, frame: &Self::Frame) -> Result<Kind>;

    /// Refuses a frame that could not be sent, before it is kept.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would not be.
    fn check(&self, frame: &Self::Frame) -> Result<(), Error>;

    /// Bytes that a frame counts for while it is kept.
    fn weigh(&self, frame: &Self::Frame) -> usize;

    /// A login, for protocols that have one.
    fn hello(&self, hello: &Hello) -> Self::Frame;

    /// The answer to a login.
    fn reply(&self, reply: &Reply) -> Self::Frame;

    /// Are you there?
    fn ping(&self) -> Self::Frame;

    /// I am: the answer to `ping`.
    fn pong(&self, ping: &Self::Frame) -> Self::Frame;

    /// Makes a frame the question of this id.
    fn set_question(&self, frame: &mut Self::Frame, id: u64);

    /// Whether a frame passes others, where there are two lanes.
    fn is_urgent(&self, frame: &Self::Frame) -> bool {
        let _ = frame;
        false
    }

    /// Writes what acknowledged mode adds; not called otherwise.
    fn stamp(&self, frame: &mut Self::Frame, stamp: Stamp) {
        let _ = (frame, stamp);
    }

    /// Reads what acknowledged mode has added.
    ///
    /// # Errors
    ///
    /// A stamp that is none; closes the connection.
    fn stamp_of(&self, frame: &Self::Frame) -> Result<Stamp> {
        let _ = frame;
        Ok(Stamp::default())
    }

    /// A frame that only acknowledges; `None` where the protocol has no acknowledged mode.
    fn ack(&self, seq: u64) -> Option<Self::Frame> {
        let _ = seq;
        None
    }
}
