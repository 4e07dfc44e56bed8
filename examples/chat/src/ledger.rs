//! What stands in the store, and under which keys.
//!
//! ```text
//!   e                            the name of the store, made with it
//!   l                            the last number given to a message
//!   h CONVERSATION 0 id          a message, in the history of its conversation
//!   i UID 0 id                   a message, in the inbox of its receiver
//!   c UID 0 platform             up to where a device has acknowledged its user's inbox
//!   r UID 0 platform client-id   the number given to a sender's message, to know it when it comes again
//!   #..                          how many there are under the key that follows
//! ```
//! Names hold no control characters, so a zero ends them. Numbers have eight bytes, the high one first, so that
//! they sort. Messages are numbered in the order in which they are kept, over all conversations.

use std::hash::{BuildHasher, RandomState};
use std::io;

use bytes::Bytes;

use crate::limits::{HISTORY_MESSAGES_MAX, INBOX_MESSAGES_MAX, REPEATS_KNOWN_MAX};
use crate::protocol::{Delivery, Packet, rewrite};
use crate::store::{Change, From, Reading, Store};

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
    number(store, b"l")
}

/// The name of the store, which it gets when it is new: numbers of messages are of one store.
///
/// # Errors
///
/// As for [`last_id`].
pub fn store_name(store: &dyn Store) -> io::Result<String> {
    if store.get(b"e")?.is_none() {
        let name = RandomState::new().hash_one("store");
        store.change(&mut |change| change.put(b"e", &name.to_be_bytes()))?;
    }
    Ok(format!("{:016x}", number(store, b"e")?))
}

/// Keeps a message: in the history, and in its receiver's inbox.
///
/// # Errors
///
/// As for [`last_id`].
pub fn keep(change: &mut dyn Change, said: &Said<'_>) -> io::Result<Kept> {
    let repeats = device_key(b'r', said.from, said.platform);
    let repeat = numbered(&repeats, said.client_id);
    if said.client_id != 0
        && let Some(id) = change.get(&repeat)?
    {
        return Ok(Kept::Again(value_of(&id)));
    }
    let inbox = (!is_room(said.to)).then(|| key(b'i', said.to));
    if let Some(inbox) = &inbox
        && !has_room(change, inbox, said.to)?
    {
        return Ok(Kept::InboxFull);
    }
    let id = last_id(change)? + 1;
    let delivery = Delivery {
        id,
        from: said.from,
        time: said.time,
    };
    let packet = rewrite(said.raw, delivery)?;
    change.put(b"l", &id.to_be_bytes())?;
    let history = key(b'h', &conversation(said.from, said.to));
    add(change, &history, id, &packet.0, HISTORY_MESSAGES_MAX)?;
    if let Some(inbox) = inbox {
        add(change, &inbox, id, &packet.0, INBOX_MESSAGES_MAX)?;
    }
    if said.client_id != 0 {
        let id = id.to_be_bytes();
        add(change, &repeats, said.client_id, &id, REPEATS_KNOWN_MAX)?;
    }
    Ok(Kept::New { id, packet })
}

/// Up to where a device has acknowledged its user's inbox, after its login.
///
/// A device that was never there begins where the foremost of the user's devices is; a user's first one at the
/// beginning.
///
/// # Errors
///
/// As for [`last_id`].
pub fn arrive(change: &mut dyn Change, uid: &str, platform: u8) -> io::Result<u64> {
    let cursor = device_key(b'c', uid, platform);
    if let Some(id) = change.get(&cursor)? {
        return Ok(value_of(&id));
    }
    let id = cursors(change, uid)?.into_iter().max().unwrap_or(0);
    change.put(&cursor, &id.to_be_bytes())?;
    Ok(id)
}

/// A device has got everything up to a message; what all devices of the user have got leaves the inbox.
///
/// # Errors
///
/// As for [`last_id`].
pub fn acknowledge(change: &mut dyn Change, uid: &str, platform: u8, id: u64) -> io::Result<()> {
    change.put(&device_key(b'c', uid, platform), &id.to_be_bytes())?;
    let slowest = cursors(change, uid)?.into_iter().min().unwrap_or(0);
    let inbox = key(b'i', uid);
    let keys = numbered(&inbox, 0)..numbered(&inbox, slowest + 1);
    let limit = usize::try_from(INBOX_MESSAGES_MAX).unwrap_or(usize::MAX);
    let gone = change.page(&keys.start..&keys.end, From::Oldest, limit)?;
    for (key, _) in &gone {
        change.remove(key)?;
    }
    let left = number(change, &counter(&inbox))?.saturating_sub(gone.len() as u64);
    change.put(&counter(&inbox), &left.to_be_bytes())
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
    let inbox = key(b'i', uid);
    let keys = numbered(&inbox, after.saturating_add(1))..numbered(&inbox, u64::MAX);
    let page = store.page(&keys.start..&keys.end, From::Oldest, limit)?;
    Ok(entries(page))
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
    let history = key(b'h', conversation);
    let keys = numbered(&history, after.saturating_add(1))..numbered(&history, before);
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
    let history = key(b'h', conversation);
    let keys = numbered(&history, after.saturating_add(1))..numbered(&history, before);
    let page = store.page(&keys.start..&keys.end, From::Oldest, limit)?;
    Ok(entries(page))
}

/// The name of the conversation of a user with another one, or in a room.
#[must_use]
pub fn conversation(one: &str, other: &str) -> String {
    if is_room(other) {
        return other.to_owned();
    }
    format!("{}\u{1}{}", one.min(other), one.max(other))
}

/// Whether an inbox takes one more. Where some device has got the oldest, that makes room for it.
fn has_room(change: &dyn Change, inbox: &[u8], uid: &str) -> io::Result<bool> {
    if number(change, &counter(inbox))? < INBOX_MESSAGES_MAX {
        return Ok(true);
    }
    let foremost = cursors(change, uid)?.into_iter().max().unwrap_or(0);
    let keys = numbered(inbox, 0)..numbered(inbox, foremost.saturating_add(1));
    let oldest = change.page(&keys.start..&keys.end, From::Oldest, 1)?;
    Ok(!oldest.is_empty())
}

/// Adds an entry; of more than `max` the oldest goes.
fn add(change: &mut dyn Change, of: &[u8], id: u64, value: &[u8], max: u64) -> io::Result<()> {
    change.put(&numbered(of, id), value)?;
    let counter = counter(of);
    let mut count = number(change, &counter)? + 1;
    if count > max {
        let keys = numbered(of, 0)..numbered(of, u64::MAX);
        for (key, _) in change.page(&keys.start..&keys.end, From::Oldest, 1)? {
            change.remove(&key)?;
            count -= 1;
        }
    }
    change.put(&counter, &count.to_be_bytes())
}

fn cursors(store: &dyn Change, uid: &str) -> io::Result<Vec<u64>> {
    let keys = device_key(b'c', uid, 0)..device_key(b'c', uid, u8::MAX);
    let page = store.page(&keys.start..&keys.end, From::Oldest, usize::from(u8::MAX))?;
    Ok(page.iter().map(|(_, id)| value_of(id)).collect())
}

fn entries(page: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Entry> {
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let id = value_of(&key[key.len() - size_of::<u64>()..]);
        (id, Packet(Bytes::from(value)))
    };
    page.into_iter().map(entry).collect()
}

fn number(store: &(impl Reading + ?Sized), key: &[u8]) -> io::Result<u64> {
    Ok(store.get(key)?.map_or(0, |value| value_of(&value)))
}

/// A number as it is kept; of other bytes, which nobody writes, zero.
fn value_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn key(kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 12);
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key
}

fn device_key(kind: u8, uid: &str, platform: u8) -> Vec<u8> {
    let mut key = key(kind, uid);
    key.push(platform);
    key
}

fn numbered(key: &[u8], id: u64) -> Vec<u8> {
    [key, &id.to_be_bytes()].concat()
}

fn counter(key: &[u8]) -> Vec<u8> {
    [b"#", key].concat()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::protocol::{Message, MessageRequest};
    use crate::store::MemoryStore;

    fn raw(to: &str) -> Vec<u8> {
        let request = MessageRequest {
            to: to.into(),
            ..MessageRequest::default()
        };
        let message = Message {
            message_request: Some(request),
            ..Message::default()
        };
        message.encode_to_vec()
    }

    /// Keeps a message from ann; answers with what has become of it.
    fn say(store: &MemoryStore, to: &str, client_id: u64) -> Kept {
        let raw = raw(to);
        let said = Said {
            from: "ann",
            platform: 0,
            to,
            client_id,
            time: 0,
            raw: &raw,
        };
        let mut kept = Kept::InboxFull;
        let done = store.change(&mut |change| {
            kept = keep(change, &said)?;
            Ok(())
        });
        done.expect("memory does not fail");
        kept
    }

    fn id(kept: &Kept) -> u64 {
        match kept {
            Kept::New { id, .. } | Kept::Again(id) => *id,
            Kept::InboxFull => panic!("it was not kept"),
        }
    }

    fn arrives(store: &MemoryStore, platform: u8) -> u64 {
        let mut cursor = 0;
        let done = store.change(&mut |change| {
            cursor = arrive(change, "bob", platform)?;
            Ok(())
        });
        done.expect("memory does not fail");
        cursor
    }

    fn acknowledges(store: &MemoryStore, platform: u8, id: u64) {
        let done = store.change(&mut |change| acknowledge(change, "bob", platform, id));
        done.expect("memory does not fail");
    }

    fn waiting(store: &MemoryStore) -> Vec<u64> {
        let all = inbox(store, "bob", 0, usize::MAX).expect("memory does not fail");
        all.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn an_inbox_holds_what_some_device_has_not_acknowledged() {
        let store = MemoryStore::default();
        assert_eq!((arrives(&store, 0), arrives(&store, 1)), (0, 0));
        for _ in 0..3 {
            say(&store, "bob", 0);
        }
        acknowledges(&store, 0, 3);
        assert_eq!(waiting(&store), [1, 2, 3]);
        acknowledges(&store, 1, 2);
        assert_eq!(waiting(&store), [3]);
        assert_eq!(arrives(&store, 0), 3);
        assert_eq!(arrives(&store, 2), 3, "a new device begins at the foremost");
    }

    #[test]
    fn a_full_inbox_takes_no_more_until_some_device_has_got_the_oldest() {
        let store = MemoryStore::default();
        arrives(&store, 0);
        for _ in 0..INBOX_MESSAGES_MAX {
            assert!(matches!(say(&store, "bob", 0), Kept::New { .. }));
        }
        assert_eq!(say(&store, "bob", 0), Kept::InboxFull);
        assert!(matches!(say(&store, "cid", 0), Kept::New { .. }));
        // One that never comes back does not stand in the way of one that does.
        arrives(&store, 1);
        acknowledges(&store, 0, 5);
        assert!(matches!(say(&store, "bob", 0), Kept::New { .. }));
        assert_eq!(waiting(&store).len() as u64, INBOX_MESSAGES_MAX);
        acknowledges(&store, 1, INBOX_MESSAGES_MAX);
        acknowledges(&store, 0, INBOX_MESSAGES_MAX);
        assert_eq!(waiting(&store), [INBOX_MESSAGES_MAX + 2]);
    }

    #[test]
    fn a_repeat_is_known_as_long_as_it_is_among_the_last() {
        let store = MemoryStore::default();
        let first = id(&say(&store, "#tea", 1));
        assert_eq!(say(&store, "#tea", 1), Kept::Again(first));
        for number in 2..=REPEATS_KNOWN_MAX + 1 {
            say(&store, "#tea", number);
        }
        assert!(matches!(say(&store, "#tea", 2), Kept::Again(_)));
        assert!(id(&say(&store, "#tea", 1)) > first, "it is forgotten");
    }

    #[test]
    fn a_history_is_read_backwards_page_by_page() {
        let store = MemoryStore::default();
        for to in ["bob", "cid", "bob", "#tea", "bob"] {
            say(&store, to, 0);
        }
        let page = |before: u64| {
            let name = conversation("bob", "ann");
            let page = history(&store, &name, 0, before, 2).expect("memory does not fail");
            page.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(page(u64::MAX), [3, 5]);
        assert_eq!(page(3), [1]);
        assert!(page(1).is_empty());
    }
}
