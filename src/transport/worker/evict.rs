//! Room for a newcomer: the connection that has been silent for longest makes way.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::connection::Service;
use crate::error::CloseReason;
use crate::id::Key;
use crate::transport::driver::Driver;
use crate::transport::entry::Phase;

/// Connections looked at for one newcomer; the next search goes on behind them. With more it is the longest idle of
/// these that goes, which is idle enough.
const LOOKED_AT: usize = 256;

impl<D: Driver> Worker<D> {
    /// Closes the longest idle connection of `service`; `false` where none is idle.
    pub(super) fn evict_idle(&mut self, service: &Arc<Service>) -> bool {
        let looked_at = self.slots.keys_from(self.evict_from).take(LOOKED_AT);
        let keys: Vec<Key> = looked_at.collect();
        self.evict_from = keys.last().map_or(0, |last| last.slot as usize + 1);
        let mut idle: Vec<(Duration, Key)> = Vec::new();
        for key in keys {
            idle.extend(self.idle_time(key, service).map(|time| (time, key)));
        }
        // Of several that are as idle, the one that was taken in first, as far as its slot tells.
        let longest = idle
            .into_iter()
            .min_by_key(|(time, key)| (Reverse(*time), key.slot));
        if let Some((_, key)) = longest {
            self.close(key, CloseReason::OverLimit);
        }
        longest.is_some()
    }

    /// How long a connection of `service` has been idle, where it is.
    fn idle_time(&mut self, key: Key, service: &Arc<Service>) -> Option<Duration> {
        let now = self.turn.now;
        let entry = self.slots.get_mut(key)?;
        let is_candidate = entry.phase == Phase::Open && Arc::ptr_eq(&entry.service, service);
        if !is_candidate {
            return None;
        }
        entry.connection.idle_time(now)
    }
}
