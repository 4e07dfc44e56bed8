//! What a client knows: what it has said, what it has seen, what it has asked. No sockets, no time.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::said;
use crate::ledger::is_room;
use crate::limits::{MISSED_MESSAGES_MAX, UNSENT_MESSAGES_MAX};
use crate::office::Command;
use crate::protocol::{MessageResponse, Packet};

/// Messages on their way at once, and their bytes: more wait for the server's answers.
const WINDOW_MESSAGES: usize = 64;
const WINDOW_BYTES: usize = 256 << 10;

/// Messages said in rooms that are known as one's own: as many as are sent to who joins again.
const OWN_MAX: usize = MISSED_MESSAGES_MAX;

/// Commands that wait for their answers.
const ASKED_MAX: usize = 256;

/// Something said that the server has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    /// By which the server knows it when it comes again.
    pub number: u64,
    /// To whom.
    pub to: String,
    /// What.
    pub content: String,
    /// The sequence that it has left under, on this connection.
    #[serde(skip)]
    sequence: Option<u64>,
    /// Whether the server has had no room for it.
    #[serde(skip)]
    put_off: bool,
}

/// A change of what outlives the process: a line of the notebook.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// Which store of the server the numbers are of. What was seen in another one, this one does not have.
    Store(String),
    /// The last message to this user that was shown.
    Shown(u64),
    /// A room to be in, and the last message of it that was shown.
    Room(String, Option<u64>),
    /// A room to be in no more.
    Left(String),
    /// Something was said.
    Said(Unsent),
    /// It is the server's affair now, or nobody's.
    Settled(u64),
    /// The server's number of something said in a room.
    Own(u64),
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    store: String,
    /// The last message to this user that was shown.
    shown: u64,
    /// Rooms to be in, and the last message of each that was shown.
    pub(super) rooms: BTreeMap<String, Option<u64>>,
    pub(super) unsent: VecDeque<Unsent>,
    /// Numbers of what was said in rooms from here, which is not news when a room is joined again.
    own: BTreeSet<u64>,
    pub(super) logged_in: bool,
    /// The last number given to something said.
    number: u64,
    /// The last sequence of a frame on any connection.
    sequence: u64,
    asked: HashMap<u64, (Command, Vec<Value>)>,
    /// Changes that the notebook has not been told of, each a line.
    notes: String,
}

/// What a response was about.
#[derive(Debug, PartialEq)]
pub(super) enum About {
    Kept(u64),
    NotSent(u64, String),
    /// The server is busy: it goes out again in a while.
    Later,
    Answer(Command, Result<Vec<Value>, String>),
    /// A block of an answer, or nothing that was asked.
    Nothing,
}

impl Memory {
    /// What stands in a notebook; and what is wrong with it, where that is not all of it.
    pub(super) fn read(notes: &str, clock: u64) -> (Self, Option<String>) {
        let mut memory = Self::default();
        let fault = memory.replay(notes).err();
        let last = memory.unsent.iter().map(|unsent| unsent.number).max();
        // A thousand a millisecond, so that a later start has higher numbers.
        memory.number = last.unwrap_or(0).max(clock.saturating_mul(1000));
        (memory, fault)
    }

    fn replay(&mut self, notes: &str) -> Result<(), String> {
        for (nth, line) in notes.split_inclusive('\n').enumerate() {
            match serde_json::from_str(line) {
                Ok(note) => self.apply(note),
                // The process was killed while it wrote it: nothing that depends on it has happened.
                Err(_) if !line.ends_with('\n') => {}
                Err(fault) => return Err(format!("line {}: {fault}", nth + 1)),
            }
        }
        Ok(())
    }

    /// All that a notebook has to hold.
    pub(super) fn to_notes(&self) -> String {
        let mut notes = String::new();
        line(&Note::Store(self.store.clone()), &mut notes);
        line(&Note::Shown(self.shown), &mut notes);
        for (room, shown) in &self.rooms {
            line(&Note::Room(room.clone(), *shown), &mut notes);
        }
        for id in &self.own {
            line(&Note::Own(*id), &mut notes);
        }
        for unsent in &self.unsent {
            line(&Note::Said(unsent.clone()), &mut notes);
        }
        notes
    }

    /// What has changed since this was called last.
    pub(super) fn take_notes(&mut self) -> String {
        std::mem::take(&mut self.notes)
    }

    /// Changes what outlives the process.
    fn note(&mut self, note: Note) {
        line(&note, &mut self.notes);
        self.apply(note);
    }

    fn apply(&mut self, note: Note) {
        match note {
            Note::Store(store) => {
                self.store = store;
                self.shown = 0;
                self.own.clear();
                self.rooms.values_mut().for_each(|shown| *shown = None);
            }
            Note::Shown(id) => self.shown = id,
            Note::Room(room, shown) => drop(self.rooms.insert(room, shown)),
            Note::Left(room) => drop(self.rooms.remove(&room)),
            Note::Said(unsent) => self.unsent.push_back(unsent),
            Note::Settled(number) => self.unsent.retain(|unsent| unsent.number != number),
            Note::Own(id) => {
                self.own.insert(id);
                if self.own.len() > OWN_MAX {
                    self.own.pop_first();
                }
            }
        }
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Something is said; `None` when too much waits.
    pub(super) fn add(&mut self, to: &str, content: &str) -> Option<u64> {
        if self.unsent.len() >= UNSENT_MESSAGES_MAX {
            return None;
        }
        self.number += 1;
        self.note(Note::Said(Unsent {
            number: self.number,
            to: to.to_owned(),
            content: content.to_owned(),
            sequence: None,
            put_off: false,
        }));
        Some(self.number)
    }

    /// Sends what may leave, as long as `send` takes it, and to each receiver in order: behind a message that was put
    /// off nothing goes to the same one. Those put off go out themselves when it is time to try `again`.
    pub(super) fn pump(&mut self, again: bool, mut send: impl FnMut(Packet) -> bool) {
        if !self.logged_in {
            return;
        }
        let (mut messages, mut bytes) = self.on_the_way();
        let mut full = HashSet::new();
        for unsent in &mut self.unsent {
            let to = unsent.to.as_str();
            let ready = unsent.sequence.is_none() && !full.contains(to);
            if unsent.put_off {
                full.insert(to);
            }
            if !ready || (unsent.put_off && !again) {
                continue;
            }
            let len = unsent.content.len();
            if messages > 0 && (messages >= WINDOW_MESSAGES || bytes + len > WINDOW_BYTES) {
                return;
            }
            let sequence = self.sequence + 1;
            if !send(said(sequence, unsent.number, to, &unsent.content)) {
                return;
            }
            self.sequence = sequence;
            unsent.sequence = Some(sequence);
            messages += 1;
            bytes += len;
        }
    }

    /// What has left and was not answered: how many messages, and their bytes.
    fn on_the_way(&self) -> (usize, usize) {
        let left = self.unsent.iter().filter(|it| it.sequence.is_some());
        left.fold((0, 0), |(count, bytes), it| {
            (count + 1, bytes + it.content.len())
        })
    }

    /// Whether one more command may be asked.
    pub(super) fn may_ask(&self) -> bool {
        self.logged_in && self.asked.len() < ASKED_MAX
    }

    pub(super) fn ask(&mut self, command: Command) -> Packet {
        match &command {
            Command::Join { room, after } if !self.rooms.contains_key(room) => {
                self.note(Note::Room(room.clone(), *after));
            }
            Command::Leave { room } => self.note(Note::Left(room.clone())),
            _ => {}
        }
        let sequence = self.next_sequence();
        let text = serde_json::to_value(&command).unwrap_or_default();
        self.asked.insert(sequence, (command, Vec::new()));
        Packet::notification(sequence, &text)
    }

    /// The connection is new: nothing is on its way.
    pub(super) fn forget_the_way(&mut self) {
        self.logged_in = false;
        self.asked.clear();
        for unsent in &mut self.unsent {
            (unsent.sequence, unsent.put_off) = (None, false);
        }
    }

    /// The login has succeeded, at a server over that store; answers with the rooms to join again.
    pub(super) fn log_in(&mut self, store: &str) -> Vec<Command> {
        self.logged_in = true;
        if self.store != store {
            self.note(Note::Store(store.to_owned()));
        }
        let join = |(room, after): (&String, &Option<u64>)| Command::Join {
            room: room.clone(),
            after: *after,
        };
        self.rooms.iter().map(join).collect()
    }

    /// Whether a message to this user is to be shown.
    pub(super) fn is_new(&self, room: Option<&str>, id: u64) -> bool {
        match room {
            Some(room) => self
                .rooms
                .get(room)
                .is_some_and(|shown| id > shown.unwrap_or(0)),
            None => id > self.shown,
        }
    }

    /// Whether a message of this user in a room was said by this very client.
    pub(super) fn is_own(&self, room: &str, id: u64, content: &str) -> bool {
        // One whose answer was lost is still unsent.
        let unsent = |unsent: &Unsent| unsent.to == room && unsent.content == content;
        self.own.contains(&id) || self.unsent.iter().any(unsent)
    }

    pub(super) fn has_shown(&mut self, room: Option<&str>, id: u64) {
        match room {
            Some(room) if self.rooms.contains_key(room) => {
                self.note(Note::Room(room.to_owned(), Some(id)));
            }
            Some(_) => {}
            None => self.note(Note::Shown(id)),
        }
    }

    pub(super) fn respond(&mut self, sequence: u64, response: MessageResponse) -> About {
        let way = Some(sequence);
        if let Some(nth) = self.unsent.iter().position(|unsent| unsent.sequence == way) {
            return self.settle(nth, response);
        }
        let Some((command, mut blocks)) = self.asked.remove(&sequence) else {
            return About::Nothing;
        };
        if response.code != 0 {
            return About::Answer(command, Err(response.info));
        }
        let block = serde_json::from_str(&response.info).unwrap_or_default();
        if let Command::Join { room, .. } = &command {
            self.joined(room, &block);
        }
        blocks.push(block);
        if !response.last_block {
            self.asked.insert(sequence, (command, blocks));
            return About::Nothing;
        }
        About::Answer(command, Ok(blocks))
    }

    /// A message of ours was answered.
    fn settle(&mut self, nth: usize, response: MessageResponse) -> About {
        const BUSY: u32 = crate::protocol::Code::Busy as u32;
        const NOT_LOGGED_IN: u32 = crate::protocol::Code::NotLoggedIn as u32;
        let unsent = &mut self.unsent[nth];
        if let BUSY | NOT_LOGGED_IN = response.code {
            (unsent.sequence, unsent.put_off) = (None, true);
            return About::Later;
        }
        let (number, to) = (unsent.number, std::mem::take(&mut unsent.to));
        self.note(Note::Settled(number));
        // There is room again, or the one that waited for it has gone.
        let behind = self.unsent.iter_mut().filter(|unsent| unsent.to == to);
        behind.for_each(|unsent| unsent.put_off = false);
        if response.code != 0 {
            return About::NotSent(number, response.info);
        }
        if let (true, Ok(id)) = (is_room(&to), response.info.parse()) {
            self.note(Note::Own(id));
        }
        About::Kept(number)
    }

    /// What is said in a room from its first join on is seen, or asked for later.
    fn joined(&mut self, room: &str, answer: &Value) {
        if let Some(None) = self.rooms.get(room) {
            self.note(Note::Room(room.to_owned(), answer["last"].as_u64()));
        }
    }
}

/// Appends a note as a line.
fn line(note: &Note, notes: &mut String) {
    // Strings and numbers: there is nothing that JSON cannot say.
    notes.push_str(&serde_json::to_string(note).unwrap_or_default());
    notes.push('\n');
}
