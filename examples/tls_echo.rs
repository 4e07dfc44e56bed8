//! An echo server under TLS: what changes against a plain one is one line of its pipeline.
//!
//! ```sh
//! cargo run --release --features tls --example tls_echo -- --listen 127.0.0.1:7443
//! openssl s_client -quiet -connect 127.0.0.1:7443
//! ```
//! Type lines into `openssl` and get them back. Without `--cert` and `--key` the server makes a
//! certificate for localhost that nobody vouches for; clients that insist get it by `--save-cert`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Parser;
use log::info;
use netwheel::tls::{Tls, TlsPeer};
use netwheel::{Context, Handler, Pipeline, Result, Server};
use support::Outcome;

const EXAMPLES: &str = "\
Try it:
  cargo run --release --features tls --example tls_echo -- --listen 127.0.0.1:7443 --save-cert /tmp/echo.pem
  openssl s_client -quiet -connect 127.0.0.1:7443 -servername localhost -CAfile /tmp/echo.pem";

/// Sends every byte back to where it came from, under TLS.
#[derive(Parser)]
#[command(name = "tls_echo", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// The certificate, with those that lead to its root, as PEM; without it one is made
    #[arg(long, value_name = "PATH", requires = "key")]
    cert: Option<PathBuf>,

    /// The certificate's private key, as PEM
    #[arg(long, value_name = "PATH", requires = "cert")]
    key: Option<PathBuf>,

    /// Writes the certificate to this file, for clients that want to know whom they talk to
    #[arg(long, value_name = "PATH")]
    save_cert: Option<PathBuf>,

    /// Clients must show a certificate that one of these authorities has signed, as PEM
    #[arg(long, value_name = "PATH")]
    client_ca: Option<PathBuf>,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| {
        let tls = tls(&flags)?;
        let server = Server::new().pipeline(move |_peer| Pipeline::raw().tls(&tls).handler(Echo));
        support::serve(&flags.server, server, |_stats| {})
    })
}

fn tls(flags: &Flags) -> Outcome<Tls> {
    let (certificate, key) = match (&flags.cert, &flags.key) {
        (Some(certificate), Some(key)) => (read(certificate)?, read(key)?),
        _ => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            (made.cert.pem(), made.signing_key.serialize_pem())
        }
    };
    if let Some(path) = &flags.save_cert {
        fs::write(path, &certificate).map_err(|error| name(path, &error))?;
    }
    let mut builder = Tls::builder().certificate_pem(&certificate, &key)?;
    if let Some(path) = &flags.client_ca {
        builder = builder
            .trust_pem(read(path)?)?
            .require_client_certificates();
    }
    Ok(builder.server()?)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| name(path, &error))
}

fn name(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

struct Echo;

impl Handler<Bytes, Bytes> for Echo {
    /// The handshake is done.
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        if let Some(tls) = cx.attribute::<TlsPeer>() {
            info!(
                "{}: {:?}, asked for {:?}, {} certificates",
                cx.peer(),
                tls.version(),
                tls.server_name(),
                tls.certificates().len()
            );
        }
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, bytes: Bytes) -> Result {
        cx.write(bytes)
    }
}
