//! Where a datagram socket is, and how it behaves.

use std::net::{Ipv4Addr, SocketAddr};

use super::wire::Group;
use crate::error::{Error, ErrorKind};
use crate::limits::DatagramLimits;

/// Which end of a datagram socket is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// This side: it hears everybody.
    Bound(SocketAddr),
    /// The other side: it hears nobody else.
    Connected(SocketAddr),
}

impl At {
    pub(crate) const fn address(self) -> SocketAddr {
        match self {
            Self::Bound(address) | Self::Connected(address) => address,
        }
    }
}

/// How a datagram socket behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct UdpOptions {
    pub(crate) limits: DatagramLimits,
    pub(crate) broadcast: bool,
    /// SO_REUSEPORT: one socket a worker.
    pub(crate) share_port: bool,
    /// SO_REUSEADDR: several programs hear one group.
    pub(crate) share_address: bool,
    pub(crate) ipv6_only: Option<bool>,
    pub(crate) send_buffer_bytes: Option<usize>,
    pub(crate) receive_buffer_bytes: Option<usize>,
    pub(crate) groups: Vec<Group>,
    pub(crate) multicast_ttl: Option<u32>,
    pub(crate) multicast_loop: Option<bool>,
    pub(crate) multicast_v4_interface: Option<Ipv4Addr>,
    pub(crate) multicast_v6_interface: Option<u32>,
}

/// Hop limits are one byte on the wire.
const TTL_MAX: u32 = 255;

impl UdpOptions {
    /// Refuses what cannot work, in words that say what would.
    pub(crate) fn check(&self, at: At) -> Result<(), Error> {
        let senseless = |text: String| Err(Error::new(ErrorKind::Config, text));
        self.limits.check()?;
        if self.share_port && matches!(at, At::Connected(_)) {
            return senseless(
                "reuse_port spreads what a bound socket hears; a connected one hears one peer, so leave it off"
                    .into(),
            );
        }
        if let Some(ttl) = self.multicast_ttl
            && ttl > TTL_MAX
        {
            return senseless(format!(
                "multicast_ttl is {ttl}; set it to at most {TTL_MAX}"
            ));
        }
        if self.ipv6_only.is_some() && at.address().is_ipv4() {
            return senseless(format!(
                "ipv6_only is for IPv6 sockets, and {} is none; write [::] or leave it alone",
                at.address()
            ));
        }
        for group in &self.groups {
            check_group(group, at.address())?;
        }
        Ok(())
    }
}

/// Refuses a group that a socket at this address cannot join.
pub(super) fn check_group(group: &Group, local: SocketAddr) -> Result<(), Error> {
    if !group.is_multicast() {
        let text = format!(
            "{group} is no multicast group; those are 224.0.0.0 to 239.255.255.255, and ff00::/8"
        );
        return Err(Error::new(ErrorKind::Config, text));
    }
    if !group.fits(local) {
        let text = format!(
            "{group} and {local} are of different families; bind an address of the group's"
        );
        return Err(Error::new(ErrorKind::Config, text));
    }
    Ok(())
}
