//! A descriptor in reserve, given up to tell a peer that there is none left for it.

use std::fs::File;

/// A descriptor that is held for nothing but the day on which there is no other.
#[derive(Debug)]
pub(super) struct Reserve(Option<File>);

impl Reserve {
    pub(super) fn new() -> Self {
        let mut reserve = Self(None);
        reserve.refill();
        reserve
    }

    /// Gives the descriptor up for the time of `call`, and takes it back; nothing is called where there is
    /// none. Answers whether it is there again: another thread may be faster to take it.
    pub(super) fn spend(&mut self, call: impl FnOnce()) -> bool {
        if self.refill() {
            self.0 = None;
            call();
        }
        self.refill()
    }

    /// Takes a descriptor, unless there is one; answers whether there is.
    ///
    /// On Windows nothing has that name, and no reserve is needed: descriptors have no low limit there.
    pub(super) fn refill(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_again_after_it_was_spent() {
        let mut reserve = Reserve::new();
        let mut calls = 0;
        for _ in 0..3 {
            assert!(reserve.spend(|| calls += 1));
        }
        assert_eq!(calls, 3);
    }
}
