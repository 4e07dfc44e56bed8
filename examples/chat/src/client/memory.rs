//! What a client knows: what it has said, what it has seen, what it has asked. No sockets, no time.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
}

/// What the notebook holds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    /// Which store of the server the numbers are of.
    store: String,
    shown: u64,
    rooms: BTreeMap<String, Option<u64>>,
    unsent: Vec<Unsent>,
    own: BTreeSet<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    store: String,
    /// The last message to this user that was shown.
    pub(super) shown: u64,
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
    pub(super) fn from_json(text: &str, clock: u64) -> Self {
        let page: Page = serde_json::from_str(text).unwrap_or_default();
        let last = page.unsent.iter().map(|unsent| unsent.number).max();
        Self {
            store: page.store,
            shown: page.shown,
            rooms: page.rooms,
            // A thousand a millisecond, so that a later start has higher numbers.
            number: last.unwrap_or(0).max(clock.saturating_mul(1000)),
            unsent: page.unsent.into(),
            own: page.own,
            ..Self::default()
        }
    }

    pub(super) fn to_json(&self) -> String {
        json!({
            "store": self.store, "shown": self.shown, "rooms": self.rooms, "unsent": self.unsent,
            "own": self.own,
        })
        .to_string()
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
        self.unsent.push_back(Unsent {
            number: self.number,
            to: to.to_owned(),
            content: content.to_owned(),
            sequence: None,
        });
        Some(self.number)
    }

    /// Sends what may leave, in order, as long as `send` takes it.
    pub(super) fn pump(&mut self, mut send: impl FnMut(Packet) -> bool) {
        if !self.logged_in {
            return;
        }
        let mut bytes = 0;
        for unsent in self.unsent.iter_mut().take(WINDOW_MESSAGES) {
            bytes += unsent.content.len();
            if bytes > WINDOW_BYTES && unsent.content.len() < bytes {
                return;
            }
            if unsent.sequence.is_some() {
                continue;
            }
            self.sequence += 1;
            if !send(said(
                self.sequence,
                unsent.number,
                &unsent.to,
                &unsent.content,
            )) {
                return;
            }
            unsent.sequence = Some(self.sequence);
        }
    }

    /// Whether one more command may be asked.
    pub(super) fn may_ask(&self) -> bool {
        self.logged_in && self.asked.len() < ASKED_MAX
    }

    pub(super) fn ask(&mut self, command: Command) -> Packet {
        match &command {
            Command::Join { room, after } => {
                self.rooms.entry(room.clone()).or_insert(*after);
            }
            Command::Leave { room } => drop(self.rooms.remove(room)),
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
            unsent.sequence = None;
        }
    }

    /// The login has succeeded, at a server over that store; answers with the rooms to join again.
    pub(super) fn log_in(&mut self, store: &str) -> Vec<Command> {
        self.logged_in = true;
        if self.store != store {
            // Other numbers: of what was seen there, nothing is here.
            store.clone_into(&mut self.store);
            self.shown = 0;
            self.own.clear();
            self.rooms.values_mut().for_each(|shown| *shown = None);
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
            Some(room) => {
                if let Some(shown) = self.rooms.get_mut(room) {
                    *shown = Some(id);
                }
            }
            None => self.shown = id,
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
        if let BUSY | NOT_LOGGED_IN = response.code {
            self.unsent[nth].sequence = None;
            return About::Later;
        }
        let Some(Unsent { number, to, .. }) = self.unsent.remove(nth) else {
            return About::Nothing;
        };
        match response.code {
            0 => {
                if let (true, Ok(id)) = (is_room(&to), response.info.parse()) {
                    self.own.insert(id);
                }
                if self.own.len() > OWN_MAX {
                    self.own.pop_first();
                }
                About::Kept(number)
            }
            _ => About::NotSent(number, response.info),
        }
    }

    /// What is said in a room from its first join on is seen, or asked for later.
    fn joined(&mut self, room: &str, answer: &Value) {
        if let Some(shown @ None) = self.rooms.get_mut(room) {
            *shown = answer["last"].as_u64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(code: u32) -> MessageResponse {
        MessageResponse {
            result: code == 0,
            code,
            last_block: true,
            ..MessageResponse::default()
        }
    }

    fn sent(memory: &mut Memory) -> usize {
        let mut count = 0;
        memory.pump(|_| {
            count += 1;
            true
        });
        count
    }

    #[test]
    fn what_is_not_acknowledged_goes_out_again_with_its_number() {
        let mut memory = Memory::from_json("", 5);
        assert_eq!(memory.add("bob", "one"), Some(5001));
        assert_eq!(sent(&mut memory), 0, "nobody is logged in");
        memory.log_in("a");
        assert_eq!((sent(&mut memory), sent(&mut memory)), (1, 0));
        memory.add("bob", "two");
        let mut memory = Memory::from_json(&memory.to_json(), 5);
        memory.log_in("a");
        assert_eq!(sent(&mut memory), 2);
        assert_eq!(memory.respond(2, response(8)), About::Later);
        assert_eq!(memory.respond(1, response(0)), About::Kept(5001));
        assert_eq!(sent(&mut memory), 1);
        assert_eq!(memory.add("bob", "three"), Some(5003), "no number twice");
    }

    #[test]
    fn only_a_window_is_on_its_way() {
        let mut memory = Memory::from_json("", 0);
        memory.log_in("a");
        for _ in 0..UNSENT_MESSAGES_MAX {
            assert!(memory.add("bob", "x").is_some());
        }
        assert_eq!(memory.add("bob", "x"), None);
        assert_eq!(sent(&mut memory), WINDOW_MESSAGES);
        assert_eq!(memory.respond(1, response(0)), About::Kept(1));
        assert_eq!(sent(&mut memory), 1);
    }

    #[test]
    fn nothing_is_shown_twice_unless_the_server_has_another_store() {
        let mut memory = Memory::from_json("", 0);
        memory.log_in("a");
        memory.has_shown(None, 7);
        memory.ask(Command::Join {
            room: "#tea".into(),
            after: Some(3),
        });
        memory.has_shown(Some("#tea"), 9);
        let mut memory = Memory::from_json(&memory.to_json(), 0);
        let again = memory.log_in("a");
        assert_eq!(
            again,
            [Command::Join {
                room: "#tea".into(),
                after: Some(9)
            }]
        );
        assert!(!memory.is_new(None, 7) && memory.is_new(None, 8));
        assert!(!memory.is_new(Some("#tea"), 9) && memory.is_new(Some("#tea"), 10));
        memory.log_in("b");
        assert!(memory.is_new(None, 1));
    }
}
