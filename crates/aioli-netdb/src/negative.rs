//! Remembers what was not found a moment ago, so that nobody asks in vain again.

use std::collections::BTreeMap;

use aioli_core::Instant;

use crate::View;
use crate::config;
use crate::search::SearchKey;

/// Failed searches, bounded.
#[derive(Debug)]
pub(crate) struct NegativeCache {
    failures: BTreeMap<SearchKey, (u8, Instant)>,
    max: usize,
}

impl NegativeCache {
    pub(crate) const fn new(max: usize) -> Self {
        Self { failures: BTreeMap::new(), max }
    }

    /// Whether `key` failed so often lately that asking again is useless.
    pub(crate) fn blocks(&mut self, key: &SearchKey, now: Instant) -> bool {
        let Some((count, since)) = self.failures.get(key).copied() else { return false };
        if now.since(since) > config::NEGATIVE_TIME {
            self.failures.remove(key);
            return false;
        }
        count >= config::NEGATIVE_AFTER
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
            *entry = (0, now);
        }
        entry.0 = entry.0.saturating_add(1);
    }

    /// It exists after all.
    pub(crate) fn forget(&mut self, key: &SearchKey) {
        self.failures.remove(key);
    }

    pub(crate) fn remove_view(&mut self, view: View) {
        self.failures.retain(|key, _| key.view != view);
    }

    pub(crate) fn sweep(&mut self, now: Instant) {
        self.failures.retain(|_, (_, since)| now.since(*since) <= config::NEGATIVE_TIME);
    }
}
