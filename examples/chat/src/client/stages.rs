//! The stages of a client's connection, on its worker: `login` first, `heartbeat` in its place later.

use std::sync::Arc;
use std::time::Duration;

use netwheel::{CloseReason, Context, Event, Flow, Result, Stage, TimerKey};

use super::Shared;
use crate::lock;
use crate::protocol::{Frame, HeadType, LoginRequest, MessageHeartBeat, Packet};

type Cx<'a> = Context<'a, Frame, Packet>;

/// How often it is looked whether something waits to be sent again.
const LOOK: Duration = Duration::from_secs(1);

/// Logs in, and goes.
pub(super) struct Login(Arc<Shared>);

impl Login {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl Stage<Frame, Packet> for Login {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let sequence = {
            let mut memory = lock(&self.0.memory);
            memory.forget_the_way();
            memory.next_sequence()
        };
        let settings = &self.0.settings;
        // A server that takes the connection and never answers is no server.
        cx.deadline(settings.heartbeat, CloseReason::HandshakeTimeout);
        cx.write(Packet::new(HeadType::LoginRequest, sequence, |message| {
            message.login_request = Some(LoginRequest {
                uid: settings.uid.clone(),
                device_id: "console".into(),
                token: settings.token.clone(),
                platform: settings.platform,
                app_version: env!("CARGO_PKG_VERSION").into(),
            });
        }))
    }

    fn on_inbound(&mut self, cx: &mut Cx<'_>, frame: &mut Frame) -> Result<Flow> {
        let response = frame.message.login_response.as_ref();
        if response.is_some_and(|response| response.result) {
            cx.pipeline()
                .add_after("login", "heartbeat", HeartBeat::new(&self.0))
                .remove("login");
        }
        Ok(Flow::Next)
    }
}

/// Tells the server that the client lives, and notices when the server does not.
struct HeartBeat {
    shared: Arc<Shared>,
    /// Time since the last heartbeat.
    since: Duration,
}

impl HeartBeat {
    const TICK: TimerKey = TimerKey(0);

    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            since: Duration::ZERO,
        }
    }

    fn tick(&self) -> Duration {
        self.shared.settings.heartbeat.min(LOOK)
    }

    fn beat(&self, cx: &mut Cx<'_>) -> Result<()> {
        let sequence = lock(&self.shared.memory).next_sequence();
        cx.write(Packet::new(HeadType::HeartBeat, sequence, |message| {
            message.heart_beat = Some(MessageHeartBeat {
                uid: self.shared.settings.uid.clone(),
                ..MessageHeartBeat::default()
            });
        }))
    }
}

impl Stage<Frame, Packet> for HeartBeat {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        cx.timer(self.tick(), Self::TICK);
        Ok(())
    }

    fn on_inbound(&mut self, _cx: &mut Cx<'_>, frame: &mut Frame) -> Result<Flow> {
        Ok(match frame.message.r#type() {
            HeadType::HeartBeat => Flow::Stop,
            _ => Flow::Next,
        })
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        let Event::Timer(Self::TICK) = event else {
            return Ok(Flow::Next);
        };
        let interval = self.shared.settings.heartbeat;
        if cx.read_silence() > interval * 2 + self.tick() {
            cx.close(CloseReason::HeartbeatLost);
            return Ok(Flow::Stop);
        }
        self.since += self.tick();
        if self.since >= interval {
            self.since = Duration::ZERO;
            self.beat(cx)?;
        }
        lock(&self.shared.memory).pump(true, |packet| cx.try_write(packet).is_ok());
        cx.timer(self.tick(), Self::TICK);
        Ok(Flow::Stop)
    }
}
