//! The frames of the private stack, as the load generator writes and expects them.
//!
//! By hand and not by the library's codec, so that a mistake there would show. All frames have the profile `spec`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const QUESTION: u8 = 0;
const ANSWER: u8 = 1;
const ONE_WAY: u8 = 2;
const LOGIN: u8 = 3;
const LOGIN_ANSWER: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;

const HEADER_BYTES: usize = 22;
/// A login that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question of this id.
pub fn question(id: u64, body: &[u8]) -> Vec<u8> {
    frame(QUESTION, &[("rid", &id.to_be_bytes())], body)
}

/// The answer to the question of this id.
pub fn answer(id: u64, body: &[u8]) -> Vec<u8> {
    frame(ANSWER, &[("rid", &id.to_be_bytes())], body)
}

/// A message that wants no answer.
pub fn one_way(body: &[u8]) -> Vec<u8> {
    frame(ONE_WAY, &[], body)
}

pub fn ping() -> Vec<u8> {
    frame(PING, &[], &[])
}

pub fn pong() -> Vec<u8> {
    frame(PONG, &[], &[])
}

/// Logs a fresh connection in, as a node of its own, and waits for it.
pub fn log_in(mut socket: &TcpStream, node: usize) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = format!("n{node}");
    socket.write_all(&frame(LOGIN, &[("nodeId", name.as_bytes())], &[]))?;
    let accepted = frame(LOGIN_ANSWER, &[], &[0]);
    let mut answer = vec![0; accepted.len()];
    socket.read_exact(&mut answer)?;
    if answer != accepted {
        return Err(io::Error::other("the server refused a login"));
    }
    socket.set_nonblocking(true)
}

fn frame(kind: u8, attachments: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xab, 0xef, 1, 1, 0, 0, 0, 0];
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&[kind, 0]);
    put_length(&mut frame, attachments.len());
    debug_assert_eq!(frame.len(), HEADER_BYTES);
    for (key, value) in attachments {
        put_length(&mut frame, key.len());
        frame.extend_from_slice(key.as_bytes());
        put_length(&mut frame, value.len());
        frame.extend_from_slice(value);
    }
    frame.extend_from_slice(body);
    let length = (frame.len() as u32).to_be_bytes();
    frame[4..8].copy_from_slice(&length);
    frame
}

fn put_length(frame: &mut Vec<u8>, length: usize) {
    frame.extend_from_slice(&(length as u32).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_standard() {
        assert_eq!(
            ping(),
            *b"\xab\xef\x01\x01\0\0\0\x16\0\0\0\0\0\0\0\0\x05\0\0\0\0\0"
        );
        assert_eq!(
            one_way(b"hi"),
            *b"\xab\xef\x01\x01\0\0\0\x18\0\0\0\0\0\0\0\0\x02\0\0\0\0\0hi"
        );
        let login = frame(LOGIN, &[("nodeId", b"n1")], &[]);
        let tail = b"\x03\0\0\0\0\x01\0\0\0\x06nodeId\0\0\0\x02n1";
        assert_eq!((login.len(), login[7]), (38, 38));
        assert!(login.ends_with(tail));
    }

    #[test]
    fn an_answer_differs_from_its_question_in_its_type_alone() {
        let (asked, answered) = (question(7, b"body"), answer(7, b"body"));
        let differing = asked.iter().zip(&answered).filter(|(a, b)| a != b).count();
        assert_eq!((asked.len(), differing), (answered.len(), 1));
    }
}
