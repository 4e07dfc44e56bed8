//! Messages that wait for a client's next connection.

use std::collections::VecDeque;

use crate::completion::Completion;
use crate::error::TrySendError;
use crate::handle::{Entry, FROM_HANDLE};
use crate::limits::{DOWN_BYTES_MAX, DOWN_MESSAGES_MAX};

/// What becomes of messages that are sent while a [reconnecting client](crate::Client::reconnect) is not up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhileDown {
    /// They come back at once, as [`TrySendError::Down`]: whoever sends knows best what is worth it later.
    #[default]
    Refuse,
    /// They wait, in order, up to both bounds, and leave before newer ones once a connection is open, all
    /// together and whatever the bound of its output. What finds no room comes back as
    /// [`TrySendError::Full`].
    Queue {
        /// Messages that wait at most.
        messages_max: usize,
        /// Bytes that they hold at most, as their codec weighs them. Before a client's first pipeline has
        /// been made, which is at its first dial, a message counts for the size of its type alone.
        bytes_max: usize,
    },
}

impl WhileDown {
    /// They wait, up to [`DOWN_MESSAGES_MAX`] and [`DOWN_BYTES_MAX`].
    #[must_use]
    pub const fn queue() -> Self {
        Self::Queue {
            messages_max: DOWN_MESSAGES_MAX,
            bytes_max: DOWN_BYTES_MAX,
        }
    }
}

/// Messages that wait for a connection, oldest first.
pub(super) struct Backlog<Out> {
    pub(super) entries: VecDeque<Entry<Out>>,
    bytes: usize,
    while_down: WhileDown,
    weigh: fn(&Out) -> usize,
}

/// A message that does not wait, and who is to hear of it.
pub(super) type Refused<Out> = (TrySendError<Out>, Option<Completion>);

impl<Out> Backlog<Out> {
    pub(super) const fn new(while_down: WhileDown) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            while_down,
            weigh: size_of_val,
        }
    }

    pub(super) const fn weigher(&self) -> fn(&Out) -> usize {
        self.weigh
    }

    pub(super) const fn weigh_by(&mut self, weigh: fn(&Out) -> usize) {
        self.weigh = weigh;
    }

    pub(super) fn push(&mut self, out: Out, done: Option<Completion>) -> Result<(), Refused<Out>> {
        let WhileDown::Queue {
            messages_max,
            bytes_max,
        } = self.while_down
        else {
            return Err((TrySendError::Down(out), done));
        };
        let bytes = self.bytes.saturating_add((self.weigh)(&out));
        if self.entries.len() >= messages_max || bytes > bytes_max {
            return Err((TrySendError::Full(out), done));
        }
        self.bytes = bytes;
        self.entries.push_back(Entry::new(out, done, FROM_HANDLE));
        Ok(())
    }

    /// All that waits; nothing does any more.
    pub(super) fn take(&mut self) -> VecDeque<Entry<Out>> {
        self.bytes = 0;
        std::mem::take(&mut self.entries)
    }

    /// Puts back what could not leave.
    pub(super) fn put_back(&mut self, entries: VecDeque<Entry<Out>>) {
        self.bytes = entries.iter().map(|entry| (self.weigh)(&entry.out)).sum();
        self.entries = entries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(messages_max: usize, bytes_max: usize) -> Backlog<&'static str> {
        let mut backlog = Backlog::new(WhileDown::Queue {
            messages_max,
            bytes_max,
        });
        backlog.weigh_by(|text: &&str| text.len());
        backlog
    }

    fn push(
        backlog: &mut Backlog<&'static str>,
        text: &'static str,
    ) -> Result<(), TrySendError<&'static str>> {
        backlog.push(text, None).map_err(|(refused, _)| refused)
    }

    #[test]
    fn both_bounds_hold_and_the_message_comes_back() {
        let mut few = backlog(2, 1000);
        assert_eq!(push(&mut few, "a"), Ok(()));
        assert_eq!(push(&mut few, "b"), Ok(()));
        assert_eq!(push(&mut few, "c"), Err(TrySendError::Full("c")));
        let mut small = backlog(1000, 5);
        assert_eq!(push(&mut small, "four"), Ok(()));
        assert_eq!(push(&mut small, "two"), Err(TrySendError::Full("two")));
        assert_eq!(push(&mut small, "1"), Ok(()));
        assert_eq!(push(&mut small, ""), Ok(()), "it weighs nothing");
    }

    #[test]
    fn what_is_taken_makes_room_and_what_is_put_back_takes_it() {
        let mut backlog = backlog(10, 5);
        assert_eq!(push(&mut backlog, "five!"), Ok(()));
        let taken = backlog.take();
        assert_eq!(push(&mut backlog, "five?"), Ok(()));
        backlog.put_back(taken);
        assert_eq!(push(&mut backlog, "x"), Err(TrySendError::Full("x")));
        assert_eq!(backlog.take().len(), 1);
    }

    #[test]
    fn unless_told_to_nothing_waits() {
        let mut backlog = Backlog::new(WhileDown::default());
        assert_eq!(push(&mut backlog, "a"), Err(TrySendError::Down("a")));
    }
}
