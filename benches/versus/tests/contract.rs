//! The servers keep the contract of the README, and the runner runs them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_versus");
const KINDS: [&str; 4] = ["tokio", "tokio-current", "tokio-batch", "tokio-crossbeam"];

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(kind: &str, mode: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", kind, "--mode", mode])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program under test");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ");
        let address = address.expect("the words of the contract").to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("not zero");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn echoes(stream: &mut TcpStream, bytes: &[u8]) {
    let mut echoed = vec![0; bytes.len()];
    stream.read_exact(&mut echoed).expect("an echo");
    assert_eq!(echoed, bytes);
}

#[test]
fn bytes_come_back() {
    for kind in KINDS {
        let server = Server::start(kind, "raw");
        let mut stream = server.connect();
        stream.write_all(b"no frame at all").expect("open");
        echoes(&mut stream, b"no frame at all");
    }
}

#[test]
fn datagrams_come_back_to_who_sent_them() {
    for kind in ["netwheel", "tokio", "tokio-current"] {
        let server = Server::start(kind, "udp");
        let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        for (peer, text) in peers.iter().zip([&b"one"[..], b"another"]) {
            let patience = Some(Duration::from_secs(10));
            peer.set_read_timeout(patience).expect("not zero");
            peer.send_to(text, &*server.address).expect("a datagram");
        }
        for (peer, text) in peers.iter().zip([&b"one"[..], b"another"]) {
            let mut buffer = [0; 64];
            let count = peer.recv(&mut buffer).expect("an echo");
            assert_eq!(&buffer[..count], text);
        }
    }
}

#[test]
fn frames_come_back_whole_and_in_order() {
    for kind in KINDS {
        for mode in ["framed", "pool"] {
            let server = Server::start(kind, mode);
            let mut stream = server.connect();
            let many: Vec<u8> = (0..200_u8)
                .flat_map(|at| frame(&vec![at; usize::from(at)]))
                .collect();
            let (whole, cut) = many.split_at(many.len() - 7);
            stream.write_all(whole).expect("open");
            // All but the last frame, which is not whole yet.
            let last = many.len() - frame(&[0; 199]).len();
            echoes(&mut stream, &many[..last]);
            stream.write_all(cut).expect("open");
            echoes(&mut stream, &many[last..]);
        }
    }
}

/// A frame of the private stack: a type, the id of a question, and a body.
fn link_frame(kind: u8, id: Option<u64>, body: &[u8]) -> Vec<u8> {
    let mut frame = b"\xab\xef\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    frame.extend([kind, 0, 0, 0, 0, u8::from(id.is_some())]);
    if let Some(id) = id {
        frame.extend(b"\0\0\0\x03rid\0\0\0\x08");
        frame.extend(id.to_be_bytes());
    }
    frame.extend(body);
    let length = (frame.len() as u32).to_be_bytes();
    frame[4..8].copy_from_slice(&length);
    frame
}

#[test]
fn links_log_in_and_every_question_is_answered_by_its_id() {
    for kind in ["netwheel", "tokio", "tokio-current", "tokio-batch"] {
        let server = Server::start(kind, "link");
        let mut stream = server.connect();
        let (login, ping) = (link_frame(3, None, b""), link_frame(5, None, b""));
        let one_way = link_frame(2, None, b"no answer");
        let asked = [
            link_frame(0, Some(7), b"seven"),
            one_way.clone(),
            ping,
            one_way,
            link_frame(0, Some(8), b""),
            link_frame(0, Some(9), b""),
        ];
        let answered = [
            link_frame(1, Some(7), b"seven"),
            link_frame(6, None, b""),
            link_frame(1, Some(8), &2_u64.to_be_bytes()),
            link_frame(1, Some(9), &0_u64.to_be_bytes()),
        ];
        stream.write_all(&login).expect("open");
        echoes(&mut stream, &link_frame(4, None, &[0]));
        stream.write_all(&asked.concat()).expect("open");
        let mut answers = vec![0; answered.concat().len()];
        stream.read_exact(&mut answers).expect("answers");
        // Pongs are the link's own: they may pass the answers of services.
        assert_eq!(sorted(&answers), sorted(&answered.concat()), "{kind}");
    }
}

/// The frames of a stream, in an order that does not depend on the stream's.
fn sorted(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(length) = bytes.get(4..8) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let (frame, rest) = bytes.split_at(length as usize);
        frames.push(frame);
        bytes = rest;
    }
    frames.sort();
    frames
}

/// The other languages' servers, where they could be built, under the load that verifies every byte.
#[test]
fn the_runner_reports_every_mode() {
    let folder = env::temp_dir().join(format!("versus-test-{}", std::process::id()));
    let output = Command::new(PROGRAM)
        .args([
            "--case",
            "raw-pingpong,framed-pipeline,pool-pipeline,udp-pingpong,link-calls-64,link-one-way",
        ])
        .args([
            "--only",
            "tokio-batch,tarpc,c,libuv,go",
            "--rounds",
            "2",
            "--seconds",
            "0.02",
        ])
        .args(["--json", "--out"])
        .arg(&folder)
        .output()
        .expect("the program under test");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let outcomes = report["outcomes"].as_array().expect("a list");
    assert_eq!(outcomes.len(), 6);
    for outcome in outcomes {
        let first = &outcome["entries"][0];
        assert!(
            first["server"]
                .as_str()
                .is_some_and(|name| name.starts_with("tokio"))
        );
        assert!(first["rounds"][1]["cpu"].as_f64().expect("a figure") > 0.0);
    }
    let markdown = fs::read_to_string(folder.join("versus.md")).expect("the report");
    assert!(markdown.contains("## pool-pipeline"));
    let chart = fs::read_to_string(folder.join("versus-ratios.svg")).expect("the chart");
    assert!(chart.starts_with("<svg") && chart.contains("tokio"));
    fs::remove_dir_all(folder).expect("it was just read");
}
