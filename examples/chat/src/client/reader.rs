//! What comes from the server, off the I/O thread: shown, noted, acknowledged.

use std::sync::Arc;

use netwheel::{CloseReason, LaneContext, PoolHandler, Result};

use super::memory::About;
use super::{News, Shared};
use crate::ledger::is_room;
use crate::lock;
use crate::protocol::{Code, Frame, HeadType, Message, MessageRequest, Packet};

pub(super) struct Reader(Arc<Shared>);

type Cx<'a> = LaneContext<'a, Packet>;

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }
}

impl PoolHandler<Frame, Packet> for Reader {
    fn on_message(&mut self, cx: &mut Cx<'_>, frame: Frame) -> Result<()> {
        let Message {
            sequence,
            login_response,
            message_request,
            message_response,
            notification,
            ..
        } = frame.message;
        match HeadType::try_from(frame.message.r#type) {
            Ok(HeadType::LoginResponse) => {
                let response = login_response.unwrap_or_default();
                match response.result {
                    true => self.logged_in(cx, &response.info)?,
                    false => self.refused(cx, response.code, response.info),
                }
            }
            Ok(HeadType::MessageRequest) => {
                self.heard(cx, sequence, message_request.unwrap_or_default())?;
            }
            Ok(HeadType::MessageResponse) => {
                let response = message_response.unwrap_or_default();
                let about = lock(&self.0.memory).respond(sequence, response);
                self.answered(cx, about);
            }
            Ok(HeadType::MessageNotification) => {
                let json = notification.unwrap_or_default().json;
                if let Ok(event) = serde_json::from_str(&json) {
                    self.0.screen.show(News::Event(event));
                }
            }
            Ok(HeadType::LogoutResponse) => {
                lock(&self.0.memory).logged_in = false;
                self.0.end();
                self.0.screen.show(News::LoggedOut);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    fn logged_in(&self, cx: &mut Cx<'_>, store: &str) -> Result<()> {
        let mut memory = lock(&self.0.memory);
        for command in memory.log_in(store) {
            cx.write(memory.ask(command))?;
        }
        self.0.note(&mut memory);
        memory.pump(false, |packet| cx.try_write(packet).is_ok());
        drop(memory);
        self.0.screen.show(News::LoggedIn);
        Ok(())
    }

    fn refused(&self, cx: &mut Cx<'_>, code: u32, why: String) {
        // The session that is in the way ends, if it is one of ours that has lost its connection.
        let again = code == Code::AlreadyLoggedIn as u32 || code == Code::Busy as u32;
        self.0.screen.show(News::Refused { why, again });
        match again {
            true => cx.close_after_flush(CloseReason::Refused),
            false => self.0.end(),
        }
    }

    fn heard(&self, cx: &mut Cx<'_>, id: u64, said: MessageRequest) -> Result<()> {
        let own = &self.0.settings.uid;
        let room = is_room(&said.to).then(|| said.to.clone());
        let is_copy = said.from == *own && said.to != *own && room.is_none();
        let (is_new, is_own) = {
            let memory = lock(&self.0.memory);
            let name = room.as_deref().filter(|_| said.from == *own);
            let is_own = name.is_some_and(|room| memory.is_own(room, id, &said.content));
            (is_copy || memory.is_new(room.as_deref(), id), is_own)
        };
        if is_new && !is_own {
            self.0.screen.show(News::Said {
                id,
                from: said.from,
                to: said.to,
                content: said.content,
            });
        }
        if is_new && !is_copy {
            let mut memory = lock(&self.0.memory);
            memory.has_shown(room.as_deref(), id);
            self.0.note(&mut memory);
        }
        match is_copy || room.is_some() {
            true => Ok(()),
            false => cx.write(Packet::acknowledgement(id)),
        }
    }

    fn answered(&self, cx: &mut Cx<'_>, about: About) {
        let news = match about {
            About::Kept(number) => News::Kept { number },
            About::NotSent(number, why) => News::NotSent { number, why },
            About::Answer(command, result) => News::Answer { command, result },
            About::Later | About::Nothing => return,
        };
        {
            let mut memory = lock(&self.0.memory);
            self.0.note(&mut memory);
            memory.pump(false, |packet| cx.try_write(packet).is_ok());
        }
        self.0.screen.show(news);
    }
}
