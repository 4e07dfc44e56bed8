//! Rooms, and who is in them; those who watch a user are a room of their own.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::error;
use netwheel::{BroadcastError, ConnectionId, Group, SlowMember};

use super::{Visitor, backlog};
use crate::ledger::Entry;
use crate::limits::{ROOMS_MAX, ROOMS_PER_SESSION_MAX};
use crate::protocol::{HeadContent, Packet};

/// How often a broadcast that finds no room is tried again, a millisecond apart: workers that need longer hang.
const TRIES_MAX: u32 = 5000;

/// Rooms by their name.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: HashMap<String, Room>,
    /// The rooms that a connection is in; never an empty list.
    places: HashMap<ConnectionId, Vec<Place>>,
}

/// A membership, from the member's side.
struct Place {
    room: String,
    /// Of one that has missed something, the last message that it was sent: it is not in the group yet.
    behind: Option<u64>,
}

pub(super) struct Room {
    /// The members that have missed nothing.
    group: Group<Packet>,
    /// The users who are in it, with so many connections each.
    pub(super) members: HashMap<Arc<str>, usize>,
}

impl Rooms {
    pub(super) fn get(&self, name: &str) -> Option<&Room> {
        self.rooms.get(name)
    }

    /// Makes one a member that hears the room from now on, in a new room if need be; `None` when there are too many
    /// rooms, or it is in too many.
    pub(super) fn join(&mut self, name: &str, visitor: &Visitor) -> Option<()> {
        let place = self.place(name, visitor)?;
        place.behind = None;
        if let Some(room) = self.rooms.get(name) {
            room.hear(visitor);
        }
        Some(())
    }

    /// Makes one a member like [`join`](Self::join) that is to be sent what was said behind a message first; it
    /// hears nothing until it [`catches up`](Self::catch_up).
    pub(super) fn join_behind(&mut self, name: &str, visitor: &Visitor, last: u64) -> Option<()> {
        let place = self.place(name, visitor)?;
        place.behind = Some(last);
        if let Some(room) = self.rooms.get(name) {
            room.group.leave(&visitor.handle);
        }
        Some(())
    }

    /// The place of a member, a new one if need be.
    fn place(&mut self, name: &str, visitor: &Visitor) -> Option<&mut Place> {
        let connection = visitor.handle.id();
        let places = self.places.get(&connection).map_or(&[][..], Vec::as_slice);
        let nth = places.iter().position(|place| place.room == name);
        let is_full = places.len() >= ROOMS_PER_SESSION_MAX
            || (self.rooms.len() >= ROOMS_MAX && !self.rooms.contains_key(name));
        if nth.is_none() && is_full {
            return None;
        }
        let places = self.places.entry(connection).or_default();
        if nth.is_none() {
            let room = self.rooms.entry(name.to_owned()).or_insert_with(Room::new);
            let uid = Arc::clone(&visitor.device.uid);
            *room.members.entry(uid).or_default() += 1;
            let (room, behind) = (name.to_owned(), None);
            places.push(Place { room, behind });
        }
        match nth {
            Some(nth) => places.get_mut(nth),
            None => places.last_mut(),
        }
    }

    /// Sends one what it has missed in its rooms, as far as there is room; whether that was all of it.
    ///
    /// It hears a room from the moment on in which it has been sent the last of it, and not while much is still on
    /// its way, with which it would pass for a slow member. `page` reads so many messages of a room, behind a number.
    pub(super) fn catch_up(
        &mut self,
        visitor: &Arc<Visitor>,
        page: impl Fn(&str, u64, usize) -> io::Result<Vec<Entry>>,
    ) -> io::Result<bool> {
        let mut all = true;
        let places = self.places.get_mut(&visitor.handle.id());
        for place in places.into_iter().flatten() {
            let (Some(last), Some(room)) = (place.behind, self.rooms.get(&place.room)) else {
                continue;
            };
            let page = |after, limit| page(&place.room, after, limit);
            let sent = |id| place.behind = Some(id);
            if backlog::send(visitor, last, page, sent)? && !visitor.is_watched() {
                place.behind = None;
                room.hear(visitor);
            } else {
                all = false;
            }
        }
        Ok(all)
    }

    /// Ends a membership; the room goes with its last member. Whether its user has gone with it.
    pub(super) fn leave(&mut self, name: &str, visitor: &Visitor) -> bool {
        let connection = visitor.handle.id();
        let Some(places) = self.places.get_mut(&connection) else {
            return false;
        };
        let Some(nth) = places.iter().position(|place| place.room == name) else {
            return false;
        };
        places.swap_remove(nth);
        if places.is_empty() {
            self.places.remove(&connection);
        }
        self.forget(name, visitor)
    }

    /// Ends all memberships of a session, whose connection may live on; answers with the rooms that its user has
    /// gone from.
    pub(super) fn leave_all(&mut self, visitor: &Visitor) -> Vec<String> {
        let places = self.places.remove(&visitor.handle.id());
        let names = places.into_iter().flatten().map(|place| place.room);
        names.filter(|name| self.forget(name, visitor)).collect()
    }

    fn forget(&mut self, name: &str, visitor: &Visitor) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        room.group.leave(&visitor.handle);
        let uid = &visitor.device.uid;
        let left = room.members.get_mut(uid).is_some_and(|connections| {
            *connections -= 1;
            *connections == 0
        });
        if left {
            room.members.remove(uid);
        }
        if room.members.is_empty() {
            self.rooms.remove(name);
        }
        left
    }
}

impl Room {
    fn new() -> Self {
        Self {
            // Who reads too slowly misses nothing in silence: closed, it comes back and asks for the rest.
            group: Group::slow(HeadContent, SlowMember::Close),
            members: HashMap::new(),
        }
    }

    /// Makes a member hear what is broadcast from now on. One that has ended meanwhile is about to leave.
    fn hear(&self, visitor: &Visitor) {
        let _ = self.group.join(&visitor.handle);
    }

    /// Sends a packet to all members that have missed nothing, but perhaps one.
    ///
    /// Waits while a worker has the most broadcasts that it may: nothing else is served meanwhile, the desk
    /// fills, and senders are told that the chat is busy.
    pub(super) fn broadcast(&self, packet: &Packet, except: Option<ConnectionId>) {
        let mut packet = packet.clone();
        for _ in 0..TRIES_MAX {
            let sent = match except {
                Some(member) => self.group.broadcast_except(member, packet),
                None => self.group.broadcast(packet),
            };
            match sent {
                Ok(()) => return,
                Err(BroadcastError::Full(back)) => packet = back,
                Err(refused) => {
                    return error!("a message reaches no member of its room: {refused}");
                }
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        error!("a message reaches no member of its room: an I/O thread hangs");
    }
}
