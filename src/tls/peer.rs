//! What a handshake has brought.

use rustls::pki_types::CertificateDer;
use rustls::{Connection, ProtocolVersion, SupportedCipherSuite};

/// What a connection's handshake has brought: an attribute of the connection from `on_open` on.
///
/// ```
/// use netwheel::tls::TlsPeer;
/// use netwheel::{Context, Handler, Result};
/// # use bytes::Bytes;
///
/// struct Greeter;
///
/// impl Handler<Bytes, Bytes> for Greeter {
///     fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
///         if let Some(tls) = cx.attribute::<TlsPeer>() {
///             println!("{:?} by {:?}", tls.alpn(), tls.version());
///         }
///         Ok(())
///     }
///
///     fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, bytes: Bytes) -> Result<()> {
///         cx.write(bytes)
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct TlsPeer {
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
    certificates: Vec<CertificateDer<'static>>,
    version: Option<ProtocolVersion>,
    cipher_suite: Option<SupportedCipherSuite>,
}

impl TlsPeer {
    pub(super) fn of(connection: &Connection) -> Self {
        let server_name = match connection {
            Connection::Server(server) => server.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        };
        Self {
            server_name,
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            certificates: connection.peer_certificates().unwrap_or_default().to_vec(),
            version: connection.protocol_version(),
            cipher_suite: connection.negotiated_cipher_suite(),
        }
    }

    /// On a server, the name that the client asked for (SNI), in lower case; it may have sent none.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The protocol that both have agreed on (ALPN).
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// The certificates that the peer has shown and that were verified, its own first; none from a client
    /// that was not asked, or had none.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The version of TLS.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.version
    }

    /// How what is sent is protected.
    #[must_use]
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.cipher_suite
    }
}
