//! Who is there. Belongs to the one job that works.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use log::{error, info};
use serde_json::{Value, json};

use super::note::{Noted, note};
use super::rooms::Rooms;
use super::seat::Seat;
use super::{Command, OfficeOptions, Order, Visitor};
use crate::contain;
use crate::ledger::{self, Kept, Ledger, is_room};
use crate::limits::{MISSED_MESSAGES_MAX, NAMES_LISTED_MAX, NOTICED_MEMBERS_MAX};
use crate::protocol::{Code, Packet, blocks};
use crate::store::Store;

pub(super) struct Hall {
    store: Arc<dyn Store>,
    options: OfficeOptions,
    seats: HashMap<Arc<str>, Vec<Seat>>,
    rooms: Rooms,
    /// Who wants to know of a user's coming and going.
    watchers: Rooms,
    /// The number of the last message.
    last_id: u64,
}

impl Hall {
    pub(super) fn new(store: Arc<dyn Store>, options: OfficeOptions) -> io::Result<Self> {
        let last_id = ledger::last_id(&*store)?;
        Ok(Self {
            store,
            options,
            seats: HashMap::new(),
            rooms: Rooms::default(),
            watchers: Rooms::default(),
            last_id,
        })
    }

    /// Keeps what the orders say, all of it together, and then does what they ask for, in their order.
    pub(super) fn serve(&mut self, orders: Vec<Order>) {
        let acknowledged: Vec<_> = orders
            .iter()
            .map(|order| self.acknowledged(order))
            .collect();
        let mut noted = Vec::with_capacity(orders.len());
        let (time, store) = ((self.options.clock)(), Arc::clone(&self.store));
        let mut change = |ledger: &mut Ledger<'_>| {
            noted.clear();
            for (order, acknowledged) in orders.iter().zip(&acknowledged) {
                noted.push(note(ledger, order, *acknowledged, time)?);
            }
            Ok(())
        };
        let kept = contain(|| ledger::change(&*store, &mut change))
            .unwrap_or_else(|| Err(io::Error::other("a panic, told of above")));
        match kept {
            Ok(()) => orders.into_iter().zip(noted).for_each(|(order, noted)| {
                let visitor = Arc::clone(order.visitor());
                if contain(|| self.follow(order, noted)).is_none() {
                    error!("{} is closed: a panic while it was served", visitor.device);
                    visitor.handle.close();
                }
            }),
            Err(fault) => self.give_up(orders, &fault),
        }
    }

    /// Up to where an order moves what its visitor has acknowledged.
    fn acknowledged(&mut self, order: &Order) -> Option<u64> {
        let Order::Look(visitor) = order else {
            return None;
        };
        let ids = visitor.take_acknowledged();
        let seat = self.seat(visitor)?;
        ids.into_iter().filter_map(|id| seat.acknowledge(id)).max()
    }

    fn follow(&mut self, order: Order, noted: Noted) {
        match (order, noted) {
            (
                Order::Say {
                    visitor,
                    sequence,
                    to,
                    ..
                },
                Noted::Kept(kept),
            ) => {
                self.deliver(&visitor, sequence, &to, kept);
            }
            (
                Order::Say {
                    visitor,
                    sequence,
                    to,
                    ..
                },
                Noted::Behind,
            ) => {
                let why = format!("something before it has not reached the inbox of {to}");
                visitor.send(Packet::response(sequence, Code::Busy, &why));
            }
            (Order::Arrive { visitor, welcome }, Noted::Cursor(cursor)) => {
                visitor.send(welcome);
                self.arrive(visitor, cursor);
            }
            (Order::Look(visitor), _) => self.look(&visitor),
            (Order::Leave { visitor, farewell }, _) => self.leave(&visitor, farewell),
            (
                Order::Do {
                    visitor,
                    sequence,
                    command,
                },
                _,
            ) => self.execute(&visitor, sequence, command),
            (Order::Say { .. } | Order::Arrive { .. }, _) => {
                unreachable!("each order has its own kind of note")
            }
        }
    }

    fn deliver(&mut self, visitor: &Visitor, sequence: u64, to: &str, kept: Kept) {
        let (id, packet) = match kept {
            Kept::New { id, packet } => (id, packet),
            Kept::Again(id) => {
                visitor.send(Packet::response(sequence, Code::Ok, &id.to_string()));
                return;
            }
            Kept::InboxFull => {
                let why = format!("the inbox of {to} is full");
                visitor.send(Packet::response(sequence, Code::Busy, &why));
                return;
            }
        };
        self.last_id = id;
        visitor.send(Packet::response(sequence, Code::Ok, &id.to_string()));
        if is_room(to) {
            if let Some(room) = self.rooms.get(to) {
                room.broadcast(&packet, Some(visitor.handle.id()));
            }
            return;
        }
        for seat in self.seats.get_mut(to).into_iter().flatten() {
            seat.deliver(id, &packet);
        }
        if self.options.copies && to != &*visitor.device.uid {
            let own = self.seats.get(&visitor.device.uid).into_iter().flatten();
            let others = own.filter(|seat| seat.visitor.handle.id() != visitor.handle.id());
            for other in others {
                other.visitor.offer(packet.clone());
            }
        }
    }

    fn arrive(&mut self, visitor: Arc<Visitor>, cursor: u64) {
        let uid = Arc::clone(&visitor.device.uid);
        let seats = self.seats.entry(Arc::clone(&uid)).or_default();
        let first = seats.is_empty();
        // One that this device has been kicked from says nothing more of what has arrived there.
        seats.retain(|seat| seat.visitor.device != visitor.device);
        seats.push(Seat::new(Arc::clone(&visitor), cursor));
        if first {
            self.tell_watchers(&uid, true);
        }
        self.look(&visitor);
    }

    /// Goes on with what a visitor has missed.
    fn look(&mut self, visitor: &Arc<Visitor>) {
        let store = Arc::clone(&self.store);
        let Some(seat) = self.seat(visitor) else {
            return;
        };
        // Before it is known, so that room that comes meanwhile is not missed.
        visitor.park(true);
        let inbox = seat.catch_up(&*store);
        // What was kept behind the last message that was delivered reaches who hears the room by then.
        let before = self.last_id + 1;
        let page = |room: &str, after, limit| ledger::since(&*store, room, after, before, limit);
        let rooms = self.rooms.catch_up(visitor, page);
        match inbox.and_then(|inbox| Ok(rooms? && inbox)) {
            Ok(all) => visitor.park(!all),
            Err(fault) => {
                error!(
                    "{}: what it has missed cannot be read: {fault}",
                    visitor.device
                );
                visitor.handle.close();
            }
        }
    }

    fn leave(&mut self, visitor: &Visitor, farewell: Option<Packet>) {
        let (uid, connection) = (&visitor.device.uid, visitor.handle.id());
        self.watchers.leave_all(visitor);
        for room in self.rooms.leave_all(visitor) {
            self.tell_room(&room, "left", uid);
        }
        if let Some(seats) = self.seats.get_mut(uid) {
            seats.retain(|seat| seat.visitor.handle.id() != connection);
            if seats.is_empty() {
                self.seats.remove(uid);
                self.tell_watchers(uid, false);
            }
        }
        if let Some(farewell) = farewell {
            visitor.send(farewell);
        }
    }

    fn execute(&mut self, visitor: &Arc<Visitor>, sequence: u64, command: Command) {
        match command {
            Command::Join { room, after } => self.join(visitor, sequence, &room, after),
            Command::Leave { room } => {
                if self.rooms.leave(&room, visitor) {
                    self.tell_room(&room, "left", &visitor.device.uid);
                }
                visitor.send(Packet::response(sequence, Code::Ok, ""));
            }
            Command::Who { room } => self.who(visitor, sequence, room.as_deref()),
            Command::Watch { uid } => {
                let online = self.seats.contains_key(&*uid);
                if self.watchers.join(&uid, visitor).is_none() {
                    let why = "you watch too many users, or all do";
                    visitor.send(Packet::response(sequence, Code::Busy, why));
                    return;
                }
                let state = json!({ "uid": uid, "online": online }).to_string();
                visitor.send(Packet::response(sequence, Code::Ok, &state));
            }
            Command::History { .. } => {
                let why = "history is read elsewhere";
                visitor.send(Packet::response(sequence, Code::Unknown, why));
            }
        }
    }

    fn join(&mut self, visitor: &Arc<Visitor>, sequence: u64, name: &str, after: Option<u64>) {
        let last = match after.map_or(Ok(self.last_id), |after| self.missed_after(name, after)) {
            Ok(last) => last,
            Err(fault) => {
                error!("the history of {name} cannot be read: {fault}");
                let why = "the server's store has failed";
                visitor.send(Packet::response(sequence, Code::Unknown, why));
                return;
            }
        };
        let uid = &visitor.device.uid;
        let known = self.rooms.get(name);
        let is_there = known.is_some_and(|room| room.members.contains_key(uid));
        if self.rooms.join_behind(name, visitor, last).is_none() {
            let why = "you are in too many rooms, or there are too many";
            visitor.send(Packet::response(sequence, Code::Busy, why));
            return;
        }
        let members = self.rooms.get(name).map_or(0, |room| room.members.len());
        let answer = json!({ "room": name, "members": members, "last": self.last_id });
        visitor.send(Packet::response(sequence, Code::Ok, &answer.to_string()));
        if !is_there && let Some(event) = self.tell_room(name, "joined", uid) {
            // It hears the room itself a moment later, or when it has been sent what it has missed.
            visitor.send(event);
        }
        self.look(visitor);
    }

    /// Behind which message of a room the first one is that is sent to who has seen it up to `after`.
    fn missed_after(&self, room: &str, after: u64) -> io::Result<u64> {
        let after = after.min(self.last_id);
        if self.last_id - after <= MISSED_MESSAGES_MAX as u64 {
            return Ok(after);
        }
        let first = ledger::nth_last(&*self.store, room, after, MISSED_MESSAGES_MAX)?;
        Ok(first.map_or(after, |id| id - 1))
    }

    fn who(&self, visitor: &Visitor, sequence: u64, room: Option<&str>) {
        let mut names: Vec<_> = match room {
            Some(name) => {
                let members = self.rooms.get(name).map(|room| room.members.keys());
                members.into_iter().flatten().collect()
            }
            None => self.seats.keys().collect(),
        };
        let total = names.len();
        if total > NAMES_LISTED_MAX {
            // Who asks for a crowd has it looked through, and not sorted.
            names.select_nth_unstable(NAMES_LISTED_MAX);
            names.truncate(NAMES_LISTED_MAX);
        }
        names.sort_unstable();
        let names: Vec<_> = names.iter().map(|name| Value::from(&***name)).collect();
        for block in blocks(sequence, "users", &names, &json!({ "total": total })) {
            visitor.send(block);
        }
    }

    fn tell_watchers(&self, uid: &str, online: bool) {
        let event = json!({ "event": "presence", "uid": uid, "online": online });
        info!(
            "{uid} is {}; {} users online",
            if online { "here" } else { "gone" },
            self.seats.len()
        );
        if let Some(watchers) = self.watchers.get(uid) {
            watchers.broadcast(&Packet::notification(0, &event), None);
        }
    }

    /// Tells a room of a coming or going; answers with what it was told, which is nothing where the room is so large
    /// that nobody would read of it.
    fn tell_room(&self, name: &str, event: &str, uid: &str) -> Option<Packet> {
        let room = self.rooms.get(name)?;
        if room.members.len() > NOTICED_MEMBERS_MAX {
            return None;
        }
        let event = json!({ "event": event, "room": name, "uid": uid });
        let event = Packet::notification(0, &event);
        room.broadcast(&event, None);
        Some(event)
    }

    /// The store has failed: nothing of this was done, as far as anybody knows, and its senders hear so.
    fn give_up(&mut self, orders: Vec<Order>, fault: &io::Error) {
        error!(
            "the store fails, {} orders are not done: {fault}",
            orders.len()
        );
        let why = "the server's store has failed";
        for order in orders {
            match order {
                Order::Say {
                    visitor,
                    sequence,
                    client_id,
                    to,
                    ..
                } => {
                    // Known by its number it may come again: it is neither lost nor doubled, nor overtaken.
                    visitor.refuse(&to, client_id);
                    let code = match client_id {
                        0 => Code::Unknown,
                        _ => Code::Busy,
                    };
                    visitor.send(Packet::response(sequence, code, why));
                }
                Order::Do {
                    visitor, sequence, ..
                } => visitor.send(Packet::response(sequence, Code::Unknown, why)),
                Order::Arrive { visitor, .. } => visitor.handle.close(),
                Order::Leave { visitor, farewell } => self.leave(&visitor, farewell),
                Order::Look(_) => {}
            }
        }
    }

    fn seat(&mut self, visitor: &Visitor) -> Option<&mut Seat> {
        let seats = self.seats.get_mut(&visitor.device.uid)?;
        let id = visitor.handle.id();
        seats.iter_mut().find(|seat| seat.visitor.handle.id() == id)
    }
}

#[cfg(test)]
mod tests;
