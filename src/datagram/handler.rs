//! What a program does with datagrams.

use std::io;
use std::net::SocketAddr;

use super::context::DatagramContext;
use crate::error::{CloseReason, Result};
use crate::pipeline::TimerKey;

/// A datagram that has arrived; it lies in the worker's buffer until the callback returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// What it says; may be changed in place, and sent on from there.
    pub bytes: &'a mut [u8],
    /// Who sent it. Anybody may write any address there.
    pub peer: SocketAddr,
    /// Whether it was longer than [`datagram_bytes_max`](crate::limits::DatagramLimits::datagram_bytes_max) and
    /// `bytes` is only its beginning. Never with the default, which holds any datagram.
    pub truncated: bool,
}

impl<'a> Datagram<'a> {
    pub(super) const fn new(bytes: &'a mut [u8], peer: SocketAddr, truncated: bool) -> Self {
        Self {
            bytes,
            peer,
            truncated,
        }
    }
}

/// What one socket does: a value with callbacks, made on the socket's worker, which it never leaves.
///
/// The callbacks of one socket never run at once. A callback that fails costs its datagram, not the socket,
/// which serves others: the failure is counted and logged, and the socket goes on; only one of
/// [`on_open`](Self::on_open) ends it. [`DatagramContext::close`] ends it in any callback. One that panics ends
/// its socket.
///
/// Threads: the socket's worker; must not block. Cost: one virtual call a datagram.
///
/// ```
/// use netwheel::udp::{Datagram, DatagramContext, DatagramHandler};
///
/// /// Numbers what it answers.
/// struct Numbered(u64);
///
/// impl DatagramHandler for Numbered {
///     fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> netwheel::Result<()> {
///         self.0 += 1;
///         cx.send_to(format!("{}", self.0), datagram.peer)
///     }
/// }
/// ```
pub trait DatagramHandler: 'static {
    /// The socket is at work; first of all callbacks. A failure ends it.
    ///
    /// # Errors
    ///
    /// Its reason is what the socket closes with.
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// A datagram has arrived.
    ///
    /// # Errors
    ///
    /// A failure costs this datagram: counted, logged, and the socket goes on.
    fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()>;

    /// What waited for the socket has left, so that there is room again. Told after datagrams had to wait.
    ///
    /// # Errors
    ///
    /// Counted and logged.
    fn on_writable(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// A [timer](DatagramContext::timer) is due.
    ///
    /// # Errors
    ///
    /// Counted and logged.
    fn on_timer(&mut self, cx: &mut DatagramContext<'_>, key: TimerKey) -> Result<()> {
        let _ = (cx, key);
        Ok(())
    }

    /// The system could not send a datagram that had been taken, or tells that an earlier one did not arrive
    /// (nobody listens there: `ConnectionRefused`, on connected sockets). Counted and logged already; the socket
    /// goes on. `peer` is whom it was for, where that is known.
    ///
    /// # Errors
    ///
    /// Counted and logged.
    fn on_error(
        &mut self,
        cx: &mut DatagramContext<'_>,
        error: &io::Error,
        peer: Option<SocketAddr>,
    ) -> Result<()> {
        let _ = (cx, error, peer);
        Ok(())
    }

    /// The reactor is shutting down: a last chance to send. The socket closes once that has left.
    ///
    /// # Errors
    ///
    /// Counted and logged.
    fn on_shutdown(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// The socket has ended; the last of all callbacks. Not called after a panic.
    fn on_close(&mut self, cx: &mut DatagramContext<'_>, reason: CloseReason) {
        let _ = (cx, reason);
    }
}

/// A handler of one closure.
pub(crate) struct Closure<F>(pub(crate) F);

impl<F> DatagramHandler for Closure<F>
where
    F: FnMut(&mut DatagramContext<'_>, Datagram<'_>) -> Result<()> + 'static,
{
    fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()> {
        (self.0)(cx, datagram)
    }
}
