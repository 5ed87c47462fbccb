//! Counts events per key in a window of time, in bounded memory.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};

/// Lets at most `max` events per key pass in each window.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    counts: BTreeMap<K, u16>,
    since: Instant,
    window: Duration,
    max: u16,
    keys: usize,
}

impl<K: Ord> Throttle<K> {
    /// Counts up to `keys` keys; further ones are refused until the window ends.
    pub(crate) const fn new(window: Duration, max: u16, keys: usize) -> Self {
        Self { counts: BTreeMap::new(), since: Instant::ZERO, window, max, keys }
    }

    /// Whether one more event of `key` may pass now.
    pub(crate) fn allow(&mut self, key: K, now: Instant) -> bool {
        if now.since(self.since) >= self.window {
            self.counts.clear();
            self.since = now;
        }
        if self.counts.len() >= self.keys && !self.counts.contains_key(&key) {
            return false;
        }
        let count = self.counts.entry(key).or_insert(0);
        if *count >= self.max {
            return false;
        }
        *count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_key_and_forgets_after_the_window() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut throttle = Throttle::new(Duration::from_secs(60), 2, 2);
        assert!(throttle.allow("a", at(1)) && throttle.allow("a", at(2)));
        assert!(!throttle.allow("a", at(3)));
        assert!(throttle.allow("b", at(3)));
        assert!(!throttle.allow("c", at(3)), "no room for a third key");
        assert!(throttle.allow("a", at(61)) && throttle.allow("c", at(61)));
    }
}
