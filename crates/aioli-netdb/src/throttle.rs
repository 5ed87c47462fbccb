//! Counts events per key in a window of time, in bounded memory.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};

/// A token bucket: so many events a second, and what was not used for a while.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// In microseconds of [`Self::cost`].
    full: u64,
    left: u64,
    cost: u64,
    at: Instant,
}

impl Bucket {
    /// `rate` events a second; those of `saved` seconds may come at once.
    pub(crate) const fn new(rate: u32, saved: u32) -> Self {
        let full = 1_000_000 * saved as u64;
        let rate = if rate == 0 { 1 } else { rate };
        Self { full, left: full, cost: 1_000_000 / rate as u64, at: Instant::ZERO }
    }

    /// Whether one more event may pass now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.at = self.at.max(now);
        self.left = self.left.saturating_add(passed).min(self.full);
        let passes = self.left >= self.cost;
        if passes {
            self.left -= self.cost;
        }
        passes
    }
}

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
    fn a_bucket_gives_its_rate_and_what_was_saved() {
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        let mut bucket = Bucket::new(50, 2);
        let mut taken = |ms| (0..1_000).filter(|_| bucket.take(at(ms))).count();
        assert_eq!([taken(0), taken(0), taken(100), taken(1_100), taken(60_000)], [100, 0, 5, 50, 100]);
    }

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
