//! A program that runs, its stdin, and the lines of its stdout.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The longest that a line or an end is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// A server that keeps its data in a file, and where it listens.
pub(crate) fn chat_server(listen: &str, data: &str) -> (Process, String) {
    let server = Process::server(&["--listen", listen, "--data", data]);
    let line = server.line();
    let address = line.strip_prefix("listening on ");
    let address = address.expect("where it listens").to_owned();
    (server, address)
}

pub(crate) fn chat_client(flags: &[&str]) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_chat_client")).args(flags))
}

/// The client in a terminal of so many columns, see terminal.py.
pub(crate) fn terminal(columns: u32, flags: &[&str]) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/terminal.py");
    let client = env!("CARGO_BIN_EXE_chat_client");
    let mut python = Command::new("python3");
    Process::start(
        python
            .args([script, &columns.to_string(), client])
            .args(flags),
    )
}

/// The client in Python, which .ci/run sees to.
pub(crate) fn python(address: &str, uid: &str) -> Process {
    let (host, port) = address.rsplit_once(':').expect("an address");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/chat_peer.py");
    Process::start(Command::new("python3").args([script, host, port, uid, uid]))
}

impl Process {
    pub(crate) fn server(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chat_server"));
        Self::start(command.args(flags).env("RUST_LOG", "error"))
    }

    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a program");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    pub(crate) fn types(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("open");
        writeln!(stdin, "{line}").expect("it reads");
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// A terminal comes to show that.
    pub(crate) fn waits(&mut self, text: &str) {
        self.types(&format!("wait {text}"));
        assert_eq!(self.line(), "shown");
    }

    /// What a terminal shows.
    pub(crate) fn screen(&mut self) -> Vec<String> {
        self.types("screen");
        let lines = std::iter::from_fn(|| Some(self.line()));
        lines.take_while(|line| line != "--").collect()
    }

    /// A line comes that is so, after others perhaps.
    pub(crate) fn says(&self, expected: &str) {
        let mut others = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line == expected => return,
                Ok(line) => others.push(line),
                Err(_) => panic!("it does not say {expected:?} but {others:?}"),
            }
        }
    }

    /// The next line that counts is so.
    pub(crate) fn says_next(&self, expected: &str, counts: impl Fn(&str) -> bool) {
        loop {
            let line = self.line();
            if counts(&line) {
                return assert_eq!(line, expected);
            }
        }
    }

    /// What it has said and nobody has heard, up to its end.
    pub(crate) fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok()).collect()
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("ours");
    }

    /// It ends by itself once nothing more is typed, with status 0.
    pub(crate) fn ends_well(&mut self) -> bool {
        self.stdin = None;
        self.child.wait().expect("ours").success()
    }

    /// It ends on SIGTERM, with status 0.
    pub(crate) fn ends_by_signal(&mut self) -> bool {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        sent.is_ok_and(|sent| sent.success()) && self.child.wait().expect("ours").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
