//! What we know of one remote destination: its LeaseSet, the path that we
//! have chosen to it, and what waits until it is found.
//!
//! A path is one lease of the remote and one outbound tunnel of ours. It is
//! kept until it fails, the lease ends, or the remote withdraws it: packets
//! that share a path arrive in order, and fewer tunnels learn of each other.

use std::collections::VecDeque;
use std::sync::Arc;

use aioli_core::crypto::x25519::PublicKey;
use aioli_core::{Date, Duration, Instant, Rng};
use aioli_wire::lease_set::{Lease, LeaseSet};
use aioli_wire::{RouterHash, TunnelId, Verified};

use crate::lease_set::encryption_key;

/// A lease with less time left is used only if there is no other.
const SHORT_LEASE: Duration = Duration::from_secs(20);
/// With less time left on the best lease, we look for a newer LeaseSet.
const REFRESH: Duration = Duration::from_secs(45);
/// Pause between lookups of one destination.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The same after one that found nothing, and how long an answer may take.
const ASK_AFTER_FAILURE: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);
/// A destination that was not found is looked up again for so long before those
/// who wait are told: it may have just come up.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first pause before that, and the longest; each is twice the one before.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));
/// How long a lease that failed is avoided.
const AVOID: Duration = Duration::from_secs(90);
/// A path younger than this is given its chance.
const MIN_PATH_AGE: Duration = Duration::from_secs(3);

/// The way to a remote destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) lease: Lease,
    /// Our outbound tunnel, once one was used.
    pub(super) via: Option<TunnelId>,
    /// The outbound tunnel of the path that failed before.
    pub(super) avoid: Option<TunnelId>,
    chosen: Instant,
}

/// One remote destination.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) lease_set: Option<Arc<Verified<LeaseSet>>>,
    /// The static key to encrypt to.
    pub(super) key: Option<PublicKey>,
    path: Option<Path>,
    failed: Vec<(RouterHash, TunnelId, Instant)>,
    /// Message bodies for when it is found, with when they came.
    pub(super) waiting: VecDeque<(Instant, Vec<u8>)>,
    asked: Option<Instant>,
    in_flight: bool,
    /// Since when it is looked for in vain, and how often that was tried.
    missing: Option<(Instant, u32)>,
    retry_at: Option<Instant>,
    pub(super) used: Instant,
}

impl Remote {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            lease_set: None,
            key: None,
            path: None,
            failed: Vec::new(),
            waiting: VecDeque::new(),
            asked: None,
            in_flight: false,
            missing: None,
            retry_at: None,
            used: now,
        }
    }

    /// Takes a LeaseSet if it is newer; false if it is not.
    pub(super) fn update(&mut self, set: Arc<Verified<LeaseSet>>) -> bool {
        if self.lease_set.as_ref().is_some_and(|old| old.version() >= set.version()) {
            return false;
        }
        self.key = encryption_key(&set);
        let listed = |p: &Path| {
            set.leases().iter().any(|l| (l.gateway, l.tunnel) == (p.lease.gateway, p.lease.tunnel))
        };
        if self.path.as_ref().is_some_and(|p| !listed(p)) {
            self.path = None;
        }
        self.lease_set = Some(set);
        true
    }

    /// The path, chosen anew if need be; none if no lease is left.
    pub(super) fn path(&mut self, now: Instant, wall: Date, rng: &mut Rng) -> Option<Path> {
        if let Some(path) = self.path.filter(|p| p.lease.end > wall + SHORT_LEASE) {
            return Some(path);
        }
        let (via, avoid) = self.path.map_or((None, None), |p| (p.via, p.avoid));
        match self.choose(now, wall, rng) {
            Some(lease) => {
                self.path = Some(Path { lease, via, avoid, chosen: now });
                self.path
            }
            // The last seconds of the old one are better than nothing.
            None => self.path.filter(|p| p.lease.end > wall),
        }
    }

    /// One of the better half of the leases, by the time left.
    fn choose(&mut self, now: Instant, wall: Date, rng: &mut Rng) -> Option<Lease> {
        self.failed.retain(|(_, _, until)| *until > now);
        let all = self.lease_set.as_ref()?.leases();
        let failed = |l: &Lease| self.failed.iter().any(|(g, t, _)| (*g, *t) == (l.gateway, l.tunnel));
        let long = |l: &Lease| l.end > wall + SHORT_LEASE;
        let mut good: Vec<Lease> = all.iter().filter(|l| long(l) && !failed(l)).copied().collect();
        if good.is_empty() {
            good = all.iter().filter(|l| long(l)).copied().collect();
        }
        if good.is_empty() {
            good = all.iter().filter(|l| l.end > wall).copied().collect();
        }
        good.sort_unstable_by_key(|l| (std::cmp::Reverse(l.end), l.gateway, l.tunnel));
        good.truncate(good.len().div_ceil(2));
        rng.choose(&good).copied()
    }

    /// The path seems broken: another lease and another outbound tunnel next.
    /// False if it is too young to say.
    pub(super) fn on_path_failed(&mut self, now: Instant) -> bool {
        let Some(path) = self.path.filter(|p| now.since(p.chosen) >= MIN_PATH_AGE) else { return false };
        self.failed.push((path.lease.gateway, path.lease.tunnel, now + AVOID));
        // The choice of the next lease happens when there is something to send.
        self.path = Some(Path {
            lease: Lease { end: Date::NULL, ..path.lease },
            via: None,
            avoid: path.via,
            chosen: now,
        });
        true
    }

    /// The outbound tunnel that carried the last message.
    pub(super) fn on_sent_via(&mut self, via: TunnelId) {
        if let Some(path) = &mut self.path {
            path.via = Some(via);
        }
    }

    /// Whether to look it up now; says yes once per pause.
    pub(super) fn should_ask(&mut self, now: Instant, wall: Date) -> bool {
        let best = self.lease_set.as_ref().and_then(|ls| ls.leases().iter().map(|l| l.end).max());
        best.is_none_or(|end| end <= wall + REFRESH) && self.should_ask_afresh(now)
    }

    /// Whether to look it up now, though its LeaseSet seems good.
    pub(super) fn should_ask_afresh(&mut self, now: Instant) -> bool {
        let pause = if self.in_flight { ANSWER } else { ASK_AGAIN };
        if self.asked.is_some_and(|at| now.since(at) < pause) {
            return false;
        }
        self.on_asked(now);
        true
    }

    /// Whether somebody who waits for the answer must ask: no answer is due.
    pub(super) fn must_ask(&mut self, now: Instant) -> bool {
        let due = self.in_flight && self.asked.is_some_and(|at| now.since(at) < ANSWER);
        if !due {
            self.on_asked(now);
        }
        !due
    }

    fn on_asked(&mut self, now: Instant) {
        self.asked = Some(now);
        self.in_flight = true;
        self.retry_at = None;
        self.missing.get_or_insert((now, 0));
    }

    /// A lookup is over. Gives when to try again, if it found nothing and there is hope.
    pub(super) fn on_answer(&mut self, found: bool, now: Instant) -> Option<Instant> {
        self.in_flight = false;
        let (since, tries) = self.missing.take()?;
        if found {
            return None;
        }
        self.asked = self.asked.map(|at| at - (ASK_AGAIN - ASK_AFTER_FAILURE));
        if now.since(since) >= PATIENCE {
            return None;
        }
        self.missing = Some((since, tries + 1));
        self.retry_at = Some(now + (RETRY.0 * (1 << tries.min(8))).min(RETRY.1));
        self.retry_at
    }

    /// When to look it up again.
    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether messages can be sent to it.
    pub(super) fn is_reachable(&self, wall: Date) -> bool {
        self.key.is_some()
            && self.lease_set.as_ref().is_some_and(|ls| ls.leases().iter().any(|l| l.end > wall))
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::crypto::ed25519::SigningKey;
    use aioli_wire::lease_set::{LeaseSet2, LeaseSet2Parts, LeaseSetFlags};
    use aioli_wire::{Destination, Mapping};

    use super::*;

    const WALL: Date = Date::from_secs(1_800_000_000);

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn lease(n: u32, secs: u64) -> Lease {
        let end = WALL + Duration::from_secs(secs);
        Lease { gateway: RouterHash::new([n as u8; 32]), tunnel: TunnelId::new(n).unwrap(), end }
    }

    fn set(published: u64, leases: Vec<Lease>) -> Arc<Verified<LeaseSet>> {
        let key = SigningKey::from_seed([1; 32].into());
        let parts = LeaseSet2Parts {
            destination: Destination::create(&key.public(), &[0; 32]),
            published: WALL + Duration::from_secs(published),
            expires: WALL + Duration::from_secs(600),
            flags: LeaseSetFlags::default(),
            offline: None,
            properties: Mapping::default(),
            keys: vec![(4, vec![7; 32])],
            leases,
        };
        Arc::new(LeaseSet2::create(parts, &key))
    }

    #[test]
    fn a_path_stays_until_it_fails_and_then_avoids_its_parts() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut remote = Remote::new(at(0));
        assert!(remote.path(at(0), WALL, &mut rng).is_none());
        assert!(remote.update(set(0, (1..=4).map(|n| lease(n, 500 + u64::from(n))).collect())));
        assert!(!remote.update(set(0, vec![])), "not newer");
        let first = remote.path(at(0), WALL, &mut rng).unwrap();
        remote.on_sent_via(TunnelId::new(77).unwrap());
        assert!(first.lease.tunnel.get() >= 3, "of the better half");
        for s in 1..60 {
            let path = remote.path(at(s), WALL, &mut rng).unwrap();
            assert_eq!((path.lease, path.via.map(TunnelId::get)), (first.lease, Some(77)));
        }
        assert!(remote.on_path_failed(at(60)));
        let second = remote.path(at(60), WALL, &mut rng).unwrap();
        assert_ne!(second.lease, first.lease);
        assert_eq!((second.via, second.avoid), (None, TunnelId::new(77)));
        assert!(!remote.on_path_failed(at(61)), "too young");
    }

    #[test]
    fn leases_that_end_or_are_withdrawn_are_left() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut remote = Remote::new(at(0));
        remote.update(set(0, vec![lease(1, 30), lease(2, 100)]));
        assert_eq!(remote.path(at(0), WALL, &mut rng).unwrap().lease, lease(2, 100));
        remote.update(set(1, vec![lease(1, 30), lease(3, 300)]));
        assert_eq!(remote.path(at(0), WALL, &mut rng).unwrap().lease, lease(3, 300));
        let late = WALL + Duration::from_secs(290);
        assert!(remote.should_ask(at(290), late));
        assert!(!remote.should_ask(at(291), late));
        assert_eq!(remote.path(at(290), late, &mut rng).unwrap().lease, lease(3, 300), "its last seconds");
        assert!(remote.path(at(300), WALL + Duration::from_secs(300), &mut rng).is_none());
        assert!(!remote.is_reachable(WALL + Duration::from_secs(300)));
    }

    #[test]
    fn a_single_lease_that_failed_is_used_again() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut remote = Remote::new(at(0));
        remote.update(set(0, vec![lease(1, 500)]));
        remote.path(at(0), WALL, &mut rng).unwrap();
        assert!(remote.on_path_failed(at(10)));
        assert_eq!(remote.path(at(10), WALL, &mut rng).unwrap().lease, lease(1, 500));
    }
}
