//! Rooms, and who is in them; those who watch a user are a room of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use log::error;
use netwheel::{BroadcastError, ConnectionId, Group, SlowMember};

use super::Visitor;
use crate::limits::{ROOMS_MAX, ROOMS_PER_SESSION_MAX};
use crate::protocol::{HeadContent, Packet};

/// How often a broadcast that finds no room is tried again, a millisecond apart: workers that need longer hang.
const TRIES_MAX: u32 = 5000;

/// Rooms by their name.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: HashMap<String, Room>,
    /// The rooms that a connection is in; never an empty list.
    places: HashMap<ConnectionId, Vec<String>>,
}

pub(super) struct Room {
    group: Group<Packet>,
    pub(super) members: HashMap<ConnectionId, Arc<str>>,
}

impl Rooms {
    pub(super) fn get(&self, name: &str) -> Option<&Room> {
        self.rooms.get(name)
    }

    /// Makes one a member, in a new room if need be; `None` when there are too many rooms, or it is in too many.
    pub(super) fn join(&mut self, name: &str, visitor: &Visitor) -> Option<&Room> {
        let connection = visitor.handle.id();
        let is_in = self.places.get(&connection).map_or(0, Vec::len);
        let known = self.rooms.get(name);
        let is_member = known.is_some_and(|room| room.members.contains_key(&connection));
        if (known.is_none() && self.rooms.len() >= ROOMS_MAX)
            || (!is_member && is_in >= ROOMS_PER_SESSION_MAX)
        {
            return None;
        }
        let room = self.rooms.entry(name.to_owned()).or_insert_with(Room::new);
        // One that has ended meanwhile is about to leave.
        let _ = room.group.join(&visitor.handle);
        if !is_member {
            let uid = Arc::clone(&visitor.device.uid);
            room.members.insert(connection, uid);
            let places = self.places.entry(connection).or_default();
            places.push(name.to_owned());
        }
        Some(room)
    }

    /// Ends a membership; the room goes with its last member.
    pub(super) fn leave(&mut self, name: &str, visitor: &Visitor) -> bool {
        let connection = visitor.handle.id();
        if let Some(places) = self.places.get_mut(&connection) {
            places.retain(|place| place != name);
            if places.is_empty() {
                self.places.remove(&connection);
            }
        }
        self.forget(name, visitor)
    }

    /// Ends all memberships of a session, whose connection may live on; answers with the rooms that it was in.
    pub(super) fn leave_all(&mut self, visitor: &Visitor) -> Vec<String> {
        let places = self.places.remove(&visitor.handle.id()).unwrap_or_default();
        for name in &places {
            self.forget(name, visitor);
        }
        places
    }

    fn forget(&mut self, name: &str, visitor: &Visitor) -> bool {
        let Some(room) = self.rooms.get_mut(name) else {
            return false;
        };
        room.group.leave(&visitor.handle);
        let left = room.members.remove(&visitor.handle.id()).is_some();
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

    /// Sends a packet to all members but perhaps one.
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
