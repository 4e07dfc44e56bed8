//! The door: nothing passes but a login.

use netwheel::{CloseReason, Event, Flow, Result, Stage};

use super::chat::Chat;
use super::heart_beat::HeartBeat;
use super::{Cx, Service};
use crate::limits::{FRAMES_BEFORE_LOGIN_MAX, TOKEN_BYTES_MAX};
use crate::office::Device;
use crate::protocol::{Code, Frame, HeadType, LoginRequest, NO_SESSION, Packet};
use crate::users::is_name;

/// Lets a user in, and goes.
pub(super) struct Login {
    service: Service,
    /// A password is being checked.
    checking: bool,
    /// Frames that came to nothing: no logins, or such as were put off.
    strays: u32,
}

impl Stage<Frame, Packet> for Login {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let time = self.service.0.options.login_timeout;
        cx.deadline(time, CloseReason::HandshakeTimeout);
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Cx<'_>, frame: &mut Frame) -> Result<Flow> {
        let (kind, sequence) = (frame.message.r#type(), frame.message.sequence);
        // The default of the type's field is a login; without a request it is something unknown.
        if kind == HeadType::LoginRequest
            && let Some(request) = frame.message.login_request.take()
        {
            if !self.log_in(cx, sequence, request)? {
                self.count_stray(cx);
            }
            return Ok(Flow::Stop);
        }
        if self.count_stray(cx) && kind != HeadType::HeartBeat {
            let refused = Packet::response(sequence, Code::NotLoggedIn, "log in first");
            cx.write(refused)?;
        }
        Ok(Flow::Stop)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        if let Event::ShuttingDown = event {
            // The answer to a logout may be on its way.
            self.service.stay(cx);
        }
        Ok(Flow::Next)
    }
}

impl Login {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            service: service.clone(),
            checking: false,
            strays: 0,
        }
    }

    /// Counts a frame that came to nothing; `false` where it is one too many, and the connection ends.
    fn count_stray(&mut self, cx: &mut Cx<'_>) -> bool {
        self.strays += 1;
        let few = self.strays <= FRAMES_BEFORE_LOGIN_MAX;
        if !few {
            cx.close_after_flush(CloseReason::OverLimit);
        }
        few
    }

    /// Whether the password is checked from now on, or the connection ends; anything else is answered here.
    fn log_in(&mut self, cx: &mut Cx<'_>, sequence: u64, request: LoginRequest) -> Result<bool> {
        let put_off = |cx: &mut Cx<'_>, code, why| answer(cx, sequence, code, why).map(|()| false);
        if self.checking {
            return put_off(cx, Code::AlreadyLoggedIn, "a login is under way");
        }
        if self.service.0.office.is_full() {
            return put_off(cx, Code::Busy, "too much waits for the store");
        }
        if request.token.is_empty() {
            return refuse(cx, sequence, Code::NoToken, "a password is needed").map(|()| true);
        }
        if !is_name(&request.uid) || request.token.len() > TOKEN_BYTES_MAX {
            let why = "no user is called so";
            return refuse(cx, sequence, Code::AuthFailed, why).map(|()| true);
        }
        let users = self.service.0.users.clone();
        let (service, device) = (
            self.service.clone(),
            Device::new(&request.uid, request.platform),
        );
        let check = move || users.check(&request.uid, &request.token);
        let doormen = &self.service.0.doormen;
        let let_in = cx.offload(doormen, check, move |cx, right| match right {
            true => service.let_in(cx, sequence, device),
            false => refuse(cx, sequence, Code::AuthFailed, "wrong user or password"),
        });
        if let_in.is_err() {
            return put_off(cx, Code::Busy, "too many log in at once");
        }
        self.checking = true;
        Ok(true)
    }
}

impl Service {
    fn let_in(&self, cx: &mut Cx<'_>, sequence: u64, device: Device) -> Result<()> {
        let handle = cx.handle();
        let Ok(session) = self.0.sessions.login(device.clone(), &handle) else {
            let why = "you are logged in on this platform already";
            return refuse(cx, sequence, Code::AlreadyLoggedIn, why);
        };
        let id = session.id().to_string();
        let store = &self.0.store_name;
        let welcome = Packet::login_response(sequence, &id, Code::Ok, store);
        cx.pipeline()
            .add_after("login", "chat", Chat::new(self, session, device, welcome))
            .add_after("login", "heartBeat", HeartBeat)
            .remove("login");
        Ok(())
    }
}

fn answer(cx: &mut Cx<'_>, sequence: u64, code: Code, why: &str) -> Result<()> {
    cx.write(Packet::login_response(sequence, NO_SESSION, code, why))
}

/// A login has failed, and the connection with it.
fn refuse(cx: &mut Cx<'_>, sequence: u64, code: Code, why: &str) -> Result<()> {
    answer(cx, sequence, code, why)?;
    let reason = match code {
        Code::AlreadyLoggedIn => CloseReason::Duplicate,
        _ => CloseReason::Refused,
    };
    cx.close_after_flush(reason);
    Ok(())
}
