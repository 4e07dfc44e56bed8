//! Certificates, made as they are needed.

use netwheel::tls::{Tls, TlsBuilder};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// Who signs.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        // Named, or openssl takes what it signs for its own.
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn sign(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        Identity {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A builder with a certificate of this authority for `name`.
    pub(crate) fn identified(&self, name: &str) -> TlsBuilder {
        let identity = self.sign(name);
        Tls::builder()
            .certificate_pem(identity.certificate, identity.key)
            .unwrap()
    }

    /// The usual server, `localhost`.
    pub(crate) fn server(&self) -> Tls {
        self.identified("localhost").server().unwrap()
    }

    /// The usual client of `localhost`.
    pub(crate) fn client(&self) -> Tls {
        self.trusting().client("localhost").unwrap()
    }

    /// A builder that trusts this authority.
    pub(crate) fn trusting(&self) -> TlsBuilder {
        Tls::builder().trust_pem(self.pem()).unwrap()
    }
}
