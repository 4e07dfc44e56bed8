//! Who may come in, by address: a list of ranges, the first that holds an address decides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// What a rule says of the addresses it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a door is open or shut")]
pub enum Verdict {
    /// They are let in.
    Allow,
    /// They are turned away.
    Deny,
}

/// Addresses from one to another, both included.
///
/// Written as an address (`10.0.0.1`, `::1`), as a network (`10.0.0.0/8`, `fe80::/10`) or as a range
/// (`10.0.0.1-10.0.0.9`). IPv4 addresses mapped into IPv6 (`::ffff:10.0.0.1`) are the IPv4 addresses they stand
/// for; a range of IPv6 holds no IPv4 address, also `::/0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

impl IpRange {
    /// From `first` to `last`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when they are of two families, or the wrong way round.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, Error> {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        if first.is_ipv4() != last.is_ipv4() || first > last {
            let text = format!("{first}-{last} is no range; write the lower address first");
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(Self { first, last })
    }

    /// The network of so many leading bits that `address` is in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for more bits than an address has.
    pub fn network(address: IpAddr, bits: u32) -> Result<Self, Error> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        if bits > width {
            let text = format!("{address}/{bits}: an address of its kind has {width} bits");
            return Err(Error::new(ErrorKind::Config, text));
        }
        let (first, last): (IpAddr, IpAddr) = match address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let first = address.to_bits() & !host;
                (
                    Ipv4Addr::from_bits(first).into(),
                    Ipv4Addr::from_bits(first | host).into(),
                )
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let first = address.to_bits() & !host;
                (
                    Ipv6Addr::from_bits(first).into(),
                    Ipv6Addr::from_bits(first | host).into(),
                )
            }
        };
        // A network of IPv6 that only begins among the mapped addresses is one of IPv6.
        if first.to_canonical().is_ipv4() != last.to_canonical().is_ipv4() {
            return Ok(Self { first, last });
        }
        Self::new(first, last)
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }
}

impl FromStr for IpRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || {
            let text = format!(
                "{text:?} names no addresses; write 10.0.0.1, 10.0.0.0/8 or 10.0.0.1-10.0.0.9"
            );
            Error::new(ErrorKind::Config, text)
        };
        let address = |part: &str| part.trim().parse::<IpAddr>().map_err(|_| unknown());
        if let Some((base, bits)) = text.split_once('/') {
            let bits = bits.trim().parse().map_err(|_| unknown())?;
            return Self::network(address(base)?, bits);
        }
        match text.split_once('-') {
            Some((first, last)) => Self::new(address(first)?, address(last)?),
            None => address(text).and_then(|only| Self::new(only, only)),
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// Rules by address, in order: the first that holds an address decides, the default decides the rest.
///
/// Cost: a look compares the address with the rules one by one, two comparisons each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct IpRules {
    rules: Vec<(IpRange, Verdict)>,
    default: Verdict,
}

impl IpRules {
    /// No rules: the default decides all.
    pub fn new(default: Verdict) -> Self {
        Self {
            rules: Vec::new(),
            default,
        }
    }

    /// Lets `range` in, unless an earlier rule turns it away.
    pub fn allow(self, range: IpRange) -> Self {
        self.add(range, Verdict::Allow)
    }

    /// Turns `range` away, unless an earlier rule lets it in.
    pub fn deny(self, range: IpRange) -> Self {
        self.add(range, Verdict::Deny)
    }

    fn add(mut self, range: IpRange, verdict: Verdict) -> Self {
        self.rules.push((range, verdict));
        self
    }

    /// What holds for `address`.
    #[must_use]
    pub fn verdict(&self, address: IpAddr) -> Verdict {
        let rule = self.rules.iter().find(|(range, _)| range.contains(address));
        rule.map_or(self.default, |(_, verdict)| *verdict)
    }
}

/// Reads rules as a file of them is written: one a line, `allow RANGE` or `deny RANGE`; `allow all` or `deny all`
/// at the end is the default, which else is to allow. Empty lines and what follows a `#` are passed over.
impl FromStr for IpRules {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut rules = Self::new(Verdict::Allow);
        let mut ended = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |why: &str| {
                let text = format!("line {number}, {line:?}: {why}");
                Error::new(ErrorKind::Config, text)
            };
            if ended {
                return Err(wrong("stands behind `all` and would never be asked"));
            }
            let (word, range) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let verdict = match word {
                "allow" => Verdict::Allow,
                "deny" => Verdict::Deny,
                _ => return Err(wrong("begin with `allow` or `deny`")),
            };
            if range.trim() == "all" {
                (rules.default, ended) = (verdict, true);
            } else {
                let range = range
                    .parse()
                    .map_err(|error: Error| wrong(&error.to_string()))?;
                rules = rules.add(range, verdict);
            }
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().expect(text)
    }

    #[track_caller]
    fn holds(text: &str, inside: &[&str], outside: &[&str]) {
        let range = range(text);
        for address in inside {
            assert!(
                range.contains(address.parse().expect("an address")),
                "{text} {address}"
            );
        }
        for address in outside {
            assert!(
                !range.contains(address.parse().expect("an address")),
                "{text} {address}"
            );
        }
    }

    #[test]
    fn ranges_hold_what_they_name_and_nothing_beside_it() {
        holds(
            "10.0.0.1",
            &["10.0.0.1", "::ffff:10.0.0.1"],
            &["10.0.0.0", "10.0.0.2", "::1"],
        );
        holds(
            "10.1.2.3/8",
            &["10.0.0.0", "10.255.255.255"],
            &["9.255.255.255", "11.0.0.0"],
        );
        holds(
            "0.0.0.0/0",
            &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"],
            &["::1"],
        );
        holds("1.2.3.4/32", &["1.2.3.4"], &["1.2.3.5"]);
        holds(
            "1.2.3.4/31",
            &["1.2.3.4", "1.2.3.5"],
            &["1.2.3.3", "1.2.3.6"],
        );
        holds(
            "10.0.0.5 - 10.0.0.7",
            &["10.0.0.5", "10.0.0.6", "10.0.0.7"],
            &["10.0.0.4", "10.0.0.8"],
        );
        holds(
            "fe80::/10",
            &["fe80::1", "febf::1"],
            &["fec0::1", "fe7f::1", "10.0.0.1"],
        );
        holds("::1", &["::1"], &["::2", "0.0.0.1"]);
        holds("::/0", &["::1", "ffff::"], &["10.0.0.1", "::ffff:10.0.0.1"]);
        holds(
            "::ffff:10.0.0.0/104",
            &["10.0.0.1", "10.200.0.1"],
            &["11.0.0.1"],
        );
        holds(
            "2001:db8::-2001:db8::ff",
            &["2001:db8::80"],
            &["2001:db8::100"],
        );
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_would_be() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.1/33",
            "::/129",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-::1",
            "a/b",
            "1.2.3.4/-1",
        ] {
            let error = text.parse::<IpRange>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        }
    }

    #[test]
    fn the_first_rule_that_holds_an_address_decides() {
        let rules: IpRules = "
            allow 10.0.0.1   # but the one
            deny 10.0.0.0/8
            allow all"
            .parse()
            .expect("rules");
        let verdict = |address: &str| rules.verdict(address.parse().expect("an address"));
        assert_eq!(verdict("10.0.0.1"), Verdict::Allow);
        assert_eq!(verdict("::ffff:10.0.0.2"), Verdict::Deny);
        assert_eq!(verdict("11.0.0.1"), Verdict::Allow);
        let same = IpRules::new(Verdict::Allow)
            .allow(range("10.0.0.1"))
            .deny(range("10.0.0.0/8"));
        assert_eq!(rules, same);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, says) in [
            ("allow 1.2.3.4\nrefuse 1.2.3.5", "line 2"),
            ("allow", "names no addresses"),
            ("deny all\nallow 1.2.3.4", "never be asked"),
        ] {
            let error = text.parse::<IpRules>().expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
