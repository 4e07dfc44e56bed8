//! A datagram socket, as its endpoint needs it.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A datagram socket that never waits.
pub(crate) trait Wire {
    /// Takes one datagram; the end of one that is longer than `into` is lost.
    fn receive(&mut self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Sends one datagram, to the connected peer where no address is named.
    fn send(&mut self, bytes: &[u8], to: Option<SocketAddr>) -> io::Result<()>;

    fn join(&mut self, group: &Group) -> io::Result<()>;

    fn leave(&mut self, group: &Group) -> io::Result<()>;
}

/// A multicast group, and the interface on which it is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// The interface by one of its addresses; unspecified means the system's choice.
    V4(Ipv4Addr, Ipv4Addr),
    /// The interface by its index; 0 means the system's choice.
    V6(Ipv6Addr, u32),
}

impl Group {
    pub(crate) const fn is_multicast(&self) -> bool {
        match self {
            Self::V4(group, _) => group.is_multicast(),
            Self::V6(group, _) => group.is_multicast(),
        }
    }

    /// Whether a socket of this address can be a member.
    pub(crate) const fn fits(&self, local: SocketAddr) -> bool {
        matches!(
            (self, local),
            (Self::V4(..), SocketAddr::V4(_)) | (Self::V6(..), SocketAddr::V6(_))
        )
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(group, _) => group.fmt(f),
            Self::V6(group, _) => group.fmt(f),
        }
    }
}

/// The datagram socket of a driver that has none.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum NoDatagrams {}

#[cfg(test)]
impl Wire for NoDatagrams {
    fn receive(&mut self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match *self {}
    }

    fn send(&mut self, _: &[u8], _: Option<SocketAddr>) -> io::Result<()> {
        match *self {}
    }

    fn join(&mut self, _: &Group) -> io::Result<()> {
        match *self {}
    }

    fn leave(&mut self, _: &Group) -> io::Result<()> {
        match *self {}
    }
}
