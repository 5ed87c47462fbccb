//! Peers that could not be reached, and until when they are not tried again.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant, Rng};
use aioli_wire::RouterHash;

/// After one, two, three and more failures in a row.
const DELAYS: [Duration; 4] =
    [Duration::from_secs(20), Duration::from_secs(90), Duration::from_secs(240), Duration::from_secs(480)];
/// A row of failures is forgotten when the last is this old.
const FORGET: Duration = Duration::from_secs(3600);

/// Peers that could not be reached.
#[derive(Debug)]
pub(crate) struct BackOff {
    peers: BTreeMap<RouterHash, Entry>,
    limit: usize,
    /// How often an entry gave way to another.
    pub(crate) full: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    failures: usize,
    until: Instant,
}

impl BackOff {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { peers: BTreeMap::new(), limit, full: 0 }
    }

    /// Whether the peer must not be dialled now.
    pub(crate) fn holds(&self, peer: &RouterHash, now: Instant) -> bool {
        self.peers.get(peer).is_some_and(|e| now < e.until)
    }

    /// Notes a failure; the pause has a jitter of a quarter.
    pub(crate) fn failed(&mut self, peer: RouterHash, now: Instant, rng: &mut Rng) {
        if !self.peers.contains_key(&peer) && self.peers.len() >= self.limit {
            self.full += 1;
            self.peers.pop_first();
        }
        let entry = self.peers.entry(peer).or_insert(Entry { failures: 0, until: now });
        entry.failures += 1;
        let delay = DELAYS[entry.failures.min(DELAYS.len()) - 1];
        entry.until = now + delay + rng.duration(Duration::ZERO, delay / 4);
    }

    /// Notes a session.
    pub(crate) fn succeeded(&mut self, peer: &RouterHash) {
        self.peers.remove(peer);
    }

    /// Whether nothing is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Forgets rows that ended long ago.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.peers.retain(|_, e| now.since(e.until) < FORGET);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_session_ends_them() {
        let mut rng = Rng::from_seed([1; 32]);
        let peer = RouterHash::new([1; 32]);
        let mut back_off = BackOff::new(2);
        let mut now = Instant::ZERO;
        for delay in DELAYS.iter().chain(DELAYS.last()) {
            back_off.failed(peer, now, &mut rng);
            assert!(back_off.holds(&peer, now + *delay - Duration::from_secs(1)));
            now = now + *delay + *delay / 4 + Duration::from_secs(1);
            assert!(!back_off.holds(&peer, now));
        }
        back_off.failed(peer, now, &mut rng);
        back_off.succeeded(&peer);
        assert!(!back_off.holds(&peer, now));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut back_off = BackOff::new(2);
        for i in 0..5 {
            back_off.failed(RouterHash::new([i; 32]), Instant::ZERO, &mut rng);
        }
        assert_eq!((back_off.peers.len(), back_off.full), (2, 3));
        back_off.expire(Instant::ZERO + FORGET * 2);
        assert!(back_off.peers.is_empty());
    }
}
