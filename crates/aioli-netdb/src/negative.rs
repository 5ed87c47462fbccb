//! Remembers what was not found a moment ago, so that nobody asks in vain again.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};

use crate::View;
use crate::config;
use crate::search::SearchKey;

/// Failed searches, bounded.
#[derive(Debug)]
pub(crate) struct NegativeCache {
    /// How often in a row, and when last.
    failures: BTreeMap<SearchKey, (u8, Instant)>,
    max: usize,
}

impl NegativeCache {
    pub(crate) const fn new(max: usize) -> Self {
        Self { failures: BTreeMap::new(), max }
    }

    /// Whether `key` failed so lately, and so often, that asking again is useless.
    pub(crate) fn blocks(&self, key: &SearchKey, now: Instant) -> bool {
        let Some((count, last)) = self.failures.get(key).copied() else { return false };
        now.since(last) < pause(count)
    }

    /// Every floodfill that was asked said that it has nothing.
    pub(crate) fn note(&mut self, key: SearchKey, now: Instant) {
        if self.failures.len() >= self.max && !self.failures.contains_key(&key) {
            self.sweep(now);
            if self.failures.len() >= self.max {
                return;
            }
        }
        let entry = self.failures.entry(key).or_insert((0, now));
        if now.since(entry.1) > config::NEGATIVE_TIME {
            entry.0 = 0;
        }
        *entry = (entry.0.saturating_add(1), now);
    }

    /// It exists after all.
    pub(crate) fn forget(&mut self, key: &SearchKey) {
        self.failures.remove(key);
    }

    pub(crate) fn remove_view(&mut self, view: View) {
        self.failures.retain(|key, _| key.view != view);
    }

    pub(crate) fn sweep(&mut self, now: Instant) {
        self.failures.retain(|_, (_, last)| now.since(*last) <= config::NEGATIVE_TIME);
    }
}

/// How long the `count`th failure in a row counts: somebody who has just come
/// up is found at once, one who stays away is asked for less and less.
fn pause(count: u8) -> Duration {
    (config::NEGATIVE_PAUSE * (1 << count.saturating_sub(1).min(8))).min(config::NEGATIVE_MAX_PAUSE)
}
