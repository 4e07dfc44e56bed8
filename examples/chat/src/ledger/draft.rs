//! A change of the ledger, while it is made.

use std::collections::BTreeMap;
use std::io;

use super::keys::{
    LAST, cursor_of, entry, history_of, inbox_of, nth_of, numbered, repeats_count_of, repeats_of,
    span, value_of,
};
use super::{Kept, Said, conversation, is_room, number};
use crate::limits::{HISTORY_MESSAGES_MAX, INBOX_MESSAGES_MAX, REPEATS_KNOWN_MAX};
use crate::protocol::{Delivery, rewrite};
use crate::store::{Change, From, Store};

/// The ledger inside one change of the store.
pub struct Ledger<'a> {
    change: &'a mut dyn Change,
    /// Numbers that grow with each message: written once, at the end of the change.
    numbers: BTreeMap<Vec<u8>, u64>,
}

/// The messages of a history or an inbox.
struct Run {
    /// What their keys begin with.
    of: Vec<u8>,
    /// The how manieth the last one is; zero where there is none.
    last: u64,
}

/// Makes one change of the ledger: all of it or, when `work` fails, nothing. It is on the disk once this has
/// returned.
///
/// # Errors
///
/// What `work` or the store has failed with.
pub fn change(
    store: &dyn Store,
    mut work: impl FnMut(&mut Ledger<'_>) -> io::Result<()>,
) -> io::Result<()> {
    store.change(&mut |change| {
        let mut ledger = Ledger {
            change,
            numbers: BTreeMap::new(),
        };
        work(&mut ledger)?;
        ledger.finish()
    })
}

impl Ledger<'_> {
    /// The last number given to a message, in this change or before it.
    ///
    /// # Errors
    ///
    /// What the store has failed with; here and below.
    pub fn last_id(&self) -> io::Result<u64> {
        self.number(LAST)
    }

    /// Keeps a message: in the history, and in its receiver's inbox.
    ///
    /// # Errors
    ///
    /// As for [`last_id`](Self::last_id).
    pub fn keep(&mut self, said: &Said<'_>) -> io::Result<Kept> {
        if let Some(id) = self.repeated(said)? {
            return Ok(Kept::Again(id));
        }
        let inbox = match is_room(said.to) {
            true => None,
            false => Some(self.run(inbox_of(said.to))?),
        };
        if let Some(inbox) = &inbox
            && !self.has_room(inbox, said.to)?
        {
            return Ok(Kept::InboxFull);
        }
        let id = self.last_id()? + 1;
        let delivery = Delivery {
            id,
            from: said.from,
            time: said.time,
        };
        let packet = rewrite(said.raw, delivery)?;
        self.numbers.insert(LAST.to_vec(), id);
        let history = self.run(history_of(&conversation(said.from, said.to)))?;
        self.add(&history, id, &packet.0, HISTORY_MESSAGES_MAX)?;
        if let Some(inbox) = inbox {
            self.add(&inbox, id, &packet.0, INBOX_MESSAGES_MAX)?;
        }
        self.know(said, id)?;
        Ok(Kept::New { id, packet })
    }

    /// Up to where a device has acknowledged its user's inbox, after its login.
    ///
    /// A device that was never there begins where the foremost of the user's devices is; a user's first one at the
    /// beginning.
    ///
    /// # Errors
    ///
    /// As for [`last_id`](Self::last_id).
    pub fn arrive(&mut self, uid: &str, platform: u8) -> io::Result<u64> {
        let cursor = cursor_of(uid, platform);
        if let Some(id) = self.change.get(&cursor)? {
            return Ok(value_of(&id));
        }
        let id = self.cursors(uid)?.into_iter().max().unwrap_or(0);
        self.change.put(&cursor, &id.to_be_bytes())?;
        Ok(id)
    }

    /// A device has got everything up to a message; what all devices of the user have got leaves the inbox.
    ///
    /// # Errors
    ///
    /// As for [`last_id`](Self::last_id).
    pub fn acknowledge(&mut self, uid: &str, platform: u8, id: u64) -> io::Result<()> {
        self.change
            .put(&cursor_of(uid, platform), &id.to_be_bytes())?;
        let slowest = self.cursors(uid)?.into_iter().min().unwrap_or(0);
        let inbox = inbox_of(uid);
        let keys = span(&inbox, 0..slowest.saturating_add(1));
        let limit = usize::try_from(INBOX_MESSAGES_MAX).unwrap_or(usize::MAX);
        let gone = self
            .change
            .keys(&keys.start..&keys.end, From::Oldest, limit)?;
        gone.iter().try_for_each(|key| self.change.remove(key))
    }

    /// Writes what was not written at once.
    fn finish(self) -> io::Result<()> {
        let mut numbers = self.numbers.iter();
        numbers.try_for_each(|(key, number)| self.change.put(key, &number.to_be_bytes()))
    }

    /// The number that a message was kept under when it came before.
    fn repeated(&self, said: &Said<'_>) -> io::Result<Option<u64>> {
        if said.client_id == 0 {
            return Ok(None);
        }
        let repeats = repeats_of(said.from, said.platform);
        let id = self.change.get(&numbered(&repeats, said.client_id))?;
        Ok(id.map(|id| value_of(&id)))
    }

    /// Remembers a message for when it comes again; of too many the smallest is forgotten.
    fn know(&mut self, said: &Said<'_>, id: u64) -> io::Result<()> {
        if said.client_id == 0 {
            return Ok(());
        }
        let repeats = repeats_of(said.from, said.platform);
        let repeat = numbered(&repeats, said.client_id);
        self.change.put(&repeat, &id.to_be_bytes())?;
        let counter = repeats_count_of(said.from, said.platform);
        let mut count = self.number(&counter)? + 1;
        if count > REPEATS_KNOWN_MAX
            && let Some(smallest) = self.end(&repeats, From::Oldest)?
        {
            self.change.remove(&smallest)?;
            count -= 1;
        }
        self.numbers.insert(counter, count);
        Ok(())
    }

    /// Whether an inbox takes one more. Where some device has got the oldest, that makes room for it.
    fn has_room(&self, inbox: &Run, uid: &str) -> io::Result<bool> {
        if !self.is_full(inbox, INBOX_MESSAGES_MAX)? {
            return Ok(true);
        }
        let foremost = self.cursors(uid)?.into_iter().max().unwrap_or(0);
        let keys = span(&inbox.of, 0..foremost.saturating_add(1));
        let oldest = self.change.keys(&keys.start..&keys.end, From::Oldest, 1)?;
        Ok(!oldest.is_empty())
    }

    /// Adds an entry; of more than `max` the oldest goes.
    fn add(&mut self, run: &Run, id: u64, value: &[u8], max: u64) -> io::Result<()> {
        if self.is_full(run, max)?
            && let Some(oldest) = self.end(&run.of, From::Oldest)?
        {
            self.change.remove(&oldest)?;
        }
        self.change.put(&entry(&run.of, id, run.last + 1), value)
    }

    /// The messages whose keys begin with `of`.
    fn run(&self, of: Vec<u8>) -> io::Result<Run> {
        let last = self.end(&of, From::Newest)?.map_or(0, |key| nth_of(&key));
        Ok(Run { of, last })
    }

    /// Whether there are `max` of them.
    fn is_full(&self, run: &Run, max: u64) -> io::Result<bool> {
        if run.last < max {
            return Ok(false);
        }
        let first = self.end(&run.of, From::Oldest)?;
        Ok(first.is_some_and(|key| run.last + 1 - nth_of(&key) >= max))
    }

    /// The key at one end of what begins with `of`.
    fn end(&self, of: &[u8], from: From) -> io::Result<Option<Vec<u8>>> {
        let keys = span(of, 0..u64::MAX);
        let mut end = self.change.keys(&keys.start..&keys.end, from, 1)?;
        Ok(end.pop())
    }

    fn cursors(&self, uid: &str) -> io::Result<Vec<u64>> {
        let keys = cursor_of(uid, 0)..cursor_of(uid, u8::MAX);
        let limit = usize::from(u8::MAX);
        let page = self
            .change
            .page(&keys.start..&keys.end, From::Oldest, limit)?;
        Ok(page.iter().map(|(_, id)| value_of(id)).collect())
    }

    fn number(&self, key: &[u8]) -> io::Result<u64> {
        match self.numbers.get(key) {
            Some(number) => Ok(*number),
            None => number(self.change, key),
        }
    }
}

impl std::fmt::Debug for Ledger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("numbers", &self.numbers.len())
            .finish_non_exhaustive()
    }
}
