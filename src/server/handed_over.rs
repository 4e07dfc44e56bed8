//! Listeners that a server does not open itself.

use std::os::fd::OwnedFd;

use super::{HasPipeline, Server};
use crate::error::Error;
use crate::reactor;

impl Server<HasPipeline> {
    /// Listens on the sockets that the process was started with, as systemd's socket units do it: the port outlives
    /// the process, so a restart refuses nobody.
    ///
    /// They are `LISTEN_FDS` descriptors from 3 on, for the process `LISTEN_PID` (sd_listen_fds(3)); a parent that
    /// does not know its child's number leaves that out. Once in a process. Who connected before waits in the backlog.
    ///
    /// ```no_run
    /// use netwheel::{Pipeline, Server};
    ///
    /// # fn main() -> netwheel::Result<()> {
    /// let server = Server::new()
    ///     .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    /// let server = match std::env::var_os("LISTEN_FDS") {
    ///     Some(_) => server.listen_fds()?,
    ///     None => server.listen("127.0.0.1:7000")?,
    /// };
    /// server.run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when nothing was handed over to this process, or what was is no
    /// listening stream socket; [`ErrorKind::Misuse`](crate::ErrorKind::Misuse) at a second call.
    pub fn listen_fds(mut self) -> Result<Self, Error> {
        for listener in reactor::take_handed_over()? {
            self = self.listen_on(listener)?;
        }
        Ok(self)
    }

    /// Listens on a socket that listens already, such as one of the standard library, or one that came from another
    /// process.
    ///
    /// Other owners of the same socket go on listening when the server ends, which closes its own descriptor only.
    /// The socket becomes non-blocking, for all of them; its backlog stays, and [`reuse_port`](Self::reuse_port) does
    /// not hold for it. Linux: connections inherit the server's socket options, as its own listeners' do.
    ///
    /// ```
    /// use netwheel::{Pipeline, Server};
    ///
    /// # fn main() -> netwheel::Result<()> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let server = Server::new()
    ///     .workers(1)
    ///     .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
    ///     .listen_on(listener.try_clone()?)? // the program's own is there for a successor
    ///     .start()?;
    /// assert_eq!(server.address(), address);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for limits that cannot work, and for what is no listening stream
    /// socket; otherwise what the system refused.
    pub fn listen_on(mut self, listener: impl Into<OwnedFd>) -> Result<Self, Error> {
        self.options.check()?;
        let listening = reactor::adopt(listener.into(), &self.options)?;
        self.listening.push(listening);
        Ok(self)
    }
}
