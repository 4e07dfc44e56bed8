//! Where a connection comes from or goes to.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

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

/// A [`Peer`] as a connection keeps it: 16 bytes instead of 64. Two ends of IPv4 are the rule; whatever else
/// there is has memory of its own.
#[derive(Clone, Debug)]
pub(crate) enum KeptPeer {
    V4(SocketAddrV4, SocketAddrV4),
    Other(Box<Peer>),
}

impl KeptPeer {
    pub(crate) fn get(&self) -> Peer {
        match self {
            Self::V4(address, local) => Peer::new(
                Address::Inet((*address).into()),
                Address::Inet((*local).into()),
            ),
            Self::Other(peer) => **peer,
        }
    }
}

impl From<Peer> for KeptPeer {
    fn from(peer: Peer) -> Self {
        match (peer.address, peer.local) {
            (Address::Inet(SocketAddr::V4(address)), Address::Inet(SocketAddr::V4(local))) => {
                Self::V4(address, local)
            }
            _ => Self::Other(Box::new(peer)),
        }
    }
}

/// Where to listen, or where to connect to.
///
/// Made from a socket address, or from text: `"127.0.0.1:7000"`, `"[::1]:0"`, `"localhost:7000"`
/// (looked up, which may block) or `"unix:/run/echo.sock"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// TCP; port 0 means any free one when listening.
    Inet(SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

impl Place {
    /// The socket address, where it is one.
    #[must_use]
    pub const fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let unknown = |why: String| {
            let text = format!("{text:?} is no address: {why}; write 127.0.0.1:7000 or unix:/path");
            Error::new(ErrorKind::Address, text)
        };
        let mut found = text
            .to_socket_addrs()
            .map_err(|error| unknown(error.to_string()))?;
        found
            .next()
            .map(Self::Inet)
            .ok_or_else(|| unknown("the name has none".into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What can be a [`Place`].
pub trait IntoPlace {
    /// The place.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Address`] when the text is none, or the name has no address.
    fn into_place(self) -> Result<Place, Error>;
}

impl IntoPlace for Place {
    fn into_place(self) -> Result<Place, Error> {
        Ok(self)
    }
}

impl IntoPlace for &Place {
    fn into_place(self) -> Result<Place, Error> {
        Ok(self.clone())
    }
}

impl IntoPlace for SocketAddr {
    fn into_place(self) -> Result<Place, Error> {
        Ok(Place::Inet(self))
    }
}

impl IntoPlace for &str {
    fn into_place(self) -> Result<Place, Error> {
        self.parse()
    }
}

impl IntoPlace for &String {
    fn into_place(self) -> Result<Place, Error> {
        self.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_kept_small_and_comes_back_as_it_was() {
        assert_eq!(size_of::<KeptPeer>(), 16);
        let inet = |text: &str| Address::Inet(text.parse().expect("an address"));
        for (address, local) in [
            (inet("10.0.0.1:1"), inet("10.0.0.2:65535")),
            (inet("[fe80::1%7]:1"), inet("[::1]:2")),
            (inet("10.0.0.1:1"), Address::Unix),
            (Address::Unix, Address::Unix),
        ] {
            let peer = Peer::new(address, local);
            assert_eq!(KeptPeer::from(peer).get(), peer);
        }
    }
}
