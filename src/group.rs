//! Sets of connections, and messages to all of them.
//!
//! ```text
//!   broadcast ──> encoded once ──> [ worker 0 ] ──> outputs of its members
//!                            └───> [ worker 1 ] ──> outputs of its members
//! ```
//! A message is encoded by the group's own codec, on the caller's thread, and goes to each worker once; the
//! worker writes it into the outputs of its members. So a broadcast costs its caller a lock for the group and
//! one for each worker, whatever the number of members, and wakes each worker at most once a burst.
//!
//! # Order
//!
//! Messages of one thread to one member arrive in the order in which the thread made them, whichever way:
//! by any group, by the member's handle, by its [`Context`](crate::Context). Two broadcasts of one group
//! arrive in one order with all members of a worker. What different threads do at the same time has no
//! order but that.
//!
//! # Members
//!
//! A connection leaves by itself when it ends, on every way to its end, and when another pipeline takes over
//! ([`upgrade`](crate::Context::upgrade)): a group's messages are framed for the codec that was there. A
//! member that is about to close (its peer has gone, `close_after_flush`) gets nothing more.

use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};

use crate::buffer::{Output, Queued};
use crate::codec::Codec;
use crate::error::{CloseReason, Error, ErrorKind, Failure};
use crate::fan_out::{Audience, Board, SlowMember};
use crate::handle::{ConnectionHandle, Route};
use crate::id::ConnectionId;
use crate::pipeline::Encode;
use crate::sync::lock;

/// Bytes of the buffer that a group encodes into and keeps for the next message.
const ENCODER_BYTES_KEPT_MAX: usize = 16 * 1024;

/// A set of connections to which messages of type `Out` are broadcast.
///
/// ```
/// use netwheel::codec::{Lines, Utf8};
/// use netwheel::{Context, Framing, Group, Handler, Pipeline, Result, Server};
///
/// /// Tells everybody else what one says.
/// struct Chat(Group<String>);
///
/// impl Handler<String, String> for Chat {
///     fn on_open(&mut self, cx: &mut Context<'_, String, String>) -> Result<()> {
///         Ok(self.0.join(&cx.handle())?)
///     }
///
///     fn on_message(&mut self, cx: &mut Context<'_, String, String>, line: String) -> Result<()> {
///         Ok(self.0.broadcast_except(cx.id(), line)?)
///     }
/// }
///
/// let room = Group::new(Lines::new().then(Utf8::new()));
/// let server = Server::new().pipeline(move |_peer| {
///     Pipeline::new(Lines::new().then(Utf8::new())).handler(Chat(room.clone()))
/// });
/// # let _ = server;
/// ```
///
/// Its codec frames a message as the members' peers expect it. Stages of the members do not see broadcasts;
/// filters do, so that TLS seals them for each.
///
/// Threads: any; a clone is the same group. Cost: to broadcast, one encoding, and a lock and a small word for
/// each worker with members; nothing is allocated for a member. Limit: a worker holds
/// [`BROADCAST_BYTES_MAX`](crate::limits::BROADCAST_BYTES_MAX) of broadcasts that it has not taken up; what
/// waits in the output of a member is bounded by the connection's own limits, see [`SlowMember`].
pub struct Group<Out: 'static> {
    shared: Arc<Shared<Out>>,
}

struct Shared<Out> {
    slow: SlowMember,
    sender: Mutex<Sender<Out>>,
}

struct Sender<Out> {
    encoder: Box<dyn Encode<Out> + Send>,
    /// What the encoder writes to; empty in between.
    output: Output,
    /// Workers on which members live, or have lived.
    places: Vec<Place>,
    /// Counts, but for what the places count.
    stats: GroupStats,
}

struct Place {
    /// The worker's index in its reactor.
    worker: usize,
    board: Arc<Board>,
    audience: Arc<Audience>,
}

impl<Out: 'static> Group<Out> {
    /// A group without members, whose messages `codec` encodes; slow members miss messages.
    #[must_use]
    pub fn new(codec: impl Codec<Out = Out> + Send) -> Self {
        Self::slow(codec, SlowMember::default())
    }

    /// A group that treats members that do not keep up as `slow` says.
    #[must_use]
    pub fn slow(codec: impl Codec<Out = Out> + Send, slow: SlowMember) -> Self {
        let sender = Sender {
            encoder: Box::new(codec),
            output: Output::new(),
            places: Vec::new(),
            stats: GroupStats::default(),
        };
        Self {
            shared: Arc::new(Shared {
                slow,
                sender: Mutex::new(sender),
            }),
        }
    }

    /// Makes a connection a member, from now until it ends or [`leave`](Self::leave)s; it is no error when
    /// it is one already.
    ///
    /// It gets what is broadcast from now on, and nothing from before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when the connection has ended, [`ErrorKind::Misuse`] while it is still being
    /// established: join in `on_open`, or after [`wait_open`](ConnectionHandle::wait_open).
    pub fn join<M>(&self, member: &ConnectionHandle<M>) -> Result<(), Error> {
        let route = member.0.home().map_err(ended)?.ok_or_else(too_early)?;
        let membership = {
            let mut sender = lock(&self.shared.sender);
            let place = sender.place(&route, self.shared.slow);
            place.audience.join(route.id.key(), route.board.issued())
        };
        match membership {
            // Dropped again when the connection has ended meanwhile.
            Some(membership) => member.0.keep(membership).map_err(ended),
            None => Ok(()),
        }
    }

    /// Ends a membership; `false` when there was none.
    ///
    /// Broadcasts that the member's worker has not taken up by now do not reach it.
    pub fn leave<M>(&self, member: &ConnectionHandle<M>) -> bool {
        let Ok(Some(route)) = member.0.home() else {
            return false;
        };
        let audience = lock(&self.shared.sender).audience_of(&route.board);
        audience.is_some_and(|audience| member.0.leave(&audience))
    }

    /// Sends `message` to all members.
    ///
    /// It leaves at the worker's current or next turn. What came of it is counted in [`stats`](Self::stats).
    ///
    /// # Errors
    ///
    /// [`BroadcastError::Full`] gives the message back when some worker holds the most broadcasts that it
    /// may, and has sent it to nobody; [`BroadcastError::Unencodable`] when the codec refuses it.
    pub fn broadcast(&self, message: Out) -> Result<(), BroadcastError<Out>> {
        lock(&self.shared.sender).broadcast(message, None)
    }

    /// Sends `message` to all members but one, which need not be a member.
    ///
    /// Names of connections are those of one reactor: where a group has members of several, the one of the
    /// same name in each is left out.
    ///
    /// # Errors
    ///
    /// As for [`broadcast`](Self::broadcast).
    pub fn broadcast_except(
        &self,
        member: ConnectionId,
        message: Out,
    ) -> Result<(), BroadcastError<Out>> {
        lock(&self.shared.sender).broadcast(message, Some(member))
    }

    /// Members at this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        let sender = lock(&self.shared.sender);
        sender.places.iter().map(|place| place.audience.len()).sum()
    }

    /// Whether nobody is a member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the group has counted so far; a message counts as soon as a worker has taken it up.
    #[must_use]
    pub fn stats(&self) -> GroupStats {
        let sender = lock(&self.shared.sender);
        let mut stats = sender.stats.clone();
        for place in &sender.places {
            stats.add(&place.audience);
        }
        stats
    }
}

impl<Out: 'static> Sender<Out> {
    /// The place of a worker; that of one whose reactor has ended makes room for it.
    fn place(&mut self, route: &Route, slow: SlowMember) -> &Place {
        let known = |place: &Place| Arc::ptr_eq(&place.board, &route.board);
        let index = self.places.iter().position(known).unwrap_or_else(|| {
            for gone in self.places.extract_if(.., |place| place.board.is_closed()) {
                self.stats.add(&gone.audience);
            }
            self.places.push(Place {
                worker: route.id.worker(),
                board: Arc::clone(&route.board),
                audience: Arc::new(Audience::new(slow)),
            });
            self.places.len() - 1
        });
        &self.places[index]
    }

    fn audience_of(&self, board: &Arc<Board>) -> Option<Arc<Audience>> {
        let place = self
            .places
            .iter()
            .find(|place| Arc::ptr_eq(&place.board, board))?;
        Some(Arc::clone(&place.audience))
    }

    fn broadcast(
        &mut self,
        message: Out,
        except: Option<ConnectionId>,
    ) -> Result<(), BroadcastError<Out>> {
        let listened = |place: &&Place| place.audience.len() > 0;
        let full = |place: &Place| !place.board.has_room();
        if self.places.iter().filter(listened).any(full) {
            return Err(BroadcastError::Full(message));
        }
        let bytes = self.encode(message).map_err(BroadcastError::Unencodable)?;
        self.stats.broadcasts += 1;
        for place in self.places.iter().filter(listened) {
            let here = except.filter(|member| member.worker() == place.worker);
            let except = here.map(ConnectionId::key);
            place.board.post(&place.audience, bytes.clone(), except);
        }
        Ok(())
    }

    fn encode(&mut self, message: Out) -> Result<Bytes, Failure> {
        // What a codec that has panicked left behind is nobody's message; nor is a large one's memory kept.
        if !self.output.is_empty() || self.output.tail().capacity() > ENCODER_BYTES_KEPT_MAX {
            self.output.clear();
        }
        self.encoder.encode(message, &mut self.output)?;
        let len = self.output.len();
        Ok(Queued(&mut self.output).copy_to_bytes(len))
    }
}

fn ended(reason: CloseReason) -> Error {
    Error::new(
        ErrorKind::Closed,
        format!("the connection has ended ({reason}) and can join no group"),
    )
}

fn too_early() -> Error {
    Error::new(
        ErrorKind::Misuse,
        "the connection is not open yet; join in on_open, or after wait_open",
    )
}

impl<Out: 'static> Clone for Group<Out> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<Out: 'static> fmt::Debug for Group<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish()
    }
}

/// What a group has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStats {
    /// Messages broadcast, however many members there were.
    pub broadcasts: u64,
    /// Messages queued, once for each member.
    pub queued: u64,
    /// Messages that members did not get because they did not keep up, once for each member.
    pub dropped: u64,
    /// Members closed because they did not keep up.
    pub closed: u64,
}

impl GroupStats {
    fn add(&mut self, audience: &Audience) {
        self.queued += audience.tally.queued.value();
        self.dropped += audience.tally.dropped.value();
        self.closed += audience.tally.closed.value();
    }
}

/// Why a broadcast reached nobody.
#[non_exhaustive]
pub enum BroadcastError<Out> {
    /// A worker holds the most broadcasts that it may; the message comes back. Try again later.
    Full(Out),
    /// The codec refuses the message.
    Unencodable(Failure),
}

impl<Out> fmt::Debug for BroadcastError<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Unencodable(failure) => f.debug_tuple("Unencodable").field(failure).finish(),
        }
    }
}

impl<Out> fmt::Display for BroadcastError<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => {
                f.write_str("a worker holds the most broadcasts that it may; send later, or less")
            }
            Self::Unencodable(failure) => write!(f, "the group's codec refuses it: {failure}"),
        }
    }
}

impl<Out> StdError for BroadcastError<Out> {}
