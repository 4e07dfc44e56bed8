//! What a program does with the messages of its links.

use std::sync::{Arc, OnceLock};

use super::handle::Link;
use super::wire::Wire;
use crate::error::{CloseReason, Result};
use crate::pipeline::{Context, LaneContext, PoolHandler, Terminal};
use crate::sync::lock;

/// What a program does with the messages of its links: one value for all links of a listener or dialer.
///
/// The order of calls, for each connection: [`on_up`](Self::on_up) once it has logged in, then messages one at a
/// time and in order, [`on_down`](Self::on_down) once. Answers come to whoever asked, not here. A closure of a link
/// and a message is a service.
///
/// Threads: `on_up` and `on_down` on the connection's worker, which must not block; messages there too, or on the
/// pool, which may. A panic or an error costs the one connection.
pub trait Service<W: Wire>: Send + Sync + 'static {
    /// The link is up: over its first connection, or another one.
    fn on_up(&self, link: &Link<W>) {
        let _ = link;
    }

    /// A message that is no answer: one that wants none, or a question, to be answered over the link by any thread
    /// and at any time.
    ///
    /// # Errors
    ///
    /// Any error closes the connection with its reason; an acknowledged message comes again then.
    fn on_message(&self, link: &Link<W>, message: W::Frame) -> Result<()>;

    /// The connection has ended; what is sent now waits for the next.
    fn on_down(&self, link: &Link<W>, reason: CloseReason) {
        let _ = (link, reason);
    }
}

impl<W, F> Service<W> for F
where
    W: Wire,
    F: Fn(&Link<W>, W::Frame) -> Result<()> + Send + Sync + 'static,
{
    fn on_message(&self, link: &Link<W>, message: W::Frame) -> Result<()> {
        self(link, message)
    }
}

/// The link that a connection has logged in to, once it has.
pub(super) type Seat<W> = Arc<OnceLock<Link<W>>>;

/// The end of a link's pipeline: hands messages to the service, and sees to it that a repeat is handled once.
pub(super) struct ServiceEnd<W: Wire> {
    pub(super) seat: Seat<W>,
    pub(super) service: Arc<dyn Service<W>>,
}

impl<W: Wire> ServiceEnd<W> {
    fn handle(&self, frame: W::Frame) -> Result<()> {
        let Some(link) = self.seat.get() else {
            return Ok(());
        };
        let shared = &link.0;
        let position = if shared.rules.outbox.acknowledged {
            shared.wire.stamp_of(&frame)?.position
        } else {
            None
        };
        let Some(position) = position else {
            return self.service.on_message(link, frame);
        };
        // Its repeat may have come over the next connection, and wait on another thread.
        let _turn = lock(&shared.turn);
        if shared.is_new(position) {
            self.service.on_message(link, frame)?;
            shared.handle_handled(position)?;
        }
        Ok(())
    }
}

impl<W: Wire> Terminal<W::Frame, W::Frame> for ServiceEnd<W> {
    fn on_message(
        &mut self,
        _: &mut Context<'_, W::Frame, W::Frame>,
        frame: W::Frame,
    ) -> Result<()> {
        self.handle(frame)
    }
}

impl<W: Wire> PoolHandler<W::Frame, W::Frame> for ServiceEnd<W> {
    fn on_message(&mut self, _: &mut LaneContext<'_, W::Frame>, frame: W::Frame) -> Result<()> {
        self.handle(frame)
    }
}
