//! Typed messages in datagrams: one datagram is one frame of a [`Body`].

use std::fmt;
use std::net::SocketAddr;

use super::context::DatagramContext;
use super::handler::{Datagram, DatagramHandler};
use crate::codec::Body;
use crate::error::{Failure, Result};

/// A handler of one closure behind a body.
pub(crate) struct Messages<B, F> {
    body: B,
    handle: F,
    /// What is encoded, reused.
    scratch: Vec<u8>,
}

impl<B, F> Messages<B, F> {
    pub(crate) const fn new(body: B, handle: F) -> Self {
        Self {
            body,
            handle,
            scratch: Vec::new(),
        }
    }
}

impl<B, F> DatagramHandler for Messages<B, F>
where
    B: Body,
    F: FnMut(&mut MessageContext<'_, '_, B>, B::In, SocketAddr) -> Result<()> + 'static,
{
    fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()> {
        let peer = datagram.peer;
        let decoded = if datagram.truncated {
            Err(Failure::protocol("longer than datagram_bytes_max"))
        } else {
            self.body.decode(datagram.bytes)
        };
        match decoded {
            Ok(message) => {
                let (body, scratch) = (&mut self.body, &mut self.scratch);
                let mut cx = MessageContext { cx, body, scratch };
                (self.handle)(&mut cx, message, peer)
            }
            Err(failure) => {
                cx.state.note_undecoded(cx.turn, &failure, peer);
                Ok(())
            }
        }
    }
}

/// A socket that speaks messages, in the hands of its callback; everything a [`DatagramContext`] can do is
/// behind [`datagrams`](Self::datagrams).
///
/// Threads: the socket's worker. Cost: a message is encoded into a buffer that is kept for the next.
pub struct MessageContext<'a, 'b, B> {
    cx: &'a mut DatagramContext<'b>,
    body: &'a mut B,
    scratch: &'a mut Vec<u8>,
}

impl<'b, B: Body> MessageContext<'_, 'b, B> {
    /// Sends a message, as one datagram.
    ///
    /// # Errors
    ///
    /// What its encoding failed with; else as for [`DatagramContext::send_to`].
    pub fn send_to(&mut self, message: B::Out, to: SocketAddr) -> Result<()> {
        self.scratch.clear();
        self.body.encode(message, self.scratch)?;
        self.cx.send_to(&self.scratch, to)
    }

    /// Sends a message to the peer of a [connected](crate::Udp::connect) socket.
    ///
    /// # Errors
    ///
    /// What its encoding failed with; else as for [`DatagramContext::send`].
    pub fn send(&mut self, message: B::Out) -> Result<()> {
        self.scratch.clear();
        self.body.encode(message, self.scratch)?;
        self.cx.send(&self.scratch)
    }

    /// The socket below the messages.
    pub fn datagrams(&mut self) -> &mut DatagramContext<'b> {
        self.cx
    }
}

impl<B> fmt::Debug for MessageContext<'_, '_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MessageContext").field(&self.cx).finish()
    }
}
