//! The promises of acknowledged and of plain mode, under ten thousand seeds: connections break with frames on the
//! way, processes die and come back with a spool and a cursor or without.

use std::collections::VecDeque;
use std::time::Duration;

use super::intake::Intake;
use super::outbox::{Outbox, Until};
use super::outbox_rules::OutboxRules;
use super::position::Position;
use crate::clock::Instant;
use crate::random::Random;

const SEEDS: u64 = 10_000;
const DELAY: Duration = Duration::from_millis(50);

/// What is on its way: a message with its name, or an acknowledgement.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Message(Option<Position>, u32),
    Ack(u64),
}

/// A sender and a receiver, and the connection between them, if there is one.
struct World {
    random: Random,
    now: Instant,
    acknowledged: bool,
    /// Whether the sender's process keeps its messages, and the receiver's its cursor, when they die.
    spool: bool,
    cursor: bool,
    outbox: Outbox<u32>,
    intake: Intake,
    /// The number of the connection at the sender; the receiver counts for itself.
    link: Option<(u64, u64)>,
    links: u64,
    epoch: u64,
    /// Bytes that the sender's system has not taken, that are on their way, and on their way back.
    unsent: VecDeque<(u64, Frame)>,
    way: VecDeque<Frame>,
    back: VecDeque<Frame>,
    /// What has arrived and waits for its handler.
    lane: VecDeque<(Position, u32)>,
    /// Messages that the sender's spool has not made safe, by their number; and the number behind those that are.
    writing: VecDeque<(u64, u32)>,
    safe_next: u64,
    sent: u32,
    accepted: Vec<u32>,
    handled: Vec<u32>,
    /// Messages that died with the sender, or that the receiver may have forgotten to have handled.
    sender_died: bool,
    receiver_died: bool,
    /// Whether the receiver has come back, with or without its cursor.
    restarted: bool,
    /// Whether handlers fail now and then.
    handlers_fail: bool,
}

impl World {
    fn new(seed: u64, acknowledged: bool) -> Self {
        let mut random = Random::new(seed);
        let (spool, cursor) = (acknowledged && random.once_in(2), random.once_in(2));
        let mut outbox = Outbox::new(Self::rules(acknowledged), 1);
        if spool {
            outbox.restore([], 1);
        }
        Self {
            outbox,
            intake: Intake::new(DELAY, 4),
            random,
            now: Instant::START,
            acknowledged,
            spool,
            cursor,
            link: None,
            links: 0,
            epoch: 1,
            unsent: VecDeque::new(),
            way: VecDeque::new(),
            back: VecDeque::new(),
            lane: VecDeque::new(),
            writing: VecDeque::new(),
            safe_next: 1,
            sent: 0,
            accepted: Vec::new(),
            handled: Vec::new(),
            sender_died: false,
            receiver_died: false,
            restarted: false,
            handlers_fail: true,
        }
    }

    fn rules(acknowledged: bool) -> OutboxRules {
        OutboxRules::default()
            .messages_max(20)
            .acknowledged(acknowledged)
    }

    fn send(&mut self) {
        let message = self.sent;
        if let Ok(seq) = self.outbox.push(message, 1, Until::Sent, false) {
            self.sent += 1;
            if self.spool {
                self.writing.push_back((seq, message));
            } else {
                self.accepted.push(message);
            }
        }
    }

    /// The disk makes a few messages safe; they are accepted when the link is told, which a crash may prevent.
    fn turn_disk(&mut self, tells: bool) {
        for _ in 0..self.random.below(4) {
            if let Some((seq, message)) = self.writing.pop_front() {
                self.safe_next = seq + 1;
                self.accepted.push(message);
                if tells {
                    self.outbox.handle_safe(seq);
                }
            }
        }
    }

    /// The receiver drops the old connection, if it still has it: of what waits for the handler there only the
    /// message in hand is handled.
    fn connect(&mut self) {
        self.way.clear();
        self.lane.truncate(1);
        self.links += 1;
        self.intake.begin_link(self.links);
        self.link = Some((self.outbox.begin_link(), self.links));
    }

    fn hang_up(&mut self) {
        if let Some((link, _)) = self.link.take() {
            self.outbox.end_link(link, self.now);
            // Some of what is on its way arrives before the end, the rest never.
            let keeps = self.random.below(self.way.len() + 1);
            self.way.truncate(keeps);
            self.unsent.clear();
            self.back.clear();
        }
    }

    fn kill_sender(&mut self) {
        if !self.acknowledged {
            return;
        }
        self.hang_up();
        if !self.spool {
            self.sender_died = true;
            self.epoch += 1;
            self.outbox = Outbox::new(Self::rules(true), self.epoch);
            return;
        }
        self.turn_disk(false);
        // The numbers of the others are given away again: no peer has seen them.
        self.outbox.handle_safe(self.safe_next - 1);
        self.writing.clear();
        self.outbox.begin_link();
        let mut kept = Vec::new();
        while let Some(out) = self.outbox.next() {
            kept.push((out.seq, out.message, 1));
        }
        self.outbox = Outbox::new(Self::rules(true), self.epoch);
        self.outbox.restore(kept, self.safe_next);
    }

    fn kill_receiver(&mut self) {
        if !self.acknowledged {
            return;
        }
        self.hang_up();
        self.way.clear();
        self.lane.clear();
        let cursor = self.intake.cursor().filter(|_| self.cursor);
        self.restarted = true;
        self.receiver_died |= !self.cursor;
        self.intake = Intake::new(DELAY, 4);
        self.intake.restore(cursor);
    }

    /// The sender's side: hand over, be told what has left, read acknowledgements.
    fn turn_sender(&mut self) {
        self.turn_disk(true);
        let Some((link, _)) = self.link else { return };
        for _ in 0..self.random.below(4) {
            if let Some(out) = self.outbox.next() {
                let frame = Frame::Message(self.outbox.position(out.seq), out.message);
                self.unsent.push_back((out.handing, frame));
            }
        }
        let mut left = None;
        for _ in 0..self.random.below(4) {
            if let Some((handing, frame)) = self.unsent.pop_front() {
                self.way.push_back(frame);
                left = Some(handing);
            }
        }
        if let Some(handing) = left {
            self.outbox.handle_left(link, handing);
        }
        if self.random.once_in(2)
            && let Some(Frame::Ack(seq)) = self.back.pop_front()
        {
            self.outbox.handle_ack(seq);
        }
    }

    fn turn_receiver(&mut self) {
        let link = self.link.map_or(self.links, |(_, link)| link);
        for _ in 0..self.random.below(4) {
            match self.way.pop_front() {
                Some(Frame::Message(Some(at), message)) => {
                    if !self.intake.arrive(self.now, link, at) {
                    } else if is_answer(message) {
                        self.handled.push(message);
                        self.intake.handle_handled(self.now, at);
                    } else {
                        self.lane.push_back((at, message));
                    }
                }
                Some(Frame::Message(None, message)) => self.handled.push(message),
                Some(Frame::Ack(_)) | None => {}
            }
        }
        self.turn_lane();
        if self.link.is_some()
            && let Some(seq) = self.intake.poll_ack(self.now)
        {
            self.back.push_back(Frame::Ack(seq));
        }
    }

    /// Messages wait for their handler, which may fail before it has done anything: then the connection ends, and
    /// what waits goes with it.
    fn turn_lane(&mut self) {
        for _ in 0..self.random.below(4) {
            let Some((at, message)) = self.lane.pop_front() else {
                return;
            };
            if self.handlers_fail && self.random.once_in(50) {
                self.hang_up();
                self.way.clear();
                self.lane.clear();
            } else if self.intake.is_new(at) {
                self.handled.push(message);
                self.intake.handle_handled(self.now, at);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.hang_up(),
            1 if self.random.once_in(4) => self.kill_sender(),
            2 if self.random.once_in(4) => self.kill_receiver(),
            3..=12 => self.send(),
            13..=15 if self.link.is_none() => self.connect(),
            16 => self.now = self.now + DELAY,
            17..=28 => self.turn_sender(),
            _ => self.turn_receiver(),
        }
    }

    /// With faults off, everything must drain.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.outbox.len() + self.way.len() + self.unsent.len() + self.lane.len() == 0 {
                return;
            }
            if self.link.is_none() {
                self.connect();
            }
            self.turn_sender();
            self.turn_receiver();
            self.now = self.now + DELAY;
        }
        panic!("{} messages never left", self.outbox.len());
    }

    fn run(&mut self) {
        let steps = self.random.between(50, 400);
        for _ in 0..steps {
            self.step();
        }
        self.settle();
    }

    fn check(&self) {
        let (handled, accepted) = (&self.handled, &self.accepted);
        if !self.acknowledged {
            assert!(
                handled.is_sorted_by(|a, b| a < b),
                "once and in order: {handled:?}"
            );
            return;
        }
        if !self.sender_died {
            let mut seen = handled.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(&seen, accepted, "nothing that was accepted is lost");
        }
        if !self.receiver_died {
            let (answers, others): (Vec<u32>, Vec<u32>) =
                handled.iter().partition(|message| is_answer(**message));
            // After a restart nobody waits for an answer: one that comes again is a late one.
            let answers = if self.restarted { Vec::new() } else { answers };
            for each in [answers, others] {
                assert!(
                    each.is_sorted_by(|a, b| a < b),
                    "once and in order: {each:?}"
                );
            }
        }
    }
}

/// Some messages are handled at once, and pass those that wait for their handlers.
const fn is_answer(message: u32) -> bool {
    message.is_multiple_of(5)
}

fn every_seed(acknowledged: bool) {
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, acknowledged);
            world.run();
            world.check();
            world.handled.len()
        });
        assert!(run.is_ok(), "failed under seed {seed}");
    }
}

#[test]
fn acknowledged_messages_are_handled_once_and_in_order_or_again_with_the_same_name() {
    every_seed(true);
}

#[test]
fn plain_messages_keep_their_order_and_never_come_twice() {
    every_seed(false);
}

#[test]
fn without_a_crash_or_a_broken_connection_nothing_is_sent_twice() {
    let mut world = World::new(1, true);
    world.handlers_fail = false;
    world.connect();
    for _ in 0..200 {
        world.send();
        world.turn_sender();
        world.turn_receiver();
        world.now = world.now + DELAY;
    }
    world.settle();
    world.check();
    assert_eq!((world.outbox.resent(), world.intake.duplicates()), (0, 0));
    assert!(world.handled.len() > 50);
}
