//! The other side as the documentation describes it, by hand: nothing of the library.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::util::{PATIENCE, dial};

pub const SYNC: u32 = 1003;
pub const PING: u32 = 9001;
pub const PONG: u32 = 9002;

/// One message, field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub id: u64,
    pub address: u64,
    pub version: u32,
    pub kind: u32,
    pub code: u32,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn new(kind: u32, id: u64, body: &[u8]) -> Self {
        Self {
            id,
            address: u64::MAX,
            version: 1,
            kind,
            code: 0,
            body: body.to_vec(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len()).unwrap();
        let mut bytes = [self.id.to_be_bytes(), self.address.to_be_bytes()].concat();
        for word in [self.version, self.kind, self.code, length] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A socket that speaks it.
pub struct Socket(pub TcpStream);

impl Socket {
    pub fn dial(to: SocketAddr) -> Self {
        Self(dial(to))
    }

    pub fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    pub fn send(&self, message: &Raw) {
        (&self.0).write_all(&message.bytes()).unwrap();
    }

    /// The next message; `None` at the end of the stream, be it a FIN or a reset.
    pub fn try_receive(&self) -> Option<Raw> {
        let mut header = [0; 32];
        (&self.0).read_exact(&mut header).ok()?;
        let long = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap());
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; word(28) as usize];
        (&self.0).read_exact(&mut body).ok()?;
        Some(Raw {
            id: long(0),
            address: long(8),
            version: word(16),
            kind: word(20),
            code: word(24),
            body,
        })
    }

    pub fn receive(&self) -> Raw {
        self.try_receive().expect("a message")
    }
}

/// Bytes from hexadecimal digits, with spaces between them.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|digit| *digit != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
