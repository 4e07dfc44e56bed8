//! TLS as a filter: rustls holds the protocol, this holds it between socket and codec.

use std::io::{BufRead, IoSlice, Write};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::Connection;

use super::{Tls, TlsPeer};
use crate::buffer::Output;
use crate::error::{Failure, Result};
use crate::pipeline::{Attributes, Filter, Inbound};

/// Pieces of what is queued that are sealed together: a large message and its header make one record.
const SLICES_PER_RECORD: usize = 16;

/// One connection's TLS.
///
/// ```text
///   wire ──> read_tls ──> process_new_packets ──> reader ──> plain
///   back <── write_tls <─────────┘ (handshake, alerts, new keys)
///   wire <── write_tls <────────────────────────── writer <── plain
/// ```
pub(super) struct TlsFilter {
    tls: Tls,
    /// There from `open` on.
    connection: Option<Connection>,
}

impl TlsFilter {
    pub(super) fn new(tls: Tls) -> Self {
        Self {
            tls,
            connection: None,
        }
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        let connection = self.connection.as_mut();
        connection.ok_or_else(|| Failure::protocol("TLS: bytes before the connection was open"))
    }
}

impl Filter for TlsFilter {
    fn open(&mut self, wire: &mut Output) -> Result<()> {
        let connection = self.connection.insert(self.tls.connect().map_err(failure)?);
        write_out(connection, wire)
    }

    fn is_ready(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| !connection.is_handshaking())
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.tls.handshake_timeout)
    }

    fn ready(&mut self, attributes: &mut Attributes) {
        if let Some(connection) = &self.connection {
            attributes.insert(TlsPeer::of(connection));
        }
    }

    fn inbound(
        &mut self,
        wire: &mut BytesMut,
        plain: &mut BytesMut,
        back: &mut Output,
    ) -> Result<Inbound> {
        let connection = self.connection()?;
        let outcome = read_in(connection, wire, plain);
        // Also after an error: the alert that tells the peer of it.
        write_out(connection, back)?;
        outcome
    }

    fn outbound(&mut self, plain: &mut dyn Buf, wire: &mut Output) -> Result<()> {
        let connection = self.connection()?;
        while plain.has_remaining() {
            let count = encrypt(connection, plain)?;
            if count == 0 {
                return Err(Failure::msg("TLS: nothing more can be encrypted"));
            }
            plain.advance(count);
            write_out(connection, wire)?;
        }
        Ok(())
    }

    fn eof(&mut self) -> Result<()> {
        if self.tls.accepts_truncation {
            return Ok(());
        }
        let text =
            "TLS: the peer's FIN came without close_notify; what it sent may have been cut off";
        Err(Failure::protocol(text))
    }

    fn close(&mut self, wire: &mut Output) {
        if let Some(connection) = &mut self.connection {
            connection.send_close_notify();
            write_out(connection, wire).expect("an output takes all");
        }
    }
}

/// Encrypts as much of `plain` as rustls takes at once, 64 KiB; answers how much.
fn encrypt(connection: &mut Connection, plain: &dyn Buf) -> Result<usize> {
    let (chunk, mut writer) = (plain.chunk(), connection.writer());
    if chunk.len() == plain.remaining() {
        return Ok(writer.write(chunk)?);
    }
    let mut slices = [IoSlice::new(&[]); SLICES_PER_RECORD];
    let filled = plain.chunks_vectored(&mut slices);
    Ok(writer.write_vectored(&slices[..filled])?)
}

/// Takes all of `wire`, a record or a few at a time, and decrypts it.
fn read_in(
    connection: &mut Connection,
    wire: &mut BytesMut,
    plain: &mut BytesMut,
) -> Result<Inbound> {
    while !wire.is_empty() {
        let count = fill(connection, wire);
        wire.advance(count);
        let state = connection.process_new_packets().map_err(failure)?;
        take_plain(connection, state.plaintext_bytes_to_read(), plain)?;
        if state.peer_has_closed() {
            // What follows a farewell counts for nothing.
            wire.clear();
            return Ok(Inbound::Closed);
        }
        if count == 0 {
            return Err(Failure::protocol("TLS: a message longer than any may be"));
        }
    }
    Ok(Inbound::Open)
}

/// Gives as much of `wire` as finds room; answers how much.
fn fill(connection: &mut Connection, wire: &[u8]) -> usize {
    let mut rest = wire;
    while !rest.is_empty() {
        // An error: it is full until what is there has been processed. Nothing: the peer has taken leave.
        let Ok(1..) = connection.read_tls(&mut rest) else {
            break;
        };
    }
    wire.len() - rest.len()
}

fn take_plain(connection: &mut Connection, mut count: usize, plain: &mut BytesMut) -> Result<()> {
    let mut reader = connection.reader();
    while count > 0 {
        let chunk = reader.fill_buf()?;
        let taken = chunk.len();
        plain.extend_from_slice(chunk);
        reader.consume(taken);
        count = count.saturating_sub(taken.max(1));
    }
    Ok(())
}

fn write_out(connection: &mut Connection, wire: &mut Output) -> Result<()> {
    while connection.wants_write() {
        connection.write_tls(wire)?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "an error is told once")]
fn failure(error: rustls::Error) -> Failure {
    Failure::protocol(format!("TLS: {error}"))
}
