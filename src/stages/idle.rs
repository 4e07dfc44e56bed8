//! Silence, told or ended.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::{CloseReason, Result};
use crate::pipeline::{Context, Event, Flow, Stage, TimerKey};

/// Which silence it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third direction")]
pub enum Silence {
    /// Nothing has arrived (Netty's `READER_IDLE`).
    Read,
    /// Nothing has left (`WRITER_IDLE`).
    Write,
    /// Neither (`ALL_IDLE`).
    Both,
}

/// What [`Idle`] tells those behind it, by [`Event::User`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdleEvent {
    /// Which silence.
    pub silence: Silence,
    /// How many times its period has passed without a byte: 1 at first, then 2, and so on.
    ///
    /// Counts to 65,535, and is told no more behind that.
    pub times: u32,
}

/// Tells of silence, or closes at it.
///
/// Silence is measured in bytes at the socket: a large send that leaves slowly is none, and while reading is
/// paused by our side the peer's silence does not count. An event comes once a period for as long as the silence
/// lasts, and starts anew with the next byte.
///
/// Threads: the connection's worker. Cost: one timer a connection, armed once a period and not touched by
/// messages; an allocation an event. Limit: exact to the worker's tick, never early. The shortest period is
/// 1 ms, the longest 24 days.
///
/// ```
/// use std::time::Duration;
/// use netwheel::stages::{Idle, IdleEvent, Silence};
/// use netwheel::{CloseReason, Context, Event, Handler, Pipeline, Result};
/// use bytes::Bytes;
///
/// struct Session;
///
/// impl Handler<Bytes, Bytes> for Session {
///     fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
///         cx.write(message)
///     }
///
///     fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result<()> {
///         match event.user::<IdleEvent>() {
///             Some(idle) if idle.silence == Silence::Read && idle.times > 3 => cx.close(CloseReason::HeartbeatLost),
///             Some(_) => cx.write(Bytes::from_static(b"ping\n"))?,
///             None => {}
///         }
///         Ok(())
///     }
/// }
///
/// let pipeline = Pipeline::raw()
///     .stage("idle", Idle::new().read(Duration::from_secs(10)))
///     .handler(Session);
/// # let _ = pipeline;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Idle {
    /// Of each silence in the order of [`SILENCES`], in milliseconds; zero where it is not watched.
    periods: [u32; 3],
    /// Periods that have been told. Kept small: with these the stage fits the allocator's smallest piece.
    told: [u16; 3],
    closes: bool,
    /// When it was last looked, in milliseconds of the clock; wraps.
    looked: u32,
}

const SILENCES: [Silence; 3] = [Silence::Read, Silence::Write, Silence::Both];
const CHECK: TimerKey = TimerKey(0);

impl Idle {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Closes with [`CloseReason::Idle`] once no byte has moved either way for `time`.
    pub fn close_after(time: Duration) -> Self {
        Self::new().both(time).close()
    }

    /// Watches what arrives.
    pub fn read(self, period: Duration) -> Self {
        self.watch(0, period)
    }

    /// Watches what leaves.
    pub fn write(self, period: Duration) -> Self {
        self.watch(1, period)
    }

    /// Watches both together.
    pub fn both(self, period: Duration) -> Self {
        self.watch(2, period)
    }

    fn watch(mut self, index: usize, period: Duration) -> Self {
        let millis = period.as_millis().clamp(1, u128::from(u32::MAX / 2));
        self.periods[index] = u32::try_from(millis).expect("clamped");
        self
    }

    /// Closes with [`CloseReason::Idle`] at the first silence, instead of telling.
    pub fn close(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Looks at each silence; answers with the time until the next look.
    fn check<In: 'static, Out: 'static>(
        &mut self,
        cx: &mut Context<'_, In, Out>,
    ) -> Option<Duration> {
        let (read, write) = (cx.read_silence(), cx.write_silence());
        let passed = self.look(cx.now());
        let mut next: Option<Duration> = None;
        for (index, lasts) in [read, write, read.min(write)].into_iter().enumerate() {
            if self.periods[index] == 0 {
                continue;
            }
            if lasts <= passed {
                // It has begun since the last look.
                self.told[index] = 0;
            }
            if let Some(times) = self.news(index, lasts) {
                if self.closes {
                    cx.close(CloseReason::Idle);
                    return None;
                }
                let silence = SILENCES[index];
                cx.fire(IdleEvent { silence, times });
            }
            let left = self.left(index, lasts);
            next = Some(next.map_or(left, |next| next.min(left)));
        }
        next
    }

    /// Time since the last look.
    #[expect(clippy::cast_possible_truncation, reason = "the count wraps")]
    fn look(&mut self, now: Instant) -> Duration {
        let millis = (now.as_nanos() / 1_000_000) as u32;
        let before = std::mem::replace(&mut self.looked, millis);
        Duration::from_millis(u64::from(millis.wrapping_sub(before)))
    }

    /// A silence lasts so long by now: for how many periods, where that is news.
    fn news(&mut self, index: usize, lasts: Duration) -> Option<u32> {
        let times = lasts.as_millis() / u128::from(self.periods[index]);
        let times = u16::try_from(times).unwrap_or(u16::MAX);
        let before = std::mem::replace(&mut self.told[index], times);
        (times > before).then_some(u32::from(times))
    }

    /// Time until a silence that lasts so long by now is told the next time.
    fn left(&self, index: usize, lasts: Duration) -> Duration {
        let period = Duration::from_millis(u64::from(self.periods[index]));
        match self.told[index].checked_add(1) {
            Some(times) => (period * u32::from(times)).saturating_sub(lasts),
            None => period,
        }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for Idle {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        self.look(cx.now());
        let watched = self.periods.into_iter().filter(|period| *period > 0);
        if let Some(first) = watched.min() {
            cx.timer(Duration::from_millis(u64::from(first)), CHECK);
        }
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Context<'_, In, Out>, event: &Event) -> Result<Flow> {
        if let Event::Timer(CHECK) = event
            && let Some(next) = self.check(cx)
        {
            cx.timer(next.max(Duration::from_millis(1)), CHECK);
        }
        Ok(Flow::Next)
    }
}
