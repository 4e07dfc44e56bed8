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
    /// none. Another thread may be faster to take it: then the next call finds none, until one is free.
    pub(super) fn spend(&mut self, call: impl FnOnce()) {
        self.refill();
        if self.0.take().is_some() {
            call();
            self.refill();
        }
    }

    /// On Windows nothing has that name, and no reserve is needed: descriptors have no low limit there.
    fn refill(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
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
            reserve.spend(|| calls += 1);
            assert!(reserve.0.is_some());
        }
        assert_eq!(calls, 3);
    }
}
