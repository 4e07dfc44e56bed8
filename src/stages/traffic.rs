//! What passes: counted, and where asked held to a rate.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::pipeline::{Bucket, Context, Stage, Way};

/// Counts the bytes of connections, and holds them to a rate where one is set.
///
/// Clones are the same counter and the same rate: one made in the pipeline's factory is its connection's own, one
/// made outside and cloned into each pipeline is shared by all of them, over all workers. A connection may have
/// several and keeps to the slowest. Nothing blocks: reading or writing of a connection that was too fast goes on
/// when it may, and what it may not write yet counts as output, with water marks and bounds as ever.
///
/// The average is exact. At once passes what the rate allows in 20 ms, at least 1 KiB and at most 64 KiB, for each
/// connection that shares it; a rate that was not used is saved for 100 ms. Bytes are those at the socket.
///
/// Threads: any. Cost: one atomic addition a read or write of the socket; with a rate, a timer each time it is
/// used up. Limit: the output of a connection that writes faster than its rate is bounded like any other's.
///
/// ```
/// use netwheel::{Pipeline, Server, stages::Traffic};
///
/// let all = Traffic::new().write_rate(100 << 20); // everybody together: 100 MiB a second
/// let seen = all.clone();
/// let server = Server::new().pipeline(move |_peer| {
///     Pipeline::raw()
///         .stage("all", all.clone())
///         .stage("each", Traffic::new().read_rate(1 << 20))
///         .handle(|cx, bytes| cx.write(bytes))
/// });
/// println!("{} bytes in, {} out", seen.bytes_read(), seen.bytes_written());
/// # let _ = server;
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct Traffic {
    read: Arc<Bucket>,
    written: Arc<Bucket>,
}

impl Traffic {
    /// Counts, and lets pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads no more than so many bytes a second, at least 1.
    pub fn read_rate(self, bytes_per_second: u64) -> Self {
        self.set_read_rate(Some(bytes_per_second));
        self
    }

    /// Writes no more than so many bytes a second, at least 1.
    pub fn write_rate(self, bytes_per_second: u64) -> Self {
        self.set_write_rate(Some(bytes_per_second));
        self
    }

    /// Changes the rate of reading, also while connections live; who waits by the old one still does.
    pub fn set_read_rate(&self, bytes_per_second: Option<u64>) {
        self.read.set_rate(bytes_per_second);
    }

    /// Changes the rate of writing, also while connections live; who waits by the old one still does.
    pub fn set_write_rate(&self, bytes_per_second: Option<u64>) {
        self.written.set_rate(bytes_per_second);
    }

    /// Bytes that have been read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.bytes()
    }

    /// Bytes that have been written so far.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.written.bytes()
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for Traffic {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        cx.pay_to(Way::In, &self.read);
        cx.pay_to(Way::Out, &self.written);
        Ok(())
    }
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic")
            .field("bytes_read", &self.bytes_read())
            .field("read_rate", &self.read.rate())
            .field("bytes_written", &self.bytes_written())
            .field("write_rate", &self.written.rate())
            .finish()
    }
}
