//! What looks at a server while a window is measured: clocks, memory, counts of system calls and instructions.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::load::Probe;
use crate::process::ServerProcess;
use crate::sys;

/// The server's CPU time over the window.
#[derive(Debug)]
pub struct CpuProbe<'a> {
    server: &'a ServerProcess,
    before: Duration,
    spent: Duration,
}

impl<'a> CpuProbe<'a> {
    pub fn new(server: &'a ServerProcess) -> Self {
        Self {
            server,
            before: Duration::ZERO,
            spent: Duration::ZERO,
        }
    }

    pub fn spent(&self) -> Duration {
        self.spent
    }
}

impl Probe for CpuProbe<'_> {
    fn begin(&mut self) -> Result<()> {
        self.before = self.server.cpu_time()?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.spent = self.server.cpu_time()?.saturating_sub(self.before);
        Ok(())
    }
}

/// How much the server's memory grew over the window.
#[derive(Debug)]
pub struct MemoryProbe<'a> {
    server: &'a ServerProcess,
    before: u64,
    grown: u64,
}

impl<'a> MemoryProbe<'a> {
    pub fn new(server: &'a ServerProcess) -> Self {
        Self {
            server,
            before: 0,
            grown: 0,
        }
    }

    pub fn grown(&self) -> u64 {
        self.grown
    }
}

impl Probe for MemoryProbe<'_> {
    fn begin(&mut self) -> Result<()> {
        self.before = self.server.memory()?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.grown = self.server.memory()?.saturating_sub(self.before);
        Ok(())
    }
}

/// A tool that attaches to the server, counts, and reports when interrupted.
#[derive(Debug)]
pub struct ToolProbe {
    tool: Tool,
    server: u32,
    report: PathBuf,
    child: Option<Child>,
    /// Kept open: a tool that cannot write its last words to it dies before its report.
    stderr: Option<BufReader<ChildStderr>>,
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `strace -c -f`: system calls of all threads.
    Strace,
    /// `perf stat`: user-space instructions of all threads.
    Perf,
}

impl Tool {
    /// Why it cannot be used on this machine.
    pub fn missing(self) -> Option<String> {
        let mut command = match self {
            Self::Strace => Command::new("strace"),
            Self::Perf => Command::new("perf"),
        };
        match self {
            Self::Strace => command.args(["-c", "true"]),
            Self::Perf => command.args(["stat", "-x,", "-e", "instructions:u", "true"]),
        };
        match command.output() {
            Err(error) => Some(format!("{self:?}: {error}")),
            Ok(output) if !output.status.success() => Some(format!("{self:?} may not trace here")),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                text.contains("not supported")
                    .then(|| format!("{self:?}: no instruction counter on this machine"))
            }
        }
    }
}

impl ToolProbe {
    pub fn new(tool: Tool, server: &ServerProcess) -> Self {
        let name = format!("versus-{tool:?}-{}", server.id());
        Self {
            tool,
            server: server.id(),
            report: std::env::temp_dir().join(name),
            child: None,
            stderr: None,
            count: 0,
        }
    }

    /// What was counted over the window.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn command(&self) -> Command {
        let pid = self.server.to_string();
        let mut command = match self.tool {
            Tool::Strace => Command::new("strace"),
            Tool::Perf => Command::new("perf"),
        };
        match self.tool {
            Tool::Strace => command.args(["-c", "-f", "-p", &pid]),
            Tool::Perf => command.args(["stat", "-x,", "-e", "instructions:u", "-p", &pid]),
        };
        command.arg("-o").arg(&self.report);
        command
    }
}

impl Probe for ToolProbe {
    fn begin(&mut self) -> Result<()> {
        let mut child = self.command().stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("stderr was asked for")?;
        self.child = Some(child);
        let stderr = self.stderr.insert(BufReader::new(stderr));
        match self.tool {
            Tool::Strace => {
                let mut line = String::new();
                stderr.read_line(&mut line)?;
                ensure!(line.contains("attached"), "strace: {line}");
            }
            // perf says nothing when it is ready.
            Tool::Perf => std::thread::sleep(Duration::from_millis(300)),
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let mut child = self.child.take().context("begin comes before end")?;
        sys::signal(child.id(), libc::SIGINT)?;
        child.wait()?;
        let report = fs::read_to_string(&self.report)?;
        fs::remove_file(&self.report)?;
        self.count = match self.tool {
            Tool::Strace => total_calls(&report),
            Tool::Perf => report
                .lines()
                .find_map(|line| line.split(',').next()?.parse().ok()),
        }
        .with_context(|| format!("no total in the report of {:?}:\n{report}", self.tool))?;
        Ok(())
    }
}

impl Drop for ToolProbe {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Already ended is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The `calls` column of strace's last line: `100.00 0.001 2 12345 6 total`.
fn total_calls(report: &str) -> Option<u64> {
    let line = report
        .lines()
        .rfind(|line| line.trim_end().ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// The words before a server's command line that let valgrind count its instructions.
pub const CALLGRIND: &[&str] = &[
    "valgrind",
    "--tool=callgrind",
    "--callgrind-out-file=/dev/null",
];

/// Why callgrind cannot be used on this machine.
pub fn callgrind_missing() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").output();
    output.err().map(|error| format!("valgrind: {error}"))
}

/// The instructions that callgrind prints at the end: `==1== Collected : 12345`.
pub fn collected(stderr: &str) -> Result<u64> {
    let line = stderr
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    match line {
        Some((_, count)) => Ok(count.trim().parse()?),
        None => bail!("callgrind printed no count:\n{stderr}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_total_is_the_fourth_column() {
        let report = "% time seconds usecs/call calls errors syscall\n\
                      100.00 0.000000 0 29 1 total\n";
        assert_eq!(total_calls(report), Some(29));
        assert_eq!(total_calls(""), None);
    }

    #[test]
    fn callgrind_count_is_found() {
        let stderr = "==7== Events    : Ir\n==7== Collected : 12345\n==7==\n";
        assert_eq!(collected(stderr).expect("a count"), 12345);
    }
}
