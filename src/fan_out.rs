//! Broadcasts on their way into one worker, and who is to get them there.
//!
//! ```text
//!   any thread: broadcast ──> [ board of worker 0: frame, frame, .. ] ──> its members' outputs
//!                    └──────> [ board of worker 1: frame, frame, .. ] ──> its members' outputs
//! ```
//! A frame is queued once a worker, however many members live there; the first one of a burst pushes one
//! [`Command::Broadcasts`]. The worker writes frames straight into the outputs of the members.
//!
//! # Order
//!
//! The frames of a board are numbered. What is accepted for a member by another way is stamped with the
//! number of the newest frame ([`Board::issued`]), and is encoded behind that frame and before the next.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::Key;
use crate::mailbox::{Command, Mailbox};
use crate::stats::Counter;
use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

/// What becomes of a broadcast for a member that does not keep up: one whose socket is full, with more
/// output waiting than its [`HIGH_WATER_BYTES`](crate::limits::HIGH_WATER_BYTES).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowMember {
    /// It does not get the message, which is counted. It gets the next one that finds room.
    #[default]
    Drop,
    /// It is closed, with [`CloseReason::OverLimit`](crate::CloseReason::OverLimit).
    Close,
    /// The message waits, up to the connection's
    /// [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX); beyond, it is dropped and counted.
    Queue,
}

/// What a frame counts for beside its bytes, so that a bound in bytes bounds empty frames too.
const FRAME_WEIGHT: usize = size_of::<Frame>();

/// An encoded message on its way to the members that live on one worker.
pub(crate) struct Frame {
    pub(crate) number: usize,
    pub(crate) audience: Arc<Audience>,
    pub(crate) bytes: Bytes,
    pub(crate) except: Option<Key>,
}

impl Frame {
    /// Whether that connection is to get it.
    pub(crate) fn is_for(&self, key: Key) -> bool {
        let since = self.audience.since(key);
        self.except != Some(key) && since.is_some_and(|since| since < self.number)
    }

    /// Whether both are of one group.
    pub(crate) fn is_for_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.audience, &other.audience)
    }
}

/// The frames that wait for one worker.
pub(crate) struct Board {
    mailbox: Arc<Mailbox>,
    queue: Mutex<Queue>,
    /// The number of the newest frame.
    issued: AtomicUsize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    closed: bool,
}

impl Board {
    pub(crate) fn new(mailbox: Arc<Mailbox>, bytes_max: usize) -> Self {
        Self {
            mailbox,
            queue: Mutex::default(),
            issued: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    /// Whether a frame of any size may join those that wait. Threads: any.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < self.bytes_max
    }

    /// The number of the newest frame: what is accepted now comes behind it. Threads: any.
    pub(crate) fn issued(&self) -> usize {
        self.issued.load(Ordering::Acquire)
    }

    /// Queues a frame; a worker that has ended takes none. Threads: any.
    pub(crate) fn post(&self, audience: &Arc<Audience>, bytes: Bytes, except: Option<Key>) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return;
        }
        let first = queue.frames.is_empty();
        let number = self.issued.load(Ordering::Relaxed) + 1;
        self.bytes
            .fetch_add(bytes.len() + FRAME_WEIGHT, Ordering::Relaxed);
        queue.frames.push_back(Frame {
            number,
            audience: Arc::clone(audience),
            bytes,
            except,
        });
        self.issued.store(number, Ordering::Release);
        drop(queue);
        if first {
            self.mailbox.push(Command::Broadcasts);
        }
    }

    /// Takes the oldest frames, at least one and not many more bytes than `bytes_max`. Worker only.
    pub(crate) fn take(&self, into: &mut Vec<Frame>, bytes_max: usize) {
        let mut taken = 0;
        let mut queue = lock(&self.queue);
        while taken < bytes_max
            && let Some(frame) = queue.frames.pop_front()
        {
            taken += frame.bytes.len() + FRAME_WEIGHT;
            into.push(frame);
        }
        drop(queue);
        self.bytes.fetch_sub(taken, Ordering::Relaxed);
    }

    /// Whether the worker has ended.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.queue).closed
    }

    /// The worker ends: what waits is dropped, and nothing more is taken.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        let frames = std::mem::take(&mut queue.frames);
        drop(queue);
        drop(frames);
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("issued", &self.issued())
            .finish_non_exhaustive()
    }
}

/// The members of one group that live on one worker.
pub(crate) struct Audience {
    members: Mutex<Members>,
    pub(crate) slow: SlowMember,
    pub(crate) tally: Tally,
}

/// What came of the frames of an audience, once for each member and message. Written by the worker.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) queued: Counter,
    pub(crate) dropped: Counter,
    pub(crate) closed: Counter,
}

#[derive(Default)]
struct Members {
    list: Vec<Member>,
    places: HashMap<Key, usize>,
}

/// A member, and the newest frame from before it joined, which it does not get.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) key: Key,
    pub(crate) since: usize,
}

impl Audience {
    pub(crate) fn new(slow: SlowMember) -> Self {
        Self {
            members: Mutex::default(),
            slow,
            tally: Tally::default(),
        }
    }

    /// Adds a member, for as long as the membership lives; `None` when it is one already. Threads: any.
    pub(crate) fn join(self: &Arc<Self>, key: Key, since: usize) -> Option<Membership> {
        let mut members = lock(&self.members);
        let place = members.list.len();
        if members.places.contains_key(&key) {
            return None;
        }
        members.places.insert(key, place);
        members.list.push(Member { key, since });
        Some(Membership {
            audience: Arc::clone(self),
            key,
        })
    }

    fn leave(&self, key: Key) {
        let mut guard = lock(&self.members);
        let members = &mut *guard;
        let Some(place) = members.places.remove(&key) else {
            return;
        };
        members.list.swap_remove(place);
        if let Some(moved) = members.list.get(place) {
            members.places.insert(moved.key, place);
        }
        if members.list.is_empty() {
            *members = Members::default();
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.members).list.len()
    }

    /// The newest frame from before that connection joined; `None` when it is no member.
    pub(crate) fn since(&self, key: Key) -> Option<usize> {
        let members = lock(&self.members);
        let place = members.places.get(&key)?;
        Some(members.list[*place].since)
    }

    /// Appends the members of this moment to `into`.
    pub(crate) fn list(&self, into: &mut Vec<Member>) {
        into.extend_from_slice(&lock(&self.members).list);
    }
}

/// Makes a connection a member, until it is dropped. The connection's outbox keeps it, and drops it on
/// every way to its end.
pub(crate) struct Membership {
    audience: Arc<Audience>,
    key: Key,
}

impl Membership {
    pub(crate) fn is_of(&self, audience: &Arc<Audience>) -> bool {
        Arc::ptr_eq(&self.audience, audience)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.audience.leave(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Wake;

    struct Counting(Arc<AtomicUsize>);

    impl Wake for Counting {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn key(slot: u32) -> Key {
        Key {
            slot,
            generation: 0,
        }
    }

    #[test]
    fn a_burst_of_broadcasts_wakes_the_worker_once() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let wake = Box::new(Counting(Arc::clone(&wakes)));
        let mailbox = Arc::new(Mailbox::new(wake, 1));
        let board = Board::new(Arc::clone(&mailbox), 1 << 20);
        let audience = Arc::new(Audience::new(SlowMember::Drop));
        assert!(mailbox.may_sleep());
        for _ in 0..32 {
            board.post(&audience, Bytes::from_static(b"hello"), None);
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut commands = VecDeque::new();
        mailbox.take(&mut commands);
        assert_eq!(commands, [Command::Broadcasts]);
        let mut frames = Vec::new();
        board.take(&mut frames, usize::MAX);
        let numbers: Vec<_> = frames.iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, (1..=32).collect::<Vec<_>>());
        assert_eq!(board.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_board_is_full_at_its_bound_and_takes_nothing_after_the_end() {
        let mailbox = Mailbox::new(Box::new(Counting(Arc::default())), 1);
        let board = Board::new(Arc::new(mailbox), 100);
        let audience = Arc::new(Audience::new(SlowMember::Drop));
        board.post(&audience, Bytes::from(vec![0; 100]), None);
        assert!(!board.has_room());
        let mut frames = Vec::new();
        board.take(&mut frames, 1);
        assert!(board.has_room() && frames.len() == 1);
        board.close();
        board.post(&audience, Bytes::new(), None);
        frames.clear();
        board.take(&mut frames, usize::MAX);
        assert!(frames.is_empty());
    }

    #[test]
    fn members_come_and_go_and_none_is_listed_twice() {
        let audience = Arc::new(Audience::new(SlowMember::Drop));
        let mut kept: Vec<_> = (0..10).map(|slot| audience.join(key(slot), 0)).collect();
        assert!(audience.join(key(3), 0).is_none(), "it is a member already");
        kept.remove(0);
        kept.remove(4);
        let mut members = Vec::new();
        audience.list(&mut members);
        let mut slots: Vec<_> = members.iter().map(|member| member.key.slot).collect();
        slots.sort_unstable();
        assert_eq!(slots, [1, 2, 3, 4, 6, 7, 8, 9]);
        for slot in slots {
            assert_eq!(audience.since(key(slot)), Some(0));
        }
        kept.clear();
        assert_eq!(audience.len(), 0);
    }
}
