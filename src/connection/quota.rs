//! What a service lets in: how many connections, how many of one address, and how fast they may come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::address::Peer;
use crate::clock::Instant;
use crate::options::{AcceptRate, Options};
use crate::sync::lock;

/// The bounds of one service beside the count of its connections, over all its listeners and workers.
///
/// Threads: whoever accepts for the service, and the workers at the end of a connection. Cost: nothing where
/// nothing is set; a lock at the start and the end of a connection where addresses are counted.
#[derive(Debug)]
pub(crate) struct Quota {
    addresses: Option<Addresses>,
    pace: Option<Pace>,
}

impl Quota {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            addresses: options.connections_per_address_max.map(Addresses::new),
            pace: options.accept_rate.map(Pace::new),
        }
    }

    /// Counts one more of the peer's address in; `false`, and nothing is counted, when it has its fill.
    pub(super) fn enter(&self, peer: &Peer) -> bool {
        let (Some(addresses), Some(ip)) = (&self.addresses, peer.address.ip()) else {
            return true;
        };
        addresses.enter(ip)
    }

    pub(super) fn leave(&self, peer: &Peer) {
        if let (Some(addresses), Some(ip)) = (&self.addresses, peer.address.ip()) {
            addresses.leave(ip);
        }
    }

    /// How long the next connection has to wait for its turn; zero when it may come.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.pace
            .as_ref()
            .map_or(Duration::ZERO, |pace| pace.wait(now))
    }

    /// A connection has come.
    pub(super) fn note_accepted(&self, now: Instant) {
        if let Some(pace) = &self.pace {
            pace.pay(now);
        }
    }
}

/// How many connections each address has. Holds addresses that are connected, no others.
#[derive(Debug)]
struct Addresses {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    fn new(most: usize) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    fn enter(&self, ip: IpAddr) -> bool {
        let mut counts = lock(&self.counts);
        let count = counts.get(&ip).copied().unwrap_or(0);
        let has_room = count < self.most;
        if has_room {
            counts.insert(ip, count + 1);
        }
        has_room
    }

    fn leave(&self, ip: IpAddr) {
        let mut counts = lock(&self.counts);
        match counts.get_mut(&ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&ip)),
        }
    }
}

/// A token bucket, kept as the one moment at which it will be full again (GCRA): each connection moves it on
/// by the time that a token takes.
#[derive(Debug)]
struct Pace {
    token_nanos: u64,
    /// The time in which an empty bucket fills.
    bucket_nanos: u64,
    full_at: AtomicU64,
}

impl Pace {
    fn new(rate: AcceptRate) -> Self {
        let token_nanos = (1_000_000_000 / u64::from(rate.per_second.max(1))).max(1);
        Self {
            token_nanos,
            bucket_nanos: token_nanos * u64::from(rate.burst.max(1)),
            full_at: AtomicU64::new(0),
        }
    }

    /// Time until there is a whole token.
    fn wait(&self, now: Instant) -> Duration {
        let full_at = self.full_at.load(Ordering::Relaxed).max(now.as_nanos());
        let missing = full_at - now.as_nanos() + self.token_nanos;
        Duration::from_nanos(missing.saturating_sub(self.bucket_nanos))
    }

    fn pay(&self, now: Instant) {
        let pay = |full_at: u64| Some(full_at.max(now.as_nanos()) + self.token_nanos);
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u32, burst: u32) -> Pace {
        Pace::new(AcceptRate { per_second, burst })
    }

    #[test]
    fn a_full_bucket_lets_a_burst_pass_and_then_one_a_token() {
        let pace = pace(10, 3);
        let start = Instant::START + Duration::from_secs(5);
        for n in 0..3 {
            assert_eq!(pace.wait(start), Duration::ZERO, "{n}");
            pace.pay(start);
        }
        let token = Duration::from_millis(100);
        assert_eq!(pace.wait(start), token);
        assert_eq!(pace.wait(start + token / 2), token / 2);
        assert_eq!(pace.wait(start + token), Duration::ZERO);
        pace.pay(start + token);
        assert_eq!(pace.wait(start + token), token);
    }

    #[test]
    fn no_more_than_the_burst_is_saved_up() {
        let pace = pace(1000, 2);
        let late = Instant::START + Duration::from_secs(3600);
        pace.pay(late);
        pace.pay(late);
        assert_eq!(pace.wait(late), Duration::from_millis(1));
    }

    #[test]
    fn over_any_time_no_more_pass_than_rate_and_burst_allow() {
        let pace = pace(7, 4);
        let mut passed = 0;
        for milli in 0..10_000 {
            let now = Instant::START + Duration::from_millis(milli);
            while pace.wait(now).is_zero() {
                pace.pay(now);
                passed += 1;
            }
        }
        assert!((70..=74).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn an_address_has_room_again_when_one_of_its_own_goes() {
        let addresses = Addresses::new(2);
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        assert!(addresses.enter(one) && addresses.enter(one));
        assert!(!addresses.enter(one));
        assert!(addresses.enter(other));
        addresses.leave(one);
        assert!(addresses.enter(one));
        for ip in [one, one, other] {
            addresses.leave(ip);
        }
        assert!(lock(&addresses.counts).is_empty(), "nobody is remembered");
    }
}
