//! Routing keys and closeness (`network-database#kademlia-closeness-metric`).
//!
//! ```text
//! routing key = SHA-256(key || "yyyymmdd" of the UTC day)
//! distance    = routing key XOR hash of the router
//! ```
//!
//! Only what is searched for is hashed with the day; routers stand where their
//! own hash puts them. So all keys move at midnight and the routers stay.

use std::collections::BTreeSet;

use aioli_core::Date;
use aioli_core::crypto::hash::sha256_parts;
use aioli_wire::{Hash, RouterHash};

/// Where a key lies on one day. Never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingKey([u8; 32]);

impl RoutingKey {
    /// Where `key` lies on the UTC day of `at`.
    pub fn of(key: &Hash, at: Date) -> Self {
        Self(sha256_parts(&[key.as_bytes(), &at.utc_day()]))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How far `router` is: smaller is closer.
    pub fn distance(&self, router: &RouterHash) -> [u8; 32] {
        let mut out = *router.as_bytes();
        for (a, b) in out.iter_mut().zip(&self.0) {
            *a ^= b;
        }
        out
    }

    /// The `n` routers of `set` closest to here that `keep` lets pass, closest first.
    ///
    /// All routers that share `p` leading bits with the target are closer than
    /// those that share fewer, and they are neighbours in the ordered set. So
    /// this walks outwards class by class and sorts only the classes it needs.
    pub fn closest(
        &self,
        set: &BTreeSet<RouterHash>,
        n: usize,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Vec<RouterHash> {
        let mut out = Vec::new();
        if n == 0 {
            return out;
        }
        let target = RouterHash::new(self.0);
        if set.contains(&target) && keep(&target) {
            out.push(target);
        }
        for shared in (0..=self.longest_shared(set)).rev() {
            if out.len() >= n {
                break;
            }
            let (low, high) = self.class(shared);
            let mut class: Vec<RouterHash> =
                set.range(low..=high).filter(|router| keep(router)).copied().collect();
            class.sort_unstable_by_key(|router| self.distance(router));
            let room = n - out.len();
            out.extend(class.into_iter().take(room));
        }
        out
    }

    /// The most leading bits that any other router of `set` shares, at most 255.
    fn longest_shared(&self, set: &BTreeSet<RouterHash>) -> usize {
        use std::ops::Bound::{Excluded, Unbounded};
        let target = RouterHash::new(self.0);
        let below = set.range(..target).next_back();
        let above = set.range((Excluded(target), Unbounded)).next();
        let shared = |router: &RouterHash| shared_bits(&self.distance(router));
        below.into_iter().chain(above).map(shared).max().unwrap_or(0).min(255)
    }

    /// The range of hashes that share exactly `shared` leading bits.
    fn class(&self, shared: usize) -> (RouterHash, RouterHash) {
        let (byte, bit) = (shared / 8, 0x80_u8 >> (shared % 8));
        let (mut low, mut high) = (self.0, self.0);
        for (i, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
            if i == byte {
                let flipped = *low ^ bit;
                *low = flipped & !(bit - 1);
                *high = flipped | (bit - 1);
            } else if i > byte {
                *low = 0;
                *high = 0xff;
            }
        }
        (RouterHash::new(low), RouterHash::new(high))
    }
}

fn shared_bits(distance: &[u8; 32]) -> usize {
    let zero_bytes = distance.iter().take_while(|b| **b == 0).count();
    zero_bytes * 8 + distance.get(zero_bytes).map_or(0, |b| b.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_routing_key() {
        // go-i2p, lib/netdb/routing_key_test.go: a value given by the Java project.
        let key = Hash::from_base64("rwTXYqyGQTsvwcz8eM3CFxP8KvBU3tX95bAOTyxGTcI=").unwrap();
        let day = Date::from_secs(1_782_432_000); // 2026-06-26
        let expected = Hash::from_base64("vc4-qqPqRlgybuqknKxCJXjMrn8Y-qBvZN4aeRG0ltw=").unwrap();
        assert_eq!(RoutingKey::of(&key, day).as_bytes(), expected.as_bytes());
        let last = day + std::time::Duration::from_millis(86_399_999);
        assert_eq!(RoutingKey::of(&key, last), RoutingKey::of(&key, day));
        assert_ne!(
            RoutingKey::of(&key, last + std::time::Duration::from_millis(1)),
            RoutingKey::of(&key, day)
        );
    }

    fn hash(seed: u16, shared: usize, target: [u8; 32]) -> RouterHash {
        let mut bytes = aioli_core::crypto::hash::sha256(&seed.to_be_bytes());
        let keep = shared % 33;
        bytes[..keep].copy_from_slice(&target[..keep]);
        RouterHash::new(bytes)
    }

    proptest! {
        #[test]
        fn the_walk_finds_what_sorting_finds(
            seeds in proptest::collection::vec((any::<u16>(), 0usize..66), 0..60),
            target in any::<[u8; 32]>(),
            n in 0usize..20,
        ) {
            let set: BTreeSet<_> =
                seeds.iter().map(|(s, k)| hash(*s, if *k > 33 { 0 } else { *k }, target)).collect();
            let key = RoutingKey(target);
            let keep = |h: &RouterHash| !h.as_bytes()[31].is_multiple_of(4);
            let mut expected: Vec<_> = set.iter().copied().filter(keep).collect();
            expected.sort_by_key(|h| key.distance(h));
            expected.truncate(n);
            prop_assert_eq!(key.closest(&set, n, keep), expected);
        }
    }
}
