//! An ordered queue of deadlines, each with a reason that can be printed.

use std::collections::{BTreeMap, BTreeSet};

use crate::Instant;

/// Deadlines keyed by what they are for. One deadline per key; O(log n) each.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    at: BTreeMap<K, Instant>,
    queue: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Clone> Default for Timers<K> {
    fn default() -> Self {
        Self { at: BTreeMap::new(), queue: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// No deadlines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.at.insert(key.clone(), at) {
            self.queue.remove(&(old, key.clone()));
        }
        self.queue.insert((at, key));
    }

    /// Sets the deadline of `key` unless an earlier one stands.
    pub fn set_earlier(&mut self, key: K, at: Instant) {
        if self.at.get(&key).is_none_or(|old| at < *old) {
            self.set(key, at);
        }
    }

    /// Removes the deadline of `key`.
    pub fn stop(&mut self, key: &K) {
        if let Some(old) = self.at.remove(key) {
            self.queue.remove(&(old, key.clone()));
        }
    }

    /// The deadline of `key`.
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.at.get(key).copied()
    }

    /// The earliest deadline and its reason.
    pub fn next(&self) -> Option<(Instant, &K)> {
        self.queue.first().map(|(at, key)| (*at, key))
    }

    /// Takes the earliest deadline that has come.
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        if self.queue.first()?.0 > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }

    /// How many deadlines stand.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether none stands.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Duration;

    #[test]
    fn a_moved_deadline_fires_once_and_in_order() {
        let s = |n| Instant::ZERO + Duration::from_secs(n);
        let mut t = Timers::new();
        t.set("idle", s(1));
        t.set("build", s(2));
        t.set("idle", s(3));
        t.set_earlier("idle", s(9));
        assert_eq!(t.next(), Some((s(2), &"build")));
        assert_eq!(t.pop_expired(s(1)), None);
        assert_eq!(t.pop_expired(s(3)), Some("build"));
        assert_eq!(t.pop_expired(s(3)), Some("idle"));
        assert!(t.is_empty() && t.pop_expired(s(99)).is_none());
    }
}
