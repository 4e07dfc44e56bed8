//! Frames there and back through Netty 4.1, decoded and encoded again by its own handlers.
//!
//! Needs a JDK and Netty's jars as Debian installs them (`libnetty-java`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use bytes::BytesMut;
use netwheel::codec::{Blob, Codec, Delimiter, FixedLength, LengthField, Lines, Varint32};

use netwheel::{Framing, Pipeline, RunningServer};

use crate::util::{PATIENCE, end, serve};

/// Where Debian puts the jars of Java programs.
const JARS: &str = "/usr/share/java";

/// Bytes of the messages that are sent, as far as a framing takes them.
const SIZES: [usize; 12] = [
    0,
    1,
    5,
    7,
    127,
    128,
    255,
    256,
    5_000,
    65_535,
    65_536,
    1 << 20,
];

/// The class path, if all of it is there.
fn class_path() -> Option<String> {
    let parts = "common buffer transport resolver codec transport-native-unix-common";
    let jars = parts
        .split(' ')
        .map(|part| format!("{JARS}/netty-{part}.jar"));
    let jars: Vec<_> = jars.collect();
    let missing = jars.iter().find(|jar| !Path::new(jar).exists());
    let javac = Command::new("javac").arg("-version").output();
    if let Some(jar) = missing {
        println!("skipped: {jar} is not installed");
    } else if !javac.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no JDK");
    } else {
        return Some(jars.join(":"));
    }
    None
}

/// Netty's program, told what to do.
fn java(class_path: &str, arguments: &[String]) -> Command {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/NettyEcho.java");
    let mut command = Command::new("java");
    command
        .args(["-cp", class_path])
        .arg(source)
        .args(arguments);
    command
}

/// Netty, with an echo server for each framing.
struct Netty {
    process: Child,
    ports: Vec<u16>,
}

impl Netty {
    fn start(class_path: &str, framings: &[String]) -> Self {
        let mut process = java(class_path, framings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ports = lines.take(framings.len());
        let ports = ports.map(|line| line.unwrap().parse().unwrap()).collect();
        Self { process, ports }
    }
}

impl Drop for Netty {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A framing as Netty is told of it, and what is to be done with it.
struct Case {
    name: String,
    check: Box<dyn Fn(TcpStream)>,
    /// Our echo server for it, and how many of the sizes it carries; none where answers are framed otherwise.
    serve: Option<Box<dyn Fn() -> (RunningServer, usize)>>,
}

impl Case {
    /// `answered` is the framing of what comes back; messages begin with `header` bytes.
    fn new<F, G>(name: impl Into<String>, framing: F, answered: G, header: usize) -> Self
    where
        F: Framing + Clone,
        G: Framing + Clone,
    {
        let check = move |socket| echo(socket, &framing, &answered, header);
        Self {
            name: name.into(),
            check: Box::new(check),
            serve: None,
        }
    }

    fn same<F: Framing + Clone + Send + Sync>(name: impl Into<String>, framing: F) -> Self {
        let ours = framing.clone();
        let start = move || {
            let (carried, framing) = (messages(&ours, 0).1.len(), ours.clone());
            let server = serve(1, move |_| {
                Pipeline::new(framing.clone().then(Blob)).handle(|cx, message| cx.write(message))
            });
            (server, carried)
        };
        Self {
            serve: Some(Box::new(start)),
            ..Self::new(name, framing.clone(), framing, 0)
        }
    }
}

/// Sends messages of all sizes that can be sent, and takes them back.
fn echo<F, G>(socket: TcpStream, framing: &F, answered: &G, header: usize)
where
    F: Framing + Clone,
    G: Framing + Clone,
{
    let (wire, sent) = messages(framing, header);
    let mut sender = socket.try_clone().unwrap();
    let writing = thread::spawn(move || sender.write_all(&wire).unwrap());
    assert_eq!(receive(socket, &mut answered.clone(), sent.len()), sent);
    writing.join().unwrap();
}

/// Messages of all sizes that can be sent, on the wire and as they are read.
fn messages(framing: &(impl Framing + Clone), header: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut codec, mut wire) = (framing.clone(), Vec::new());
    for size in SIZES {
        let (start, message) = (wire.len(), vec![b'a' + size as u8 % 26; header + size]);
        codec.begin(&mut wire);
        wire.extend_from_slice(&message);
        if codec.end(&mut wire, start).is_err() {
            wire.truncate(start);
        }
    }
    let sent = decoded(framing, BytesMut::from(&wire[..]));
    assert!(!sent.is_empty(), "some sizes can be sent");
    (wire, sent)
}

fn receive(mut socket: TcpStream, codec: &mut impl Framing, count: usize) -> Vec<Vec<u8>> {
    let (mut messages, mut input, mut piece) = (Vec::new(), BytesMut::new(), [0; 10_000]);
    while messages.len() < count {
        let bytes = socket.read(&mut piece).unwrap();
        assert!(bytes > 0, "closed after {} messages", messages.len());
        input.extend_from_slice(&piece[..bytes]);
        while let Some(message) = codec.decode(&mut input).unwrap() {
            messages.push(message.to_vec());
        }
    }
    messages
}

fn decoded(framing: &(impl Framing + Clone), mut input: BytesMut) -> Vec<Vec<u8>> {
    let mut codec = framing.clone();
    let messages = std::iter::from_fn(|| codec.decode(&mut input).unwrap());
    messages.map(|message| message.to_vec()).collect()
}

/// Lengths of every width, in both orders, with and without themselves.
fn prefixes() -> impl Iterator<Item = Case> {
    let widths = [1, 2, 3, 4, 8].into_iter();
    let layouts = widths.flat_map(|width| (0..4).map(move |bits| (width, bits & 1, bits >> 1)));
    layouts.map(|(width, little, includes)| {
        let built = LengthField::builder(width).strip(width).build();
        let mut framing = built.unwrap();
        if little == 1 {
            framing = framing.little_endian();
        }
        if includes == 1 {
            framing = framing.includes_length();
        }
        Case::same(format!("prefix {little} {width} {includes}"), framing)
    })
}

/// Headers that stay on the message: offset, width, adjustment.
fn kept() -> impl Iterator<Item = Case> {
    let layouts = [
        (0, 2, 0),
        (2, 2, 0),
        (0, 2, 1),
        (1, 2, 1),
        (2, 3, 2),
        (4, 4, -8),
        (1, 8, -3),
    ];
    layouts.into_iter().map(|(offset, width, adjustment)| {
        let builder = LengthField::builder(width).offset(offset);
        let framing = builder.adjustment(adjustment).build().unwrap();
        let header = offset + width + adjustment.max(0) as usize;
        let name = format!("kept {offset} {width} {adjustment}");
        Case::new(
            name,
            framing.frame_bytes_max(header + (1 << 20)),
            answered(),
            header,
        )
    })
}

fn answered() -> LengthField {
    LengthField::u32().frame_bytes_max(2 << 20)
}

fn others() -> [Case; 6] {
    let delimiters = |set: &[&str]| Delimiter::any_of(set).unwrap();
    [
        Case::same("varint", Varint32::new()),
        Case::same("fixed 5000", FixedLength::new(5000)),
        Case::same("lines lf", Lines::new()),
        Case::same("lines crlf", Lines::crlf()),
        Case::same("delimiters $_", delimiters(&["$_"])),
        Case::same(
            "delimiters ;; \u{a7} --",
            delimiters(&[";;", "\u{a7}", "--"]),
        ),
    ]
}

#[test]
fn netty_reads_our_frames_and_we_its() {
    let Some(class_path) = class_path() else {
        return;
    };
    let cases: Vec<_> = prefixes().chain(kept()).chain(others()).collect();
    let names: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
    let netty = Netty::start(&class_path, &names);
    assert_eq!(netty.ports.len(), cases.len(), "Netty listens for each");
    for (case, port) in cases.iter().zip(&netty.ports) {
        println!("{}", case.name);
        let socket = TcpStream::connect(("127.0.0.1", *port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (case.check)(socket);
    }
}

#[test]
fn a_client_on_netty_gets_back_from_our_server_what_it_sends() {
    let Some(class_path) = class_path() else {
        return;
    };
    let cases: Vec<_> = prefixes().chain(others()).collect();
    let sizes = SIZES.map(|size| size.to_string()).join(",");
    let mut arguments = vec!["client".to_owned(), sizes];
    let mut servers = Vec::new();
    for case in &cases {
        let (server, carried) = case.serve.as_ref().expect("answered in kind")();
        arguments.extend([server.address().port().to_string(), case.name.clone()]);
        servers.push((server, carried));
    }
    let output = java(&class_path, &arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let came: Vec<usize> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(came.len(), cases.len());
    for ((case, (server, carried)), came) in cases.iter().zip(servers).zip(came) {
        // Ours pads short messages to a fixed length; Netty has nothing that would.
        let expected = if case.name.starts_with("fixed") {
            1
        } else {
            carried
        };
        assert_eq!(came, expected, "{}", case.name);
        end(server);
    }
}
