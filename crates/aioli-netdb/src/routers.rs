//! The RouterInfos we know, bounded, ordered for closeness and for eviction.
//!
//! ```text
//! entries      hash -> RouterInfo and what we know of its usefulness
//! floodfills   hashes of those fit to be asked       others   all other hashes
//! newcomers    never of use to us so far             proven   answered, dialled, a hop
//! ```
//!
//! A full store keeps the proven: a newcomer takes the place of a newcomer that
//! is worth less or has had its time. So a crowd of invented routers
//! (700,000 in February 2026, against 45,000 real ones) fills the newcomers'
//! part at most, and cannot even exchange that at will.

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
    /// We wanted this very router, or had it before a restart.
    pub(crate) sought: bool,
    /// It answers a question of ours, if only about whom somebody named.
    pub(crate) asked: bool,
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

/// There are too many newcomers that have not had their time yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

#[derive(Debug)]
struct Entry {
    info: Info,
    heard: Instant,
    failed_at: Instant,
    /// How often it has been of use, at most [`config::MAX_USES`].
    uses: u8,
    /// Failures since it was of use the last time.
    fails: u8,
    /// Routers that it named and nobody knows, less those that were real.
    lies: u8,
    met: bool,
    sought: bool,
    served: bool,
    floodfill: bool,
    unreachable: bool,
    on_disk: bool,
}

/// What an entry of no use so far is worth, from the least.
const FAILING: u8 = 0;
const TOLD: u8 = 1;
const SOUGHT: u8 = 3;
const MET: u8 = 4;
/// And one that has been of use; more uses, more worth.
const PROVEN: u8 = 5;

impl Entry {
    fn rank(&self) -> u8 {
        let failing = if self.uses > 0 { config::MAX_FAILURES_PROVEN } else { config::MAX_FAILURES_NEW };
        if self.fails >= failing {
            return FAILING;
        }
        match self.uses {
            0 if self.met => MET,
            0 if self.sought => SOUGHT,
            0 => TOLD + u8::from(!self.unreachable),
            uses => PROVEN + uses.ilog2() as u8,
        }
    }

    fn is_proven(&self) -> bool {
        self.rank() >= PROVEN
    }

    /// Whether it has shown that it exists: it was of use, or it came to us.
    fn is_met(&self) -> bool {
        self.rank() >= MET
    }
}

/// The place of an entry among those of its class: the first goes first.
type Worth = (u8, Instant, RouterHash);

/// The order in which the entries of one part go.
#[derive(Debug, Default)]
struct Part {
    floodfills: BTreeSet<Worth>,
    others: BTreeSet<Worth>,
}

impl Part {
    const fn new() -> Self {
        Self { floodfills: BTreeSet::new(), others: BTreeSet::new() }
    }

    fn of(&mut self, floodfill: bool) -> &mut BTreeSet<Worth> {
        if floodfill { &mut self.floodfills } else { &mut self.others }
    }

    fn len(&self) -> usize {
        self.floodfills.len() + self.others.len()
    }

    /// Who goes first: a floodfill if they are more than half, else another.
    fn first(&self) -> Option<Worth> {
        let many = self.floodfills.len() > self.len() / 2 || self.others.is_empty();
        let order = if many { &self.floodfills } else { &self.others };
        order.first().copied()
    }
}

/// All RouterInfos but our own.
#[derive(Debug)]
pub(crate) struct RouterStore {
    entries: BTreeMap<RouterHash, Entry>,
    floodfills: BTreeSet<RouterHash>,
    /// Those of them that have shown that they exist.
    met_floodfills: BTreeSet<RouterHash>,
    others: BTreeSet<RouterHash>,
    newcomers: Part,
    proven: Part,
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
            met_floodfills: BTreeSet::new(),
            others: BTreeSet::new(),
            newcomers: Part::new(),
            proven: Part::new(),
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

    /// How many have been of use.
    pub(crate) fn proven(&self) -> usize {
        self.proven.len()
    }

    /// Whether this one has been of use, and not failed too often since.
    pub(crate) fn is_proven(&self, hash: &RouterHash) -> bool {
        self.entries.get(hash).is_some_and(Entry::is_proven)
    }

    /// Whether this one has shown that it exists.
    pub(crate) fn is_met(&self, hash: &RouterHash) -> bool {
        self.entries.get(hash).is_some_and(Entry::is_met)
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

    /// Whether one that came so would find room: asked before its signature is checked.
    pub(crate) fn has_room(&self, hash: &RouterHash, origin: Origin, now: Instant) -> bool {
        self.entries.contains_key(hash) || self.len() < self.max || self.goes_for(origin, now).is_some()
    }

    /// Stores a RouterInfo; says also whether another one had to go.
    pub(crate) fn insert(
        &mut self,
        info: Info,
        origin: Origin,
        now: Instant,
    ) -> Result<(Stored, bool), Crowded> {
        let hash = info.hash();
        let newer = self.entries.get(&hash).is_none_or(|old| old.info.published < info.published);
        if !newer {
            self.note_again(&hash, origin, now);
            return Ok((Stored::Known, false));
        }
        let old = self.unlink(&hash);
        let full = old.is_none() && self.len() >= self.max;
        if full {
            let goes = self.goes_for(origin, now).ok_or(Crowded)?;
            self.remove(&goes);
        }
        let stored = if old.is_some() { Stored::Newer } else { Stored::New };
        let caps = info.caps();
        let fit = info.version().is_some_and(|v| v >= self.min_floodfill);
        let was = |f: fn(&Entry) -> bool| old.as_ref().is_some_and(f);
        let entry = Entry {
            heard: now,
            failed_at: old.as_ref().map_or(Instant::ZERO, |e| e.failed_at),
            uses: old.as_ref().map_or(0, |e| e.uses),
            fails: old.as_ref().map_or(0, |e| e.fails),
            lies: old.as_ref().map_or(0, |e| e.lies),
            met: origin.met || was(|e| e.met),
            // Whoever still publishes after a while is likelier to be real than what came a moment ago.
            sought: origin.sought
                || old.as_ref().is_some_and(|e| e.sought || now.since(e.heard) >= config::LASTING),
            served: !caps.hidden && (origin.served || was(|e| e.served)),
            floodfill: caps.floodfill && fit && !caps.hidden,
            unreachable: caps.unreachable && !caps.reachable,
            on_disk: !origin.record || was(|e| e.on_disk),
            info,
        };
        self.link(hash, entry);
        self.to_remove.remove(&hash);
        if origin.record {
            self.to_write.insert(hash);
        }
        Ok((stored, full))
    }

    /// The same RouterInfo has come another way.
    fn note_again(&mut self, hash: &RouterHash, origin: Origin, now: Instant) {
        self.change(hash, |entry| {
            entry.served |= origin.served && !entry.info.caps().hidden;
            entry.met |= origin.met;
            entry.sought |= origin.sought;
            // That others pass it around says nothing of its being alive.
            if origin.met {
                entry.heard = now;
            }
        });
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, hash: &RouterHash) {
        let Some(entry) = self.unlink(hash) else { return };
        self.to_write.remove(hash);
        if entry.on_disk {
            self.to_remove.insert(*hash);
        }
    }

    /// A file of this router is worth nothing.
    pub(crate) fn discard_record(&mut self, hash: RouterHash) {
        if !self.entries.contains_key(&hash) {
            self.to_remove.insert(hash);
        }
    }

    fn change(&mut self, hash: &RouterHash, f: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.unlink(hash) {
            f(&mut entry);
            self.link(*hash, entry);
        }
    }

    /// The router has answered, but with nothing that helps.
    pub(crate) fn touch(&mut self, hash: &RouterHash, now: Instant) {
        self.change(hash, |entry| {
            entry.heard = now;
            entry.uses = entry.uses.max(1);
        });
    }

    /// The router did what was asked of it.
    pub(crate) fn note_answer(&mut self, hash: &RouterHash, now: Instant) {
        self.change(hash, |entry| {
            entry.heard = now;
            entry.uses = (entry.uses + 1).min(config::MAX_USES);
            entry.fails = 0;
        });
    }

    /// The router did not.
    pub(crate) fn note_failure(&mut self, hash: &RouterHash, now: Instant) {
        self.change(hash, |entry| {
            entry.fails = entry.fails.saturating_add(1);
            entry.failed_at = now;
        });
    }

    /// A router that this one named could not be found. All may err; who does it often lies.
    pub(crate) fn note_phantom(&mut self, hash: &RouterHash, now: Instant) {
        self.change(hash, |entry| {
            entry.lies = entry.lies.saturating_add(1);
            if entry.lies >= config::MAX_LIES {
                entry.lies = 0;
                entry.fails = entry.fails.saturating_add(1).max(config::MAX_FLOODFILL_FAILURES);
                entry.failed_at = now;
            }
        });
    }

    /// A router that this one named exists.
    pub(crate) fn note_named(&mut self, hash: &RouterHash) {
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.lies = entry.lies.saturating_sub(1);
        }
    }

    /// What was of use long ago counts less and less: called once a day.
    pub(crate) fn fade(&mut self) {
        let proven: Vec<RouterHash> =
            self.entries.iter().filter(|(_, e)| e.uses > 0).map(|(hash, _)| *hash).collect();
        for hash in proven {
            self.change(&hash, |entry| entry.uses /= 2);
        }
    }

    /// Whether this one may be asked: failures in a row put it off, the more the longer.
    pub(crate) fn healthy(&self, hash: &RouterHash, now: Instant) -> bool {
        self.entries.get(hash).is_some_and(|e| {
            // One that has shown nothing yet has no failure to spare.
            let most = if e.uses > 0 { config::MAX_FLOODFILL_FAILURES } else { config::MAX_FAILURES_NEW };
            let over = e.fails.saturating_sub(most);
            let penalty = (config::FLOODFILL_PENALTY * (1 << over.min(8))).min(config::MAX_FLOODFILL_PENALTY);
            e.fails < most || now.since(e.failed_at) > penalty
        })
    }

    /// The floodfill to ask next: the closest that we have met and that did not fail lately. If there is none, a
    /// stranger; if all have failed, one of these.
    ///
    /// Anybody can invent floodfills near any key. Whoever asks one of those waits in vain, and so does the end of
    /// the tunnel, which seeks it and may ask others of its kind.
    pub(crate) fn floodfill_for(
        &self,
        key: &RoutingKey,
        now: Instant,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Option<RouterHash> {
        let closest =
            |set, keep: &mut dyn FnMut(&RouterHash) -> bool| key.closest(set, 1, keep).first().copied();
        closest(&self.met_floodfills, &mut |h| keep(h) && self.healthy(h, now))
            .or_else(|| self.stranger_for(key, now, &mut keep))
            .or_else(|| closest(&self.met_floodfills, &mut keep))
            .or_else(|| closest(&self.floodfills, &mut keep))
    }

    /// The closest floodfill that has not failed and of which we do not know whether it exists; rather one that
    /// was sought or comes from the disk than one of which we were only told.
    pub(crate) fn stranger_for(
        &self,
        key: &RoutingKey,
        now: Instant,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Option<RouterHash> {
        let mut closest = |least: u8| {
            let is_new = |e: &Entry| (least..MET).contains(&e.rank());
            key.closest(&self.floodfills, 1, |h| {
                self.entries.get(h).is_some_and(is_new) && self.healthy(h, now) && keep(h)
            })
            .first()
            .copied()
        };
        closest(SOUGHT).or_else(|| closest(TOLD))
    }

    /// The closest of these that is a floodfill and did not fail lately.
    pub(crate) fn floodfill_of(
        &self,
        names: &BTreeSet<RouterHash>,
        key: &RoutingKey,
        now: Instant,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Option<RouterHash> {
        let fit = |h: &RouterHash| self.floodfills.contains(h) && self.healthy(h, now);
        key.closest(names, 1, |h| fit(h) && keep(h)).first().copied()
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

    /// The `n` closest floodfills that we have met and that did not fail lately; while they are fewer, strangers
    /// besides.
    pub(crate) fn good_floodfills(
        &self,
        key: &RoutingKey,
        n: usize,
        now: Instant,
        mut keep: impl FnMut(&RouterHash) -> bool,
    ) -> Vec<RouterHash> {
        let mut out = key.closest(&self.met_floodfills, n, |h| keep(h) && self.healthy(h, now));
        while out.len() < n
            && let Some(next) = self.stranger_for(key, now, |h| !out.contains(h) && keep(h))
        {
            out.push(next);
        }
        out
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

    /// Whether there are more newcomers than could be tried, so that nobody need look for others.
    pub(crate) fn has_enough_newcomers(&self) -> bool {
        self.newcomers.len() >= self.proven.len().max(self.max / config::NEWCOMERS_PART)
    }

    /// Whether there are floodfills that nobody has tried yet.
    pub(crate) fn has_strangers(&self, now: Instant) -> bool {
        self.floodfills.iter().any(|h| !self.met_floodfills.contains(h) && self.healthy(h, now))
    }

    /// Removes those whose publication is longer ago than `max_age` of reachable,
    /// or `unreachable_age` of unreachable ones; says how many. The proven have at least `proven_age`.
    pub(crate) fn expire(
        &mut self,
        now: Date,
        (max_age, unreachable_age, proven_age): (Duration, Duration, Duration),
    ) -> usize {
        let old: Vec<RouterHash> = self
            .entries
            .iter()
            .filter(|(_, e)| {
                let limit = if e.is_proven() { max_age.max(proven_age) } else { max_age };
                let limit = if e.unreachable { unreachable_age.min(limit) } else { limit };
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

    /// What disk must learn: at most `max` RouterInfos to write, and names to remove.
    pub(crate) fn take_records(&mut self, max: usize) -> (Vec<Info>, Vec<RouterHash>) {
        let mut write = Vec::new();
        while write.len() < max
            && let Some(hash) = self.to_write.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&hash) {
                entry.on_disk = true;
                write.push(Arc::clone(&entry.info));
            }
        }
        (write, std::mem::take(&mut self.to_remove).into_iter().collect())
    }

    /// Who must go from a full store for one that came so; nobody: it must stay outside.
    fn goes_for(&self, origin: Origin, now: Instant) -> Option<RouterHash> {
        if self.newcomers.len() < (self.max / config::NEWCOMERS_PART).max(1) {
            // The proven have almost all: the least useful of them goes.
            return self.proven.first().map(|(_, _, hash)| hash);
        }
        let (rank, heard, hash) = self.newcomers.first()?;
        let wanted = origin.met || origin.sought;
        let had_its_time = now.since(heard) >= config::PROBATION;
        (had_its_time || rank < TOLD || (wanted && rank <= SOUGHT)).then_some(hash)
    }

    fn part(&mut self, entry: &Entry) -> &mut BTreeSet<Worth> {
        let part = if entry.is_proven() { &mut self.proven } else { &mut self.newcomers };
        part.of(entry.floodfill)
    }

    fn link(&mut self, hash: RouterHash, entry: Entry) {
        let worth = (entry.rank(), entry.heard, hash);
        self.part(&entry).insert(worth);
        if entry.floodfill {
            self.floodfills.insert(hash);
            if entry.is_met() {
                self.met_floodfills.insert(hash);
            }
        } else {
            self.others.insert(hash);
        }
        self.entries.insert(hash, entry);
    }

    fn unlink(&mut self, hash: &RouterHash) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        let worth = (entry.rank(), entry.heard, *hash);
        self.part(&entry).remove(&worth);
        self.floodfills.remove(hash);
        self.met_floodfills.remove(hash);
        self.others.remove(hash);
        Some(entry)
    }
}
