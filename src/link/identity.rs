//! Who is at the other end, and by what a login counts as a second one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::address::Address;
use crate::error::{Error, ErrorKind};
use crate::limits::NODE_ID_BYTES_MAX;

/// The name of a node, as it says it when it logs in.
///
/// One to [`NODE_ID_BYTES_MAX`] bytes of text without control characters, so that it can stand in a log.
///
/// Threads: any. Cost: a clone is a count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A node of this name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a name that is empty, too long, or holds control characters.
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > NODE_ID_BYTES_MAX || name.contains(char::is_control) {
            let text = format!(
                "{:?} is no node id; give 1 to {NODE_ID_BYTES_MAX} bytes without control characters",
                name.chars().take(32).collect::<String>()
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Who has logged in, as its listener tells peers apart: messages are kept, and logins counted, for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PeerKey {
    /// A node, by the name it gave.
    Node(NodeId),
    /// Whoever comes from this address.
    Ip(IpAddr),
    /// Whoever comes from this address and port: each connection is another peer.
    Socket(SocketAddr),
    /// A name of the program's own.
    Named(Arc<str>),
    /// Whoever comes over a Unix socket without a name.
    Unix,
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
            Self::Socket(address) => address.fmt(f),
            Self::Named(name) => write!(f, "{}", name.escape_debug()),
            Self::Unix => f.write_str("unix"),
        }
    }
}

type Namer = Arc<dyn Fn(Option<&NodeId>, Address) -> Option<PeerKey> + Send + Sync>;

/// By what a listener tells its peers apart.
///
/// A key that is another one for each connection, such as [`IpPort`](Self::IpPort), lets everybody in twice and
/// finds no message that was kept, and is remembered for as long as those are.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum LoginKey {
    /// By the node's name where it gives one, else by its address.
    #[default]
    NodeIdOrIp,
    /// By the node's name; who gives none is refused.
    NodeId,
    /// By its address.
    Ip,
    /// By its address and port.
    IpPort,
    /// By what a function of the program says; `None` refuses.
    Custom(Namer),
}

impl LoginKey {
    /// By what `namer` says of a node and its address; `None` refuses it.
    #[must_use]
    pub fn custom(
        namer: impl Fn(Option<&NodeId>, Address) -> Option<PeerKey> + Send + Sync + 'static,
    ) -> Self {
        Self::Custom(Arc::new(namer))
    }

    /// The key of a peer; `None` when it has none, and is refused.
    #[must_use]
    pub fn of(&self, node: Option<&NodeId>, from: Address) -> Option<PeerKey> {
        let by_ip = || {
            from.ip()
                .map_or(PeerKey::Unix, |ip| PeerKey::Ip(ip.to_canonical()))
        };
        match (self, node, from) {
            (Self::NodeIdOrIp | Self::NodeId, Some(node), _) => Some(PeerKey::Node(node.clone())),
            (Self::NodeId, None, _) => None,
            (Self::NodeIdOrIp, None, _) | (Self::Ip, ..) => Some(by_ip()),
            (Self::IpPort, _, Address::Inet(address)) => Some(PeerKey::Socket(address)),
            (Self::IpPort, ..) => Some(PeerKey::Unix),
            (Self::Custom(namer), node, from) => namer(node, from),
        }
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NodeIdOrIp => "NodeIdOrIp",
            Self::NodeId => "NodeId",
            Self::Ip => "Ip",
            Self::IpPort => "IpPort",
            Self::Custom(_) => "Custom",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_log_could_not_hold_are_refused() {
        assert!(NodeId::new("n1").is_ok());
        for name in ["", "a\nb", &"x".repeat(NODE_ID_BYTES_MAX + 1)] {
            assert!(NodeId::new(name).is_err());
        }
    }

    #[test]
    fn a_peer_is_told_apart_as_the_rule_says() {
        let node = NodeId::new("10.0.0.1").expect("a name");
        let from = Address::Inet("[::ffff:10.0.0.1]:5000".parse().expect("an address"));
        let ip = PeerKey::Ip("10.0.0.1".parse().expect("an address"));
        let named = PeerKey::Node(node.clone());
        assert_eq!(
            LoginKey::default().of(Some(&node), from),
            Some(named.clone())
        );
        assert_ne!(named, ip, "a node may not pass for an address");
        assert_eq!(LoginKey::default().of(None, from), Some(ip.clone()));
        assert_eq!(LoginKey::NodeId.of(None, from), None);
        assert_eq!(LoginKey::Ip.of(Some(&node), from), Some(ip));
        assert!(matches!(
            LoginKey::IpPort.of(None, from),
            Some(PeerKey::Socket(_))
        ));
        let own = LoginKey::custom(|node, _| node.map(|_| PeerKey::Named("all".into())));
        assert_eq!(own.of(None, from), None);
        assert_eq!(
            own.of(Some(&node), from),
            Some(PeerKey::Named("all".into()))
        );
    }
}
