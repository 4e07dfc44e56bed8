//! Who may come, by address: a black list and a white list.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use log::warn;

use crate::address::Address;
use crate::error::{CloseReason, Error, ErrorKind, Result};
use crate::pipeline::{Context, Stage};
use crate::stages::IpRange;
use crate::sync::lock;

/// A black list and a white list of addresses.
///
/// Whoever is on the black list is denied; then, where the white list is not empty, whoever is not on it; all others
/// may come. Entries are separated by commas: an address, a network (`10.0.0.0/8`), a range
/// (`10.0.0.1-10.0.0.20`), or IPv4 with a star at its end (`192.168.1.*`). Peers without an IP address may come.
///
/// ```
/// use netwheel::stack::AccessList;
///
/// let list = AccessList::new("10.0.0.66", "10.0.0.0/8, 127.0.0.1")?;
/// assert!(list.allows("10.0.0.1".parse().unwrap()));
/// assert!(!list.allows("10.0.0.66".parse().unwrap()));
/// assert!(!list.allows("192.168.1.1".parse().unwrap()));
/// # Ok::<(), netwheel::Error>(())
/// ```
///
/// Cost: a look at each entry, one by one, once a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    black: Vec<IpRange>,
    white: Vec<IpRange>,
}

impl AccessList {
    /// The lists as they are written; empty ones are allowed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the entry that is none.
    pub fn new(black: &str, white: &str) -> Result<Self, Error> {
        Ok(Self {
            black: parse(black)?,
            white: parse(white)?,
        })
    }

    /// Whether a peer from this address may come.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let holds = |list: &[IpRange]| list.iter().any(|range| range.contains(address));
        !holds(&self.black) && (self.white.is_empty() || holds(&self.white))
    }
}

fn parse(list: &str) -> Result<Vec<IpRange>, Error> {
    let entries = list.split(',').map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .map(range)
        .collect()
}

fn range(entry: &str) -> Result<IpRange, Error> {
    let named = |error: Error| {
        let text = format!("the entry {entry:?} of a list of addresses is wrong: {error}");
        Error::new(ErrorKind::Config, text)
    };
    match entry.strip_suffix(".*") {
        Some(base) => IpRange::from_str(&format!("{base}.0-{base}.255")).map_err(named),
        None => entry.parse().map_err(named),
    }
}

/// The lists in force, which may change while a node runs. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<Mutex<Arc<AccessList>>>);

impl Access {
    /// These lists, until others are put in their place.
    #[must_use]
    pub fn new(list: AccessList) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(list))))
    }

    /// Puts other lists in force, for logins from now on.
    pub fn reload(&self, list: AccessList) {
        let list = Arc::new(list);
        *lock(&self.0) = list;
    }

    pub(super) fn allows(&self, from: Address) -> bool {
        let list = Arc::clone(&lock(&self.0));
        from.ip().is_none_or(|address| list.allows(address))
    }
}

/// A stage that turns denied addresses away before anything else is done for them.
pub(super) struct AtAccept(pub(super) Access);

impl<In: 'static, Out: 'static> Stage<In, Out> for AtAccept {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        if !self.0.allows(cx.peer()) {
            let (id, peer) = (cx.id(), cx.peer());
            warn!(target: "netwheel::link", "{id} {peer}: dropped, reason=ip-denied");
            cx.close(CloseReason::Refused);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(black: &str, white: &str, address: &str) -> bool {
        let list = AccessList::new(black, white).expect("lists");
        list.allows(address.parse().expect("an address"))
    }

    #[test]
    fn the_black_list_wins_and_an_empty_white_list_lets_everybody_in() {
        assert!(allows("", "", "192.0.2.1"));
        assert!(!allows("192.0.2.0/24", "192.0.2.1", "192.0.2.1"));
        assert!(allows("", "10.0.0.0/8, 127.0.0.1", "127.0.0.1"));
        assert!(!allows("", "10.0.0.1-10.0.0.9", "127.0.0.1"));
        assert!(!allows("127.0.0.1", "", "::ffff:127.0.0.1"));
        assert!(allows("", " 192.168.1.* ,fe80::/10", "192.168.1.255"));
        assert!(!allows("", "192.168.1.*", "192.168.2.0"));
    }

    #[test]
    fn a_bad_entry_is_named() {
        for entry in ["300.1.1.1", "10.0.0.0/40", "10.*.1.1", "x.*"] {
            let error = AccessList::new("", &format!("127.0.0.1,{entry}")).expect_err(entry);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(entry), "{error}");
        }
    }

    #[test]
    fn lists_change_while_a_node_runs() {
        let access = Access::default();
        let from = Address::Inet("127.0.0.1:1".parse().expect("an address"));
        assert!(access.allows(from));
        access.reload(AccessList::new("127.0.0.1", "").expect("lists"));
        assert!(!access.allows(from));
        assert!(access.allows(Address::Unix));
    }
}
