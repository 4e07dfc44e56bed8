//! A client's end of a connection: a socket, or TLS over one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// More than a read of the socket brings.
const WIRE_BYTES: usize = 64 * 1024;

/// A non-blocking stream of plain bytes.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    tls: Option<Box<Sealed>>,
}

#[derive(Debug)]
struct Sealed {
    session: ClientConnection,
    wire: Vec<u8>,
}

impl Stream {
    pub fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    /// Shakes hands, waiting for it.
    pub fn sealed(mut socket: TcpStream) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut session =
            ClientConnection::new(Arc::clone(&CONFIG), name).map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        socket.set_nonblocking(false)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        socket.set_nonblocking(true)?;
        let wire = vec![0; WIRE_BYTES];
        let tls = Some(Box::new(Sealed { session, wire }));
        Ok(Self { socket, tls })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

impl Read for Stream {
    /// Less than `buffer` holds only when the socket is empty.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer);
        };
        let mut filled = 0;
        loop {
            filled += decrypted(&mut tls.session, &mut buffer[filled..])?;
            let count = match self.socket.read(&mut tls.wire) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => {
                    return Ok(filled);
                }
                count => count?,
            };
            if count == 0 {
                return Ok(filled);
            }
            let mut rest = &tls.wire[..count];
            while !rest.is_empty() {
                let _ = tls.session.read_tls(&mut rest);
                tls.session
                    .process_new_packets()
                    .map_err(io::Error::other)?;
                filled += decrypted(&mut tls.session, &mut buffer[filled..])?;
            }
            if count < WIRE_BYTES && filled > 0 {
                return Ok(filled);
            }
        }
    }
}

/// Takes what has been decrypted.
fn decrypted(session: &mut ClientConnection, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match session.reader().read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(bytes);
        };
        let count = tls.session.writer().write(bytes)?;
        self.flush()?;
        Ok(count)
    }

    /// Writes what is encrypted, until the socket is full.
    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.session.wants_write() {
            match tls.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OurOwn(provider)))
        .with_no_client_auth();
    Arc::new(config)
});

/// The server is this program's own, so that nobody has to vouch for it.
#[derive(Debug)]
struct OurOwn(Arc<CryptoProvider>);

impl ServerCertVerifier for OurOwn {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
