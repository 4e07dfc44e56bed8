//! One run: a fresh server process, one load, one sample.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::case::{Case, Cores};
use crate::load::{Load, Message, Opening, Probe, Shape, Timing, Window};
use crate::metric::{Metric, Sample};
use crate::probe::{CALLGRIND, CpuProbe, MemoryProbe, Tool, ToolProbe, collected};
use crate::process::ServerProcess;
use crate::rival::Rival;
use crate::server::Mode;
use crate::sys;

/// Where things run, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Bench {
    pub server_core: usize,
    pub load_core: usize,
    pub timing: Timing,
}

/// A server of a case, ready to be started.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub bench: &'a Bench,
    pub case: &'a Case,
    pub rival: &'a Rival,
    pub load: Load,
}

impl Run<'_> {
    /// The figures of one run.
    pub fn sample(&self) -> Result<Sample> {
        let server = self.start()?;
        let sample = match self.load {
            Load::Idle { few, many } => {
                let mut probe = MemoryProbe::new(&server);
                self.load_on(&server, self.bench.timing, &mut probe)?;
                let mut sample = Sample::default();
                sample.set(Metric::Memory, probe.grown() as f64 / (many - few) as f64);
                sample
            }
            Load::Closed { .. }
            | Load::Open { .. }
            | Load::Broadcast { .. }
            | Load::Churn { .. }
            | Load::Datagrams { .. }
            | Load::Heartbeats { .. }
            | Load::OneWay { .. } => {
                let mut probe = CpuProbe::new(&server);
                let window = self.load_on(&server, self.bench.timing, &mut probe)?;
                let mut sample = Sample::from_window(&window);
                sample.set(
                    Metric::Cpu,
                    probe.spent().as_nanos() as f64 / window.messages as f64,
                );
                sample
            }
        };
        server.terminate()?;
        Ok(sample)
    }

    /// System calls or instructions per message, in a run that nothing is timed in.
    pub fn count(&self, tool: Tool) -> Result<f64> {
        let server = self.start()?;
        let mut probe = ToolProbe::new(tool, &server);
        let window = self.load_on(&server, COUNTING, &mut probe)?;
        server.terminate()?;
        Ok(probe.count() as f64 / window.messages as f64)
    }

    /// Instructions per message under callgrind: the slope between a short and a long run.
    pub fn callgrind(&self) -> Result<f64> {
        let (few, short) = self.callgrind_once(2_000)?;
        let (many, long) = self.callgrind_once(12_000)?;
        let name = self.rival.name;
        ensure!(
            many > few * 2 && long > short,
            "{name}: too few messages under callgrind for a slope"
        );
        Ok((long - short) as f64 / (many - few) as f64)
    }

    fn callgrind_once(&self, messages_max: u64) -> Result<(u64, u64)> {
        let path = std::env::temp_dir().join(format!("versus-callgrind-{}", std::process::id()));
        let mut command = self.command(CALLGRIND)?;
        command.stderr(File::create(&path)?);
        let server = ServerProcess::start(&mut command, &self.server_cores())?;
        let timing = Timing {
            warm_up: Duration::ZERO,
            // Valgrind is about 50 times slower than the machine.
            window: Duration::from_secs(15),
            messages_max,
        };
        let window = self.load_on(&server, timing, &mut Nothing);
        let words = || fs::read_to_string(&path).unwrap_or_default();
        let messages = window.with_context(words)?.messages;
        server.terminate()?;
        let stderr = fs::read_to_string(&path)?;
        fs::remove_file(&path)?;
        Ok((messages, collected(&stderr)?))
    }

    fn start(&self) -> Result<ServerProcess> {
        ServerProcess::start(&mut self.command(&[])?, &self.server_cores())
    }

    fn command(&self, wrapper: &[&str]) -> Result<std::process::Command> {
        let Case {
            mode,
            workers,
            options,
            ..
        } = *self.case;
        self.rival.command(wrapper, mode, workers, options)
    }

    fn load_on(
        &self,
        server: &ServerProcess,
        timing: Timing,
        probe: &mut dyn Probe,
    ) -> Result<Window> {
        let cores = match self.case.cores {
            Cores::Pinned => vec![self.bench.load_core],
            Cores::Shared => self.server_cores(),
        };
        sys::pin_current_thread(&cores)?;
        let message = Message {
            bytes: self.case.bytes,
            shape: match self.case.mode {
                Mode::Framed | Mode::Pool | Mode::Broadcast => Shape::Framed,
                Mode::Link if self.rival.has_own_client() => Shape::Rpc,
                Mode::Link => Shape::Question,
                Mode::Raw | Mode::Tls | Mode::Udp => Shape::Bare,
            },
            opening: match self.case.mode {
                Mode::Tls => Opening::Tls,
                Mode::Link => Opening::Login,
                _ => Opening::None,
            },
        };
        let timing = Timing {
            warm_up: timing
                .warm_up
                .max(self.rival.warm_up_min)
                .max(self.case.period),
            window: timing.window.max(self.case.period),
            ..timing
        };
        let window = self.load.run(server.address(), message, timing, probe);
        window.with_context(|| format!("{} in {}", self.rival.name, self.case.name))
    }

    fn server_cores(&self) -> Vec<usize> {
        match self.case.cores {
            Cores::Pinned => vec![self.bench.server_core],
            Cores::Shared => vec![self.bench.server_core, self.bench.load_core],
        }
    }
}

/// Counts do not depend on the clock: long enough for thousands of messages under a tracer.
const COUNTING: Timing = Timing {
    warm_up: Duration::from_millis(100),
    window: Duration::from_millis(500),
    messages_max: u64::MAX,
};

struct Nothing;

impl Probe for Nothing {
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}
