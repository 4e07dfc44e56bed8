//! How connections end on their worker: gently, at once, or all of them.

use log::debug;

use super::Worker;
use crate::error::CloseReason;
use crate::id::Key;
use crate::transport::driver::Driver;
use crate::transport::entry::{Phase, bytes_u32};

impl<D: Driver> Worker<D> {
    /// Ends the connections of services that were told to end.
    pub(super) fn end_services(&mut self) {
        let (endpoints, mut ground) = self.endpoints();
        endpoints.end_services(&mut ground);
        for key in self.keys() {
            let Some((entry, io)) = self.entry(key) else {
                continue;
            };
            if entry.service.is_aborting() {
                match entry.phase {
                    Phase::Lingering(_) => self.free(key),
                    _ => self.close(key, CloseReason::Shutdown),
                }
            } else if entry.service.is_ending() {
                match entry.phase {
                    Phase::Connecting => self.close(key, CloseReason::Shutdown),
                    Phase::Lingering(_) => {}
                    Phase::Open => {
                        entry.connection.handle_shutdown(io.turn);
                        self.settle(key);
                    }
                }
            }
        }
    }

    /// Everything has left: waits for the peer's FIN, if it has not come, before the socket goes.
    pub(super) fn finish(&mut self, key: Key, reason: CloseReason) {
        let Some((entry, mut io)) = self.entry(key) else {
            return;
        };
        let linger = entry.service.limits().linger_timeout;
        if entry.connection.is_eof() || linger.is_zero() {
            return self.close(key, reason);
        }
        if io.driver.shutdown_write(&mut entry.stream).is_err() {
            return self.close(key, reason);
        }
        entry.phase = Phase::Lingering(bytes_u32(entry.service.limits().linger_bytes_max));
        entry.service.begin_linger();
        entry.close_reason = reason;
        // What stopped reading early may have left bytes that no event will tell of again.
        entry.note_readable(false);
        entry.connection.close(io.turn, reason);
        if entry.linger(&mut io) {
            self.arm(key, self.turn.clock.now() + linger);
        } else {
            self.free(key);
        }
    }

    /// Tells the handler, and frees the slot.
    pub(super) fn close(&mut self, key: Key, reason: CloseReason) {
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        entry.close_reason = reason;
        entry.connection.close(io.turn, reason);
        self.free(key);
    }

    /// Frees the slot of a connection whose handler has been told.
    pub(super) fn free(&mut self, key: Key) {
        let Some(entry) = self.slots.remove(key) else {
            return;
        };
        if let Some((timer, _)) = entry.timer {
            self.wheel.cancel(timer);
        }
        self.pressure.note_freed(entry.held);
        let (reason, stats) = (entry.close_reason, &self.turn.stats);
        debug!(target: "netwheel::connection", "{} {}: closed: {reason}",
            entry.connection.id(), entry.connection.peer().address);
        // A connect that failed was never open, so it is not counted as closed.
        if entry.accepted || entry.phase != Phase::Connecting {
            stats.closes[reason as usize].add(1);
        }
        self.driver.close(entry.stream);
        self.leave(&entry.connection.peer(), &entry.service);
        if matches!(entry.phase, Phase::Lingering(_)) {
            entry.service.end_linger();
        }
    }

    /// Closes every connection at once.
    pub(crate) fn close_all(&mut self) {
        self.turn.board.close();
        self.end_inspections();
        while let Some(arrival) = self.driver.arrival() {
            self.turn_away(arrival.stream, &arrival.peer, &arrival.service);
        }
        let (endpoints, mut ground) = self.endpoints();
        endpoints.close_all(&mut ground);
        for key in self.keys() {
            match self.slots.get_mut(key).map(|entry| entry.phase) {
                Some(Phase::Lingering(_)) => self.free(key),
                Some(_) => self.close(key, CloseReason::Shutdown),
                None => {}
            }
        }
    }
}
