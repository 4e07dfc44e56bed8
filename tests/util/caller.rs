//! A blocking client of framed servers.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A blocking client that speaks frames with a `u32` length in front.
pub struct Caller(pub TcpStream);

impl Caller {
    pub fn new(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(socket)
    }

    pub fn send(&mut self, body: &[u8]) {
        self.send_all([body]);
    }

    /// Sends frames in one write.
    pub fn send_all<B: AsRef<[u8]>>(&mut self, bodies: impl IntoIterator<Item = B>) {
        let mut frames = Vec::new();
        for body in bodies {
            let body = body.as_ref();
            frames.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
            frames.extend_from_slice(body);
        }
        self.0.write_all(&frames).unwrap();
    }

    /// The next frame, or the end of the stream.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header)?;
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    /// The next frame, which must come.
    pub fn expect(&mut self) -> Vec<u8> {
        self.receive().expect("a frame")
    }

    /// The next frame as a number.
    pub fn expect_number(&mut self) -> u32 {
        u32::from_be_bytes(self.expect().try_into().expect("four bytes"))
    }

    /// Sends a frame and waits for the answer.
    pub fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        self.send(body);
        self.expect()
    }

    /// Nothing more comes but the end of the stream, or a reset.
    pub fn expect_end(&mut self) {
        match self.0.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => panic!("bytes came where the end was due"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}
