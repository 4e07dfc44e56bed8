//! Caviar, as the link engine sees it.

use super::codec::CaviarCodec;
use super::message::Message;
use super::message_type::MessageType;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::link::{Counter, Hello, Kind, Reply, Wire};

/// The side of a connection that this process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

/// The protocol of all links of one client or server.
pub(super) struct CaviarWire {
    role: Role,
    codec: CaviarCodec,
    body_bytes_max: usize,
    /// Pings have ids of their own: nothing waits for them by id.
    pings: Counter,
}

impl CaviarWire {
    pub(super) fn new(role: Role, body_bytes_max: usize) -> Self {
        Self {
            role,
            codec: CaviarCodec::new().body_bytes_max(body_bytes_max),
            body_bytes_max: body_bytes_max.min(i32::MAX as usize),
            pings: Counter::new(),
        }
    }

    /// Whether this side may be sent a message of that type.
    fn takes(&self, kind: MessageType) -> bool {
        match kind {
            MessageType::ClientLoginReq
            | MessageType::ClientLogoutReq
            | MessageType::ClientMsgSendReq
            | MessageType::ClientMsgSendAsyncReq
            | MessageType::ServerMsgSendResp => self.role == Role::Server,
            MessageType::ServerMsgSendReq
            | MessageType::ServerMsgSendAsyncReq
            | MessageType::ServerMsgPush
            | MessageType::ClientLoginResp
            | MessageType::ClientLogoutResp
            | MessageType::ClientMsgSendResp => self.role == Role::Client,
            MessageType::Ping | MessageType::Pong => true,
        }
    }
}

impl Wire for CaviarWire {
    type Frame = Message;
    type Codec = CaviarCodec;

    fn codec(&self) -> CaviarCodec {
        self.codec.clone()
    }

    fn kind(&self, frame: &Message) -> Result<Kind> {
        if !self.takes(frame.kind) {
            let text = format!("a {} is not for a {:?}", frame.kind, self.role);
            return Err(Failure::protocol(text));
        }
        Ok(match frame.kind {
            MessageType::Ping => Kind::Ping,
            MessageType::Pong => Kind::Pong,
            kind if kind.is_response() => Kind::Answer(frame.request_id.cast_unsigned()),
            _ => Kind::Message,
        })
    }

    fn check(&self, frame: &Message) -> Result<(), Error> {
        let (bytes, max) = (frame.body.len(), self.body_bytes_max);
        if bytes > max {
            let text = format!("a body of {bytes} bytes; send at most {max} at once");
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(())
    }

    fn weigh(&self, frame: &Message) -> usize {
        CaviarCodec::weigh(frame)
    }

    /// Never sent: a connection is up as soon as it is open.
    fn hello(&self, _: &Hello) -> Message {
        self.ping()
    }

    /// Never sent: who is not let in is told so by the close.
    fn reply(&self, _: &Reply) -> Message {
        self.ping()
    }

    fn ping(&self) -> Message {
        let mut ping = Message::new(MessageType::Ping, "ping");
        ping.request_id = self.pings.next().cast_signed();
        ping
    }

    fn pong(&self, ping: &Message) -> Message {
        let mut pong = Message::new(MessageType::Pong, "pong").code_type(ping.code_type);
        pong.request_id = ping.request_id;
        pong
    }

    fn set_question(&self, frame: &mut Message, id: u64) {
        frame.request_id = id.cast_signed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_for_one_side_but_heartbeats() {
        let [client, server] = [Role::Client, Role::Server].map(|role| CaviarWire::new(role, 10));
        for kind in MessageType::ALL {
            let message = Message::new(kind, "");
            let taken = [&client, &server].map(|side| side.kind(&message).is_ok());
            let both = matches!(kind, MessageType::Ping | MessageType::Pong);
            assert_eq!(taken[0] == taken[1], both, "{kind}");
        }
    }

    #[test]
    fn a_pong_repeats_the_id_of_its_ping() {
        let wire = CaviarWire::new(Role::Server, 10);
        let ping = wire.ping();
        assert_eq!((ping.request_id, &ping.body[..]), (1, &b"ping"[..]));
        let pong = wire.pong(&ping);
        assert_eq!(pong.request_id, 1);
        assert_eq!(
            (pong.kind, &pong.body[..]),
            (MessageType::Pong, &b"pong"[..])
        );
        assert_eq!(wire.ping().request_id, 2);
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_kept() {
        let wire = CaviarWire::new(Role::Client, 3);
        let sized = |bytes| Message::new(MessageType::ClientMsgSendReq, vec![0; bytes]);
        assert!(wire.check(&sized(3)).is_ok());
        let refused = wire.check(&sized(4)).expect_err("one too many");
        assert!(refused.to_string().contains("at most 3"), "{refused}");
    }
}
