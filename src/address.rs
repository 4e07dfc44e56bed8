//! Where a connection comes from or goes to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// An end of a connection: an internet address, or a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix stream socket; a client's end usually has no name.
    Unix,
}

impl Address {
    /// The internet address, where it is one.
    #[must_use]
    pub const fn inet(self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(address),
            Self::Unix => None,
        }
    }

    /// The IP address, where there is one; an IPv4 address mapped into IPv6 comes as IPv4.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        self.inet().map(|address| address.ip().to_canonical())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Who is on the other side of a new connection; what a pipeline factory decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The other side.
    pub address: Address,
    /// This side: for a server on several addresses, which of them was dialled.
    pub local: Address,
}

impl Peer {
    pub(crate) const fn new(address: Address, local: Address) -> Self {
        Self { address, local }
    }
}
