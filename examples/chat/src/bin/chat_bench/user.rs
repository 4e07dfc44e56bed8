//! One user: logs in, talks, and checks what it hears.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chat::protocol::{
    Code, Frame, HeadType, LoginRequest, Message, MessageHeartBeat, MessageRequest, Packet,
};
use hdrhistogram::Histogram;
use netwheel::{CloseReason, Context, Event, Handler, Result, TimerKey};
use serde_json::json;

use crate::crowd::{Crowd, times};

/// One user.
pub(crate) struct User {
    crowd: Arc<Crowd>,
    nth: usize,
    sequence: u64,
    said: u64,
    /// Share of a message to a room that is owed.
    owed: f64,
    to: usize,
    /// The last number that each sender has said here, to this user and in the room.
    heard: HashMap<(String, bool), u64>,
    /// By the sequence of each message that was not answered: how many deliveries it makes.
    unanswered: HashMap<u64, u64>,
    times: Histogram<u64>,
}

const TALK: TimerKey = TimerKey(1);
const BEAT: TimerKey = TimerKey(2);

type Cx<'a> = Context<'a, Frame, Packet>;

impl Handler<Frame, Packet> for User {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let uid = format!("u{}", self.nth);
        self.send(cx, HeadType::LoginRequest, |message| {
            message.login_request = Some(LoginRequest {
                token: uid.clone(),
                uid,
                platform: 5,
                ..LoginRequest::default()
            });
        })
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, frame: Frame) -> Result<()> {
        let message = frame.message;
        match message.r#type() {
            HeadType::LoginResponse => {
                let response = message.login_response.unwrap_or_default();
                if !response.result {
                    let why = format!("u{} is not logged in: {}", self.nth, response.info);
                    self.crowd.give_up(why);
                    return Ok(());
                }
                self.logged_in(cx)
            }
            HeadType::MessageRequest => {
                let said = message.message_request.unwrap_or_default();
                let in_room = said.to.starts_with('#');
                self.heard(said);
                if !in_room {
                    cx.write(Packet::acknowledgement(message.sequence))?;
                }
                Ok(())
            }
            HeadType::MessageResponse => {
                self.answered(
                    message.message_response.unwrap_or_default().code,
                    message.sequence,
                );
                Ok(())
            }
            HeadType::HeartBeat => {
                self.crowd.echoes.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<()> {
        match event {
            Event::Timer(TALK) => self.talk(cx),
            Event::Timer(BEAT) => {
                self.crowd.heartbeats.fetch_add(1, Ordering::Relaxed);
                cx.timer(
                    Duration::from_secs_f64(self.crowd.flags.heartbeat_secs),
                    BEAT,
                );
                self.send(cx, HeadType::HeartBeat, |message| {
                    message.heart_beat = Some(MessageHeartBeat::default());
                })
            }
            _ => Ok(()),
        }
    }

    fn on_close(&mut self, _cx: &mut Cx<'_>, reason: CloseReason) {
        if reason != CloseReason::Local && reason != CloseReason::Shutdown {
            let why = format!("the connection of u{} has ended: {reason}", self.nth);
            self.crowd.give_up(why);
        }
        let mut times = self
            .crowd
            .times
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = times.add(&self.times);
    }
}

impl User {
    pub(crate) fn new(crowd: &Arc<Crowd>, nth: usize) -> Self {
        Self {
            crowd: Arc::clone(crowd),
            nth,
            sequence: 0,
            said: 0,
            owed: 0.0,
            to: nth,
            heard: HashMap::new(),
            unanswered: HashMap::new(),
            times: times(),
        }
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        kind: HeadType,
        fill: impl FnOnce(&mut Message),
    ) -> Result<()> {
        self.sequence += 1;
        cx.write(Packet::new(kind, self.sequence, fill))
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        self.crowd.logged_in.fetch_add(1, Ordering::Relaxed);
        let flags = &self.crowd.flags;
        // Not all at once, as people do not.
        let share = self.nth as f64 / flags.users as f64;
        cx.timer(Duration::from_secs_f64(flags.heartbeat_secs * share), BEAT);
        if self.nth < flags.talkers {
            let pause = flags.talkers as f64 / flags.rate;
            cx.timer(
                Duration::from_secs_f64(pause * self.nth as f64 / flags.talkers as f64),
                TALK,
            );
        }
        if self.crowd.in_rooms() {
            self.sequence += 1;
            let room = self.room();
            let join = json!({ "cmd": "join", "room": room });
            cx.write(Packet::notification(self.sequence, &join))?;
        }
        Ok(())
    }

    fn room(&self) -> String {
        format!("#room{}", self.nth % self.crowd.rooms())
    }

    fn answered(&mut self, code: u32, sequence: u64) {
        let crowd = &self.crowd;
        let due = self.unanswered.remove(&sequence).unwrap_or(0);
        if crowd.in_rooms() && sequence == 2 && code != Code::Ok as u32 {
            crowd.give_up(format!("u{} may not join its room: code {code}", self.nth));
        } else if crowd.in_rooms() && sequence == 2 {
            crowd.joined.fetch_add(1, Ordering::Relaxed);
        } else if code == Code::Ok as u32 {
            crowd.kept.fetch_add(1, Ordering::Relaxed);
        } else {
            crowd.refused.fetch_add(1, Ordering::Relaxed);
            // Nobody waits for what nobody will hear.
            crowd.due.fetch_sub(due, Ordering::Relaxed);
            crowd.fault(format!("u{}: refused with code {code}", self.nth));
        }
    }

    /// Says something, if it is time to talk, and comes back.
    fn talk(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let crowd = Arc::clone(&self.crowd);
        let flags = &crowd.flags;
        cx.timer(
            Duration::from_secs_f64(flags.talkers as f64 / flags.rate),
            TALK,
        );
        if !crowd.talking.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.owed += flags.room_share;
        let to_room = self.owed >= 1.0 - 1e-9;
        let (to, due) = match to_room {
            true => {
                self.owed -= 1.0;
                (self.room(), crowd.members(self.nth) - 1)
            }
            false => {
                self.to = (self.to + 1) % flags.users;
                if self.to == self.nth {
                    self.to = (self.to + 1) % flags.users;
                }
                (format!("u{}", self.to), 1)
            }
        };
        self.said += 1;
        let mut content = format!("{} {} ", self.said, crowd.now_micros());
        content.extend(std::iter::repeat_n(
            'x',
            flags.size.saturating_sub(content.len()),
        ));
        crowd.said.fetch_add(1, Ordering::Relaxed);
        crowd.due.fetch_add(due as u64, Ordering::Relaxed);
        self.unanswered.insert(self.sequence + 1, due as u64);
        self.send(cx, HeadType::MessageRequest, |message| {
            message.message_request = Some(MessageRequest {
                to,
                content,
                ..MessageRequest::default()
            });
        })
    }

    fn heard(&mut self, said: MessageRequest) {
        let mut words = said
            .content
            .split(' ')
            .map(|word| word.parse::<u64>().unwrap_or(0));
        let (Some(number), Some(time)) = (words.next(), words.next()) else {
            return;
        };
        let micros = self.crowd.now_micros().saturating_sub(time);
        self.times.saturating_record(micros.max(1));
        let last = self
            .heard
            .entry((said.from, said.to.starts_with('#')))
            .or_default();
        if number <= *last {
            let text = format!("u{}: number {number} after {last}", self.nth);
            self.crowd.fault(text);
        }
        *last = number;
        self.crowd.delivered.fetch_add(1, Ordering::Relaxed);
    }
}
