//! What a visitor has missed, sent from the store as far as there is room: inboxes and rooms alike.

use std::io;
use std::sync::Arc;

use super::Visitor;
use crate::ledger::Entry;
use crate::limits::CATCH_UP_MESSAGES;

/// Messages of the first page.
const CATCH_UP_MESSAGES_FIRST: usize = 4;

/// Sends what was missed, oldest first; whether that was all of it.
///
/// Where it was not, the visitor is looked at again when what it was sent has left. `page` reads so many messages
/// behind that number, and `sent` is told of each that was sent.
pub(super) fn send(
    visitor: &Arc<Visitor>,
    mut last: u64,
    page: impl Fn(u64, usize) -> io::Result<Vec<Entry>>,
    mut sent: impl FnMut(u64),
) -> io::Result<bool> {
    // A few at first: of large ones no more will fit.
    let mut limit = CATCH_UP_MESSAGES_FIRST;
    loop {
        let page = page(last, limit)?;
        for (id, packet) in &page {
            if !Visitor::deliver(visitor, packet) {
                return Ok(false);
            }
            last = *id;
            sent(last);
        }
        if page.len() < limit {
            return Ok(true);
        }
        limit = CATCH_UP_MESSAGES.min(limit * 4);
    }
}
