//! A disk of a simulated world: it outlives the processes that write to it, and says when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use netwheel::link::{Kept, Progress, Spool, Spooled};
use netwheel::stack::Message;
use netwheel::{Error, ErrorKind};

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    next: u64,
    safe: BTreeMap<u64, Message>,
    writing: Vec<(u64, Message)>,
    progress: Option<Progress>,
    /// Which process writes: what an older one still says counts no more.
    process: u64,
}

impl MemoryDisk {
    /// Makes the first `count` of the messages that wait safe, and tells their link, unless it dies right then.
    pub(crate) fn sync(&self, count: usize, tells: bool) {
        let told = {
            let mut disk = self.0.lock().unwrap();
            let count = count.min(disk.writing.len());
            let safe: Vec<_> = disk.writing.drain(..count).collect();
            let last = safe.last().map(|(seq, _)| *seq);
            disk.safe.extend(safe);
            disk.next = disk.next.max(last.map_or(0, |seq| seq + 1));
            disk.progress.clone().zip(last)
        };
        if let Some((progress, last)) = told
            && tells
        {
            progress.safe(last);
        }
    }

    /// Breaks: what waits is lost, and nothing more is taken.
    pub(crate) fn fail(&self) {
        let progress = {
            let mut disk = self.0.lock().unwrap();
            disk.process += 1;
            disk.writing.clear();
            disk.progress.take()
        };
        progress.unwrap().failed(broken());
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.0.lock().unwrap().writing.is_empty()
    }

    /// The spool of a process that begins, after which no older one writes.
    pub(crate) fn spool(&self) -> MemorySpool {
        let mut disk = self.0.lock().unwrap();
        disk.process += 1;
        disk.writing.clear();
        disk.progress = None;
        MemorySpool {
            disk: self.clone(),
            process: disk.process,
        }
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Io, "the disk is broken")
}

pub(crate) struct MemorySpool {
    disk: MemoryDisk,
    process: u64,
}

impl Spool<Message> for MemorySpool {
    fn load(&mut self) -> Result<Spooled<Message>, Error> {
        let disk = self.disk.0.lock().unwrap();
        let safe = disk.safe.iter();
        Ok(Spooled {
            epoch: 1,
            next: disk.next.max(1),
            messages: safe.map(|(seq, message)| (*seq, message.clone())).collect(),
        })
    }

    fn watch(&mut self, progress: Progress) {
        self.disk.0.lock().unwrap().progress = Some(progress);
    }

    fn append(&mut self, seq: u64, message: &Message) -> Result<Kept, Error> {
        let mut disk = self.disk.0.lock().unwrap();
        if disk.process != self.process {
            return Err(broken());
        }
        disk.writing.push((seq, message.clone()));
        Ok(Kept::Writing)
    }

    fn forget(&mut self, seq: u64) -> Result<(), Error> {
        let mut disk = self.disk.0.lock().unwrap();
        if disk.process == self.process {
            disk.safe.remove(&seq);
            disk.writing.retain(|(at, _)| *at != seq);
        }
        Ok(())
    }
}
