//! One who is logged in.

use std::sync::Arc;

use bytes::Bytes;
use netwheel::codec::FRAME_COPY_BYTES_MAX;
use netwheel::{CloseReason, Event, Flow, Result, Session, Stage, TimerKey};
use serde_json::{Value, json};

use super::login::Login;
use super::{Cx, Service};
use crate::ledger::{self, Entry, conversation, is_room};
use crate::limits::{
    COMMAND_BYTES_MAX, DESK_RETRY_INTERVAL, MESSAGE_BYTES_MAX, PAGE_BYTES_MAX, PAGE_MESSAGES_MAX,
};
use crate::office::{Command, Device, Order, Visitor};
use crate::protocol::{
    Code, Frame, HeadType, Message, MessageNotification, MessageRequest, NO_SESSION, Packet, blocks,
};
use crate::store::Store;
use crate::users::is_name;

/// A session, from its login to its logout or the end of the connection.
pub(super) struct Chat {
    service: Service,
    device: Device,
    /// Logs out when the stage goes.
    _session: Session<Device, Packet>,
    /// The answer to the login; the office sends it, behind what is left of an earlier session on the connection.
    welcome: Option<Packet>,
    /// The answer to the logout, which the office sends for the same reason.
    farewell: Option<Packet>,
    /// Known to the office from the open on.
    visitor: Option<Arc<Visitor>>,
    /// Found no room on the desk, and goes before everything that is read later.
    held: Option<Order>,
    /// The server is shutting down.
    ending: bool,
}

/// Tries again to put on the desk what found no room.
const RETRY: TimerKey = TimerKey(0);

impl Stage<Frame, Packet> for Chat {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let office = &self.service.0.office;
        let visitor = Visitor::new(office, self.device.clone(), cx.handle());
        self.visitor = Some(Arc::clone(&visitor));
        if let Some(welcome) = self.welcome.take() {
            office.tell(Order::Arrive { visitor, welcome });
        }
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Cx<'_>, frame: &mut Frame) -> Result<Flow> {
        let (Some(visitor), sequence) = (self.visitor.clone(), frame.message.sequence) else {
            return Ok(Flow::Next);
        };
        Visitor::go_on(&visitor);
        match frame.message.r#type() {
            HeadType::LoginRequest => {
                let why = "you are logged in already";
                let code = Code::AlreadyLoggedIn;
                cx.write(Packet::login_response(sequence, NO_SESSION, code, why))?;
            }
            HeadType::LogoutRequest => self.log_out(cx, sequence),
            HeadType::MessageRequest => match frame.message.message_request.take() {
                Some(request) => self.say(cx, &visitor, frame, request)?,
                None => cx.write(Packet::response(sequence, Code::Unknown, "no message"))?,
            },
            HeadType::MessageResponse => Visitor::acknowledge(&visitor, sequence),
            HeadType::MessageNotification => match frame.message.notification.take() {
                Some(notification) => self.execute(cx, &visitor, sequence, &notification)?,
                None => cx.write(Packet::response(sequence, Code::Unknown, "no command"))?,
            },
            HeadType::HeartBeat => {}
            _ => return Ok(Flow::Next),
        }
        Ok(Flow::Stop)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        match event {
            Event::Writable => {
                if let Some(visitor) = &self.visitor {
                    Visitor::go_on(visitor);
                }
            }
            Event::Timer(RETRY) => {
                if let Some(order) = self.held.take() {
                    cx.resume_reading();
                    self.ask(cx, order);
                    if self.ending {
                        self.service.stay(cx);
                    }
                }
            }
            Event::ShuttingDown => {
                let _ = cx.try_write(Packet::notification(0, &json!({ "event": "shutdown" })));
                self.ending = true;
                self.service.stay(cx);
            }
            _ => {}
        }
        Ok(Flow::Next)
    }

    fn on_removed(&mut self, _cx: &mut Cx<'_>) {
        self.leave();
    }

    fn on_close(&mut self, _cx: &mut Cx<'_>, reason: CloseReason) {
        log::debug!("{} has gone: {reason}", self.device);
        self.leave();
    }
}

impl Chat {
    pub(super) fn new(
        service: &Service,
        session: Session<Device, Packet>,
        device: Device,
        welcome: Packet,
    ) -> Self {
        Self {
            service: service.clone(),
            device,
            _session: session,
            welcome: Some(welcome),
            farewell: None,
            visitor: None,
            held: None,
            ending: false,
        }
    }

    fn say(
        &mut self,
        cx: &mut Cx<'_>,
        visitor: &Arc<Visitor>,
        frame: &Frame,
        request: MessageRequest,
    ) -> Result<()> {
        let sequence = frame.message.sequence;
        if frame.raw.len() > MESSAGE_BYTES_MAX {
            let why = format!("a message has at most {MESSAGE_BYTES_MAX} bytes");
            return cx.write(Packet::response(sequence, Code::TooLarge, &why));
        }
        let known = match request.to.strip_prefix('#') {
            Some(room) => is_name(room),
            None => self.is_user(&request.to),
        };
        if !known {
            visitor.settle(&request.to, request.msg_id);
            let why = "there is nobody of that name";
            return cx.write(Packet::response(sequence, Code::Offline, why));
        }
        let order = Order::Say {
            visitor: Arc::clone(visitor),
            sequence,
            client_id: request.msg_id,
            to: request.to,
            raw: own(&frame.raw),
        };
        self.ask(cx, order);
        Ok(())
    }

    fn execute(
        &mut self,
        cx: &mut Cx<'_>,
        visitor: &Arc<Visitor>,
        sequence: u64,
        notification: &MessageNotification,
    ) -> Result<()> {
        if notification.json.len() > COMMAND_BYTES_MAX {
            let why = format!("a command has at most {COMMAND_BYTES_MAX} bytes");
            return cx.write(Packet::response(sequence, Code::TooLarge, &why));
        }
        let command = match serde_json::from_str(&notification.json) {
            Ok(command) => command,
            Err(fault) => {
                let why = format!("no command: {fault}");
                return cx.write(Packet::response(sequence, Code::Unknown, &why));
            }
        };
        let room = match &command {
            Command::Join { room, .. } | Command::Leave { room } => Some(room),
            Command::Who { room } => room.as_ref(),
            Command::Watch { .. } | Command::History { .. } => None,
        };
        if room.is_some_and(|name| !name.strip_prefix('#').is_some_and(is_name)) {
            let why = "a room is called # and a name";
            return cx.write(Packet::response(sequence, Code::Unknown, why));
        }
        if let Command::Watch { uid } = &command
            && !self.is_user(uid)
        {
            let why = "there is nobody of that name";
            return cx.write(Packet::response(sequence, Code::Offline, why));
        }
        if let Command::History {
            with,
            before,
            limit,
        } = command
        {
            return self.read(cx, sequence, &with, before, limit);
        }
        let order = Order::Do {
            visitor: Arc::clone(visitor),
            sequence,
            command,
        };
        self.ask(cx, order);
        Ok(())
    }

    fn is_user(&self, uid: &str) -> bool {
        is_name(uid) && self.service.0.users.exists(uid)
    }

    /// Puts an order on the office's desk. While there is no room the client is not read, so that its messages keep
    /// their order and nothing is refused: TCP holds it back.
    fn ask(&mut self, cx: &mut Cx<'_>, order: Order) {
        if let Err(busy) = self.service.0.office.ask(order) {
            self.held = Some(busy.0);
            cx.pause_reading();
            cx.timer(DESK_RETRY_INTERVAL, RETRY);
        }
    }

    /// A page of a conversation, read off the I/O thread.
    fn read(
        &self,
        cx: &mut Cx<'_>,
        sequence: u64,
        with: &str,
        before: Option<u64>,
        limit: Option<usize>,
    ) -> Result<()> {
        if !is_room(with) && !is_name(with) {
            let why = "there is nobody of that name";
            return cx.write(Packet::response(sequence, Code::Offline, why));
        }
        let name = conversation(&self.device.uid, with);
        let limit = limit
            .unwrap_or(PAGE_MESSAGES_MAX)
            .clamp(1, PAGE_MESSAGES_MAX);
        let store = Arc::clone(&self.service.0.store);
        let page = move || page(&*store, &name, before.unwrap_or(u64::MAX), limit);
        let librarians = &self.service.0.librarians;
        let asked = cx.offload(librarians, page, move |cx, page| match page {
            Ok(page) => {
                let page = blocks(sequence, "messages", &page, &json!({}));
                page.into_iter().try_for_each(|block| cx.write(block))
            }
            Err(fault) => {
                log::error!("a history cannot be read: {fault}");
                let why = "the server's store has failed";
                cx.write(Packet::response(sequence, Code::Unknown, why))
            }
        });
        if asked.is_err() {
            let why = "too many read histories";
            return cx.write(Packet::response(sequence, Code::Busy, why));
        }
        Ok(())
    }

    fn log_out(&mut self, cx: &mut Cx<'_>, sequence: u64) {
        self.farewell = Some(Packet::logout_response(sequence));
        cx.pipeline()
            .add_after("idle", "login", Login::new(&self.service))
            .remove("heartBeat")
            .remove("chat");
    }

    /// Tells the office that the session is over. The session itself ends with the stage.
    fn leave(&mut self) {
        if let Some(visitor) = self.visitor.take() {
            let farewell = self.farewell.take();
            let office = &self.service.0.office;
            office.tell(Order::Leave { visitor, farewell });
        }
    }
}

/// A message that may wait: a large one shares the memory of what was read with it, and would keep all of that.
fn own(raw: &Bytes) -> Bytes {
    match raw.len() > FRAME_COPY_BYTES_MAX {
        true => Bytes::copy_from_slice(raw),
        false => raw.clone(),
    }
}

/// The last messages of a conversation before that one, as many as a page holds, oldest first.
fn page(
    store: &dyn Store,
    conversation: &str,
    before: u64,
    limit: usize,
) -> std::io::Result<Vec<Value>> {
    let entries = ledger::history(store, conversation, 0, before, limit)?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    for entry in entries.into_iter().rev() {
        let Some(message) = shown(&entry) else {
            continue;
        };
        bytes += message.to_string().len();
        if bytes > PAGE_BYTES_MAX && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    page.reverse();
    Ok(page)
}

/// A message as histories show it.
fn shown((id, packet): &Entry) -> Option<Value> {
    use prost::Message as _;
    let said = Message::decode(&*packet.0).ok()?.message_request?;
    Some(json!({
        "id": id, "from": said.from, "to": said.to, "time": said.time, "content": said.content,
    }))
}
