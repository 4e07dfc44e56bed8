//! What has come from a peer and was handled: repeats are known, and the peer is told.

use std::time::Duration;

use super::position::Position;
use crate::clock::Instant;

/// What is remembered of the acknowledged messages of one peer, over all its connections.
///
/// ```text
///   message (epoch, seq) ──> is_new? ──yes──> its handler ──> handle_handled: the cursor moves,
///                               │no                           an acknowledgement is owed
///                               └──> dropped, and acknowledged again
///
///   owed ──> rides on the next frame that goes out,
///            or goes alone: after `delay`, or at once when many messages are owed for
/// ```
/// A message of another epoch begins a new life of the sender. What comes over an older connection than the
/// newest is not new: the sender, if it lives, sends it again over that one. An acknowledgement goes only over a
/// connection on which a message of the epoch has come, since it names none.
#[derive(Debug)]
pub(super) struct Intake {
    delay: Duration,
    batch: u32,
    cursor: Option<Position>,
    link: u64,
    /// The epoch of the messages that have come over the present connection.
    heard: Option<u64>,
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
            link: 0,
            heard: None,
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
        self.link = link;
        (self.heard, self.owed, self.due) = (None, 0, None);
    }

    /// Whether a message is to be handled; one that is not is dropped by the caller, and was seen to here.
    pub(super) fn is_new(&mut self, now: Instant, link: u64, at: Position) -> bool {
        if link != self.link {
            return false;
        }
        self.heard = Some(at.epoch);
        match self.cursor {
            Some(cursor) if cursor.epoch == at.epoch && at.seq <= cursor.seq => {
                self.duplicates += 1;
                self.owe(now);
                false
            }
            _ => true,
        }
    }

    /// A message that was new has been handled.
    pub(super) fn handle_handled(&mut self, now: Instant, link: u64, at: Position) {
        if link == self.link {
            self.cursor = Some(at);
            self.owe(now);
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
        let new = intake.is_new(at(0), link, position);
        if new {
            intake.handle_handled(at(0), link, position);
        }
        new
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
        assert!(intake.is_new(at(0), 1, position));
        intake.begin_link(2);
        assert!(intake.is_new(at(0), 2, position));
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
        assert!(intake.is_new(at(0), 2, Position { epoch: 10, seq: 1 }));
        assert_eq!(intake.take_ack(), None, "it is not handled yet");
        hand(&mut intake, 2, 10, 1);
        assert_eq!(intake.take_ack(), Some(1));
    }
}
