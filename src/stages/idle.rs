//! Silence, told or ended.

use std::time::Duration;

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
    read: Watch,
    write: Watch,
    both: Watch,
    closes: bool,
}

/// One silence that is watched.
#[derive(Clone, Debug, Default)]
struct Watch {
    /// Milliseconds; zero where it is not watched.
    period: u32,
    told: u32,
}

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
    pub fn read(mut self, period: Duration) -> Self {
        self.read = Watch::every(period);
        self
    }

    /// Watches what leaves.
    pub fn write(mut self, period: Duration) -> Self {
        self.write = Watch::every(period);
        self
    }

    /// Watches both together.
    pub fn both(mut self, period: Duration) -> Self {
        self.both = Watch::every(period);
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
        let closes = self.closes;
        let watches = [
            (Silence::Read, &mut self.read, read),
            (Silence::Write, &mut self.write, write),
            (Silence::Both, &mut self.both, read.min(write)),
        ];
        let mut next: Option<Duration> = None;
        for (silence, watch, lasts) in watches {
            if watch.period == 0 {
                continue;
            }
            match watch.look(lasts) {
                Some(_) if closes => {
                    cx.close(CloseReason::Idle);
                    return None;
                }
                Some(times) => cx.fire(IdleEvent { silence, times }),
                None => {}
            }
            let left = watch.due().saturating_sub(lasts);
            next = Some(next.map_or(left, |next| next.min(left)));
        }
        next
    }
}

impl Watch {
    fn every(period: Duration) -> Self {
        let millis = period.as_millis().clamp(1, u128::from(u32::MAX / 2));
        Self {
            period: u32::try_from(millis).expect("clamped"),
            told: 0,
        }
    }

    /// The silence at which it is told next.
    fn due(&self) -> Duration {
        Duration::from_millis(u64::from(self.period) * (u64::from(self.told) + 1))
    }

    /// The silence lasts so long by now: for how many periods, where that is news.
    fn look(&mut self, lasts: Duration) -> Option<u32> {
        let times = lasts.as_millis() / u128::from(self.period);
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        let news = times > self.told;
        self.told = times;
        news.then_some(times)
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for Idle {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let periods = [&self.read, &self.write, &self.both].map(|watch| watch.period);
        if let Some(first) = periods.into_iter().filter(|period| *period > 0).min() {
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
