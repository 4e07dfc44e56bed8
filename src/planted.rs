//! Bugs on purpose, which the simulator must find: not in any build but the one that looks for them.
//!
//! ```text
//! RUSTFLAGS="--cfg netwheel_planted" cargo test --release --test sim planted
//! ```
//! Without that flag [`is_planted`] is a constant, and what it guards is not compiled to anything. A flag of the
//! compiler, as loom's, and no feature: features add up, and nobody's dependency tree must bring these along.

/// Something that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(netwheel_planted),
    expect(unreachable_pub, reason = "public where it is planted")
)]
#[cfg_attr(
    netwheel_planted,
    expect(clippy::exhaustive_enums, reason = "for one test")
)]
pub enum Bug {
    /// A worker goes to sleep without a look at its mailbox.
    LostWakeUp,
    /// A late event or command finds its connection by the slot alone, whoever has that now, and ends it.
    StaleSlot,
    /// A close does not wait for the output that a full socket has left.
    DroppedTail,
    /// What has waited for a client's connection leaves twice.
    #[cfg(netwheel_planted)]
    DoubledResend,
    /// A timer fires a millisecond before it is due.
    EarlyTimer,
}

impl Bug {
    /// All of them.
    #[cfg(netwheel_planted)]
    pub const ALL: [Self; 5] = [
        Self::LostWakeUp,
        Self::StaleSlot,
        Self::DroppedTail,
        Self::DoubledResend,
        Self::EarlyTimer,
    ];
}

#[cfg(not(netwheel_planted))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(netwheel_planted)]
pub use self::planting::*;

#[cfg(netwheel_planted)]
mod planting {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug into all that runs on this thread from now on, as simulated worlds do; or takes it away.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
