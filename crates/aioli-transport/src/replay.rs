//! Ephemeral keys seen lately: a second message 1 with the same key is a replay.
//!
//! Two generations; the older is forgotten when the newer is full of time or
//! of entries. So a key is known for one to two periods.

use std::collections::BTreeSet;

use aioli_core::{Duration, Instant};

/// At least twice the clock skew (`ntcp2#1-sessionrequest`); more costs little.
const PERIOD: Duration = Duration::from_secs(300);

/// Ephemeral keys seen lately.
#[derive(Debug)]
pub(crate) struct ReplayCache {
    newer: BTreeSet<[u8; 32]>,
    older: BTreeSet<[u8; 32]>,
    since: Instant,
    limit: usize,
    /// How often a generation was full before its time.
    pub(crate) full: u64,
}

impl ReplayCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            newer: BTreeSet::new(),
            older: BTreeSet::new(),
            since: Instant::ZERO,
            limit: limit.max(1),
            full: 0,
        }
    }

    /// Remembers the key. False if it was known.
    pub(crate) fn insert(&mut self, key: [u8; 32], now: Instant) -> bool {
        self.expire(now);
        if self.newer.len() >= self.limit {
            self.full += 1;
            self.rotate(now);
        }
        !self.older.contains(&key) && self.newer.insert(key)
    }

    /// Forgets what is old enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        let age = now.since(self.since);
        if age >= PERIOD {
            self.rotate(now);
        }
        if age >= PERIOD * 2 {
            self.older.clear();
        }
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.newer.is_empty() && self.older.is_empty()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    fn rotate(&mut self, now: Instant) {
        self.older = std::mem::take(&mut self.newer);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_for_a_period_and_forgotten_after_two() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let mut cache = ReplayCache::new(100);
        assert!(cache.insert([1; 32], at(10)));
        assert!(!cache.insert([1; 32], at(10)));
        assert!(cache.insert([2; 32], at(299)));
        assert!(!cache.insert([2; 32], at(301)));
        assert!(!cache.insert([2; 32], at(590)));
        assert!(cache.insert([1; 32], at(1200)));
    }

    #[test]
    fn a_flood_rotates_early_and_is_counted() {
        let mut cache = ReplayCache::new(4);
        for i in 0..9 {
            assert!(cache.insert([i; 32], Instant::ZERO));
        }
        assert_eq!(cache.full, 2);
        assert!(cache.newer.len() + cache.older.len() <= 8);
    }
}
