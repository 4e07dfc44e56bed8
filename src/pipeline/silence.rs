//! What a callback may know of silence: for idle timeouts, heartbeats, and peers that dribble.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::valve::{Bucket, Way};

/// Silence.
impl<In: 'static, Out: 'static> Context<'_, In, Out> {
    /// How long the peer has been silent: time since bytes last arrived, or since the connection opened.
    ///
    /// Zero while reading is paused, for whatever reason: who is not asked cannot answer. After the pause it
    /// begins anew. Bytes count as they arrive, before filters and codec. Exact to a millisecond, never
    /// too long.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use netwheel::{CloseReason, Context, Event, Flow, Result, Stage, TimerKey};
    ///
    /// const CHECK: TimerKey = TimerKey(0);
    /// const T: Duration = Duration::from_secs(5);
    ///
    /// /// Pings after 5 s of silence, gives up after three times that. No timer is touched per message.
    /// struct Heartbeat;
    ///
    /// impl Stage<Bytes, Bytes> for Heartbeat {
    ///     fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
    ///         cx.timer(T, CHECK);
    ///         Ok(())
    ///     }
    ///
    ///     fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result<Flow> {
    ///         if let Event::Timer(CHECK) = event {
    ///             match cx.read_silence() {
    ///                 silence if silence >= 3 * T => cx.close(CloseReason::HeartbeatLost),
    ///                 silence if silence >= T => cx.write(Bytes::from_static(b"ping"))?,
    ///                 _ => {}
    ///             }
    ///             cx.timer(T, CHECK);
    ///         }
    ///         Ok(Flow::Next)
    ///     }
    /// }
    /// # let _ = netwheel::Pipeline::raw().stage("heartbeat", Heartbeat).handle(|cx, m| cx.write(m));
    /// ```
    #[must_use]
    pub fn read_silence(&self) -> Duration {
        if self.state.is_paused() {
            return Duration::ZERO;
        }
        self.state.pulse.read_silence(self.turn.now)
    }

    /// How long nothing has left: time since the system last took bytes, or since the connection opened.
    ///
    /// A large send that leaves slowly is no silence; one that does not leave at all is.
    #[must_use]
    pub fn write_silence(&self) -> Duration {
        self.state.pulse.write_silence(self.turn.now)
    }

    /// How long a frame has been under way; `None` between whole frames, and while reading is paused.
    ///
    /// Counted from the moment at which the codec left the first bytes of it undecoded, or from the end of the
    /// last pause.
    #[must_use]
    pub fn frame_age(&self) -> Option<Duration> {
        if self.state.is_paused() {
            return None;
        }
        self.state.pulse.frame_age(self.turn.now)
    }

    /// Bytes that the system has taken over the connection's life.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.state.output.flushed()
    }

    /// Where in the stream of bytes sent what is written next will stand.
    pub(crate) fn stream_end(&self) -> u64 {
        self.state.stream_end()
    }

    /// From now on the connection's bytes are counted and shaped by `bucket`, until this stage goes.
    pub(crate) fn pay_to(&mut self, way: Way, bucket: &Arc<Bucket>) {
        self.state.add_toll(self.owner, way, bucket);
    }
}
