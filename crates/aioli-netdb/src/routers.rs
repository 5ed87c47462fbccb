//! The RouterInfos we know, bounded, ordered for closeness and for eviction.
//!
//! ```text
//! entries      hash -> RouterInfo and what we know of its usefulness
//! floodfills   hashes of those fit to be asked       others   all other hashes
//! worth        per class, the order in which entries go when the store is full
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aioli_core::{Date, Duration, Instant};
use aioli_wire::{RouterHash, RouterInfo, Verified};

use crate::config;
use crate::routing::RoutingKey;

type Info = Arc<Verified<RouterInfo>>;

/// How a RouterInfo came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its owner gave it to us, so it is alive.
    pub(crate) met: bool,
    /// May be given to others. What a client's search brought may not, unless
    /// it also came another way: it would tell whose client that is.
    pub(crate) served: bool,
    /// Must go to disk; false for what comes from there.
    pub(crate) record: bool,
}

/// What storing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was not known.
    New,
    /// It replaced an older one.
    Newer,
    /// We had it, or a newer one.
    Known,
}

#[derive(Debug)]
struct Entry {
    info: Info,
    heard: Instant,
    met: bool,
    served: bool,
    floodfill: bool,
    unreachable: bool,
    fails: u8,
    failed_at: Instant,
}

/// The place of an entry among those of its class: the first goes first.
type Worth = (bool, Instant, RouterHash);

/// All RouterInfos but our own.
#[derive(Debug)]
pub(crate) struct RouterStore {
    entries: BTreeMap<RouterHash, Entry>,
    floodfills: BTreeSet<RouterHash>,
    others: BTreeSet<RouterHash>,
    floodfill_worth: BTreeSet<Worth>,
    other_worth: BTreeSet<Worth>,
    to_write: BTreeSet<RouterHash>,
    to_remove: BTreeSet<RouterHash>,
    max: usize,
    min_floodfill: (u8, u8, u8),
}

impl RouterStore {
    pub(crate) const fn new(max: usize, min_floodfill: (u8, u8, u8)) -> Self {
        Self {
            entries: BTreeMap::new(),
            floodfills: BTreeSet::new(),
            others: BTreeSet::new(),
            floodfill_worth: BTreeSet::new(),
            other_worth: BTreeSet::new(),
            to_write: BTreeSet::new(),
            to_remove: BTreeSet::new(),
            max,
            min_floodfill,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn floodfills(&self) -> usize {
        self.floodfills.len()
    }

    pub(crate) fn get(&self, hash: &RouterHash) -> Option<&Info> {
        self.entries.get(hash).map(|e| &e.info)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Info> {
        self.entries.values().map(|e| &e.info)
    }

    /// The RouterInfo, if others may have it.
    pub(crate) fn served(&self, hash: &RouterHash) -> Option<&Info> {
        self.entries.get(hash).filter(|e| e.served).map(|e| &e.info)
    }

    /// Stores a RouterInfo; says also whether another one had to go.
    pub(crate) fn insert(&mut self, info: Info, origin: Origin, now: Instant) -> (Stored, bool) {
        let hash = info.hash();
        let newer = self.entries.get(&hash).is_none_or(|old| old.info.published < info.published);
        if !newer {
            if let Some(entry) = self.entries.get_mut(&hash) {
                entry.served |= origin.served;
            }
            self.touch(&hash, origin.met, now);
            return (Stored::Known, false);
        }
        let old = self.unlink(&hash);
        let stored = if old.is_some() { Stored::Newer } else { Stored::New };
        let evicted = self.entries.len() >= self.max && self.evict();
        let caps = info.caps();
        let fit = info.version().is_some_and(|v| v >= self.min_floodfill);
        let entry = Entry {
            heard: now,
            met: origin.met || old.as_ref().is_some_and(|e| e.met),
            served: !caps.hidden && (origin.served || old.as_ref().is_some_and(|e| e.served)),
            floodfill: caps.floodfill && fit && !caps.hidden,
            unreachable: caps.unreachable && !caps.reachable,
            fails: old.as_ref().map_or(0, |e| e.fails),
            failed_at: old.as_ref().map_or(Instant::ZERO, |e| e.failed_at),
            info,
        };
        self.link(hash, entry);
        if origin.record {
            self.to_write.insert(hash);
            self.to_remove.remove(&hash);
        }
        (stored, evicted)
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, hash: &RouterHash) {
        if self.unlink(hash).is_some() {
            self.to_write.remove(hash);
            self.to_remove.insert(*hash);
        }
    }

    /// A file of this router is worth nothing.
    pub(crate) fn discard_record(&mut self, hash: RouterHash) {
        if !self.entries.contains_key(&hash) {
            self.to_remove.insert(hash);
        }
    }

    /// The router is alive: an answer, a session, a fresh RouterInfo.
    pub(crate) fn touch(&mut self, hash: &RouterHash, met: bool, now: Instant) {
        if let Some(mut entry) = self.unlink(hash) {
            entry.heard = now;
            entry.met |= met;
            self.link(*hash, entry);
        }
    }

    /// The router did what was asked of it.
    pub(crate) fn note_answer(&mut self, hash: &RouterHash, now: Instant) {
        self.touch(hash, true, now);
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.fails = 0;
        }
    }

    /// The router did not, or lied.
    pub(crate) fn note_failure(&mut self, hash: &RouterHash, now: Instant) {
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.fails = entry.fails.saturating_add(1);
            entry.failed_at = now;
        }
    }

    fn healthy(&self, hash: &RouterHash, now: Instant) -> bool {
        self.entries.get(hash).is_some_and(|e| {
            e.fails < config::MAX_FLOODFILL_FAILURES || now.since(e.failed_at) > config::FLOODFILL_PENALTY
        })
    }

    /// The closest floodfill that `keep` lets pass; one that failed lately only
    /// if there is no other.
    pub(crate) fn floodfill_for(
        &self,
        key: &RoutingKey,
        now: Instant,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Option<RouterHash> {
        let healthy = key.closest(&self.floodfills, 1, |h| keep(h) && self.healthy(h, now));
        healthy.first().copied().or_else(|| key.closest(&self.floodfills, 1, keep).first().copied())
    }

    /// The `n` closest floodfills that `keep` lets pass.
    pub(crate) fn closest_floodfills(
        &self,
        key: &RoutingKey,
        n: usize,
        keep: impl FnMut(&RouterHash) -> bool,
    ) -> Vec<RouterHash> {
        key.closest(&self.floodfills, n, keep)
    }

    /// The `n` closest other routers that may be named to others and that `keep` lets pass.
    pub(crate) fn closest_others(
        &self,
        key: &RoutingKey,
        n: usize,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Vec<RouterHash> {
        key.closest(&self.others, n, |h| keep(h) && self.entries.get(h).is_some_and(|e| e.served))
    }

    /// Removes those whose publication is longer ago than `max_age` of reachable,
    /// or `unreachable_age` of unreachable ones; says how many.
    pub(crate) fn expire(&mut self, now: Date, max_age: Duration, unreachable_age: Duration) -> usize {
        let old: Vec<RouterHash> = self
            .entries
            .iter()
            .filter(|(_, e)| {
                let limit = if e.unreachable { unreachable_age.min(max_age) } else { max_age };
                now.since(e.info.published) > limit
            })
            .map(|(hash, _)| *hash)
            .collect();
        for hash in &old {
            self.remove(hash);
        }
        old.len()
    }

    /// Removes those that are dated later; says how many.
    pub(crate) fn remove_after(&mut self, latest: Date) -> usize {
        let young: Vec<RouterHash> =
            self.entries.iter().filter(|(_, e)| e.info.published > latest).map(|(hash, _)| *hash).collect();
        for hash in &young {
            self.remove(hash);
        }
        young.len()
    }

    /// What disk must learn: RouterInfos to write and names to remove.
    pub(crate) fn take_records(&mut self) -> (Vec<Info>, Vec<RouterHash>) {
        let write = std::mem::take(&mut self.to_write);
        let write = write.iter().filter_map(|hash| self.get(hash).map(Arc::clone)).collect();
        (write, std::mem::take(&mut self.to_remove).into_iter().collect())
    }

    /// Makes room: from the floodfills if they have more than half of it, else
    /// from the others; first those never met, longest not heard of.
    fn evict(&mut self) -> bool {
        let many_floodfills = self.floodfill_worth.len() > self.max / 2 || self.other_worth.is_empty();
        let order = if many_floodfills { &self.floodfill_worth } else { &self.other_worth };
        let Some((_, _, hash)) = order.first().copied() else { return false };
        self.remove(&hash);
        true
    }

    fn link(&mut self, hash: RouterHash, entry: Entry) {
        let worth = (entry.met, entry.heard, hash);
        if entry.floodfill {
            self.floodfills.insert(hash);
            self.floodfill_worth.insert(worth);
        } else {
            self.others.insert(hash);
            self.other_worth.insert(worth);
        }
        self.entries.insert(hash, entry);
    }

    fn unlink(&mut self, hash: &RouterHash) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        let worth = (entry.met, entry.heard, *hash);
        self.floodfills.remove(hash);
        self.others.remove(hash);
        self.floodfill_worth.remove(&worth);
        self.other_worth.remove(&worth);
        Some(entry)
    }
}
