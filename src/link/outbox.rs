//! Messages that are kept until they are safe: bounded, in order, and sent again over the next connection.

use std::collections::VecDeque;

use super::outbox_rules::OutboxRules;
use super::position::Position;
use crate::clock::Instant;
use crate::limits::LANE_MESSAGES_MAX;

/// Questions that may be with a pool, and on their way to it, when others are told to wait.
const IN_HAND_MAX: usize = LANE_MESSAGES_MAX + 16;

/// When a message need not be kept any more, where messages are not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The system has taken its last byte.
    Sent,
    /// It is withdrawn: its sender waits for an answer, and asks again over each new connection.
    Answered,
}

/// The messages to one peer, oldest first, over all its connections.
///
/// ```text
///             begin_link                  handle_left                   handle_ack
///   waiting ─────next────> handed over ───────────────> left ─────────────────────> gone
///      ^                       │                          │ acknowledged mode, or
///      │                       │                          │ until it is answered
///      └────── end_link ───────┴──────────────────────────┘
///                                                  without either, what has left is gone at once
/// ```
/// A message that was handed over and had not left whole when its connection ended waits again, in its place:
/// it goes once more as a whole, before anything newer.
///
/// Cost: a queue; all but withdrawals and urgent messages are O(1) for those who come in order. Limit:
/// [`OutboxRules`].
#[derive(Debug)]
pub(super) struct Outbox<M> {
    rules: OutboxRules,
    epoch: u64,
    next: u64,
    /// Messages beyond it are not safe in their spool yet, and stay.
    safe: u64,
    entries: VecDeque<Entry<M>>,
    /// So many of them, from the front, are not waiting.
    handed: usize,
    /// The number of the last handing over.
    handing: u64,
    bytes: usize,
    link: u64,
    linked: bool,
    parted: Option<Instant>,
    resent: u64,
}

#[derive(Debug)]
struct Entry<M> {
    seq: u64,
    message: M,
    bytes: usize,
    until: Until,
    urgent: bool,
    /// It has been handed to a connection before.
    again: bool,
    /// The number of its last handing over; ascending among those that are not waiting.
    handing: u64,
}

/// A message on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing<M> {
    pub(super) seq: u64,
    /// The number of this handing over, by which it is told that the message has left.
    pub(super) handing: u64,
    pub(super) message: M,
}

impl<M: Clone> Outbox<M> {
    pub(super) const fn new(rules: OutboxRules, epoch: u64) -> Self {
        Self {
            rules,
            epoch,
            next: 1,
            safe: u64::MAX,
            entries: VecDeque::new(),
            handed: 0,
            handing: 0,
            bytes: 0,
            link: 0,
            linked: false,
            parted: None,
            resent: 0,
        }
    }

    /// Keeps a message; answers its number, or gives it back when there is no room.
    pub(super) fn push(
        &mut self,
        message: M,
        bytes: usize,
        until: Until,
        urgent: bool,
    ) -> Result<u64, M> {
        if !self.has_room(bytes) {
            return Err(message);
        }
        let seq = self.next;
        self.next += 1;
        self.bytes += bytes;
        let urgent = urgent && self.rules.lanes;
        let entry = Entry {
            seq,
            message,
            bytes,
            until,
            urgent,
            again: false,
            handing: 0,
        };
        if urgent {
            self.entries.insert(self.urgent_place(), entry);
        } else {
            self.entries.push_back(entry);
        }
        Ok(seq)
    }

    /// Whether a message of so many bytes would be kept.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let (count, sum) = (self.entries.len(), self.bytes.saturating_add(bytes));
        count < self.rules.messages_max && sum <= self.rules.bytes_max
    }

    /// Whether so little room is left that questions must wait: a quarter, or what a lane may be answering already.
    pub(super) fn is_crowded(&self) -> bool {
        let (messages, bytes) = self.crowd();
        self.entries.len() > messages || self.bytes > bytes
    }

    /// Whether there is room again: half of what crowds it is gone.
    pub(super) fn is_relieved(&self) -> bool {
        let (messages, bytes) = self.crowd();
        self.entries.len() <= messages / 2 && self.bytes <= bytes / 2
    }

    /// The messages and bytes from which on it is crowded.
    fn crowd(&self) -> (usize, usize) {
        let (messages, bytes) = (self.rules.messages_max, self.rules.bytes_max);
        let margin = IN_HAND_MAX.max(messages / 4).min(messages - messages / 4);
        (messages - margin, bytes - bytes / 4)
    }

    /// The number of the next message.
    pub(super) const fn next_seq(&self) -> u64 {
        self.next
    }

    /// The number of the newest connection.
    pub(super) const fn link(&self) -> u64 {
        self.link
    }

    /// Urgent messages go before the others that wait, behind urgent ones.
    fn urgent_place(&self) -> usize {
        let waiting = self.entries.range(self.handed..);
        self.handed + waiting.take_while(|entry| entry.urgent).count()
    }

    /// Puts back what a spool has kept over a restart, before anything is pushed. From then on messages stay until
    /// they are safe.
    pub(super) fn restore(
        &mut self,
        messages: impl IntoIterator<Item = (u64, M, usize)>,
        next: u64,
    ) {
        for (seq, message, bytes) in messages {
            self.bytes += bytes;
            self.entries.push_back(Entry {
                seq,
                message,
                bytes,
                until: Until::Sent,
                urgent: false,
                again: true,
                handing: 0,
            });
        }
        self.next = self.next.max(next);
        self.safe = self.next - 1;
    }

    /// All messages up to this one are safe.
    pub(super) fn handle_safe(&mut self, seq: u64) {
        self.safe = self.safe.max(seq);
    }

    /// The last message that is safe.
    pub(super) const fn safe(&self) -> u64 {
        self.safe
    }

    /// Whether a message may go, as far as its spool is concerned.
    pub(super) const fn is_safe(&self, seq: u64) -> bool {
        seq <= self.safe
    }

    /// A connection can take messages; answers its number. One that was there before has ended by that.
    pub(super) fn begin_link(&mut self) -> u64 {
        self.wait_again();
        self.link += 1;
        (self.linked, self.parted) = (true, None);
        self.link
    }

    /// A connection takes nothing any more; all that is not safe waits again.
    pub(super) fn end_link(&mut self, link: u64, now: Instant) {
        if self.linked && link == self.link {
            self.wait_again();
            (self.linked, self.parted) = (false, Some(now));
        }
    }

    fn wait_again(&mut self) {
        self.handed = 0;
    }

    /// The next message to hand to the connection.
    pub(super) fn next(&mut self) -> Option<Outgoing<M>> {
        if !self.linked {
            return None;
        }
        let entry = self.entries.get_mut(self.handed)?;
        if entry.seq > self.safe {
            return None;
        }
        self.resent += u64::from(entry.again);
        entry.again = true;
        self.handed += 1;
        self.handing += 1;
        entry.handing = self.handing;
        Some(Outgoing {
            seq: entry.seq,
            handing: self.handing,
            message: entry.message.clone(),
        })
    }

    /// The system has taken the last byte of a message that was handed to this connection, and of all before it.
    pub(super) fn handle_left(&mut self, link: u64, handing: u64) {
        if link != self.link || !self.linked || self.rules.acknowledged {
            return;
        }
        let mut index = 0;
        while index < self.handed && self.entries[index].handing <= handing {
            match self.entries[index].until {
                Until::Sent => drop(self.remove(index)),
                Until::Answered => index += 1,
            }
        }
    }

    /// The peer has handled all messages up to `seq`; what it cannot know of is ignored. Answers which are gone.
    pub(super) fn handle_ack(&mut self, seq: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.rules.acknowledged
            && self.handed > 0
            && let Some(first) = self.entries.front().map(|entry| entry.seq)
            && first <= seq
        {
            self.remove(0);
            gone.push(first);
        }
        gone
    }

    /// Takes a message out, for which nobody waits any more.
    pub(super) fn withdraw(&mut self, seq: u64) -> Option<M> {
        let index = self.entries.iter().position(|entry| entry.seq == seq)?;
        Some(self.remove(index))
    }

    /// Whether a message is still here and has never been handed to a connection.
    pub(super) fn is_unsent(&self, seq: u64) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.seq == seq && !entry.again)
    }

    fn remove(&mut self, index: usize) -> M {
        let entry = self.entries.remove(index).expect("an index of the queue");
        self.bytes -= entry.bytes;
        self.handed -= usize::from(index < self.handed);
        entry.message
    }

    /// Takes out a message that was kept too long without a connection; answers its number.
    pub(super) fn poll_expired(&mut self, now: Instant) -> Option<u64> {
        if self.next_timeout()? > now {
            return None;
        }
        let seq = self.entries.front()?.seq;
        self.remove(0);
        Some(seq)
    }

    /// When to look for messages that were kept too long.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let at = self.parted? + self.rules.age_max?;
        (!self.entries.is_empty()).then_some(at)
    }

    /// What names a message over all connections.
    pub(super) const fn position(&self, seq: u64) -> Option<Position> {
        if self.rules.acknowledged {
            Some(Position {
                epoch: self.epoch,
                seq,
            })
        } else {
            None
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that no connection has been given, or not this one.
    pub(super) fn waiting(&self) -> usize {
        self.entries.len() - self.handed
    }

    /// Messages that were handed to a second connection or a later one.
    pub(super) const fn resent(&self) -> u64 {
        self.resent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outbox(rules: OutboxRules) -> Outbox<u32> {
        Outbox::new(rules, 7)
    }

    fn push(outbox: &mut Outbox<u32>, message: u32) -> Result<u64, u32> {
        outbox.push(message, 10, Until::Sent, false)
    }

    fn drain(outbox: &mut Outbox<u32>) -> Vec<u32> {
        std::iter::from_fn(|| outbox.next().map(|out| out.message)).collect()
    }

    #[test]
    fn nothing_leaves_without_a_link_and_all_of_it_in_order_with_one() {
        let mut outbox = outbox(OutboxRules::default());
        for message in 0..100 {
            push(&mut outbox, message).expect("room");
        }
        assert_eq!(drain(&mut outbox), [0_u32; 0]);
        outbox.begin_link();
        assert_eq!(drain(&mut outbox), (0..100).collect::<Vec<_>>());
        assert_eq!(outbox.waiting(), 0);
    }

    #[test]
    fn one_message_too_many_comes_back_and_the_first_ones_stay() {
        let mut few = outbox(OutboxRules::default().messages_max(10));
        let pushed: Vec<_> = (0..11).map(|n| push(&mut few, n)).collect();
        assert_eq!(pushed[10], Err(10));
        few.begin_link();
        assert_eq!(drain(&mut few), (0..10).collect::<Vec<_>>());
        let mut small = outbox(OutboxRules::default().bytes_max(25));
        assert!(push(&mut small, 1).is_ok() && push(&mut small, 2).is_ok());
        assert_eq!(push(&mut small, 3), Err(3));
        assert_eq!((small.len(), small.bytes()), (2, 20));
    }

    #[test]
    fn what_has_left_is_gone_and_what_has_not_goes_again_before_anything_newer() {
        let mut outbox = outbox(OutboxRules::default());
        let link = outbox.begin_link();
        for message in 1..=4 {
            push(&mut outbox, message).expect("room");
        }
        assert_eq!(drain(&mut outbox), [1, 2, 3, 4]);
        outbox.handle_left(link, 2);
        outbox.end_link(link, Instant::START);
        push(&mut outbox, 5).expect("room");
        outbox.handle_left(link, 3); // too late to be believed
        outbox.begin_link();
        assert_eq!(drain(&mut outbox), [3, 4, 5]);
        assert_eq!(outbox.resent(), 2);
    }

    #[test]
    fn acknowledged_messages_are_kept_until_the_peer_has_them() {
        let mut outbox = outbox(OutboxRules::default().acknowledged(true));
        let link = outbox.begin_link();
        for message in 1..=4 {
            push(&mut outbox, message).expect("room");
        }
        outbox.handle_ack(2); // it cannot know of them
        assert_eq!(drain(&mut outbox), [1, 2, 3, 4]);
        outbox.handle_left(link, 4);
        outbox.handle_ack(2);
        outbox.end_link(link, Instant::START);
        outbox.begin_link();
        assert_eq!(drain(&mut outbox), [3, 4]);
        outbox.handle_ack(4);
        assert_eq!((outbox.len(), outbox.bytes()), (0, 0));
    }

    #[test]
    fn with_a_spool_a_message_goes_once_it_is_safe_and_none_passes_it() {
        let mut outbox = outbox(OutboxRules::default().acknowledged(true));
        outbox.restore([(4, 4, 10)], 6);
        outbox.begin_link();
        assert_eq!(push(&mut outbox, 6), Ok(6));
        assert_eq!(push(&mut outbox, 7), Ok(7));
        assert_eq!(drain(&mut outbox), [4]);
        outbox.handle_safe(6);
        assert!(outbox.is_safe(6) && !outbox.is_safe(7));
        assert_eq!(drain(&mut outbox), [6]);
        outbox.handle_safe(7);
        assert_eq!(drain(&mut outbox), [7]);
    }

    #[test]
    fn a_question_is_asked_again_until_it_is_withdrawn() {
        let mut outbox = outbox(OutboxRules::default());
        let link = outbox.begin_link();
        let question = outbox.push(1, 1, Until::Answered, false).expect("room");
        push(&mut outbox, 2).expect("room");
        assert!(outbox.is_unsent(question));
        assert_eq!(drain(&mut outbox), [1, 2]);
        assert!(!outbox.is_unsent(question));
        outbox.handle_left(link, 2);
        assert_eq!(outbox.len(), 1);
        outbox.begin_link();
        assert_eq!(drain(&mut outbox), [1]);
        assert_eq!(outbox.withdraw(question), Some(1));
        assert_eq!(outbox.withdraw(question), None);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn urgent_messages_pass_those_that_wait_and_no_others() {
        let mut outbox = outbox(OutboxRules::default().lanes(true));
        let push = |outbox: &mut Outbox<u32>, message: u32, urgent: bool| {
            outbox.push(message, 1, Until::Sent, urgent).expect("room");
        };
        outbox.begin_link();
        push(&mut outbox, 1, false);
        push(&mut outbox, 2, false);
        assert_eq!(outbox.next().map(|out| out.message), Some(1));
        push(&mut outbox, 90, true);
        push(&mut outbox, 91, true);
        push(&mut outbox, 3, false);
        assert_eq!(drain(&mut outbox), [90, 91, 2, 3]);
    }

    #[test]
    fn without_a_link_messages_are_kept_for_their_time_and_no_longer() {
        let second = Duration::from_secs(1);
        let rules = OutboxRules::default().age_max(Some(second));
        let mut outbox = outbox(rules);
        push(&mut outbox, 1).expect("room");
        assert_eq!(outbox.next_timeout(), None, "no link has broken yet");
        let link = outbox.begin_link();
        outbox.end_link(link, Instant::START);
        assert_eq!(outbox.next_timeout(), Some(Instant::START + second));
        assert_eq!(outbox.poll_expired(Instant::START), None);
        assert_eq!(outbox.poll_expired(Instant::START + second), Some(1));
        assert_eq!(outbox.poll_expired(Instant::START + second), None);
    }
}
