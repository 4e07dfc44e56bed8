//! The threads of a reactor: its workers, how they start, and how they are waited for.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;

use crate::clock::Clock;
use crate::error::Error;
use crate::limits::WorkerLimits;
use crate::mailbox::{Command, Mailbox};
use crate::stats::WorkerStats;
use crate::thread_role;
use crate::transport::system::{Inbound, SystemDriver, WorkerDoor, pin_to};
use crate::transport::{Worker, WorkerSeed};
use crate::watchdog::{Guard, OnStall, Watchdog};

/// Sockets on their way into one worker; the acceptor holds back the rest, and the kernel more.
const INBOUND_MAX: usize = 1024;

/// The workers started so far. Unless they are kept, they end again: a reactor starts whole or not at all.
#[derive(Default)]
pub(super) struct Workers {
    pub(super) doors: Vec<WorkerDoor>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start_one(
        &mut self,
        index: u16,
        limits: &WorkerLimits,
        clock: &Clock,
        core: Option<usize>,
    ) -> Result<(), Error> {
        let refused = |error: io::Error| Error::io("cannot start a worker", error);
        let (inbound, receiver): (Sender<Inbound>, Receiver<Inbound>) = bounded(INBOUND_MAX);
        let stats = Arc::new(WorkerStats::default());
        let driver = SystemDriver::new(
            clock.clone(),
            limits.events_per_poll,
            receiver,
            Arc::clone(&stats),
        )
        .map_err(refused)?;
        let waker = driver.waker().map_err(refused)?;
        let mailbox = Arc::new(Mailbox::new(waker, limits.mailbox_messages_max));
        let seed = WorkerSeed {
            index,
            limits: limits.clone(),
            mailbox: Arc::clone(&mailbox),
            stats: Arc::clone(&stats),
        };
        let thread = spawn(format!("netwheel-io-{index}"), move || {
            if let Some(core) = core {
                pin_to(core);
            }
            Worker::new(seed, driver).run();
        })?;
        self.threads.push(thread);
        self.doors.push(WorkerDoor {
            inbound,
            mailbox,
            stats,
        });
        Ok(())
    }

    pub(super) fn stats(&self) -> Vec<Arc<WorkerStats>> {
        self.doors
            .iter()
            .map(|door| Arc::clone(&door.stats))
            .collect()
    }

    /// Starts what watches them; nothing, where no turn is ever too long.
    pub(super) fn watch(
        &self,
        clock: &Clock,
        limits: &WorkerLimits,
        on_stall: Option<OnStall>,
    ) -> Result<Option<Guard>, Error> {
        if limits.turn_warn.min(limits.turn_error) == Duration::MAX {
            return Ok(None);
        }
        let watchdog = Watchdog::new(clock.clone(), self.stats(), limits, on_stall);
        Guard::start(watchdog).map(Some)
    }

    pub(super) fn keep(mut self) -> Vec<JoinHandle<()>> {
        self.doors.clear();
        std::mem::take(&mut self.threads)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        stop_workers(&self.doors);
        join(&mut self.threads);
    }
}

pub(super) fn spawn(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    thread::Builder::new()
        .name(name)
        .spawn(move || {
            thread_role::become_io_thread();
            body();
        })
        .map_err(|error| Error::io("cannot start a thread", error))
}

pub(super) fn stop_workers(doors: &[WorkerDoor]) {
    for door in doors {
        door.mailbox.push(Command::Stop);
    }
}

pub(super) fn join(threads: &mut Vec<JoinHandle<()>>) {
    for thread in threads.drain(..) {
        if thread.join().is_err() {
            error!(target: "netwheel::reactor", "an I/O thread panicked");
        }
    }
}
