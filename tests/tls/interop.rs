//! Beside what others have built; skipped, with the reason printed, where it is not installed.
#![allow(clippy::print_stderr, reason = "says what was not tested")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

use bytes::Bytes;
use netwheel::{Client, CloseReason, Pipeline, Reactor, RunningServer};

use crate::authority::Authority;
use crate::util::{PATIENCE, end, serve};

/// Whether `tool` can be run here.
fn installed(tool: &str, version: &str) -> bool {
    let found = Command::new(tool)
        .arg(version)
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// A folder of the test's own, with its certificates.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str, authority: &Authority) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
        fs::create_dir_all(&path).unwrap();
        let identity = authority.sign("localhost");
        fs::write(path.join("authority.pem"), authority.pem()).unwrap();
        fs::write(path.join("certificate.pem"), identity.certificate).unwrap();
        fs::write(path.join("key.pem"), identity.key).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

/// A child that does not outlive its test.
struct Tool {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Tool {
    fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Self { child, stdin }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn echo(authority: &Authority) -> RunningServer {
    let tls = authority.server();
    serve(1, move |_| {
        Pipeline::raw()
            .tls(&tls)
            .handle(|cx, bytes| cx.write(bytes))
    })
}

#[test]
fn openssl_talks_to_our_server() {
    if !installed("openssl", "version") {
        return;
    }
    let authority = Authority::new();
    let folder = Folder::new("s_client", &authority);
    for version in ["-tls1_2", "-tls1_3"] {
        let server = echo(&authority);
        let mut tool = Tool::run(Command::new("openssl").args([
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-servername",
            "localhost",
            "-connect",
            &server.address().to_string(),
            "-CAfile",
            &folder.file("authority.pem"),
            version,
        ]));
        tool.write(b"hello from openssl\n");
        let mut line = String::new();
        let mut stdout = BufReader::new(tool.child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "hello from openssl\n", "{version}");
        drop(tool);
        end(server);
    }
}

#[test]
fn our_client_talks_to_openssl() {
    if !installed("openssl", "version") {
        return;
    }
    let authority = Authority::new();
    let folder = Folder::new("s_server", &authority);
    // It says where it listens, as ACCEPT [::]:port or ACCEPT 127.0.0.1:port.
    let mut tool = Tool::run(Command::new("openssl").args([
        "s_server",
        "-rev",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        &folder.file("certificate.pem"),
        "-key",
        &folder.file("key.pem"),
    ]));
    let mut line = String::new();
    let mut stdout = BufReader::new(tool.child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let Some(port) = line
        .trim()
        .rsplit(':')
        .next()
        .filter(|_| line.starts_with("ACCEPT"))
    else {
        return eprintln!("skipped: this s_server does not say where it listens: {line:?}");
    };
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let tls = authority.client();
    let (telling, told) = mpsc::channel::<Bytes>();
    let client = Client::on(&reactor)
        .pipeline(move || {
            let telling = telling.clone();
            Pipeline::raw()
                .tls(&tls)
                .handle(move |_, bytes| Ok(telling.send(bytes)?))
        })
        .connect(format!("127.0.0.1:{port}"))
        .unwrap();
    client.try_send(Bytes::from_static(b"hello\n")).unwrap();
    let mut answer = Vec::new();
    while answer.len() < 6 {
        answer.extend(told.recv_timeout(PATIENCE).expect("the answer"));
    }
    assert_eq!(answer, b"olleh\n");
    client.close_after_flush();
    assert_eq!(client.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
}

#[test]
fn curl_fetches_from_our_server() {
    if !installed("curl", "--version") {
        return;
    }
    let authority = Authority::new();
    let folder = Folder::new("curl", &authority);
    let tls = authority
        .identified("localhost")
        .alpn(["http/1.1"])
        .server();
    let tls = tls.unwrap();
    let server = serve(1, move |_| {
        Pipeline::raw().tls(&tls).handle(|cx, _| {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
            cx.write(Bytes::from_static(answer.as_bytes()))?;
            cx.close_after_flush(CloseReason::Local);
            Ok(())
        })
    });
    let url = format!("https://localhost:{}/", server.address().port());
    let mut curl = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--cacert"])
        .args([&folder.file("authority.pem"), &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut body = String::new();
    let mut stdout = curl.stdout.take().unwrap();
    stdout.read_to_string(&mut body).unwrap();
    assert_eq!(body, "hello\n");
    assert!(curl.wait().unwrap().success());
    end(server);
}
