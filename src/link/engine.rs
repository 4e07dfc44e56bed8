//! The engine in a pipeline: what becomes of each frame, and when to say something unasked.
//!
//! ```text
//!   open ──> login ──> up ─────────────────────────────> close
//!            │          frames:  ping -> pong             told: the link, the service
//!            │ deadline          answer -> who asked
//!            v                   message -> the service, here or on the pool
//!          close        timers:  heartbeat, acknowledgement
//!                       room:    what the outbox has
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use log::{info, warn};

use super::handle::Link;
use super::handshake::{DialerHandshake, ListenerHandshake, Refusal};
use super::heartbeat::{Beat, Heartbeat};
use super::identity::PeerKey;
use super::listener::Hub;
use super::login::reason_of;
use super::rules::LinkRules;
use super::service::{Seat, Service};
use super::shared::Shared;
use super::wire::{Kind, Wire};
use crate::clock::Instant;
use crate::error::{CloseReason, Failure, Result};
use crate::pipeline::{Context, Event, Terminal, TimerKey};
use crate::sessions::Session;

const BEAT: TimerKey = TimerKey(1);
const ACK: TimerKey = TimerKey(2);

/// Frames taken from the outbox under one lock. What is taken is not withdrawn, so few: a write buffer's worth of
/// small ones.
const FRAMES_READY_MAX: usize = 64;

pub(super) type Cx<'a, W> = Context<'a, <W as Wire>::Frame, <W as Wire>::Frame>;

/// The side of a connection that an engine is on.
pub(super) enum Side<W: Wire> {
    Dialer {
        shared: Arc<Shared<W>>,
        handshake: DialerHandshake,
    },
    Listener {
        hub: Arc<Hub<W>>,
        handshake: ListenerHandshake,
        session: Option<Session<PeerKey, W::Frame>>,
    },
}

impl<W: Wire> Side<W> {
    pub(super) fn wire(&self) -> &Arc<W> {
        match self {
            Self::Dialer { shared, .. } => &shared.wire,
            Self::Listener { hub, .. } => &hub.wire,
        }
    }

    /// Takes the place that a login has got.
    pub(super) fn take_place(&mut self, place: Session<PeerKey, W::Frame>) {
        if let Self::Listener { session, .. } = self {
            *session = Some(place);
        }
    }

    /// Gives the place up, for whoever logs in next.
    fn leave(&mut self) {
        if let Self::Listener { session, .. } = self {
            *session = None;
        }
    }

    fn rules(&self) -> &LinkRules {
        match self {
            Self::Dialer { shared, .. } => &shared.rules,
            Self::Listener { hub, .. } => &hub.rules,
        }
    }
}

/// What a connection has once it is logged in.
pub(super) struct Up<W: Wire> {
    pub(super) shared: Arc<Shared<W>>,
    pub(super) number: u64,
    heartbeat: Heartbeat,
    /// Taken from the outbox, and not written yet: the first of them by the number of their handing over.
    ready: VecDeque<(u64, W::Frame)>,
    /// When the timer of acknowledgements is set to ring.
    ack_at: Option<Instant>,
    /// Whether senders leave it to this engine to look at the outbox.
    pub(super) attending: bool,
    /// Whether reading has stopped, because the outbox has no room for answers.
    pub(super) paused: bool,
    /// Messages that wait for room for their answers, in acknowledged mode: reading goes on there, since only what
    /// is read makes room. The other side's outbox bounds them, and ours.
    pub(super) waiting: VecDeque<W::Frame>,
    pub(super) waiting_bytes: usize,
}

/// The engine of one connection; `inner` handles the messages.
pub(super) struct Engine<W: Wire, T> {
    pub(super) side: Side<W>,
    pub(super) up: Option<Up<W>>,
    seat: Seat<W>,
    service: Arc<dyn Service<W>>,
    pub(super) inner: T,
}

impl<W: Wire, T: Terminal<W::Frame, W::Frame>> Engine<W, T> {
    pub(super) const fn new(
        side: Side<W>,
        seat: Seat<W>,
        service: Arc<dyn Service<W>>,
        inner: T,
    ) -> Self {
        Self {
            side,
            up: None,
            seat,
            service,
            inner,
        }
    }

    /// The login is done, or there is none.
    pub(super) fn come_up(&mut self, cx: &mut Cx<'_, W>, shared: Arc<Shared<W>>) -> Result<()> {
        cx.cancel_deadline(CloseReason::HandshakeTimeout);
        if shared.is_closed() {
            cx.close(CloseReason::Local);
            return Ok(());
        }
        let number = shared.attach(cx.handle());
        let seed = shared.net.network().seed();
        let heartbeat = Heartbeat::new(shared.rules.heartbeat.clone(), seed, cx.now());
        let link = Link(Arc::clone(&shared));
        if !shared.rules.outbox.acknowledged {
            let shared = Arc::clone(&shared);
            cx.watch_marks(move |handing| shared.handle_left(number, handing));
        }
        info!(target: "netwheel::link", "{} {}: up, peer={}", cx.id(), cx.peer(), shared.name);
        self.up = Some(Up {
            shared,
            number,
            heartbeat,
            ready: VecDeque::new(),
            ack_at: None,
            attending: false,
            paused: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        });
        self.arm_heartbeat(cx);
        let link = self.seat.get_or_init(|| link);
        self.service.on_up(link);
        self.pump(cx)
    }

    fn handle_frame(&mut self, cx: &mut Cx<'_, W>, frame: W::Frame) -> Result<()> {
        let kind = self.side.wire().kind(&frame)?;
        let Some(up) = &mut self.up else {
            return self.handle_login(cx, &kind);
        };
        let now = cx.now();
        up.heartbeat.handle_frame(now);
        match kind {
            Kind::Hello(_) => self.refuse(cx, Refusal::NotHandshake),
            Kind::Reply(_) => Err(Failure::protocol(
                "an answer to a login that was not asked for",
            )),
            Kind::Ping => {
                up.heartbeat.handle_sent(now);
                cx.write(up.shared.wire.pong(&frame))
            }
            Kind::Pong => {
                up.heartbeat.handle_pong(now);
                up.shared.tell_rtt(up.heartbeat.rtt());
                Ok(())
            }
            Kind::Ignored => Ok(()),
            Kind::Ack | Kind::Answer(_) | Kind::Message => {
                if !up.take_stamp(now, &frame)? {
                    return self.arm_ack(cx);
                }
                up.attend();
                match kind {
                    Kind::Answer(id) => up.answer(id, frame)?,
                    Kind::Message => self.deliver(cx, frame)?,
                    _ => {}
                }
                self.after_message(cx)
            }
        }
    }

    /// Hands over what waits, as far as there is room.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        let Some(up) = &mut self.up else {
            return Ok(());
        };
        up.look();
        if !up.ready.is_empty() && !up.shared.is_current(up.number) {
            // They go over the connection that has taken this one's place.
            up.ready.clear();
        }
        let keeps = up.shared.rules.outbox.acknowledged;
        while cx.state.accepts_output() && cx.is_writable() {
            let Some((handing, frame)) = up.next_frame() else {
                break;
            };
            up.heartbeat.handle_sent(cx.now());
            match keeps {
                true => cx.write(frame)?,
                false => cx.write_marked(frame, handing)?,
            }
        }
        if up.ready.is_empty() && up.shared.has_said_all() {
            cx.close_after_flush(CloseReason::Local);
            return Ok(());
        }
        self.arm_ack(cx)
    }

    fn arm_heartbeat(&self, cx: &mut Cx<'_, W>) {
        if let Some(up) = &self.up {
            let next = up.heartbeat.next_timeout();
            cx.timer(next.since(cx.now()), BEAT);
        }
    }

    fn beat(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        let now = cx.now();
        let wire = Arc::clone(self.side.wire());
        let Some(up) = &mut self.up else {
            return Ok(());
        };
        up.heartbeat.handle_silence(now, cx.read_silence());
        while let Some(beat) = up.heartbeat.poll(now) {
            match beat {
                Beat::Ping => cx.write(wire.ping())?,
                Beat::Lost => {
                    let missed = up.heartbeat.missed(now);
                    warn!(
                        target: "netwheel::link",
                        "{} {}: lost, peer={}, {missed} heartbeats missed",
                        cx.id(), cx.peer(), up.shared.name
                    );
                    cx.close(CloseReason::HeartbeatLost);
                    return Ok(());
                }
            }
        }
        self.arm_heartbeat(cx);
        Ok(())
    }

    /// Sends an acknowledgement that is due, or sees to it that it will be sent.
    fn arm_ack(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        let Some(up) = &mut self.up else {
            return Ok(());
        };
        if !up.shared.rules.outbox.acknowledged || !cx.state.accepts_output() {
            return Ok(());
        }
        let now = cx.now();
        if let Some(seq) = up.shared.poll_ack(now) {
            if let Some(frame) = up.shared.wire.ack(seq) {
                up.heartbeat.handle_sent(now);
                cx.write(frame)?;
            }
            return Ok(());
        }
        if let Some(at) = up.shared.ack_at()
            && up.ack_at.is_none_or(|armed| at < armed)
        {
            up.ack_at = Some(at);
            cx.timer(at.since(now), ACK);
        }
        Ok(())
    }
}

impl<W: Wire> Up<W> {
    /// The next frame to write: several are taken from the outbox at a time.
    fn next_frame(&mut self) -> Option<(u64, W::Frame)> {
        if self.ready.is_empty() {
            // What is urgent passes only what is still in the outbox.
            let max = if self.shared.rules.outbox.lanes {
                1
            } else {
                FRAMES_READY_MAX
            };
            self.shared.next_frames(self.number, max, &mut self.ready);
        }
        self.ready.pop_front()
    }

    /// Reads what acknowledged mode has added; answers whether the frame is to be handled.
    fn take_stamp(&self, now: Instant, frame: &W::Frame) -> Result<bool> {
        if !self.shared.rules.outbox.acknowledged {
            return Ok(true);
        }
        let stamp = self.shared.wire.stamp_of(frame)?;
        if let Some(seq) = stamp.ack {
            self.shared.handle_ack(self.number, seq);
        }
        Ok(stamp
            .position
            .is_none_or(|at| self.shared.arrive(now, self.number, at)))
    }

    /// An answer goes to who asked, past messages that wait for the pool.
    fn answer(&self, id: u64, frame: W::Frame) -> Result<()> {
        let position = if self.shared.rules.outbox.acknowledged {
            self.shared.wire.stamp_of(&frame)?.position
        } else {
            None
        };
        self.shared.handle_answer(id, frame);
        if let Some(at) = position {
            self.shared.handle_handled(at)?;
        }
        Ok(())
    }
}

impl<W: Wire, T: Terminal<W::Frame, W::Frame>> Terminal<W::Frame, W::Frame> for Engine<W, T> {
    fn on_open(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        self.inner.on_open(cx)?;
        let timeout = self.side.rules().handshake;
        if let Some(timeout) = timeout {
            cx.deadline(timeout, CloseReason::HandshakeTimeout);
        }
        match &self.side {
            Side::Dialer { shared, handshake } if timeout.is_some() => {
                cx.write(shared.wire.hello(&handshake.hello()))
            }
            Side::Dialer { shared, .. } => {
                let shared = Arc::clone(shared);
                self.come_up(cx, shared)
            }
            Side::Listener { .. } if timeout.is_some() => Ok(()),
            Side::Listener { hub, .. } => {
                let hub = Arc::clone(hub);
                match hub.let_in(cx.peer(), &cx.handle()) {
                    Ok((session, shared)) => {
                        self.side.take_place(session);
                        self.come_up(cx, shared)
                    }
                    Err(why) => {
                        warn!(target: "netwheel::link", "{} {}: refused, reason={why}", cx.id(), cx.peer());
                        cx.close(reason_of(why));
                        Ok(())
                    }
                }
            }
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, W>, frame: W::Frame) -> Result<()> {
        self.handle_frame(cx, frame)
    }

    fn on_read_complete(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        self.inner.on_read_complete(cx)?;
        self.look_after(cx)
    }

    fn on_settled(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        // Where a stage has cut the read short.
        self.look_after(cx)?;
        self.inner.on_settled(cx)
    }

    fn on_ready(&mut self, cx: &mut Cx<'_, W>) -> Result<()> {
        self.inner.on_ready(cx)?;
        self.pump(cx)?;
        self.give_way(cx)
    }

    fn on_event(&mut self, cx: &mut Cx<'_, W>, event: &Event) -> Result<()> {
        match event {
            Event::Timer(BEAT) => self.beat(cx),
            Event::Timer(ACK) => {
                if let Some(up) = &mut self.up {
                    up.ack_at = None;
                }
                self.arm_ack(cx)
            }
            Event::Writable | Event::ShuttingDown => {
                self.inner.on_event(cx, event)?;
                self.pump(cx)?;
                self.give_way(cx)
            }
            _ => self.inner.on_event(cx, event),
        }
    }

    fn is_idle(&mut self) -> bool {
        self.inner.is_idle()
    }

    fn give_up(&mut self) {
        self.inner.give_up();
    }

    fn on_close(&mut self, cx: &mut Cx<'_, W>, reason: CloseReason) {
        self.inner.on_close(cx, reason);
        let Some(up) = self.up.take() else {
            if reason == CloseReason::HandshakeTimeout {
                let why = Refusal::Timeout;
                warn!(target: "netwheel::link", "{} {}: closed, reason={why}", cx.id(), cx.peer());
            }
            return;
        };
        info!(target: "netwheel::link", "{} {}: down, peer={}, {reason}", cx.id(), cx.peer(), up.shared.name);
        if up.shared.detach(up.number, cx.now(), reason) {
            // Who is still logged in is not forgotten.
            self.side.leave();
            up.shared.be_forgotten();
        }
        if let Some(link) = self.seat.get() {
            self.service.on_down(link, reason);
        }
        // Not with the connection, which may linger: the peer may come back at once.
        self.side.leave();
    }
}
