//! A server under test: a process of its own, pinned, and what can be read from it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail};

use crate::sys;

/// A JVM under callgrind is the slowest to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts `command` on `cores` and waits for its `listening on ADDR`.
    ///
    /// The calling thread is pinned to `cores` too: pin it elsewhere afterwards.
    pub fn start(command: &mut Command, cores: &[usize]) -> Result<Self> {
        sys::pin_current_thread(cores)?;
        let name = format!("{:?}", command.get_program());
        let mut child = sys::die_with_parent(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let stdout = child.stdout.take().context("stdout was asked for")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            let ready = lines.find_map(|line| {
                let line = line.ok()?;
                line.strip_prefix("listening on ").map(str::to_owned)
            });
            // The receiver is gone after a timeout, and then nobody wants the line.
            let _ = sender.send(ready);
        });
        let mut server = Self {
            child,
            address: SocketAddr::from(([0; 4], 0)),
        };
        match receiver.recv_timeout(START_TIMEOUT) {
            Ok(Some(address)) => {
                server.address = address.trim().parse().context("address of the server")?;
                Ok(server)
            }
            Ok(None) => bail!("{name} ended before it listened"),
            Err(_) => bail!("{name} did not listen within {START_TIMEOUT:?}"),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all threads, ended ones included.
    pub fn cpu_time(&self) -> Result<Duration> {
        Ok(sys::process_cpu_time(self.id())?)
    }

    /// User memory that is the server's own: anonymous resident bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = kib.context("RssAnon in /proc/PID/status")?.parse()?;
        Ok(kib * 1024)
    }

    /// Ends the server as an operator would, and waits for it.
    pub fn terminate(mut self) -> Result<()> {
        sys::signal(self.id(), libc::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Already ended is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
