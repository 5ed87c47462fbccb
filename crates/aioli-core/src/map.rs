//! A hash table for hot paths whose keys a peer can choose.
//!
//! Keyed with SipHash from the router's own randomness: peers cannot aim for
//! collisions, and a replayed run hashes the same. Iteration is banned by
//! lint; use a `BTreeMap` where order matters.

use std::collections::HashMap;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::Rng;

/// A [`HashMap`] with a key of its own. Make one with [`table`].
pub type Table<K, V> = HashMap<K, V, Keyed>;

/// An empty table, keyed from `rng`.
pub fn table<K, V>(rng: &mut Rng) -> Table<K, V> {
    HashMap::with_hasher(Keyed(rng.u64(), rng.u64()))
}

/// The hash key of a [`Table`].
#[derive(Clone)]
pub struct Keyed(u64, u64);

impl std::fmt::Debug for Keyed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyed(..)")
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
