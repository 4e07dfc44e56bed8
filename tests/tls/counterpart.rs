//! The other side of a harness: rustls by itself, or another harness.

use std::io::{Read, Write};
use std::sync::Arc;

use netwheel::testing::Harness;
use netwheel::tls::rustls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig};

use crate::authority::Authority;

/// A connection of rustls, driven by hand.
pub(crate) struct Counterpart {
    pub(crate) tls: Connection,
    received: Vec<u8>,
    /// What it made of the last bytes that came.
    pub(crate) error: Option<rustls::Error>,
}

impl Counterpart {
    pub(crate) fn new(tls: impl Into<Connection>) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(None);
        Self {
            tls,
            received: Vec::new(),
            error: None,
        }
    }

    /// A client of `localhost` that shows no certificate.
    pub(crate) fn client(authority: &Authority) -> Self {
        Self::client_with(authority, &[])
    }

    pub(crate) fn client_with(authority: &Authority, alpn: &[&str]) -> Self {
        let mut config = client_config(authority).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self::dial(config)
    }

    /// A client of `localhost` that shows a certificate of `signer`.
    pub(crate) fn certified_client(authority: &Authority, signer: &Authority) -> Self {
        let identity = signer.sign("a-client");
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = client_config(authority)
            .with_client_auth_cert(chain.map(|one| one.unwrap()).collect(), key);
        Self::dial(config.unwrap())
    }

    fn dial(config: ClientConfig) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self::new(ClientConnection::new(Arc::new(config), name).unwrap())
    }

    pub(crate) fn server(authority: &Authority, name: &str) -> Self {
        let identity = authority.sign(name);
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(|one| one.unwrap()).collect(), key);
        let config = Arc::new(config.unwrap());
        Self::new(rustls::ServerConnection::new(config).unwrap())
    }

    /// Encrypts, for the next exchange.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> &mut Self {
        self.tls.writer().write_all(bytes).unwrap();
        self
    }

    /// What has been decrypted since this was last asked.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// What it would send now.
    pub(crate) fn wire(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// It gets `wire`.
    pub(crate) fn take(&mut self, wire: &[u8]) {
        let mut rest = wire;
        while !rest.is_empty() && self.error.is_none() {
            let taken = self.tls.read_tls(&mut rest).unwrap();
            self.error = self.tls.process_new_packets().err();
            let _ = self.tls.reader().read_to_end(&mut self.received);
            if taken == 0 {
                break;
            }
        }
    }

    /// Carries bytes to and fro, at most `cut` at once, until neither has more to say.
    pub(crate) fn exchange_cut<In: 'static, Out: 'static>(
        &mut self,
        harness: &mut Harness<In, Out>,
        cut: usize,
    ) {
        loop {
            let (theirs, ours) = (self.wire(), harness.sent());
            if theirs.is_empty() && ours.is_empty() {
                return;
            }
            for piece in theirs.chunks(cut) {
                harness.receive(piece);
            }
            for piece in ours.chunks(cut) {
                self.take(piece);
            }
        }
    }

    pub(crate) fn exchange<In: 'static, Out: 'static>(&mut self, harness: &mut Harness<In, Out>) {
        self.exchange_cut(harness, usize::MAX);
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn client_config(
    authority: &Authority,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}
