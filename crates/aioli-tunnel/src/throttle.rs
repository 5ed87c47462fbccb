//! How many build requests each neighbour, and each subnet of neighbours, may bring and be sent.
//!
//! A neighbour that floods us with requests is refused beyond its share, so
//! that others find room; nor are we the tool of a flood against one. Shares
//! are generous while we are hop of few tunnels.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(110);
/// Above those always allowed, one request for this many tunnels that we take part in.
const ONE_IN: usize = 12;

/// Counts requests by neighbour, or by subnet.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    counts: BTreeMap<K, usize>,
    limit: usize,
    /// Requests in a window that are always allowed.
    always: usize,
    started: Instant,
}

impl<K: Copy + Ord> Throttle<K> {
    pub(crate) const fn new(limit: usize, always: usize) -> Self {
        Self { counts: BTreeMap::new(), limit, always, started: Instant::ZERO }
    }

    /// Whether one more request may come from, or go to, the neighbour.
    pub(crate) fn admit(&mut self, neighbour: &K, transit: usize) -> bool {
        if self.counts.len() >= self.limit && !self.counts.contains_key(neighbour) {
            return false;
        }
        let count = self.counts.entry(*neighbour).or_default();
        *count += 1;
        *count <= self.always.max(transit / ONE_IN)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if now.since(self.started) >= WINDOW {
            self.counts.clear();
            self.started = now;
        }
    }
}
