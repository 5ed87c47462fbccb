//! Those who introduce others to us, in one address family: which of them are published, until when, and when a new
//! RouterInfo must say so (`ssu2#introducers`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use aioli_core::{Date, Duration, Instant, Now};
use aioli_wire::RouterHash;
use aioli_wire::ip::Hand;
use aioli_wire::ssu2::{Introducer, MAX_INTRODUCERS};

/// How long a published introducer is good. Those who give tags keep them longer.
const PUBLISHED_FOR: Duration = Duration::from_secs(80 * 60);
/// With less left than this it is published anew.
const RENEW: Duration = Duration::from_secs(25 * 60);
/// A tag is asked for again when it is this old.
const ASK_AGAIN: Duration = Duration::from_secs(50 * 60);
/// Between two RouterInfos that differ in introducers alone, unless almost none of those published is left.
const REPUBLISH: Duration = Duration::from_secs(20 * 60);
/// Or unless fewer are left than may be, and more are there.
const COMPLETE: Duration = Duration::from_secs(2 * 60);
/// So many of those published must be left.
const FEW: usize = 1;
/// Kept beside those published.
const SPARES: usize = 3;

/// One who introduces others to us.
#[derive(Clone, Copy, Debug)]
struct Offer {
    at: SocketAddr,
    tag: u32,
    since: Instant,
}

/// What is published.
#[derive(Clone, Debug, Default)]
struct Publication {
    introducers: Vec<Introducer>,
    at: Option<Instant>,
}

/// All of one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Introducers {
    offers: BTreeMap<RouterHash, Offer>,
    published: Publication,
}

impl Introducers {
    /// A router introduces others to us, from now on or still.
    pub(crate) fn offered(&mut self, by: RouterHash, at: SocketAddr, tag: u32, now: Instant) {
        if self.offers.contains_key(&by) || self.offers.len() < MAX_INTRODUCERS + SPARES {
            self.offers.insert(by, Offer { at, tag, since: now });
        }
    }

    /// Whether this router introduces others to us.
    pub(crate) fn knows(&self, router: &RouterHash) -> bool {
        self.offers.contains_key(router)
    }

    /// Those go of whom it is not true that they still introduce us.
    pub(crate) fn keep(&mut self, stays: impl Fn(&RouterHash) -> bool) {
        self.offers.retain(|router, _| stays(router));
    }

    /// Those that are published.
    pub(crate) fn published(&self) -> &[Introducer] {
        &self.published.introducers
    }

    /// None are needed any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether more are wanted: those to publish, of different subnets, and one in reserve.
    pub(crate) fn wants_more(&self) -> bool {
        self.best().len() < MAX_INTRODUCERS || self.offers.len() <= MAX_INTRODUCERS
    }

    /// Whom to ask for a tag again.
    pub(crate) fn to_renew(&self, now: Instant) -> Vec<RouterHash> {
        let old = |offer: &Offer| now.since(offer.since) >= ASK_AGAIN;
        self.offers.iter().filter(|(_, offer)| old(offer)).map(|(hash, _)| *hash).collect()
    }

    /// Those to publish: the oldest, who have proven to stay, but one of each subnet only.
    fn best(&self) -> Vec<(RouterHash, Offer)> {
        let mut all = self.offers.iter().map(|(hash, offer)| (*hash, *offer)).collect::<Vec<_>>();
        // Those published stay: their tags are known to others.
        all.sort_by_key(|(hash, offer)| (!self.is_published(hash), offer.since, *hash));
        let mut chosen: Vec<(RouterHash, Offer)> = Vec::new();
        for (hash, offer) in all {
            let hand = Hand::of(offer.at.ip());
            let apart = chosen.iter().all(|(_, other)| Hand::of(other.at.ip()) != hand);
            if apart && chosen.len() < MAX_INTRODUCERS {
                chosen.push((hash, offer));
            }
        }
        chosen
    }

    fn is_published(&self, router: &RouterHash) -> bool {
        self.published.introducers.iter().any(|i| i.router == *router)
    }

    /// Whether a new RouterInfo should say who introduces others to us.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        let best = self.best();
        let published = &self.published.introducers;
        let stands = |i: &&Introducer| {
            let offer = self.offers.get(&i.router);
            offer.is_some_and(|o| o.tag == i.tag) && i.expires.is_none_or(|at| now.wall < at)
        };
        let standing = published.iter().filter(stands).count();
        let soon = |i: &Introducer| i.expires.is_some_and(|at| at <= now.wall + RENEW);
        let more = best.len() > standing;
        let less = standing < published.len();
        let changed = more || less || (standing > 0 && published.iter().any(soon));
        let pause = if more { COMPLETE } else { REPUBLISH };
        let is_time = self.published.at.is_none_or(|at| now.mono.since(at) >= pause);
        changed && (is_time || (standing <= FEW && more))
    }

    /// Those to publish now, and takes note of it.
    pub(crate) fn publish(&mut self, now: Now) -> &[Introducer] {
        let expires = Some(Date::from_secs((now.wall + PUBLISHED_FOR).as_secs()));
        let introducer =
            |(router, offer): (RouterHash, Offer)| Introducer { router, tag: offer.tag, expires };
        let introducers = self.best().into_iter().map(introducer).collect();
        self.published = Publication { introducers, at: Some(now.mono) };
        &self.published.introducers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(secs: u64) -> Now {
        let mono = Instant::ZERO + Duration::from_secs(100_000 + secs);
        Now { mono, wall: Date::from_secs(1_780_000_000 + secs) }
    }

    fn hash(n: u8) -> RouterHash {
        RouterHash::new([n; 32])
    }

    /// Router `n`, alone in its /16.
    fn offer(i: &mut Introducers, n: u8, secs: u64) {
        i.offered(hash(n), SocketAddr::from(([20 + n, 1, 2, 3], 9_000)), u32::from(n) + 1, now(secs).mono);
    }

    fn published(i: &mut Introducers, secs: u64) -> Vec<u8> {
        i.publish(now(secs)).iter().map(|i| i.tag as u8 - 1).collect()
    }

    #[test]
    fn three_of_different_subnets_are_published_and_one_is_in_reserve() {
        let mut i = Introducers::default();
        assert!(i.wants_more() && !i.is_due(now(0)), "there is nothing to say");
        offer(&mut i, 1, 0);
        assert!(i.is_due(now(0)));
        assert_eq!(published(&mut i, 0), [1]);
        assert!(!i.is_due(now(1)));
        i.offered(hash(9), SocketAddr::from(([21, 1, 200, 200], 9_000)), 10, now(1).mono);
        assert!(!i.is_due(now(2)), "the same /16 is no help");
        offer(&mut i, 2, 2);
        assert!(i.is_due(now(3)), "one alone is few");
        assert_eq!(published(&mut i, 3), [1, 2]);
        offer(&mut i, 3, 4);
        assert!(!i.is_due(now(5)), "two are enough to wait");
        assert!(i.is_due(now(3 + 2 * 60)));
        assert_eq!(published(&mut i, 1_300), [1, 2, 3]);
        assert!(!i.wants_more());
        for n in 10..200 {
            offer(&mut i, n, 1_301);
        }
        assert_eq!(i.offers.len(), MAX_INTRODUCERS + SPARES);
    }

    #[test]
    fn the_lost_are_replaced_and_the_expiring_renewed() {
        let mut i = Introducers::default();
        for n in 1..=4 {
            offer(&mut i, n, u64::from(n));
        }
        assert_eq!(published(&mut i, 10), [1, 2, 3]);
        i.keep(|router| *router != hash(2));
        assert!(!i.is_due(now(11)), "two are left");
        assert!(i.is_due(now(130)), "but a third is there");
        i.keep(|router| *router != hash(1));
        assert!(i.is_due(now(12)));
        assert_eq!(published(&mut i, 12), [3, 4]);
        // Nothing changes: it is said again before it expires.
        let renewed = (13..6_000).find(|t| i.is_due(now(*t))).unwrap();
        assert_eq!(renewed, 12 + (80 - 25) * 60);
        let expires = i.publish(now(renewed))[0].expires.unwrap();
        assert_eq!(expires, Date::from_secs(now(renewed).wall.as_secs() + 80 * 60));
        // Tags are asked for again before those who gave them forget them.
        assert_eq!(i.to_renew(now(2_000).mono), []);
        assert_eq!(i.to_renew(now(3_004).mono), [hash(3), hash(4)]);
        offer(&mut i, 3, 3_004);
        assert_eq!(i.to_renew(now(3_004).mono), [hash(4)]);
        // Another tag is another introducer.
        i.offered(hash(3), SocketAddr::from(([23, 1, 2, 3], 9_000)), 77, now(renewed).mono);
        i.offered(hash(4), SocketAddr::from(([24, 1, 2, 3], 9_000)), 78, now(renewed).mono);
        assert!(i.is_due(now(renewed + 1)));
    }
}
