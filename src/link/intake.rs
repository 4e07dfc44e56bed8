//! What has come from a peer and was handled: repeats are known, and the peer is told.

use std::collections::BTreeSet;
use std::time::Duration;

use super::position::Position;
use crate::clock::Instant;

/// What is remembered of the acknowledged messages of one peer, over all its connections.
///
/// ```text
///   message (epoch, seq) ──> arrive ──new──> its handler ──> handle_handled: the cursor moves,
///                              │                             an acknowledgement is owed
///                              └─repeat──> dropped, and acknowledged again
///
///   owed ──> rides on the next frame that goes out,
///            or goes alone: after `delay`, or at once when many messages are owed for
/// ```
/// Messages come in order over each connection, and are handled in order or, as answers are, before others that
/// wait in a lane. The cursor stands before the first that has come and was not handled; those handled beyond it
/// are remembered one by one. A gap is a message that its sender has taken back: what has not come before its
/// successors will not come.
///
/// A message of another epoch begins a new life of the sender. What comes over an older connection than the
/// newest is dropped: the sender, if it lives, sends it again over that one. An acknowledgement goes only over a
/// connection on which a message of the epoch has come, since it names none.
#[derive(Debug)]
pub(super) struct Intake {
    delay: Duration,
    batch: u32,
    cursor: Option<Position>,
    /// Messages that have come and were not handled.
    pending: BTreeSet<u64>,
    /// Messages beyond the cursor that were handled.
    ahead: BTreeSet<u64>,
    link: u64,
    /// The epoch of the messages that have come over the present connection.
    heard: Option<u64>,
    /// The last message that has come over it.
    last: u64,
    owed: u32,
    due: Option<Instant>,
    duplicates: u64,
}

impl Intake {
    pub(super) const fn new(delay: Duration, batch: u32) -> Self {
        Self {
            delay,
            batch,
            cursor: None,
            pending: BTreeSet::new(),
            ahead: BTreeSet::new(),
            link: 0,
            heard: None,
            last: 0,
            owed: 0,
            due: None,
            duplicates: 0,
        }
    }

    /// Goes on behind what was handled before a restart.
    pub(super) const fn restore(&mut self, cursor: Option<Position>) {
        self.cursor = cursor;
    }

    /// Messages of this connection come from now on, and of no older one.
    pub(super) const fn begin_link(&mut self, link: u64) {
        (self.link, self.last) = (link, 0);
        (self.heard, self.owed, self.due) = (None, 0, None);
    }

    /// A message has come; answers whether it is to be handled. A repeat was seen to here.
    pub(super) fn arrive(&mut self, now: Instant, link: u64, at: Position) -> bool {
        if link != self.link {
            return false;
        }
        if self.cursor.is_none_or(|cursor| cursor.epoch != at.epoch) {
            self.cursor = Some(Position::new(at.epoch, 0));
            self.pending.clear();
            self.ahead.clear();
        }
        self.heard = Some(at.epoch);
        let last = std::mem::replace(&mut self.last, at.seq);
        if at.seq > last.saturating_add(1) {
            self.pending.retain(|seq| *seq <= last || *seq >= at.seq);
        }
        let new = self.is_new(at);
        if new {
            self.pending.insert(at.seq);
        } else {
            self.duplicates += 1;
            self.advance();
            self.owe(now);
        }
        new
    }

    /// Whether a message that has arrived as new still is: its repeat may have been handled meanwhile.
    pub(super) fn is_new(&self, at: Position) -> bool {
        let cursor = self.cursor.filter(|cursor| cursor.epoch == at.epoch);
        cursor.is_some_and(|cursor| at.seq > cursor.seq && !self.ahead.contains(&at.seq))
    }

    /// A message that was new has been handled, over whichever connection it came.
    pub(super) fn handle_handled(&mut self, now: Instant, at: Position) {
        if self.is_new(at) {
            self.pending.remove(&at.seq);
            self.ahead.insert(at.seq);
            self.advance();
            self.owe(now);
        }
    }

    /// Moves the cursor to before the first message that is not handled.
    fn advance(&mut self) {
        let Some(cursor) = &mut self.cursor else {
            return;
        };
        let handled = match self.pending.first() {
            Some(first) => first - 1,
            None => self.ahead.last().copied().unwrap_or(0),
        };
        cursor.seq = cursor.seq.max(handled);
        while self.ahead.first().is_some_and(|seq| *seq <= cursor.seq) {
            self.ahead.pop_first();
        }
    }

    fn owe(&mut self, now: Instant) {
        self.owed = self.owed.saturating_add(1);
        let due = if self.owed >= self.batch {
            now
        } else {
            now + self.delay
        };
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// The acknowledgement that rides on a frame that goes out now.
    pub(super) fn take_ack(&mut self) -> Option<u64> {
        let cursor = self.cursor?;
        if self.heard != Some(cursor.epoch) {
            return None;
        }
        (self.owed, self.due) = (0, None);
        Some(cursor.seq)
    }

    /// The acknowledgement that is to go alone by now.
    pub(super) fn poll_ack(&mut self, now: Instant) -> Option<u64> {
        if self.due? > now {
            return None;
        }
        self.take_ack()
    }

    /// When an acknowledgement is to go alone.
    pub(super) const fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The last message that was handled.
    pub(super) const fn cursor(&self) -> Option<Position> {
        self.cursor
    }

    /// Repeats that were dropped.
    pub(super) const fn duplicates(&self) -> u64 {
        self.duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    fn intake() -> Intake {
        let mut intake = Intake::new(DELAY, 4);
        intake.begin_link(1);
        intake
    }

    /// Whether the message was handled.
    fn hand(intake: &mut Intake, link: u64, epoch: u64, seq: u64) -> bool {
        let position = Position { epoch, seq };
        let new = intake.arrive(at(0), link, position);
        if new {
            intake.handle_handled(at(0), position);
        }
        new
    }

    #[test]
    fn one_handled_before_others_is_known_and_not_acknowledged_before_them() {
        let mut intake = intake();
        let place = |seq| Position { epoch: 9, seq };
        (1..=3).for_each(|seq| assert!(intake.arrive(at(0), 1, place(seq))));
        intake.handle_handled(at(0), place(3));
        assert_eq!(intake.take_ack(), Some(0));
        intake.begin_link(2);
        assert!(intake.arrive(at(0), 2, place(1)));
        intake.handle_handled(at(0), place(1));
        assert_eq!(intake.take_ack(), Some(1));
        assert!(intake.arrive(at(0), 2, place(2)));
        assert!(!intake.arrive(at(0), 2, place(3)));
        intake.handle_handled(at(0), place(2));
        assert_eq!(intake.take_ack(), Some(3));
    }

    #[test]
    fn what_its_sender_took_back_is_not_waited_for() {
        let mut intake = intake();
        let place = |seq| Position { epoch: 9, seq };
        (1..=2).for_each(|seq| assert!(intake.arrive(at(0), 1, place(seq))));
        intake.begin_link(2);
        assert!(
            hand(&mut intake, 2, 9, 3),
            "neither of the first comes again"
        );
        assert_eq!(intake.take_ack(), Some(3));
    }

    #[test]
    fn each_message_is_new_once_over_all_connections() {
        let mut intake = intake();
        assert!(hand(&mut intake, 1, 9, 1) && hand(&mut intake, 1, 9, 2));
        assert!(!hand(&mut intake, 1, 9, 2));
        intake.begin_link(2);
        assert!(!hand(&mut intake, 2, 9, 1) && !hand(&mut intake, 2, 9, 2));
        assert!(hand(&mut intake, 2, 9, 3));
        assert_eq!(intake.duplicates(), 3);
    }

    #[test]
    fn one_whose_handler_failed_is_still_new() {
        let mut intake = intake();
        let position = Position { epoch: 9, seq: 1 };
        assert!(intake.arrive(at(0), 1, position));
        intake.begin_link(2);
        assert!(intake.arrive(at(0), 2, position));
    }

    #[test]
    fn another_epoch_begins_anew_and_an_older_connection_says_nothing() {
        let mut intake = intake();
        assert!(hand(&mut intake, 1, 9, 5));
        intake.begin_link(2);
        assert!(hand(&mut intake, 2, 10, 1));
        assert!(!hand(&mut intake, 1, 9, 6), "a ghost of the old process");
        assert!(!hand(&mut intake, 2, 10, 1));
    }

    #[test]
    fn an_acknowledgement_goes_alone_after_its_delay_or_when_many_are_owed_for() {
        let mut intake = intake();
        hand(&mut intake, 1, 9, 1);
        assert_eq!(intake.next_timeout(), Some(at(50)));
        assert_eq!(intake.poll_ack(at(49)), None);
        assert_eq!(intake.poll_ack(at(50)), Some(1));
        assert_eq!(intake.poll_ack(at(500)), None, "once");
        (2..=5).for_each(|seq| assert!(hand(&mut intake, 1, 9, seq)));
        assert_eq!(intake.poll_ack(at(0)), Some(5));
    }

    #[test]
    fn one_that_rides_need_not_go_alone_and_a_repeat_is_acknowledged_again() {
        let mut intake = intake();
        hand(&mut intake, 1, 9, 1);
        assert_eq!(intake.take_ack(), Some(1));
        assert_eq!(intake.next_timeout(), None);
        hand(&mut intake, 1, 9, 1);
        assert_eq!(intake.poll_ack(at(50)), Some(1));
    }

    #[test]
    fn what_an_older_process_sent_is_not_acknowledged_to_a_newer_one() {
        let mut intake = intake();
        hand(&mut intake, 1, 9, 50);
        intake.begin_link(2);
        assert_eq!(intake.take_ack(), None);
        assert_eq!(intake.next_timeout(), None);
        assert!(intake.arrive(at(0), 2, Position { epoch: 10, seq: 1 }));
        assert_eq!(intake.take_ack(), Some(0), "it is not handled yet");
        hand(&mut intake, 2, 10, 1);
        assert_eq!(intake.take_ack(), Some(1));
    }
}
