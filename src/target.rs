//! Where a client dials: a place, or a name that is looked up at each dial.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::address::{Address, Place};
use crate::error::{Error, ErrorKind};

/// Where a client dials: a place, or a name that is looked up anew each time it is dialled.
///
/// Made from a socket address, a [`Place`], or text: `"127.0.0.1:7000"`, `"[::1]:7000"`,
/// `"server.example:7000"` or `"unix:/run/echo.sock"`. Text is only read here; nothing is looked up.
///
/// ```
/// use netwheel::Target;
///
/// assert!(matches!("127.0.0.1:7000".parse()?, Target::Place(_)));
/// assert!(matches!("localhost:7000".parse()?, Target::Name { port: 7000, .. }));
/// # Ok::<(), netwheel::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// An address, which needs no looking up.
    Place(Place),
    /// A name, and the port to dial at each of its addresses.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Target {
    /// The address that is dialled, as far as it is known without looking a name up.
    pub(crate) const fn address(&self) -> Address {
        match self {
            Self::Place(Place::Inet(address)) => Address::Inet(*address),
            Self::Place(Place::Unix(_)) | Self::Name { .. } => Address::Unix,
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.starts_with("unix:") {
            return text.parse().map(Self::Place);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Place(Place::Inet(address)));
        }
        let unknown = |why: &str| {
            let text = format!(
                "{text:?} is no address: {why}; write 127.0.0.1:7000, server.example:7000 or unix:/path"
            );
            Error::new(ErrorKind::Address, text)
        };
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| unknown("it has no port"))?;
        let port = port
            .parse()
            .map_err(|_| unknown("its port is no number below 65,536"))?;
        // Dots and colons of addresses, and what a name may hold; the resolver knows the rest.
        let named = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(named) {
            return Err(unknown("its name is none"));
        }
        let host = host.to_owned();
        Ok(Self::Name { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What can be a [`Target`].
pub trait IntoTarget {
    /// The target.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Address`] when the text is none.
    fn into_target(self) -> Result<Target, Error>;
}

impl IntoTarget for Target {
    fn into_target(self) -> Result<Target, Error> {
        Ok(self)
    }
}

impl IntoTarget for &Target {
    fn into_target(self) -> Result<Target, Error> {
        Ok(self.clone())
    }
}

impl IntoTarget for Place {
    fn into_target(self) -> Result<Target, Error> {
        Ok(Target::Place(self))
    }
}

impl IntoTarget for &Place {
    fn into_target(self) -> Result<Target, Error> {
        Ok(Target::Place(self.clone()))
    }
}

impl IntoTarget for SocketAddr {
    fn into_target(self) -> Result<Target, Error> {
        Ok(Target::Place(Place::Inet(self)))
    }
}

impl IntoTarget for &str {
    fn into_target(self) -> Result<Target, Error> {
        self.parse()
    }
}

impl IntoTarget for &String {
    fn into_target(self) -> Result<Target, Error> {
        self.parse()
    }
}

impl IntoTarget for String {
    fn into_target(self) -> Result<Target, Error> {
        self.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_apart_without_looking_anything_up() {
        let place = |text: &str| Target::Place(text.parse().expect("an address"));
        let name = |host: &str, port| Target::Name {
            host: host.into(),
            port,
        };
        for (text, target) in [
            ("127.0.0.1:7000", place("127.0.0.1:7000")),
            ("[::1]:7000", place("[::1]:7000")),
            ("unix:/run/echo.sock", place("unix:/run/echo.sock")),
            ("localhost:80", name("localhost", 80)),
            ("no-such_name.test:65535", name("no-such_name.test", 65535)),
        ] {
            assert_eq!(text.parse::<Target>().expect(text), target);
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_would_be() {
        for text in [
            "",
            "127.0.0.1",
            ":80",
            "host:",
            "host:65536",
            "a b:80",
            "::1:80",
            "host:-1",
        ] {
            let error = text.parse::<Target>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Address);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
            assert!(
                error.to_string().contains("write 127.0.0.1:7000"),
                "{error}"
            );
        }
    }
}
