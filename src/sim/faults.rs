//! What may go wrong in a world, and how often.

use std::fmt;
use std::ops::Index;

/// A kind of thing that goes wrong.
///
/// Those up to [`FullSocket`](Self::FullSocket) happen on every machine every day and break nothing: they
/// make up [`Faults::gentle`]. Those behind it cost connections, or time that a program may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A read moves less than it could.
    ShortRead,
    /// A write moves less than it could.
    ShortWrite,
    /// A read or write finds nothing, or no room, though there is some (EAGAIN).
    WouldBlock,
    /// Several events of one poll come in another order than they happened in.
    Order,
    /// An event tells of what is not so.
    Spurious,
    /// An event comes a turn later than it could.
    Late,
    /// An event tells of all that a socket is ready for, not only of what has changed.
    Chatty,
    /// An event comes for a socket that has been closed.
    Stale,
    /// A pool gets ahead in the middle of a worker's turn.
    PoolAhead,
    /// A datagram is lost.
    Loss,
    /// A datagram comes twice.
    Duplicate,
    /// A datagram socket takes nothing for a while.
    FullSocket,
    /// A worker's turn takes up to a millisecond, as on a core that others want too; otherwise it takes no time.
    SlowTurn,
    /// What is sent is on its way for up to two seconds.
    Delay,
    /// The network breaks a connection: both ends are reset.
    Reset,
    /// The network ends one direction of a connection: a FIN that nobody sent.
    HalfClose,
    /// Two nodes do not reach each other for up to ten seconds.
    Partition,
    /// A node does not reach another one, which still reaches it, for up to ten seconds.
    OneWay,
    /// A node crashes, and restarts within five seconds.
    Crash,
    /// A node's clock begins somewhere, not at zero.
    Skew,
    /// A node's clock is faster or slower than the world's, by up to a tenth.
    Drift,
}

impl Fault {
    /// Every kind, in the order of the enum: for counters and tables.
    pub const ALL: [Self; 21] = [
        Self::ShortRead,
        Self::ShortWrite,
        Self::WouldBlock,
        Self::Order,
        Self::Spurious,
        Self::Late,
        Self::Chatty,
        Self::Stale,
        Self::PoolAhead,
        Self::Loss,
        Self::Duplicate,
        Self::FullSocket,
        Self::SlowTurn,
        Self::Delay,
        Self::Reset,
        Self::HalfClose,
        Self::Partition,
        Self::OneWay,
        Self::Crash,
        Self::Skew,
        Self::Drift,
    ];

    /// The kind's name in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShortRead => "short_read",
            Self::ShortWrite => "short_write",
            Self::WouldBlock => "would_block",
            Self::Order => "order",
            Self::Spurious => "spurious",
            Self::Late => "late",
            Self::Chatty => "chatty",
            Self::Stale => "stale",
            Self::PoolAhead => "pool_ahead",
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::FullSocket => "full_socket",
            Self::SlowTurn => "slow_turn",
            Self::Delay => "delay",
            Self::Reset => "reset",
            Self::HalfClose => "half_close",
            Self::Partition => "partition",
            Self::OneWay => "one_way",
            Self::Crash => "crash",
            Self::Skew => "skew",
            Self::Drift => "drift",
        }
    }

    /// Whether a program that is right does not notice it.
    #[must_use]
    pub const fn is_gentle(self) -> bool {
        (self as usize) <= Self::FullSocket as usize
    }

    /// The rarest and the commonest that a seed makes it, once in so many chances.
    pub(super) const fn odds(self) -> (usize, usize) {
        match self {
            Self::Loss | Self::Duplicate | Self::FullSocket => (3, 64),
            Self::Delay => (16, 512),
            Self::Reset | Self::HalfClose => (64, 1024),
            Self::Partition | Self::OneWay => (128, 1024),
            Self::Crash => (128, 2048),
            Self::Skew | Self::Drift => (1, 3),
            _ => (2, 64),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often one kind of fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Often {
    Never,
    /// As the seed decides, which also leaves it out altogether now and then.
    Drawn,
    OnceIn(usize),
}

/// Which kinds of faults happen in a world. How often each does is drawn by the seed, which also leaves some of
/// them out: what two kinds do together hides what one does alone (swarm testing: Groce and others, 2012).
///
/// ```
/// use netwheel::sim::{Fault, Faults};
///
/// let no_crashes = Faults::all().without(Fault::Crash);
/// let resets_only = Faults::none().with(Fault::Reset);
/// let many_resets = Faults::gentle().once_in(Fault::Reset, 10);
/// assert!(no_crashes.contains(Fault::Partition) && !resets_only.contains(Fault::Late));
/// assert!(many_resets.contains(Fault::Late));
/// ```
///
/// By default those that a correct program does not notice, [`gentle`](Self::gentle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults([Often; Fault::ALL.len()]);

impl Faults {
    /// No faults: everything is as even as it can be.
    #[must_use]
    pub const fn none() -> Self {
        Self([Often::Never; Fault::ALL.len()])
    }

    /// All that a correct program does not notice: its bytes come whole and in order.
    #[must_use]
    pub fn gentle() -> Self {
        let gentle = Fault::ALL.into_iter().filter(|fault| fault.is_gentle());
        gentle.fold(Self::none(), Self::with)
    }

    /// Everything there is.
    #[must_use]
    pub const fn all() -> Self {
        Self([Often::Drawn; Fault::ALL.len()])
    }

    /// This kind too, as often as the seed says.
    #[must_use]
    pub const fn with(mut self, fault: Fault) -> Self {
        self.0[fault as usize] = Often::Drawn;
        self
    }

    /// Without this kind.
    #[must_use]
    pub const fn without(mut self, fault: Fault) -> Self {
        self.0[fault as usize] = Often::Never;
        self
    }

    /// This kind too, once in so many chances under every seed; never, for zero. A chance is a call, an event,
    /// a parcel that arrives, or a node that starts, as the kind may be.
    #[must_use]
    pub const fn once_in(mut self, fault: Fault, chances: usize) -> Self {
        self.0[fault as usize] = Often::OnceIn(chances);
        self
    }

    /// Whether this kind may happen.
    #[must_use]
    pub fn contains(&self, fault: Fault) -> bool {
        !matches!(self.often(fault), Often::Never | Often::OnceIn(0))
    }

    pub(super) const fn often(&self, fault: Fault) -> Often {
        self.0[fault as usize]
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::gentle()
    }
}

/// How often each kind of fault has happened.
///
/// Printed, it is a line for each kind that has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultsFired([u64; Fault::ALL.len()]);

impl FaultsFired {
    /// Of all kinds together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().zip(self.0)
    }

    pub(super) const fn note(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl Index<Fault> for FaultsFired {
    type Output = u64;

    fn index(&self, fault: Fault) -> &u64 {
        &self.0[fault as usize]
    }
}

impl fmt::Display for FaultsFired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fired = self.iter().filter(|(_, count)| *count > 0);
        for (fault, count) in fired {
            writeln!(f, "{fault:<12}{count:>12}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_in_the_order_of_the_enum() {
        for (index, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index, "{fault}");
        }
    }

    #[test]
    fn the_builder_says_which() {
        let faults = Faults::gentle().with(Fault::Crash).without(Fault::Late);
        let has = |fault| faults.contains(fault);
        assert!(has(Fault::ShortRead) && has(Fault::Crash));
        assert!(!has(Fault::Late) && !has(Fault::Reset));
        assert!(!Faults::all().once_in(Fault::Loss, 0).contains(Fault::Loss));
    }

    #[test]
    fn only_what_has_happened_is_printed() {
        let mut fired = FaultsFired::default();
        fired.note(Fault::Crash);
        fired.note(Fault::Crash);
        assert_eq!((fired[Fault::Crash], fired.total()), (2, 2));
        assert_eq!(fired.to_string(), "crash                  2\n");
    }
}
