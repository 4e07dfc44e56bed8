//! Sockets that listen, or are bound to, before there is a reactor for them.

use std::any::Any;

use crate::address::Place;
use crate::error::Error;
use crate::net::Listening;
use crate::options::Options;
use crate::transport::system::Bound;

/// Binds a socket of the system; needs no reactor.
pub(crate) fn bind(at: &Place, options: &Options) -> Result<Box<dyn Listening>, Error> {
    Ok(Box::new(Bound::new(at, options)?))
}

/// Serves a socket that listens already.
#[cfg(unix)]
pub(crate) fn adopt(
    listener: std::os::fd::OwnedFd,
    options: &Options,
) -> Result<Box<dyn Listening>, Error> {
    Ok(Box::new(crate::transport::system::adopt(
        listener, options,
    )?))
}

/// The listeners that the process was started with.
#[cfg(unix)]
pub(crate) fn take_handed_over() -> Result<Vec<std::os::fd::OwnedFd>, Error> {
    crate::transport::system::take_handed_over()
}

impl Listening for Bound {
    fn place(&self) -> &Place {
        Self::place(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
