//! What came of late, so that it does not pass twice (`tunnel-implementation`).
//!
//! Two generations of fingerprints. A fingerprint is remembered for at least
//! one generation, unless more come than the limit holds.

use aioli_core::map::{Table, table};
use aioli_core::{Duration, Instant, Rng};

/// Remembers 16-byte values that look random, by 8 bytes of them.
#[derive(Debug)]
pub(crate) struct DuplicateFilter {
    young: Table<u64, ()>,
    old: Table<u64, ()>,
    limit: usize,
    generation: Duration,
    turned: Instant,
}

impl DuplicateFilter {
    /// Remembers values for at least `generation`, at most `limit` of each generation.
    pub(crate) fn new(limit: usize, generation: Duration, rng: &mut Rng) -> Self {
        Self { young: table(rng), old: table(rng), limit: limit.max(1), generation, turned: Instant::ZERO }
    }

    /// Whether the value is new. It is not from now on.
    pub(crate) fn insert(&mut self, value: &[u8; 16], now: Instant) -> bool {
        if self.young.len() >= self.limit {
            self.turn(now);
        }
        let [a, b, c, d, e, f, g, h, ..] = *value;
        let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        !self.old.contains_key(&key) && self.young.insert(key, ()).is_none()
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if now.since(self.turned) >= self.generation {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Instant) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        // An idle router gives the memory of a busy hour back.
        self.young.shrink_to(self.old.len());
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: u32) -> [u8; 16] {
        let mut value = [0; 16];
        value[4..8].copy_from_slice(&n.to_be_bytes());
        value
    }

    #[test]
    fn a_value_is_remembered_for_a_generation_and_forgotten_after_two() {
        let second = |n: u64| Instant::from_micros(n * 1_000_000);
        let mut filter = DuplicateFilter::new(100, Duration::from_secs(60), &mut Rng::from_seed([1; 32]));
        assert!(filter.insert(&value(1), second(59)));
        filter.expire(second(60));
        assert!(!filter.insert(&value(1), second(61)));
        filter.expire(second(119));
        assert!(!filter.insert(&value(1), second(119)));
        filter.expire(second(120));
        assert!(filter.insert(&value(1), second(121)));
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_kept() {
        let mut filter = DuplicateFilter::new(100, Duration::from_secs(60), &mut Rng::from_seed([1; 32]));
        for n in 0..10_000 {
            assert!(filter.insert(&value(n), Instant::ZERO));
            assert!(filter.young.len() + filter.old.len() <= 200);
        }
        assert!((9_901..10_000).all(|n| !filter.insert(&value(n), Instant::ZERO)));
    }
}
