//! Where a worker is at this moment, for whoever wonders why it does not come back.
//!
//! A worker that hangs cannot be asked, so it says beforehand, by plain stores: once a turn when the turn
//! began, and where it enters the program's code which connection it serves and in which stage. The
//! [`Watchdog`](crate::watchdog::Watchdog) reads what stands there when a turn takes too long.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::address::{Address, KeptPeer};
use crate::clock::Instant;
use crate::id::Key;
use crate::sync::lock;

/// Names of stages that one worker remembers; a stage beyond them is told without its name.
const NAMES_MAX: usize = 256;

/// The code in which a worker hangs, as far as it is known; part of a [`Stall`](crate::Stall).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StallPlace {
    /// None of the program's: the library, or the system.
    Library,
    /// A connection's handler or codec.
    Handler,
    /// The stage of this name; `None` after more than 256 different names on one worker.
    Stage(Option<&'static str>),
    /// The factory that makes pipelines.
    Factory,
    /// A filter, such as TLS.
    Filter,
    /// What a write was to call once it had left, or a file on its way.
    Completion,
    /// The handler of a UDP socket.
    Datagrams,
}

impl fmt::Display for StallPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library => f.write_str("no code of the program's"),
            Self::Handler => f.write_str("a handler or codec"),
            Self::Stage(Some(name)) => write!(f, "the stage {name:?}"),
            Self::Stage(None) => f.write_str("a stage"),
            Self::Factory => f.write_str("the factory of a pipeline"),
            Self::Filter => f.write_str("a filter"),
            Self::Completion => f.write_str("the completion of a write"),
            Self::Datagrams => f.write_str("the handler of a UDP socket"),
        }
    }
}

/// A [`StallPlace`] in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label(u32);

impl Label {
    pub(crate) const LIBRARY: Self = Self(0);
    pub(crate) const HANDLER: Self = Self(1);
    pub(crate) const FACTORY: Self = Self(2);
    pub(crate) const FILTER: Self = Self(3);
    pub(crate) const COMPLETION: Self = Self(4);
    pub(crate) const DATAGRAMS: Self = Self(5);
    /// Some stage.
    const STAGE: Self = Self(6);
    /// From here on the stages whose names are known.
    const NAMED: u32 = 7;

    /// Whether it is one connection's code.
    fn has_connection(self) -> bool {
        !matches!(self, Self::LIBRARY | Self::FACTORY | Self::DATAGRAMS)
    }
}

/// An address in words: an IPv4 address and its port fit in the first, with the kind in its lowest byte.
const KIND_UNIX: u64 = 0;
const KIND_V4: u64 = 1;
const KIND_V6: u64 = 2;

/// What one worker says of itself; written by it alone.
///
/// Cost: three stores for each call into a connection's pipeline and one for its return, one more for
/// each step into a stage.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    /// When the turn began, in nanoseconds of the clock; zero between two turns.
    began: AtomicU64,
    key: AtomicU64,
    address: [AtomicU64; 3],
    label: AtomicU32,
    names: Mutex<Vec<&'static str>>,
}

/// Where a worker was when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// When its turn began.
    pub(crate) began: Instant,
    /// The connection whose code it is in; none for a factory, a UDP socket, or in the library.
    pub(crate) key: Option<Key>,
    /// The peer, or where a UDP socket is bound; none in the library.
    pub(crate) address: Option<Address>,
    pub(crate) place: StallPlace,
}

impl Whereabouts {
    #[inline]
    pub(crate) fn begin_turn(&self, now: Instant) {
        store(&self.began, now.as_nanos().max(1));
    }

    #[inline]
    pub(crate) fn end_turn(&self) {
        store(&self.began, 0);
    }

    /// The program's code is entered, for a connection.
    #[inline]
    pub(crate) fn enter(&self, key: Key, peer: &KeptPeer, label: Label) {
        store(&self.key, key.to_bits());
        match peer {
            KeptPeer::V4(peer, _) => store(&self.address[0], word_of_v4(*peer.ip(), peer.port())),
            KeptPeer::Other(peer) => self.publish(peer.address),
        }
        self.at(label);
    }

    /// The program's code is entered for no connection: for a peer who has none yet, or at a UDP socket.
    pub(crate) fn enter_for(&self, address: Address, label: Label) {
        self.publish(address);
        self.at(label);
    }

    #[cold]
    fn publish(&self, address: Address) {
        let Address::Inet(address) = address else {
            return store(&self.address[0], KIND_UNIX);
        };
        match address.ip() {
            IpAddr::V4(ip) => store(&self.address[0], word_of_v4(ip, address.port())),
            IpAddr::V6(ip) => {
                store(&self.address[0], u64::from(address.port()) << 16 | KIND_V6);
                let (high, low) = halves(ip.into());
                store(&self.address[1], high);
                store(&self.address[2], low);
            }
        }
    }

    /// Another part of the program's code is entered, for the same connection.
    #[inline]
    pub(crate) fn at(&self, label: Label) {
        self.label.store(label.0, Ordering::Relaxed);
    }

    /// Where it is: what to say again when a call returns that led elsewhere.
    #[inline]
    pub(crate) fn label(&self) -> Label {
        Label(self.label.load(Ordering::Relaxed))
    }

    /// The program's code has returned.
    #[inline]
    pub(crate) fn leave(&self) {
        self.at(Label::LIBRARY);
    }

    /// The label of the stages with this name. Cost: a lock and a search, so once a stage that opens.
    pub(crate) fn label_of(&self, name: &'static str) -> Label {
        let mut names = lock(&self.names);
        let known = names.iter().position(|known| *known == name);
        let index = known.unwrap_or(names.len());
        if index == NAMES_MAX {
            return Label::STAGE;
        }
        if known.is_none() {
            names.push(name);
        }
        let index = u32::try_from(index).expect("at most 256 names");
        Label(Label::NAMED + index)
    }

    /// Where the worker is; `None` between two turns. Threads: any.
    ///
    /// It goes on meanwhile, so what is read may belong to two moments; of one that hangs it is one.
    pub(crate) fn look(&self) -> Option<Sight> {
        let (began, label) = (load(&self.began), self.label());
        let sight = Sight {
            began: Instant::from_nanos(began),
            key: label
                .has_connection()
                .then(|| Key::from_bits(load(&self.key))),
            address: (label != Label::LIBRARY).then(|| self.address()),
            place: self.place(label),
        };
        (began > 0 && load(&self.began) == began).then_some(sight)
    }

    /// The address last published.
    fn address(&self) -> Address {
        let [head, high, low] = [0, 1, 2].map(|word| load(&self.address[word]));
        let port = u16::try_from(head >> 16 & 0xFFFF).expect("16 bits");
        let ip: IpAddr = match head & 0xFFFF {
            KIND_V4 => Ipv4Addr::from(u32::try_from(head >> 32).expect("32 bits")).into(),
            KIND_V6 => Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into(),
            _ => return Address::Unix,
        };
        Address::Inet(SocketAddr::new(ip, port))
    }

    fn place(&self, label: Label) -> StallPlace {
        match label {
            Label::LIBRARY => StallPlace::Library,
            Label::HANDLER => StallPlace::Handler,
            Label::FACTORY => StallPlace::Factory,
            Label::FILTER => StallPlace::Filter,
            Label::COMPLETION => StallPlace::Completion,
            Label::DATAGRAMS => StallPlace::Datagrams,
            Label(stage) => {
                let index = stage.checked_sub(Label::NAMED);
                let names = lock(&self.names);
                StallPlace::Stage(index.and_then(|index| names.get(index as usize).copied()))
            }
        }
    }
}

#[inline]
fn word_of_v4(ip: Ipv4Addr, port: u16) -> u64 {
    u64::from(u32::from(ip)) << 32 | u64::from(port) << 16 | KIND_V4
}

#[inline]
fn store(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

#[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
const fn halves(value: u128) -> (u64, u64) {
    ((value >> 64) as u64, value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Peer;

    const KEY: Key = Key {
        slot: 7,
        generation: 3,
    };

    fn at(text: &str) -> Address {
        match text {
            "unix" => Address::Unix,
            _ => Address::Inet(text.parse().expect("an address")),
        }
    }

    #[test]
    fn a_peer_of_any_kind_is_read_as_it_was_published() {
        let whereabouts = Whereabouts::default();
        whereabouts.begin_turn(Instant::START);
        for peer in [at("250.1.2.3:65535"), at("[fe80::1:2]:1"), at("unix")] {
            let kept = KeptPeer::from(Peer::new(peer, at("127.0.0.1:1")));
            whereabouts.enter(KEY, &kept, Label::HANDLER);
            let sight = whereabouts.look().expect("in a turn");
            assert_eq!((sight.key, sight.address), (Some(KEY), Some(peer)));
            assert_eq!(sight.place, StallPlace::Handler);
            whereabouts.enter_for(peer, Label::FACTORY);
            let sight = whereabouts.look().expect("in a turn");
            assert_eq!((sight.key, sight.address), (None, Some(peer)));
            assert_eq!(sight.place, StallPlace::Factory);
        }
        whereabouts.leave();
        let sight = whereabouts.look().expect("in a turn");
        assert_eq!((sight.key, sight.address), (None, None));
    }

    #[test]
    fn between_two_turns_there_is_nothing_to_see() {
        let whereabouts = Whereabouts::default();
        assert_eq!(whereabouts.look(), None);
        whereabouts.begin_turn(Instant::from_nanos(5));
        let sight = whereabouts.look().expect("in a turn");
        assert_eq!(sight.began, Instant::from_nanos(5));
        assert_eq!(sight.place, StallPlace::Library);
        whereabouts.end_turn();
        assert_eq!(whereabouts.look(), None);
    }

    #[test]
    fn stages_are_told_by_their_names_as_long_as_there_are_not_too_many() {
        let whereabouts = Whereabouts::default();
        whereabouts.begin_turn(Instant::START);
        let (login, chat) = (whereabouts.label_of("login"), whereabouts.label_of("chat"));
        assert_eq!(whereabouts.label_of("login"), login);
        for (label, name) in [(login, "login"), (chat, "chat")] {
            whereabouts.at(label);
            let sight = whereabouts.look().expect("in a turn");
            assert_eq!(sight.place, StallPlace::Stage(Some(name)));
        }
        for number in 0..NAMES_MAX {
            whereabouts.label_of(Box::leak(number.to_string().into_boxed_str()));
        }
        let late = whereabouts.label_of("one too many");
        whereabouts.at(late);
        let sight = whereabouts.look().expect("in a turn");
        assert_eq!(sight.place, StallPlace::Stage(None));
        assert_eq!(whereabouts.label_of("chat"), chat);
    }
}
