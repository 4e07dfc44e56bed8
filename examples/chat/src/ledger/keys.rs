//! Keys of the store, made and read.

use std::ops::Range;

/// The format of the keys.
pub(super) const FORMAT: &[u8] = b"f";
/// The name of the store.
pub(super) const NAME: &[u8] = b"e";
/// The last number given to a message.
pub(super) const LAST: &[u8] = b"l";

const NUMBER_BYTES: usize = size_of::<u64>();

/// What the messages of a conversation begin with.
pub(super) fn history_of(conversation: &str) -> Vec<u8> {
    owned(b'h', conversation)
}

/// What the messages of an inbox begin with.
pub(super) fn inbox_of(uid: &str) -> Vec<u8> {
    with(owned(b'u', uid), b"i")
}

/// Of the cursor of a device.
pub(super) fn cursor_of(uid: &str, platform: u8) -> Vec<u8> {
    with(owned(b'u', uid), &[b'c', platform])
}

/// What the numbers of a sender's messages begin with.
pub(super) fn repeats_of(uid: &str, platform: u8) -> Vec<u8> {
    with(owned(b'u', uid), &[b'r', platform])
}

/// Of how many of these there are.
pub(super) fn repeats_count_of(uid: &str, platform: u8) -> Vec<u8> {
    with(owned(b'u', uid), &[b'n', platform])
}

/// A key, and a number behind it.
pub(super) fn numbered(key: &[u8], id: u64) -> Vec<u8> {
    [key, &id.to_be_bytes()].concat()
}

/// The keys with these numbers behind `of`.
pub(super) fn span(of: &[u8], numbers: Range<u64>) -> Range<Vec<u8>> {
    numbered(of, numbers.start)..numbered(of, numbers.end)
}

/// The key of a message: its number, and the how manieth it is there.
pub(super) fn entry(of: &[u8], id: u64, nth: u64) -> Vec<u8> {
    [of, &id.to_be_bytes(), &nth.to_be_bytes()].concat()
}

/// The number of a message, by its key.
pub(super) fn id_of(entry: &[u8]) -> u64 {
    value_of(&entry[entry.len() - 2 * NUMBER_BYTES..][..NUMBER_BYTES])
}

/// The how manieth a message is, by its key.
pub(super) fn nth_of(entry: &[u8]) -> u64 {
    value_of(&entry[entry.len() - NUMBER_BYTES..])
}

/// A number as it is kept; of other bytes, which nobody writes, zero.
pub(super) fn value_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

fn owned(kind: u8, name: &str) -> Vec<u8> {
    // What follows the name is no longer than this.
    let mut key = Vec::with_capacity(name.len() + 2 * NUMBER_BYTES + 4);
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key
}

fn with(mut key: Vec<u8>, more: &[u8]) -> Vec<u8> {
    key.extend_from_slice(more);
    key
}
