//! The attachments of a message, in the order of the wire.

use std::borrow::Cow;

use bytes::Bytes;

pub(super) type Attachment = (Cow<'static, str>, Bytes);

/// Attachments: most messages have one, the id of a question, which needs no memory of its own.
///
/// Invariant: `first` is there where `more` holds any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attachments {
    first: Option<Attachment>,
    more: Vec<Attachment>,
}

impl Attachments {
    pub(super) const fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    pub(super) fn push(&mut self, attachment: Attachment) {
        match self.first {
            None => self.first = Some(attachment),
            Some(_) => self.more.push(attachment),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Attachment> + Clone {
        self.first.iter().chain(&self.more)
    }

    /// Puts a value in the place of one with this key, or behind all others.
    pub(super) fn set(&mut self, key: Cow<'static, str>, value: Bytes) {
        let mut there = self.first.iter_mut().chain(&mut self.more);
        match there.find(|(found, _)| *found == key) {
            Some((_, old)) => *old = value,
            None => self.push((key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_keep_their_order_and_a_second_value_takes_the_place_of_the_first() {
        let mut attachments = Attachments::new();
        assert_eq!((attachments.len(), attachments.iter().count()), (0, 0));
        for key in ["a", "b", "c", "b", "a"] {
            let value = Bytes::from(format!("{key}{}", attachments.len()));
            attachments.set(key.into(), value);
        }
        let seen: Vec<_> = attachments.iter().map(|(_, value)| &value[..]).collect();
        assert_eq!(seen, [b"a3", b"b3", b"c2"]);
        assert_eq!(attachments.len(), 3);
    }
}
