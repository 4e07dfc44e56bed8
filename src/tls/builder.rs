//! The usual configurations of TLS.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::Tls;
use super::danger::AnyServer;
use crate::error::{Error, ErrorKind};

/// A [`Tls`] to be; the same settings make a server's and a client's.
///
/// ```
/// use netwheel::tls::Tls;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
/// # let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
/// let server = Tls::builder()
///     .certificate_pem(&certificate, &key)?
///     .alpn(["h2", "http/1.1"])
///     .server()?;
/// let client = Tls::builder().trust_pem(&certificate)?.alpn(["h2"]).client("localhost")?;
/// # let _ = (server, client);
/// # Ok(())
/// # }
/// ```
pub struct TlsBuilder {
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    trusted: RootCertStore,
    alpn: Vec<Vec<u8>>,
    clients: Clients,
    accepts_any_server: bool,
}

/// What a server wants of its clients.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    NotAsked,
    Asked,
    Required,
}

impl TlsBuilder {
    pub(super) fn new() -> Self {
        Self {
            own: None,
            trusted: RootCertStore::empty(),
            alpn: Vec::new(),
            clients: Clients::NotAsked,
            accepts_any_server: false,
        }
    }

    /// This side's certificate, with those that lead from it to the root, and its private key, as PEM.
    /// A server needs one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when either is no PEM or holds no such thing.
    pub fn certificate_pem(
        mut self,
        certificates: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, Error> {
        let key = PrivateKeyDer::from_pem_slice(key.as_ref())
            .map_err(|error| config(format!("no private key in PEM: {error}")))?;
        self.own = Some((read_certificates(certificates.as_ref())?, key));
        Ok(self)
    }

    /// Whose word is taken for the other side's certificate, as PEM: a client needs at least one authority,
    /// and a server that asks for certificates too. Adds to those named before.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when it is no PEM, or a certificate that can vouch for nobody.
    pub fn trust_pem(mut self, authorities: impl AsRef<[u8]>) -> Result<Self, Error> {
        for authority in read_certificates(authorities.as_ref())? {
            self.trusted
                .add(authority)
                .map_err(|error| config(format!("a certificate to trust: {error}")))?;
        }
        Ok(self)
    }

    /// The protocols that this side speaks, the best first. Where both sides name some and have none in
    /// common, the handshake fails.
    #[must_use]
    pub fn alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter();
        self.alpn = protocols.map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// A server refuses clients without a certificate of those that it [trusts](Self::trust_pem).
    #[must_use]
    pub fn require_client_certificates(mut self) -> Self {
        self.clients = Clients::Required;
        self
    }

    /// A server asks for a certificate, and takes clients that have none; a wrong one it refuses.
    #[must_use]
    pub fn ask_for_client_certificates(mut self) -> Self {
        self.clients = Clients::Asked;
        self
    }

    /// A client believes whoever answers. For tests against servers of one's own; anybody on the way can
    /// read and change everything.
    #[must_use]
    pub fn danger_accept_any_server(mut self) -> Self {
        self.accepts_any_server = true;
        self
    }

    /// The accepting side.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] without a certificate, with a key that is not its, and when clients are asked
    /// for certificates but nobody is trusted.
    pub fn server(self) -> Result<Tls, Error> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.client_verifier(&provider)?;
        let Some((certificates, key)) = self.own else {
            return Err(config(
                "a TLS server needs certificate_pem(certificate, key)",
            ));
        };
        let mut made = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(config)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(config)?;
        made.alpn_protocols = self.alpn;
        Ok(Tls::server(made))
    }

    fn client_verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        if self.clients == Clients::NotAsked {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let roots = Arc::new(self.trusted.clone());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let verifier = match self.clients {
            Clients::Asked => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        verifier.build().map_err(|error| {
            config(format!(
                "client certificates: {error}; call trust_pem first"
            ))
        })
    }

    /// The dialling side, towards a server whose certificate names `server_name`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when nobody is trusted, for a name that is none, and for a key that is not its
    /// certificate's.
    pub fn client(self, server_name: &str) -> Result<Tls, Error> {
        if self.trusted.is_empty() && !self.accepts_any_server {
            return Err(config("a TLS client needs trust_pem(authorities)"));
        }
        let provider = Arc::new(ring::default_provider());
        let made = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(config)?;
        let made = if self.accepts_any_server {
            made.dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            made.with_root_certificates(self.trusted)
        };
        let mut made = match self.own {
            None => made.with_no_client_auth(),
            Some((certificates, key)) => made
                .with_client_auth_cert(certificates, key)
                .map_err(config)?,
        };
        made.alpn_protocols = self.alpn;
        Tls::client(made, server_name)
    }
}

fn read_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(config("no certificate in PEM")),
        Err(error) => Err(config(format!("no certificate in PEM: {error}"))),
    }
}

fn config(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Config, what.to_string())
}

impl fmt::Debug for TlsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBuilder")
            .field("certificate", &self.own.is_some())
            .field("trusted", &self.trusted.len())
            .finish_non_exhaustive()
    }
}
