//! New sockets: those that were accepted or handed in, and connects that come to their end.

use std::sync::Arc;

use log::{error, info, trace};

use super::Worker;
use crate::address::Peer;
use crate::connection::{Connection, Service};
use crate::error::CloseReason;
use crate::id::{ConnectionId, Key};
use crate::limits::ACCEPT_BATCH;
use crate::transport::driver::{Arrival, Driver};
use crate::transport::entry::{Entry, Phase};
use crate::whereabouts::Label;

impl<D: Driver> Worker<D> {
    pub(super) fn take_arrivals(&mut self) {
        self.more_arrivals = true;
        for _ in 0..ACCEPT_BATCH {
            let Some(arrival) = self.driver.arrival() else {
                self.more_arrivals = false;
                return;
            };
            self.last_event = self.turn.now;
            self.take_in(arrival);
        }
    }

    pub(super) fn take_endpoints(&mut self) {
        while let Some(arrival) = self.driver.endpoint_arrival() {
            self.last_event = self.turn.now;
            let (endpoints, mut ground) = self.endpoints();
            endpoints.take_in(&mut ground, arrival);
        }
    }

    /// Makes a connection of a new socket.
    fn take_in(&mut self, arrival: Arrival<D::Stream>) {
        let Arrival {
            mut stream,
            peer,
            service,
            connect_timeout,
            evicts,
        } = arrival;
        // Asked first, so that no pipeline is made in vain. Who is told to end from here on is told once more
        // of its new connection, by `Command::Shutdown`.
        if service.is_ending() {
            return self.turn_away(stream, &peer, &service);
        }
        if evicts && !self.evict_idle(&service) {
            self.turn.stats.refused.add(1);
            self.driver.refuse(stream);
            return self.leave(&peer, &service);
        }
        let whereabouts = &self.turn.stats.whereabouts;
        whereabouts.enter_for(peer.address, Label::FACTORY);
        let made = service.make(&peer);
        whereabouts.leave();
        let Ok(pipeline) = made else {
            error!(target: "netwheel::worker", "{}: the pipeline's factory panicked", peer.address);
            self.turn.stats.panics.add(1);
            return self.turn_away(stream, &peer, &service);
        };
        let connecting = connect_timeout.is_some();
        let (worker, driver) = (self.index, &mut self.driver);
        let mut registered = Ok(());
        let key = self.slots.insert_with(|key| {
            registered = driver.register(&mut stream, key, connecting);
            let id = ConnectionId::new(worker, key);
            let options = Arc::clone(&service.options);
            let connection = Connection::new(id, peer, options, pipeline);
            Entry::new(stream, connection, Arc::clone(&service), connecting)
        });
        if !connecting {
            self.turn.stats.accepted.add(1);
        }
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        entry.connection.attach(io.turn);
        if let Err(error) = registered {
            error!(target: "netwheel::worker", "{}: register: {error}", peer.address);
            return self.close(key, CloseReason::of_io(&error));
        }
        trace!(target: "netwheel::connection", "{} {}: taken in", entry.connection.id(), peer.address);
        match connect_timeout {
            Some(timeout) => self.arm(key, self.turn.clock.now() + timeout),
            None => entry.connection.open(io.turn),
        }
        self.settle(key);
    }

    pub(super) fn turn_away(&mut self, stream: D::Stream, peer: &Peer, service: &Service) {
        self.driver.close(stream);
        self.leave(peer, service);
    }

    pub(super) fn leave(&self, peer: &Peer, service: &Service) {
        service.leave(peer);
        self.turn.stats.connections.leave();
    }

    pub(super) fn finish_connect(&mut self, key: Key) {
        let Some((entry, io)) = self.entry(key) else {
            return;
        };
        match io.driver.finish_connect(&mut entry.stream) {
            Ok(None) => {}
            Ok(Some(peer)) => {
                entry.phase = Phase::Open;
                let timer = entry.timer.take();
                io.turn.stats.connected.add(1);
                entry.connection.set_peer(peer);
                entry.connection.open(io.turn);
                if let Some((timer, _)) = timer {
                    self.wheel.cancel(timer);
                }
                // Data may have come with the same edge as the end of the handshake.
                let Some((entry, mut io)) = self.entry(key) else {
                    return;
                };
                entry.note_readable(false);
                entry.serve(&mut io);
                self.settle(key);
            }
            Err(error) => {
                info!(target: "netwheel::connection", "connect to {}: {error}",
                    entry.connection.peer().address);
                self.close(key, CloseReason::of_io(&error));
            }
        }
    }
}
