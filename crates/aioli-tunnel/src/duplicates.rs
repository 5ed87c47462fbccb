//! What came of late, so that it does not pass twice (`tunnel-implementation`).
//!
//! Two generations of fingerprints. A fingerprint is remembered for at least
//! one generation: longer than a tunnel lives, unless more come than the
//! limit holds.

use aioli_core::map::{Table, table};
use aioli_core::{Duration, Instant, Rng};

/// A generation's longest life: a tunnel's, and its grace.
const GENERATION: Duration = Duration::from_secs(660);

/// Remembers 16-byte values that look random, by 8 bytes of them.
#[derive(Debug)]
pub(crate) struct DuplicateFilter {
    young: Table<u64, ()>,
    old: Table<u64, ()>,
    limit: usize,
    turned: Instant,
}

impl DuplicateFilter {
    pub(crate) fn new(limit: usize, rng: &mut Rng) -> Self {
        Self { young: table(rng), old: table(rng), limit: limit.max(1), turned: Instant::ZERO }
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
        if now.since(self.turned) >= GENERATION {
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
