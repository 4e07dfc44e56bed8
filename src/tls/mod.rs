//! TLS under a pipeline, on rustls: the feature `tls`.
//!
//! A [`Tls`] says how, and goes into any pipeline of a server or a client; what the pipeline does stays as
//! it was. The stages and the handler hear their `on_open` once the handshake is done, and find what it has
//! brought as the attribute [`TlsPeer`].
//!
//! ```
//! use netwheel::tls::{Tls, TlsPeer};
//! use netwheel::{Pipeline, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
//! # let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
//! let tls = Tls::builder().certificate_pem(certificate, key)?.alpn(["echo"]).server()?;
//! let server = Server::new()
//!     .pipeline(move |_peer| {
//!         Pipeline::raw().tls(&tls).handle(|cx, bytes| {
//!             let name = cx.attribute::<TlsPeer>().and_then(TlsPeer::server_name);
//!             println!("asked for {name:?}");
//!             cx.write(bytes)
//!         })
//!     })
//!     .listen("127.0.0.1:0")?;
//! # let _ = server;
//! # Ok(())
//! # }
//! ```
//!
//! # How a connection ends
//!
//! A close that lets what is queued leave (`close_after_flush`, a shutdown, the answer to the peer's end)
//! takes leave with close_notify before its FIN. The peer's close_notify is what its FIN is elsewhere: what
//! was read is answered, then the connection closes with
//! [`PeerClosed`](crate::CloseReason::PeerClosed); with `half_open` it is
//! [`Event::ReadClosed`](crate::Event::ReadClosed). A FIN without it may be somebody's who has cut the
//! stream off: what was read is answered too, but the reason is
//! [`ProtocolError`](crate::CloseReason::ProtocolError), and the log tells.
//!
//! A handshake that fails closes with `ProtocolError` after the alert that says why, one that takes too
//! long with [`HandshakeTimeout`](crate::CloseReason::HandshakeTimeout); no callback hears of either, but a
//! client's handle does. In TLS 1.3 a client's handshake is done before the server has looked at its
//! certificate: a refusal comes after `on_open`.
//!
//! # STARTTLS
//!
//! A plain pipeline [upgrades](crate::Context::upgrade) to one under TLS: bytes behind the message that asked
//! for it belong to TLS, whether they came in the same read or not, so nothing can be slipped in before.

mod builder;
mod danger;
mod filter;
mod peer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::pipeline::PipelineBuilder;

pub use builder::TlsBuilder;
pub use peer::TlsPeer;
/// The crate whose types the interface shows.
pub use rustls;

/// How the connections of a server or a client speak TLS.
///
/// From a configuration of rustls, for which nothing is hidden, or from [`Tls::builder`], for the usual ones.
///
/// Threads: any; clones share the configuration. Cost: handshakes are computed on the connection's worker;
/// what is written in a turn is sealed together, in records of up to 16 KiB; an idle connection keeps
/// rustls's state, 4 KiB of it a buffer. Limit: of what the peer sends no more is kept undecrypted than one
/// record, 18 KiB (in a handshake 64 KiB); what is written is bounded as it is without TLS.
#[derive(Clone)]
pub struct Tls {
    side: Side,
    handshake_timeout: Duration,
    accepts_truncation: bool,
}

#[derive(Clone)]
enum Side {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

impl Tls {
    /// The usual configurations: PEM files, a name, a list of protocols.
    #[must_use]
    pub fn builder() -> TlsBuilder {
        TlsBuilder::new()
    }

    /// The accepting side, by a configuration of rustls.
    pub fn server(config: impl Into<Arc<ServerConfig>>) -> Self {
        Self::new(Side::Server(config.into()))
    }

    /// The dialling side, by a configuration of rustls, towards a server whose certificate names
    /// `server_name`: a DNS name or an IP address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when `server_name` is neither.
    pub fn client(config: impl Into<Arc<ClientConfig>>, server_name: &str) -> Result<Self, Error> {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| {
            let text = format!("{server_name:?} is no DNS name and no IP address of a server");
            Error::new(ErrorKind::Config, text)
        })?;
        Ok(Self::new(Side::Client(config.into(), name)))
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            accepts_truncation: false,
        }
    }

    /// How long a handshake may take, from the open connection on; 5 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, time: Duration) -> Self {
        self.handshake_timeout = time;
        self
    }

    /// Takes a FIN without close_notify for a proper end. Only for protocols whose messages tell by
    /// themselves whether they are whole: anybody on the way can send a FIN.
    #[must_use]
    pub fn danger_accept_truncation(mut self) -> Self {
        self.accepts_truncation = true;
        self
    }

    /// The state of one connection; a client's has its greeting queued.
    fn connect(&self) -> Result<Connection, rustls::Error> {
        Ok(match &self.side {
            Side::Server(config) => ServerConnection::new(Arc::clone(config))?.into(),
            Side::Client(config, name) => {
                ClientConnection::new(Arc::clone(config), name.clone())?.into()
            }
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match &self.side {
            Side::Server(_) => "server".to_owned(),
            Side::Client(_, name) => format!("client of {}", name.to_str()),
        };
        f.debug_struct("Tls")
            .field("side", &side)
            .field("handshake_timeout", &self.handshake_timeout)
            .finish_non_exhaustive()
    }
}

impl<C: Codec> PipelineBuilder<C> {
    /// Puts the pipeline under TLS: a [filter](Self::filter).
    ///
    /// Stages and handler are opened once the handshake is done. For a client:
    ///
    /// ```no_run
    /// use netwheel::tls::Tls;
    /// use netwheel::{Client, Pipeline, Reactor, codec::LengthField};
    ///
    /// # fn main() -> netwheel::Result<()> {
    /// let reactor = Reactor::builder().start()?;
    /// let tls = Tls::builder().trust_pem(std::fs::read("authority.pem")?)?.client("example.com")?;
    /// let handle = Client::on(&reactor)
    ///     .pipeline(move || Pipeline::new(LengthField::u32()).tls(&tls).handle(|_, answer| {
    ///         println!("{answer:?}");
    ///         Ok(())
    ///     }))
    ///     .connect("192.0.2.1:7443")?;
    /// # let _ = handle;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(self, tls: &Tls) -> Self {
        self.filter(filter::TlsFilter::new(tls.clone()))
    }
}
