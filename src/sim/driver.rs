//! A worker's driver in memory.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::datagrams::MemoryDatagrams;
use super::fabric::{Fabric, Stream, Trace};
use super::faults::Fault;
use crate::address::Peer;
use crate::buffer::Room;
use crate::clock::Clock;
use crate::executor::Roster;
use crate::id::Key;
use crate::sync::lock;
use crate::thread_role;
use crate::transport::{Arrival, Driver, EndpointArrival, Readiness};

/// Sockets and readiness of one worker, by the fabric of its world.
pub(super) struct MemoryDriver {
    pub(super) worker: usize,
    pub(super) clock: Clock,
    pub(super) fabric: Arc<Mutex<Fabric>>,
    pub(super) roster: Roster,
}

impl MemoryDriver {
    /// The fabric, at a moment at which other threads may have run.
    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.let_pool_run();
        lock(&self.fabric)
    }

    /// The pool has threads of its own, so its work may be done at any moment of a turn; here, by
    /// chance, whenever the worker makes a call that a kernel would answer.
    fn let_pool_run(&self) {
        let busy = self.roster.busy();
        if busy == 0 {
            return;
        }
        let mut fabric = lock(&self.fabric);
        if fabric.strikes(Fault::PoolAhead) {
            let (nth, quiet) = (fabric.random.below(busy), fabric.random.once_in(2));
            fabric.note(Trace::Pool, nth as u64, busy);
            drop(fabric);
            thread_role::play(false, || self.roster.run_one(nth, quiet));
        }
    }
}

impl Driver for MemoryDriver {
    type Stream = Stream;
    type Datagrams = MemoryDatagrams;

    const SHORT_READ_DRAINS: bool = true;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Never waits: the world turns the worker when there is something for it, or its time has come.
    fn wait(&mut self, _: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        self.fabric().tell(self.worker, ready);
        Ok(())
    }

    fn arrival(&mut self) -> Option<Arrival<Stream>> {
        self.fabric().arrival(self.worker)
    }

    fn register(&mut self, stream: &mut Stream, key: Key, writable: bool) -> io::Result<()> {
        self.fabric().register(stream, self.worker, key, writable);
        Ok(())
    }

    fn register_writable(&mut self, stream: &mut Stream, key: Key) -> io::Result<()> {
        self.register(stream, key, true)
    }

    fn finish_connect(&mut self, stream: &mut Stream) -> io::Result<Option<Peer>> {
        self.fabric().finish_connect(stream)
    }

    fn take_error(&mut self, stream: &mut Stream) -> Option<io::Error> {
        self.fabric().take_error(stream)
    }

    fn read(&mut self, stream: &mut Stream, into: Room<'_>) -> io::Result<usize> {
        self.fabric().read(stream, into)
    }

    fn write(&mut self, stream: &mut Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.fabric().write(stream, from)
    }

    fn shutdown_write(&mut self, stream: &mut Stream) -> io::Result<()> {
        self.fabric().shutdown_write(stream)
    }

    fn close(&mut self, stream: Stream) {
        self.fabric().close(&stream);
    }

    fn endpoint_arrival(&mut self) -> Option<EndpointArrival<MemoryDatagrams>> {
        lock(&self.fabric).endpoint_arrival(self.worker)
    }

    fn register_endpoint(&mut self, wire: &mut MemoryDatagrams, key: Key) -> io::Result<()> {
        lock(&self.fabric).register_endpoint(wire, self.worker, key);
        Ok(())
    }

    fn watch_endpoint(
        &mut self,
        wire: &mut MemoryDatagrams,
        _: Key,
        writable: bool,
    ) -> io::Result<()> {
        lock(&self.fabric).watch_endpoint(wire, writable);
        Ok(())
    }

    fn close_endpoint(&mut self, wire: MemoryDatagrams) {
        lock(&self.fabric).close_endpoint(&wire);
    }
}
