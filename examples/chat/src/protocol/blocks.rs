//! Answers that are too long for one frame.

use serde_json::{Value, json};

use super::{Code, Packet};
use crate::limits::BLOCK_BYTES_MAX;

/// The answer to a command as responses of one sequence, counted from 0, the last one marked.
///
/// Each has an object of JSON as its text: what is in `common`, and some of the `items` in a list called `name`.
#[must_use]
pub fn blocks(sequence: u64, name: &str, items: &[Value], common: &Value) -> Vec<Packet> {
    let mut parts = Vec::new();
    let (mut part, mut bytes) = (Vec::new(), 0);
    for item in items {
        let size = item.to_string().len();
        if bytes + size > BLOCK_BYTES_MAX && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += size;
        part.push(item.clone());
    }
    parts.push(part);
    let last = parts.len() - 1;
    let block = |(nth, part): (usize, Vec<Value>)| {
        let mut info = common.clone();
        info[name] = json!(part);
        let index = u32::try_from(nth).unwrap_or(u32::MAX);
        Packet::block(sequence, Code::Ok, &info.to_string(), index, nth == last)
    };
    parts.into_iter().enumerate().map(block).collect()
}
