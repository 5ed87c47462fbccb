//! LeaseSets of one view, bounded; the one that ends first goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aioli_core::Date;
use aioli_wire::{DestinationHash, LeaseSet, Verified};

use crate::config;
use crate::routers::Stored;

type Set = Arc<Verified<LeaseSet>>;

#[derive(Debug)]
struct Entry {
    set: Set,
    served: bool,
}

/// The LeaseSets that one view knows.
#[derive(Debug)]
pub(crate) struct LeaseSetStore {
    entries: BTreeMap<DestinationHash, Entry>,
    ends: BTreeSet<(Date, DestinationHash)>,
    max: usize,
}

impl LeaseSetStore {
    pub(crate) const fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), ends: BTreeSet::new(), max }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The LeaseSet, unless it has ended.
    pub(crate) fn get(&self, key: &DestinationHash, now: Date) -> Option<&Set> {
        self.entries.get(key).map(|e| &e.set).filter(|set| set.expires() > now)
    }

    /// The LeaseSet, if it was published to us and has not ended.
    pub(crate) fn served(&self, key: &DestinationHash, now: Date) -> Option<&Set> {
        self.entries.get(key).filter(|e| e.served && e.set.expires() > now).map(|e| &e.set)
    }

    /// Whether one of this version would be news.
    pub(crate) fn wants(&self, key: &DestinationHash, version: Date) -> bool {
        self.entries.get(key).is_none_or(|old| old.set.version() < version)
    }

    /// The one we have is also published to us.
    pub(crate) fn mark_served(&mut self, key: &DestinationHash) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.served = true;
        }
    }

    /// Stores one; says also whether another one had to go.
    pub(crate) fn insert(&mut self, set: Set, served: bool) -> (Stored, bool) {
        let key = set.key();
        if !self.wants(&key, set.version()) {
            if served {
                self.mark_served(&key);
            }
            return (Stored::Known, false);
        }
        let old = self.remove(&key);
        let evicted = self.entries.len() >= self.max && self.evict();
        self.ends.insert((set.expires(), key));
        let served = served || old.as_ref().is_some_and(|e| e.served);
        self.entries.insert(key, Entry { set, served });
        (if old.is_some() { Stored::Newer } else { Stored::New }, evicted)
    }

    /// Removes all that have ended.
    pub(crate) fn expire(&mut self, now: Date) {
        while let Some((end, key)) = self.ends.first().copied()
            && end + config::LEASE_SET_FUDGE < now
        {
            self.remove(&key);
        }
    }

    fn evict(&mut self) -> bool {
        let Some((_, key)) = self.ends.first().copied() else { return false };
        self.remove(&key).is_some()
    }

    fn remove(&mut self, key: &DestinationHash) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.ends.remove(&(entry.set.expires(), *key));
        Some(entry)
    }
}
