//! Where panics of the program's code stop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Code of the program has panicked; the panic hook has told where.
#[derive(Debug)]
pub(crate) struct Panicked;

/// Runs code of the program, or drops a value of its own: a panic there ends no thread of the crate.
pub(crate) fn contain<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(bury)
}

/// Drops what a panic carried. That may panic as well; what the second carries is never dropped.
fn bury(payload: Box<dyn Any + Send>) -> Panicked {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    Panicked
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_panic_stops_here_whatever_it_carries() {
        assert!(contain(|| std::panic::panic_any(Bomb)).is_err());
        assert!(contain(|| drop(Bomb)).is_err());
        assert_eq!(contain(|| 7).ok(), Some(7));
    }
}
