//! Filters: bytes to bytes, between the socket and the codec.

use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::Attributes;
use crate::buffer::Output;
use crate::error::Result;

/// Changes the bytes of a connection on their way between the socket and the codec: TLS, a compression, a
/// preamble of a proxy.
///
/// ```text
///   socket <── wire bytes ──> [filter] <── plain bytes ──> [filter] <──> codec <──> stages <──> handler
/// ```
/// All filters are of one type, so they stack at run time: those of
/// [`PipelineBuilder::filter`](super::PipelineBuilder::filter), and those that an
/// [`upgrade`](super::Context::upgrade) adds behind them. A filter does no I/O and reads no clock; bytes
/// come in, bytes go out.
///
/// In order: [`open`](Self::open), then [`inbound`](Self::inbound) until [`is_ready`](Self::is_ready), then
/// [`ready`](Self::ready), once; the next filter is opened, and behind the last the stages and the handler
/// hear their `on_open`. From then on `inbound` and [`outbound`](Self::outbound), at last
/// [`close`](Self::close). What `open` and `inbound` append for the peer and what `outbound` appends leaves
/// in the order in which it was appended.
///
/// ```
/// use bytes::{Buf, BytesMut};
/// use netwheel::testing::Harness;
/// use netwheel::{Filter, Inbound, Output, Pipeline, Result};
///
/// /// Turns every bit around, both ways.
/// struct Mirror;
///
/// impl Filter for Mirror {
///     fn inbound(&mut self, wire: &mut BytesMut, plain: &mut BytesMut, _: &mut Output) -> Result<Inbound> {
///         plain.extend(wire.split().iter().map(|byte| !byte));
///         Ok(Inbound::Open)
///     }
///
///     fn outbound(&mut self, plain: &mut dyn Buf, wire: &mut Output) -> Result<()> {
///         while plain.has_remaining() {
///             wire.put(&[!plain.get_u8()]);
///         }
///         Ok(())
///     }
/// }
///
/// let mut harness = Harness::new(Pipeline::raw().filter(Mirror).handle(|cx, bytes| {
///     assert_eq!(bytes, &[1, 2][..]);
///     cx.write(bytes)
/// }));
/// assert_eq!(harness.receive(&[!1, !2]).sent(), [!1, !2]);
/// ```
///
/// Threads: the connection's worker. Cost: a connection without filters pays for a null pointer, looked at
/// once a read and once a flush; one with pays a virtual call and what the filter does. What callbacks
/// write is gathered and goes through the filters once a flush, not once a message.
pub trait Filter: 'static {
    /// The connection is open, and the filters nearer to the socket are ready: greets the peer, if it is on
    /// this side to begin.
    ///
    /// # Errors
    ///
    /// Closes the connection.
    fn open(&mut self, wire: &mut Output) -> Result<()> {
        let _ = wire;
        Ok(())
    }

    /// Whether messages may pass: `false` until a handshake is done, and never again after `true`.
    fn is_ready(&self) -> bool {
        true
    }

    /// How long it may take until it is ready, from [`open`](Self::open) on; then the connection is closed with
    /// [`HandshakeTimeout`](crate::CloseReason::HandshakeTimeout). `None`: as long as it likes.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Called once, as soon as it is ready: may leave with the connection what it has learnt of the peer.
    fn ready(&mut self, attributes: &mut Attributes) {
        let _ = attributes;
    }

    /// Bytes have arrived: takes what it can from `wire`, appends what is meant for the codec to `plain`,
    /// and what is meant for the peer to `back`.
    ///
    /// What it leaves in `wire` it is given again, with more behind it. It must not append to `plain`
    /// before it is ready.
    ///
    /// # Errors
    ///
    /// Closes the connection, with [`ProtocolError`](crate::CloseReason::ProtocolError) unless the failure has
    /// a reason of its own. What it has appended to `back` leaves first; what callbacks have written and
    /// did not leave is lost.
    fn inbound(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        back: &mut Output,
    ) -> Result<Inbound>;

    /// Takes all of `plain` and appends to `wire` what is to be sent for it. Only called once it is ready.
    ///
    /// # Errors
    ///
    /// Closes the connection; nothing more leaves.
    fn outbound(&mut self, plain: &mut dyn Buf, wire: &mut Output) -> Result<()>;

    /// The peer has sent its FIN, without an [`Inbound::Closed`] before.
    ///
    /// # Errors
    ///
    /// When that is no proper end. What was read is still answered; then the connection closes.
    fn eof(&mut self) -> Result<()> {
        Ok(())
    }

    /// Nothing more will be sent: takes leave of the peer. Called once, unless the connection breaks off.
    fn close(&mut self, wire: &mut Output) {
        let _ = wire;
    }
}

/// What a [`Filter`] has to say of the stream that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inbound {
    /// More may come.
    Open,
    /// The peer has said that nothing more will come; it is as its FIN would be, and the socket is not read
    /// any more.
    Closed,
}
