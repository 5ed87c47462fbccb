//! Remembers what must not come twice, for as long as its date is accepted.
//!
//! Two generations: entries go into the young one; every period the old one
//! is dropped and the young one takes its place. So each entry is remembered
//! for one to two periods.

use aioli_core::map::{Table, table};
use aioli_core::{Date, Duration, Instant, Rng};

/// The oldest date accepted in a first message.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// The farthest date ahead accepted in a first message.
pub(crate) const MAX_AHEAD: Duration = Duration::from_secs(2 * 60);

/// Whether the date in a first message is recent.
pub(crate) fn is_recent(date: Date, now: Date) -> bool {
    date + MAX_AGE >= now && date <= now + MAX_AHEAD
}

/// What was seen lately.
#[derive(Clone, Debug)]
pub(crate) struct ReplayCache {
    young: Table<[u8; 32], ()>,
    old: Table<[u8; 32], ()>,
    turned: Instant,
    limit: usize,
    /// How often the limit made entries be forgotten early.
    pub(crate) overflows: u64,
}

impl ReplayCache {
    /// Remembers at least `limit` entries.
    pub(crate) fn new(limit: usize, rng: &mut Rng) -> Self {
        Self { young: table(rng), old: table(rng), turned: Instant::ZERO, limit, overflows: 0 }
    }

    /// Whether it was seen.
    pub(crate) fn contains(&self, item: &[u8; 32]) -> bool {
        self.young.contains_key(item) || self.old.contains_key(item)
    }

    /// Remembers it; false if it was seen before.
    pub(crate) fn insert(&mut self, item: [u8; 32], now: Instant) -> bool {
        self.turn(now);
        if self.contains(&item) {
            return false;
        }
        self.young.insert(item, ());
        true
    }

    fn turn(&mut self, now: Instant) {
        let full = self.young.len() >= self.limit;
        if now.since(self.turned) < MAX_AGE + MAX_AHEAD && !full {
            return;
        }
        self.overflows += u64::from(full);
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        if now.since(self.turned) >= 2 * (MAX_AGE + MAX_AHEAD) {
            self.old.clear();
        }
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_live_as_long_as_their_date_is_accepted() {
        let mut cache = ReplayCache::new(100, &mut Rng::from_seed([1; 32]));
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        assert!(cache.insert([1; 32], at(400)));
        assert!(!cache.insert([1; 32], at(401)));
        assert!(cache.insert([2; 32], at(430)));
        assert!(!cache.insert([1; 32], at(819)), "seven minutes later it is still known");
        assert!(cache.insert([3; 32], at(1700)));
        assert!(cache.insert([1; 32], at(1701)));
    }

    #[test]
    fn its_size_is_bounded() {
        let mut cache = ReplayCache::new(100, &mut Rng::from_seed([1; 32]));
        for i in 0..1_000u32 {
            let mut item = [0; 32];
            item[..4].copy_from_slice(&i.to_be_bytes());
            assert!(cache.insert(item, Instant::ZERO));
            assert!(cache.young.len() + cache.old.len() <= 200);
        }
        assert_eq!(cache.overflows, 9);
    }

    #[test]
    fn the_window_of_dates() {
        let now = Date::from_secs(10_000);
        for (date, ok) in [(9_699, false), (9_700, true), (10_120, true), (10_121, false)] {
            assert_eq!(is_recent(Date::from_secs(date), now), ok, "{date}");
        }
    }
}
