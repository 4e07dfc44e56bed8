//! A client that knows no more than sockets and frames.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use chat::protocol::{
    Code, HeadType, LoginRequest, Message, MessageHeartBeat, MessageRequest, MessageResponse,
    Packet,
};
use netwheel::RunningServer;
use prost::Message as _;
use serde_json::Value;

use crate::PATIENCE;

pub(crate) const WINDOWS: u32 = 0;
pub(crate) const ANDROID: u32 = 2;

pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    sequence: u64,
    /// Passes over events.
    pub(crate) deaf: bool,
}

impl Peer {
    pub(crate) fn connect(server: &RunningServer) -> Self {
        let stream = TcpStream::connect(server.address()).expect("a server");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream,
            sequence: 0,
            deaf: false,
        }
    }

    /// One who is logged in.
    pub(crate) fn log_in(server: &RunningServer, uid: &str, platform: u32) -> Self {
        let mut peer = Self::connect(server);
        assert_eq!(peer.try_log_in(uid, platform, "pw"), Code::Ok as u32);
        peer
    }

    /// Sends a login; answers with its code.
    pub(crate) fn try_log_in(&mut self, uid: &str, platform: u32, token: &str) -> u32 {
        let sequence = self.send_login(uid, platform, token);
        let answer = self.receive();
        assert_eq!(answer.r#type(), HeadType::LoginResponse);
        assert_eq!(answer.sequence, sequence);
        let response = answer.login_response.expect("of its type");
        assert_eq!(response.result, response.code == 0);
        match response.code {
            0 => assert!(is_session(&answer.session_id), "{}", answer.session_id),
            _ => assert_eq!(answer.session_id, "-1"),
        }
        response.code
    }

    pub(crate) fn send_login(&mut self, uid: &str, platform: u32, token: &str) -> u64 {
        self.send(HeadType::LoginRequest, |message| {
            message.login_request = Some(LoginRequest {
                uid: uid.into(),
                token: token.into(),
                platform,
                ..LoginRequest::default()
            });
        })
    }

    /// Sends a message; answers with its sequence.
    pub(crate) fn send(&mut self, kind: HeadType, fill: impl FnOnce(&mut Message)) -> u64 {
        self.sequence += 1;
        let packet = Packet::new(kind, self.sequence, fill);
        self.send_bytes(&frame(&packet.0));
        self.sequence
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Says something, with a number of one's own, or zero; answers with the sequence.
    pub(crate) fn say_numbered(&mut self, to: &str, content: &str, number: u64) -> u64 {
        self.send(HeadType::MessageRequest, |message| {
            message.message_request = Some(MessageRequest {
                msg_id: number,
                from: "somebody else".into(),
                to: to.into(),
                content: content.into(),
                ..MessageRequest::default()
            });
        })
    }

    pub(crate) fn say(&mut self, to: &str, content: &str) -> u64 {
        self.say_numbered(to, content, 0)
    }

    /// Says something and waits for the answer to it; answers with its code.
    pub(crate) fn tell(&mut self, to: &str, content: &str) -> u32 {
        let sequence = self.say(to, content);
        self.response(sequence).code
    }

    pub(crate) fn command(&mut self, json: &Value) -> u64 {
        self.sequence += 1;
        let packet = Packet::notification(self.sequence, json);
        self.send_bytes(&frame(&packet.0));
        self.sequence
    }

    /// Gives a command; answers with what came of it, joined from all blocks.
    pub(crate) fn ask(&mut self, json: &Value) -> Vec<Value> {
        let sequence = self.command(json);
        let mut answers = Vec::new();
        loop {
            let response = self.response(sequence);
            assert_eq!(response.code, 0, "{}", response.info);
            assert_eq!(response.block_index as usize, answers.len());
            answers.push(serde_json::from_str(&response.info).unwrap_or_default());
            if response.last_block {
                return answers;
            }
        }
    }

    pub(crate) fn acknowledge(&mut self, delivery: &Message) {
        self.send_bytes(&frame(&Packet::acknowledgement(delivery.sequence).0));
    }

    pub(crate) fn heart_beat(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let packet = Packet::new(HeadType::HeartBeat, self.sequence, |message| {
            message.heart_beat = Some(MessageHeartBeat::default());
        });
        let frame = frame(&packet.0);
        self.send_bytes(&frame);
        frame
    }

    /// The next message, which is the answer to a request.
    pub(crate) fn response(&mut self, sequence: u64) -> MessageResponse {
        let message = self.receive();
        assert_eq!(message.r#type(), HeadType::MessageResponse, "{message:?}");
        assert_eq!(message.sequence, sequence);
        let response = message.message_response.expect("of its type");
        assert_eq!(response.result, response.code == 0);
        response
    }

    /// The next message, which somebody has said: the whole of it, and who said what.
    pub(crate) fn delivery(&mut self) -> (Message, String, String) {
        let message = self.receive();
        assert_eq!(message.r#type(), HeadType::MessageRequest, "{message:?}");
        let said = message.message_request.clone().expect("of its type");
        assert_eq!(said.msg_id, message.sequence);
        (message, said.from, said.content)
    }

    /// The next message, which is an event.
    pub(crate) fn event(&mut self) -> Value {
        let message = self.receive();
        assert_eq!(
            message.r#type(),
            HeadType::MessageNotification,
            "{message:?}"
        );
        let json = message.notification.expect("of its type").json;
        serde_json::from_str(&json).expect("JSON")
    }

    pub(crate) fn receive(&mut self) -> Message {
        loop {
            let bytes = self.receive_bytes();
            let message = Message::decode(&bytes[8..]).expect("a message");
            if !self.deaf || message.r#type() != HeadType::MessageNotification {
                return message;
            }
        }
    }

    pub(crate) fn receive_bytes(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        self.stream.read_exact(&mut bytes).expect("a head");
        assert_eq!(bytes[..4], [0, 0x86, 0, 1]);
        let length = i32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        bytes.resize(8 + usize::try_from(length).expect("positive"), 0);
        self.stream.read_exact(&mut bytes[8..]).expect("a body");
        bytes
    }

    /// The server has closed, and sent nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = [0];
        match self.stream.read(&mut rest) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whether the server has closed, once something comes or nothing ever will.
    pub(crate) fn is_at_the_end(&self) -> bool {
        !matches!(self.stream.peek(&mut [0]), Ok(1))
    }

    /// Nothing comes: a heartbeat comes back before anything else.
    pub(crate) fn hears_nothing(&mut self) {
        let sent = self.heart_beat();
        assert_eq!(self.receive_bytes(), sent);
    }
}

pub(crate) fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    [&[0, 0x86, 0, 1], &length[..], body].concat()
}

pub(crate) fn is_session(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}
