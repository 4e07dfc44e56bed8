//! What stands in the store, and under which keys.
//!
//! ```text
//!   f                              the format of all this
//!   e                              the name of the store, made with it
//!   l                              the last number given to a message
//!   h CONVERSATION 0 id nth        a message, in the history of its conversation
//!   u UID 0 i id nth               a message, in the inbox of its receiver
//!   u UID 0 c platform             up to where a device has acknowledged its user's inbox
//!   u UID 0 r platform client-id   the number given to a sender's message, to know it when it comes again
//!   u UID 0 n platform             how many of these there are
//! ```
//! Names hold no control characters, so a zero ends them. Numbers have eight bytes, the high one first, so that
//! they sort. Messages are numbered in the order in which they are kept, over all conversations. `nth` counts the
//! messages of one history or inbox: they come at one end and go at the other, so the first and the last tell how
//! many there are, and no counter is written with each. What is written together stands together.

mod draft;
mod keys;
#[cfg(test)]
mod tests;

pub use draft::{Ledger, change};

use std::hash::{BuildHasher, RandomState};
use std::io;

use bytes::Bytes;

use crate::protocol::Packet;
use crate::store::{From, Reading, Store};
use keys::{FORMAT, LAST, NAME, history_of, id_of, inbox_of, span, value_of};

/// A message that is to be kept.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    /// Who says it.
    pub from: &'a str,
    /// On which platform.
    pub platform: u8,
    /// To whom, or in which room.
    pub to: &'a str,
    /// The sender's own number of it; zero where it has none, and so cannot be known when it comes again.
    pub client_id: u64,
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// The message as it came.
    pub raw: &'a [u8],
}

/// What has become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is kept, and to be delivered.
    New {
        /// Its number.
        id: u64,
        /// What is delivered.
        packet: Packet,
    },
    /// It was kept before, under this number.
    Again(u64),
    /// Too much waits for the receiver.
    InboxFull,
}

/// A message that was kept.
pub type Entry = (u64, Packet);

/// Whether a name is that of a room.
#[must_use]
pub fn is_room(name: &str) -> bool {
    name.starts_with('#')
}

/// The last number given to a message.
///
/// # Errors
///
/// What the store has failed with; here and below.
pub fn last_id(store: &(impl Reading + ?Sized)) -> io::Result<u64> {
    number(store, LAST)
}

/// The name of the store, which it gets when it is new: numbers of messages are of one store.
///
/// # Errors
///
/// As for [`last_id`]; when the store is in the format of another build.
pub fn store_name(store: &dyn Store) -> io::Result<String> {
    /// Grows with each change of the keys.
    const CURRENT: u64 = 2;
    if store.get(NAME)?.is_none() {
        let name = RandomState::new().hash_one("store");
        store.change(&mut |change| {
            change.put(FORMAT, &CURRENT.to_be_bytes())?;
            change.put(NAME, &name.to_be_bytes())
        })?;
    }
    if number(store, FORMAT)? != CURRENT {
        let why = "the store is of another build of the chat; give --data another path";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(format!("{:016x}", number(store, NAME)?))
}

/// Messages of a user's inbox behind `after`, oldest first.
///
/// # Errors
///
/// As for [`last_id`].
pub fn inbox(
    store: &(impl Reading + ?Sized),
    uid: &str,
    after: u64,
    limit: usize,
) -> io::Result<Vec<Entry>> {
    first(store, &inbox_of(uid), after, u64::MAX, limit)
}

/// The last messages of a conversation that are behind `after` and before `before`, oldest first.
///
/// # Errors
///
/// As for [`last_id`].
pub fn history(
    store: &(impl Reading + ?Sized),
    conversation: &str,
    after: u64,
    before: u64,
    limit: usize,
) -> io::Result<Vec<Entry>> {
    let keys = span(&history_of(conversation), after.saturating_add(1)..before);
    let mut page = store.page(&keys.start..&keys.end, From::Newest, limit)?;
    page.reverse();
    Ok(entries(page))
}

/// Messages of a conversation that are behind `after` and before `before`, oldest first: the first of them.
///
/// # Errors
///
/// As for [`last_id`].
pub fn since(
    store: &(impl Reading + ?Sized),
    conversation: &str,
    after: u64,
    before: u64,
    limit: usize,
) -> io::Result<Vec<Entry>> {
    first(store, &history_of(conversation), after, before, limit)
}

/// The number of the `nth` last message of a conversation, if so many are behind `after`. Reads no messages.
///
/// # Errors
///
/// As for [`last_id`].
pub fn nth_last(
    store: &(impl Reading + ?Sized),
    conversation: &str,
    after: u64,
    nth: usize,
) -> io::Result<Option<u64>> {
    let keys = span(&history_of(conversation), after.saturating_add(1)..u64::MAX);
    let keys = store.keys(&keys.start..&keys.end, From::Newest, nth)?;
    Ok(keys.get(nth.saturating_sub(1)).map(|key| id_of(key)))
}

/// The name of the conversation of a user with another one, or in a room.
#[must_use]
pub fn conversation(one: &str, other: &str) -> String {
    if is_room(other) {
        return other.to_owned();
    }
    format!("{}\u{1}{}", one.min(other), one.max(other))
}

/// Messages whose keys begin with `of`, behind `after` and before `before`, oldest first.
fn first(
    store: &(impl Reading + ?Sized),
    of: &[u8],
    after: u64,
    before: u64,
    limit: usize,
) -> io::Result<Vec<Entry>> {
    let keys = span(of, after.saturating_add(1)..before);
    let page = store.page(&keys.start..&keys.end, From::Oldest, limit)?;
    Ok(entries(page))
}

fn entries(page: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Entry> {
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| (id_of(&key), Packet(Bytes::from(value)));
    page.into_iter().map(entry).collect()
}

fn number(store: &(impl Reading + ?Sized), key: &[u8]) -> io::Result<u64> {
    Ok(store.get(key)?.map_or(0, |value| value_of(&value)))
}
