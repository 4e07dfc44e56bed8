//! Who is there. Belongs to the one job that works.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use log::{error, info};
use serde_json::{Value, json};

use super::rooms::Rooms;
use super::seat::Seat;
use super::{Command, OfficeOptions, Order, Visitor};
use crate::ledger::{self, Kept, Ledger, Said, is_room};
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

/// What the store has said to an order.
enum Noted {
    /// A message.
    Kept(Kept),
    /// Up to where an inbox is acknowledged.
    Cursor(u64),
    /// The last message before a join.
    Upto(u64),
    Nothing,
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
        let kept = ledger::change(&*store, |ledger| {
            noted.clear();
            for (order, acknowledged) in orders.iter().zip(&acknowledged) {
                noted.push(note(ledger, order, *acknowledged, time)?);
            }
            Ok(())
        });
        match kept {
            Ok(()) => orders.into_iter().zip(noted).for_each(|(order, noted)| {
                self.follow(order, noted);
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
            (Order::Arrive(visitor), Noted::Cursor(cursor)) => self.arrive(visitor, cursor),
            (Order::Look(visitor), _) => self.catch_up(&visitor),
            (Order::Leave { uid, connection }, _) => self.leave(&uid, connection),
            (
                Order::Do {
                    visitor,
                    sequence,
                    command,
                },
                noted,
            ) => {
                let upto = match noted {
                    Noted::Upto(id) => id,
                    _ => self.last_id,
                };
                self.execute(&visitor, sequence, command, upto);
            }
            (Order::Say { .. } | Order::Arrive(_), _) => {
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
                other.visitor.send(packet.clone());
            }
        }
    }

    fn arrive(&mut self, visitor: Arc<Visitor>, cursor: u64) {
        let uid = Arc::clone(&visitor.device.uid);
        let seats = self.seats.entry(Arc::clone(&uid)).or_default();
        let first = seats.is_empty();
        seats.push(Seat::new(Arc::clone(&visitor), cursor));
        if first {
            self.tell_watchers(&uid, true);
        }
        self.catch_up(&visitor);
    }

    fn catch_up(&mut self, visitor: &Visitor) {
        let store = Arc::clone(&self.store);
        let Some(seat) = self.seat(visitor) else {
            return;
        };
        if let Err(fault) = seat.catch_up(&*store) {
            error!("{}: its inbox cannot be read: {fault}", visitor.device);
            visitor.handle.close();
        }
    }

    fn leave(&mut self, uid: &Arc<str>, connection: netwheel::ConnectionId) {
        self.watchers.leave_all(connection);
        for room in self.rooms.leave_all(connection) {
            self.tell_room(&room, "left", uid);
        }
        let Some(seats) = self.seats.get_mut(uid) else {
            return;
        };
        seats.retain(|seat| seat.visitor.handle.id() != connection);
        if seats.is_empty() {
            self.seats.remove(uid);
            self.tell_watchers(uid, false);
        }
    }

    fn execute(&mut self, visitor: &Visitor, sequence: u64, command: Command, upto: u64) {
        match command {
            Command::Join { room, after } => self.join(visitor, sequence, &room, after, upto),
            Command::Leave { room } => {
                if let Some(known) = self.rooms.get(&room) {
                    known.mute(visitor);
                }
                if self.rooms.leave(&room, visitor.handle.id()) {
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

    fn join(
        &mut self,
        visitor: &Visitor,
        sequence: u64,
        name: &str,
        after: Option<u64>,
        upto: u64,
    ) {
        let Some(room) = self.rooms.join(name, visitor) else {
            let why = "you are in too many rooms, or there are too many";
            visitor.send(Packet::response(sequence, Code::Busy, why));
            return;
        };
        let members = room.members.len();
        let answer = json!({ "room": name, "members": members, "last": upto }).to_string();
        visitor.send(Packet::response(sequence, Code::Ok, &answer));
        // Before what was missed, with which the newcomer would pass for a slow member.
        self.tell_room(name, "joined", &visitor.device.uid);
        let after = after.unwrap_or(upto);
        let missed = ledger::history(&*self.store, name, after, upto + 1, MISSED_MESSAGES_MAX);
        match missed {
            Ok(missed) => {
                if !missed.into_iter().all(|(_, packet)| visitor.send(packet)) {
                    // It has got some of them, and asks for the rest when it comes back.
                    visitor.handle.close_after_flush();
                }
            }
            Err(fault) => {
                error!("the history of {name} cannot be read: {fault}");
                visitor.handle.close_after_flush();
            }
        }
    }

    fn who(&self, visitor: &Visitor, sequence: u64, room: Option<&str>) {
        let mut names: Vec<_> = match room {
            Some(name) => {
                let members = self.rooms.get(name).map(|room| room.members.values());
                members.into_iter().flatten().cloned().collect()
            }
            None => self.seats.keys().cloned().collect(),
        };
        names.sort_unstable();
        names.dedup();
        let total = names.len();
        names.truncate(NAMES_LISTED_MAX);
        let names: Vec<_> = names.iter().map(|name| Value::from(&**name)).collect();
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

    /// Tells a room of a coming or going, unless it is so large that nobody would read of it.
    fn tell_room(&self, name: &str, event: &str, uid: &str) {
        let Some(room) = self.rooms.get(name) else {
            return;
        };
        if room.members.len() <= NOTICED_MEMBERS_MAX {
            let event = json!({ "event": event, "room": name, "uid": uid });
            room.broadcast(&Packet::notification(0, &event), None);
        }
    }

    /// The store has failed: nothing of this was done, and its senders hear so.
    fn give_up(&mut self, orders: Vec<Order>, fault: &io::Error) {
        error!(
            "the store fails, {} orders are not done: {fault}",
            orders.len()
        );
        for order in orders {
            match order {
                Order::Say {
                    visitor, sequence, ..
                }
                | Order::Do {
                    visitor, sequence, ..
                } => {
                    let why = "the server's store has failed";
                    visitor.send(Packet::response(sequence, Code::Unknown, why));
                }
                Order::Arrive(visitor) => visitor.handle.close(),
                Order::Leave { uid, connection } => self.leave(&uid, connection),
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

/// What an order changes in the store.
fn note(
    ledger: &mut Ledger<'_>,
    order: &Order,
    acknowledged: Option<u64>,
    time: u64,
) -> io::Result<Noted> {
    match order {
        Order::Say {
            visitor,
            client_id,
            to,
            raw,
            ..
        } => {
            let said = Said {
                from: &visitor.device.uid,
                platform: visitor.device.platform,
                to,
                client_id: *client_id,
                time,
                raw,
            };
            ledger.keep(&said).map(Noted::Kept)
        }
        Order::Arrive(visitor) => {
            let device = &visitor.device;
            ledger
                .arrive(&device.uid, device.platform)
                .map(Noted::Cursor)
        }
        Order::Look(visitor) => {
            let device = &visitor.device;
            if let Some(id) = acknowledged {
                ledger.acknowledge(&device.uid, device.platform, id)?;
            }
            Ok(Noted::Nothing)
        }
        Order::Do {
            command: Command::Join { .. },
            ..
        } => ledger.last_id().map(Noted::Upto),
        Order::Do { .. } | Order::Leave { .. } => Ok(Noted::Nothing),
    }
}
