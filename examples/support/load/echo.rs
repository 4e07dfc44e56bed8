//! One connection of a load: sends, checks, measures.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use netwheel::{CloseReason, Context, Event, Failure, Handler, Instant, Result, TimerKey};

use super::check::Checked;
use super::pattern::Cursor;
use super::schedule::Schedule;
use super::{Load, Phase};

/// The connection's one timer.
const TIMER: TimerKey = TimerKey(0);

type Cx<'a> = Context<'a, Checked, Bytes>;

/// The handler of one connection.
///
/// The codec checks bytes as they come; everything else is done once a read, by one look at the clock
/// and one at the worker's tally.
pub(super) struct Echo {
    load: Arc<Load>,
    number: usize,
    sent: Cursor,
    /// When each message that is on its way was due or sent, the oldest first.
    on_their_way: VecDeque<Instant>,
    /// Messages that have come back whole and are not yet counted.
    arrived: usize,
    /// Bytes of the message that is coming back; only raw bytes come in parts.
    part: usize,
    schedule: Option<Schedule>,
    /// Set once the end of the run has been seen.
    ending: bool,
    fault: Option<String>,
}

impl Echo {
    pub(super) fn new(load: Arc<Load>, number: usize) -> Self {
        Self {
            number,
            sent: load.pattern.stream(number),
            on_their_way: VecDeque::with_capacity(load.settings.depth),
            arrived: 0,
            part: 0,
            schedule: load.schedule(number),
            ending: false,
            fault: None,
            load,
        }
    }

    /// Notes bytes that have come back: a frame, or any part of the stream.
    fn note(&mut self, bytes: usize) -> Result<(), String> {
        let size = self.load.settings.size;
        if self.load.settings.framed {
            if bytes != size {
                return Err(format!("a frame of {size} bytes came back with {bytes}"));
            }
            self.arrived += 1;
        } else {
            self.part += bytes;
            self.arrived += self.part / size;
            self.part %= size;
        }
        let begun = self.arrived + usize::from(self.part > 0);
        if begun > self.on_their_way.len() {
            return Err("more came back than was sent".into());
        }
        Ok(())
    }

    /// Counts what has come back, sends what is due, and ends when it is time.
    fn step(&mut self, cx: &mut Cx<'_>) -> Result {
        let now = cx.clock().now();
        let phase = self.load.phase();
        self.count(cx, now, phase);
        if phase == Phase::End {
            self.end(cx, now);
            return Ok(());
        }
        let settings = &self.load.settings;
        while self.on_their_way.len() < settings.depth && cx.is_writable() {
            let Some(moment) = next_moment(&mut self.schedule, now) else {
                break;
            };
            cx.write(self.sent.cut(settings.size))?;
            self.on_their_way.push_back(moment);
        }
        Ok(())
    }

    fn count(&mut self, cx: &Cx<'_>, now: Instant, phase: Phase) {
        if self.arrived == 0 {
            return;
        }
        let back = self.on_their_way.drain(..self.arrived);
        self.arrived = 0;
        if phase == Phase::Open {
            return;
        }
        let mut tally = self.load.tallies.of_worker(cx.id().worker());
        tally.count(back.len());
        back.for_each(|moment| tally.record(now.since(moment)));
    }

    /// Closes once everything is back.
    fn end(&mut self, cx: &mut Cx<'_>, now: Instant) {
        if !std::mem::replace(&mut self.ending, true)
            && let Some(schedule) = &mut self.schedule
        {
            // What should have left by now and has not has waited at least until now.
            let mut tally = self.load.tallies.of_worker(cx.id().worker());
            while let Some(moment) = schedule.take_due(now) {
                tally.record(now.since(moment));
            }
        }
        if self.on_their_way.is_empty() {
            cx.close_after_flush(CloseReason::Local);
        }
    }

    /// Comes back when the next message is due.
    fn arm(&self, cx: &mut Cx<'_>) {
        if let Some(schedule) = &self.schedule {
            cx.timer(schedule.wait(cx.clock().now()), TIMER);
        }
    }
}

/// The moment that the next message's latency counts from, if it may leave.
fn next_moment(schedule: &mut Option<Schedule>, now: Instant) -> Option<Instant> {
    match schedule {
        Some(schedule) => schedule.take_due(now),
        None => Some(now),
    }
}

impl Handler<Checked, Bytes> for Echo {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result {
        if let Some(schedule) = &mut self.schedule {
            schedule.begin(cx.now());
        }
        self.arm(cx);
        self.step(cx)
    }

    fn on_message(&mut self, _: &mut Cx<'_>, checked: Checked) -> Result {
        let noted = checked.and_then(|bytes| self.note(bytes));
        noted.map_err(|fault| {
            self.fault = Some(fault.clone());
            Failure::protocol(fault)
        })
    }

    fn on_read_complete(&mut self, cx: &mut Cx<'_>) -> Result {
        self.step(cx)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result {
        match event {
            Event::Timer(_) => {
                self.arm(cx);
                self.step(cx)
            }
            Event::Writable => self.step(cx),
            _ => Ok(()),
        }
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: CloseReason) {
        let number = self.number;
        let ending = match self.fault.take() {
            None if self.ending && self.on_their_way.is_empty() => Ok(()),
            None => Err(format!(
                "connection {number} was lost: {reason}; the server's log may say why"
            )),
            Some(fault) => Err(format!("connection {number}: {fault}")),
        };
        // Nobody listens any more once another connection has failed.
        let _ = self.load.endings.send(ending);
    }
}
