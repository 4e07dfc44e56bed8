//! A server in a process of its own, and what the system tells of it.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use crate::serve::ROLE;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A server that runs; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// The server itself; the child may be a program that runs it.
    pid: u32,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the server with these arguments, see [`crate::serve`].
    pub(crate) fn start(arguments: &[&str]) -> Result<Self> {
        Self::under(&[], arguments)
    }

    /// Starts it by another program: `strace -f ... promises serve ...`.
    pub(crate) fn under(program: &[&str], arguments: &[&str]) -> Result<Self> {
        let this = env::current_exe()?;
        let mut words = program.iter().copied().map(Into::into).collect::<Vec<_>>();
        words.extend([this.into_os_string(), ROLE.into()]);
        words.extend(arguments.iter().copied().map(Into::into));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (address, pid) = (line(&mut stdout)?.parse()?, line(&mut stdout)?.parse()?);
        Ok(Self {
            child,
            pid,
            stdin,
            stdout,
            address,
        })
    }

    /// A figure of the server's own statistics.
    pub(crate) fn figure(&mut self, name: &str) -> Result<u64> {
        writeln!(self.stdin, "{name}")?;
        Ok(line(&mut self.stdout)?.parse()?)
    }

    /// Waits until a figure is so much.
    pub(crate) fn wait_for(
        &mut self,
        name: &str,
        enough: impl Fn(u64) -> bool,
    ) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let figure = self.figure(name)?;
            if enough(figure) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > Duration::from_secs(60) {
                return Err(format!("{name} is still {figure} after a minute").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        Ok(self.status("VmRSS:")? * 1024)
    }

    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    /// CPU time of all its threads.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanos += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    fn status(&self, name: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        Ok(word.ok_or("the system does not tell")?.parse()?)
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid.to_string()])
            .status()?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| "no such process".into())
    }

    /// Until it has ended.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal("KILL");
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err("the server has ended".into());
    }
    Ok(line.trim_end().to_owned())
}
