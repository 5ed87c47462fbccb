//! Our own LeaseSet (`common-structures#leaseset2`): made from the leases of
//! our inbound tunnels, signed, and made again when they change.
//!
//! ```text
//! set_leases ─► changed? ─► wait a moment for more changes ─► sign ─► bundle, publish
//! ```
//!
//! A new tunnel waits a little, so that several which are built together make
//! one LeaseSet; a LeaseSet without one live lease does not wait.

use std::sync::Arc;

use aioli_core::crypto::x25519::PublicKey;
use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::lease_set::{Lease, LeaseSet, LeaseSet2, LeaseSet2Parts, LeaseSetFlags, MAX_LEASES};
use aioli_wire::{Mapping, Verified};

use crate::streaming::Identity;

/// ECIES-X25519, the encryption type that we offer.
pub const X25519: u16 = 4;

/// How long a change waits for further changes.
const SETTLE: Duration = Duration::from_secs(2);
/// The least time between two versions, unless no lease would be live.
const MIN_INTERVAL: Duration = Duration::from_secs(10);
/// A LeaseSet is dated ahead of our clock by this much at most: others refuse two minutes.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// A lease that ends sooner is as good as none.
const NEARLY_OVER: Duration = Duration::from_secs(20);

/// Our LeaseSet and whether it is up to date.
#[derive(Debug)]
pub struct OwnLeaseSet {
    identity: Identity,
    encryption: PublicKey,
    publish: bool,
    leases: Vec<Lease>,
    current: Option<Arc<Verified<LeaseSet>>>,
    made: Option<Instant>,
    due: Option<Instant>,
    versions: u64,
}

impl OwnLeaseSet {
    /// None yet. If it is not to be published, its flags say so.
    pub const fn new(identity: Identity, encryption: PublicKey, publish: bool) -> Self {
        Self {
            identity,
            encryption,
            publish,
            leases: Vec::new(),
            current: None,
            made: None,
            due: None,
            versions: 0,
        }
    }

    /// The newest one.
    pub const fn current(&self) -> Option<&Arc<Verified<LeaseSet>>> {
        self.current.as_ref()
    }

    /// Whether it goes to the network database.
    pub const fn is_published(&self) -> bool {
        self.publish
    }

    /// How many were signed.
    pub const fn versions(&self) -> u64 {
        self.versions
    }

    /// The inbound tunnels that stand now.
    pub fn set_leases(&mut self, mut leases: Vec<Lease>, cx: &Cx<'_>) {
        leases.retain(|l| l.end > cx.now.wall);
        leases.sort_unstable_by_key(|l| (std::cmp::Reverse(l.end), l.gateway, l.tunnel));
        leases.dedup_by_key(|l| (l.gateway, l.tunnel));
        leases.truncate(MAX_LEASES);
        // The ends of the same tunnels change when the clock is corrected.
        let told = |leases: &[Lease]| {
            let mut told: Vec<_> =
                leases.iter().map(|l| (l.gateway, l.tunnel, l.end.as_wire_secs())).collect();
            told.sort_unstable();
            told
        };
        let signed = self.current.as_ref().map_or(&[][..], |ls| ls.leases());
        let changed = told(signed) != told(&leases);
        self.leases = leases;
        if !changed || self.leases.is_empty() {
            // With no tunnel left, the last LeaseSet is still the best guess.
            self.due = None;
            return;
        }
        let at = if self.has_live(cx.now.wall) {
            let settled = cx.now.mono + SETTLE;
            self.made.map_or(settled, |made| settled.max(made + MIN_INTERVAL))
        } else {
            cx.now.mono
        };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When [`OwnLeaseSet::poll`] has something to do.
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// A new version, if one is due.
    pub fn poll(&mut self, cx: &Cx<'_>) -> Option<Arc<Verified<LeaseSet>>> {
        self.due.take_if(|due| *due <= cx.now.mono)?;
        let mut leases = self.leases.clone();
        leases.retain(|l| l.end > cx.now.wall);
        let expires = leases.iter().map(|l| l.end).max()?;
        let newer = self.current.as_ref().map_or(Date::NULL, |ls| ls.version() + Duration::from_secs(1));
        // After a clock that was far ahead, the next version cannot be a newer one: nobody took the last.
        let newer = if newer > cx.now.wall + MAX_AHEAD { Date::NULL } else { newer };
        let flags = if self.publish { LeaseSetFlags::default() } else { LeaseSetFlags::UNPUBLISHED };
        let parts = LeaseSet2Parts {
            destination: self.identity.destination.clone(),
            published: cx.now.wall.max(newer),
            expires,
            flags,
            offline: self.identity.offline.clone(),
            properties: Mapping::default(),
            keys: vec![(X25519, self.encryption.0.to_vec())],
            leases,
        };
        let signed = Arc::new(LeaseSet2::create(parts, &self.identity.key));
        self.current = Some(signed.clone());
        self.made = Some(cx.now.mono);
        self.versions += 1;
        Some(signed)
    }

    /// Whether someone with the current version can reach us: a lease of it
    /// that still stands and has time left.
    fn has_live(&self, now: Date) -> bool {
        let Some(current) = &self.current else { return false };
        let stands = |l: &&Lease| self.leases.iter().any(|s| (s.gateway, s.tunnel) == (l.gateway, l.tunnel));
        current.leases().iter().filter(stands).any(|l| l.end > now + NEARLY_OVER)
    }
}

/// The key that we can encrypt to: the owner's first of a type that we support.
pub fn encryption_key(set: &LeaseSet) -> Option<PublicKey> {
    let keys = &set.as_v2()?.keys;
    let (_, key) = keys.iter().find(|(kind, key)| *kind == X25519 && key.len() == 32)?;
    key.as_slice().try_into().ok().map(PublicKey)
}

#[cfg(test)]
mod tests {
    use aioli_core::crypto::ed25519::SigningKey;
    use aioli_core::{Now, Rng};
    use aioli_wire::{Destination, RouterHash, TunnelId};

    use super::*;

    struct Clock(Now, Rng);

    impl Clock {
        fn cx(&mut self, after_secs: u64) -> Cx<'_> {
            let d = Duration::from_secs(after_secs);
            self.0 = Now { mono: self.0.mono + d, wall: self.0.wall + d };
            Cx { now: self.0, rng: &mut self.1 }
        }
    }

    fn lease(n: u32, end: Date) -> Lease {
        Lease { gateway: RouterHash::new([n as u8; 32]), tunnel: TunnelId::new(n).unwrap(), end }
    }

    fn setup(publish: bool) -> (OwnLeaseSet, Clock) {
        let mut rng = Rng::from_seed([1; 32]);
        let key = SigningKey::generate(&mut rng);
        let identity = Identity::new(Destination::create(&key.public(), &[9; 32]), key);
        let now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_800_000_000) };
        (OwnLeaseSet::new(identity, PublicKey([5; 32]), publish), Clock(now, rng))
    }

    #[test]
    fn the_first_comes_at_once_and_verifies() {
        let (mut own, mut clock) = setup(false);
        let end = clock.0.wall + Duration::from_secs(600);
        own.set_leases(vec![lease(1, end), lease(2, end), lease(1, end)], &clock.cx(0));
        let made = own.poll(&clock.cx(0)).unwrap();
        assert_eq!(made.leases().len(), 2);
        assert!(made.flags().contains(LeaseSetFlags::UNPUBLISHED));
        assert_eq!(encryption_key(&made), Some(PublicKey([5; 32])));
        let again = LeaseSet::decode(made.kind(), made.bytes()).unwrap().verify().unwrap();
        assert_eq!(again.key(), own.identity.destination.hash());
        assert!(own.poll(&clock.cx(100)).is_none() && own.next_timeout().is_none());
    }

    #[test]
    fn changes_are_gathered_and_limited_but_never_leave_us_unreachable() {
        let (mut own, mut clock) = setup(true);
        let end = clock.0.wall + Duration::from_secs(600);
        own.set_leases(vec![lease(1, end)], &clock.cx(0));
        let first = own.poll(&clock.cx(0)).unwrap();
        own.set_leases(vec![lease(1, end), lease(2, end)], &clock.cx(1));
        assert!(own.poll(&clock.cx(2)).is_none(), "not ten seconds after the last");
        own.set_leases(vec![lease(1, end), lease(2, end), lease(3, end)], &clock.cx(1));
        let second = own.poll(&clock.cx(6)).unwrap();
        assert_eq!(second.leases().len(), 3);
        assert!(second.version() > first.version());
        own.set_leases(vec![lease(4, end)], &clock.cx(0));
        let third = own.poll(&clock.cx(0)).expect("no published tunnel stands: at once");
        assert!(third.version() >= second.version() + Duration::from_secs(1), "even in the same second");
        own.set_leases(vec![], &clock.cx(1));
        assert!(own.poll(&clock.cx(60)).is_none());
    }

    #[test]
    fn a_corrected_clock_makes_a_new_version() {
        let (mut own, mut clock) = setup(true);
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let right = clock.0.wall;
        let end = |wall: Date| wall + minutes(10);
        for (wrong, corrected, newer) in [
            (right - minutes(60), right, true),
            (right + minutes(60), right, false),
            // Somebody may have taken it: the next must be newer.
            (right + Duration::from_secs(20), right, true),
        ] {
            clock.0.wall = wrong;
            own.set_leases(vec![lease(1, end(wrong))], &clock.cx(0));
            let before = own.poll(&clock.cx(12)).unwrap();
            clock.0.wall = corrected;
            own.set_leases(vec![lease(1, end(corrected))], &clock.cx(0));
            let after = own.poll(&clock.cx(12)).expect("its lease ends at another date");
            assert_eq!(after.version() > before.version(), newer);
            assert!(after.version() <= clock.0.wall + MAX_AHEAD);
        }
    }
}
