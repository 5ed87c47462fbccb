//! What we have learned of each peer: builds, tests and throughput
//! (`peer-selection#profiles`).
//!
//! Only our own experience counts; nothing that a peer says of itself does,
//! and no round-trip time: whoever is near could buy its way in with it.
//! Scores fade, so that a peer which has mended is tried again. Every minute
//! peers are sorted into tiers of bounded size.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use aioli_core::{Duration, Instant};
use aioli_wire::RouterHash;

mod stored;

pub use stored::StoredProfile;

/// After a refusal the peer is left alone for this long, doubled for each refusal in a row.
const DECLINE_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause after refusals.
const DECLINE_PAUSE_MAX: Duration = Duration::from_secs(1_200);
/// After a failed dial the peer is left alone for this long.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(240);
/// Peers are forgotten after this long without news.
const FORGET_AFTER: Duration = Duration::from_secs(3 * 3_600);
/// Those that have been hops of ours after this long: they are what a flood of new ones cannot replace.
const FORGET_PROVEN_AFTER: Duration = Duration::from_secs(36 * 3_600);
/// Every this often counts are halved.
const FADE_EVERY: Duration = Duration::from_secs(1_800);
/// The high-capacity tier has at most so many peers.
const MAX_HIGH_CAPACITY: usize = 150;
/// The fast tier has at most so many.
const MAX_FAST: usize = 75;
/// With fewer fast peers than this, they are not preferred to those of high capacity.
pub(crate) const ENOUGH_FAST: usize = 16;

/// One peer's record.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    agreed: u32,
    declined: u32,
    unanswered: u32,
    tests_passed: u32,
    tests_failed: u32,
    declined_in_row: u32,
    failed_in_row: u32,
    avoid_until: Instant,
    /// The three highest rates at which tunnels with it carried, in bytes a second.
    peaks: [u64; 3],
    build_ms: u32,
    /// What it offered for a tunnel last, in KB/s (proposal 168). Its tunnels are counted for no more than
    /// that, and for no more than they carried.
    offered_kbps: Option<u32>,
    /// A tunnel with it came about; this does not fade.
    proven: bool,
    /// It answered a dial of ours.
    reached: bool,
    last_news: Instant,
    last_fade: Instant,
}

impl Profile {
    const fn new(now: Instant) -> Self {
        Self {
            agreed: 0,
            declined: 0,
            unanswered: 0,
            tests_passed: 0,
            tests_failed: 0,
            declined_in_row: 0,
            failed_in_row: 0,
            avoid_until: Instant::ZERO,
            peaks: [0; 3],
            build_ms: 0,
            offered_kbps: None,
            proven: false,
            reached: false,
            last_news: now,
            last_fade: now,
        }
    }

    fn fade(&mut self, now: Instant) {
        while now.since(self.last_fade) >= FADE_EVERY {
            self.last_fade += FADE_EVERY;
            for count in [
                &mut self.agreed,
                &mut self.declined,
                &mut self.unanswered,
                &mut self.tests_passed,
                &mut self.tests_failed,
            ] {
                *count /= 2;
            }
            for peak in &mut self.peaks {
                *peak /= 2;
            }
        }
    }

    fn pause(&mut self, now: Instant, base: Duration, times: u32) {
        let pause = base.saturating_mul(1 << times.min(8)).min(DECLINE_PAUSE_MAX);
        self.avoid_until = self.avoid_until.max(now + pause);
    }

    const fn is_avoided(&self, now: Instant) -> bool {
        self.avoid_until.as_micros() > now.as_micros() || self.tests_failed > 2 + 2 * self.tests_passed
    }

    /// Whether it has been a hop of ours, and agreed to be one at least as often as not of late.
    const fn is_good(&self) -> bool {
        self.proven && self.agreed >= self.declined + self.unanswered
    }

    /// What orders the high-capacity tier: agreements of late, the share of them, and how new they are.
    fn capacity(&self) -> (u32, u32, Instant) {
        let asked = self.agreed + self.declined + self.unanswered;
        let percent = (self.agreed * 100).checked_div(asked).unwrap_or(0);
        (percent * self.agreed.min(16), self.agreed, self.last_news)
    }

    /// Bytes a second: the mean of the highest.
    fn speed(&self) -> u64 {
        let mean = self.peaks.iter().sum::<u64>() / 3;
        self.offered_kbps.map_or(mean, |kbps| mean.min(u64::from(kbps) * 1024))
    }
}

/// Where a peer stands among its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// Failing, refusing or unreachable of late: last choice.
    Avoid,
    /// Nothing known against it, nothing for it.
    Standard,
    /// Builds through it succeed.
    HighCapacity,
    /// It has carried our traffic fast.
    Fast,
}

/// All profiles, at most `limit`.
#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    peers: BTreeMap<RouterHash, Profile>,
    limit: usize,
    /// The high-capacity tier, in which the fast one lies.
    high: BTreeSet<RouterHash>,
    fast: BTreeSet<RouterHash>,
}

impl Profiles {
    /// None yet.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { peers: BTreeMap::new(), limit, high: BTreeSet::new(), fast: BTreeSet::new() }
    }

    /// The peer agreed to be a hop, after `took`.
    pub(crate) fn agreed(&mut self, peer: &RouterHash, took: Duration, now: Instant) {
        let p = self.entry(peer, now);
        p.agreed += 1;
        p.declined_in_row = 0;
        p.failed_in_row = 0;
        let ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        p.build_ms = if p.build_ms == 0 { ms } else { (p.build_ms / 8) * 7 + ms / 8 };
    }

    /// A tunnel with the peer came about. It need not wait for the next sorting to be used.
    pub(crate) fn proved(&mut self, peer: &RouterHash, now: Instant) {
        let p = self.entry(peer, now);
        p.proven = true;
        if p.is_good() && self.high.len() < MAX_HIGH_CAPACITY {
            self.high.insert(*peer);
        }
    }

    /// What the peer offered for a tunnel, in KB/s.
    pub(crate) fn offered(&mut self, peer: &RouterHash, kbps: u32, now: Instant) {
        self.entry(peer, now).offered_kbps = Some(kbps);
    }

    /// The peer refused to be a hop.
    pub(crate) fn declined(&mut self, peer: &RouterHash, now: Instant) {
        let p = self.entry(peer, now);
        p.declined += 1;
        p.declined_in_row += 1;
        let times = p.declined_in_row - 1;
        p.pause(now, DECLINE_PAUSE, times);
    }

    /// A build through the peer was never answered; it shares the blame with `others` more.
    pub(crate) fn unanswered(&mut self, peer: &RouterHash, others: usize, now: Instant) {
        let p = self.entry(peer, now);
        p.unanswered += 1;
        p.failed_in_row += 1;
        if others == 0 || p.failed_in_row >= 3 {
            let times = p.failed_in_row.saturating_sub(3);
            p.pause(now, DECLINE_PAUSE, times);
        }
    }

    /// A test went through a tunnel with this peer, or did not.
    pub(crate) fn tested(&mut self, peer: &RouterHash, ok: bool, now: Instant) {
        let p = self.entry(peer, now);
        if ok {
            p.tests_passed += 1;
            p.failed_in_row = 0;
        } else {
            p.tests_failed += 1;
        }
    }

    /// The peer could not be dialled.
    pub(crate) fn unreachable(&mut self, peer: &RouterHash, now: Instant) {
        let p = self.entry(peer, now);
        p.failed_in_row += 1;
        p.reached = false;
        p.avoid_until = p.avoid_until.max(now + UNREACHABLE_PAUSE);
    }

    /// A session with the peer stands: earlier failures to reach it are forgotten. Whoever only
    /// comes to us has shown nothing, and makes no profile: one machine could fill the table.
    pub(crate) fn connected(&mut self, peer: &RouterHash, inbound: bool, now: Instant) {
        if inbound && !self.peers.contains_key(peer) {
            return;
        }
        let p = self.entry(peer, now);
        p.reached |= !inbound;
        p.failed_in_row = 0;
        if p.declined_in_row == 0 {
            p.avoid_until = now;
        }
    }

    /// A tunnel with this peer carried our traffic at this rate.
    pub(crate) fn carried(&mut self, peer: &RouterHash, bytes_per_sec: u64, now: Instant) {
        let p = self.entry(peer, now);
        if let Some(least) = p.peaks.iter_mut().min().filter(|least| **least < bytes_per_sec) {
            *least = bytes_per_sec;
        }
    }

    /// Builds through the peer that nobody answered since the last that was.
    pub(crate) fn failures_in_row(&self, peer: &RouterHash) -> u32 {
        self.peers.get(peer).map_or(0, |p| p.failed_in_row)
    }

    /// Whether the peer answered a dial of ours, the last time that we tried.
    pub(crate) fn was_reached(&self, peer: &RouterHash) -> bool {
        self.peers.get(peer).is_some_and(|p| p.reached || p.proven)
    }

    /// Whether the peer has been a hop of a tunnel of ours.
    #[cfg(test)]
    pub(crate) fn is_proven(&self, peer: &RouterHash) -> bool {
        self.peers.get(peer).is_some_and(|p| p.proven)
    }

    /// The high-capacity tier, and the fast one with it.
    pub(crate) const fn high_capacity(&self) -> &BTreeSet<RouterHash> {
        &self.high
    }

    /// How many peers are fast.
    pub(crate) fn fast_count(&self) -> usize {
        self.fast.len()
    }

    /// Where the peer stands.
    pub(crate) fn tier(&self, peer: &RouterHash, now: Instant) -> Tier {
        match self.peers.get(peer) {
            None => Tier::Standard,
            Some(p) if p.is_avoided(now) => Tier::Avoid,
            Some(_) if self.fast.contains(peer) => Tier::Fast,
            Some(p) if self.high.contains(peer) && p.is_good() => Tier::HighCapacity,
            Some(_) => Tier::Standard,
        }
    }

    /// Forgets the silent, fades the counts and sorts peers into tiers.
    pub(crate) fn maintain(&mut self, now: Instant) {
        self.peers.retain(|_, p| {
            p.fade(now);
            now.since(p.last_news) < if p.proven { FORGET_PROVEN_AFTER } else { FORGET_AFTER }
        });
        let mut by_capacity: Vec<_> = self.peers.iter().filter(|(_, p)| p.is_good()).collect();
        by_capacity.sort_by_key(|(hash, p)| (Reverse(p.capacity()), **hash));
        by_capacity.truncate(MAX_HIGH_CAPACITY);
        let mut by_speed: Vec<_> = by_capacity.iter().map(|(hash, p)| (p.speed(), **hash)).collect();
        by_speed.retain(|(speed, _)| *speed > 0);
        by_speed.sort_by_key(|(speed, hash)| (Reverse(*speed), *hash));
        // Of the measured, those not far below the middle one.
        let floor = by_speed.get(by_speed.len() / 2).map_or(0, |(median, _)| median / 2);
        self.fast =
            by_speed.into_iter().filter(|(s, _)| *s > floor).map(|(_, hash)| hash).take(MAX_FAST).collect();
        self.high = by_capacity.into_iter().map(|(hash, _)| *hash).collect();
    }

    /// Peers with a profile.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether nothing is known of anyone.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    fn entry(&mut self, peer: &RouterHash, now: Instant) -> &mut Profile {
        if self.peers.len() >= self.limit && !self.peers.contains_key(peer) {
            // First those that were never of use: the proven must outlast a flood of others.
            let least = self.peers.iter().min_by_key(|(_, p)| (p.proven, p.last_news)).map(|(h, _)| *h);
            if let Some(least) = least {
                self.peers.remove(&least);
            }
        }
        let p = self.peers.entry(*peer).or_insert_with(|| Profile::new(now));
        p.last_news = now;
        p
    }
}

#[cfg(test)]
mod tests;
