//! What we have learned of each peer: builds, tests and throughput.
//!
//! Only our own experience counts; nothing that a peer says of itself does.
//! Scores fade, so that a peer which has mended is tried again.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};
use aioli_wire::RouterHash;

/// After a refusal the peer is left alone for this long, doubled for each refusal in a row.
const DECLINE_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause after refusals.
const DECLINE_PAUSE_MAX: Duration = Duration::from_secs(1_200);
/// After a failed dial the peer is left alone for this long.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(240);
/// Peers are forgotten after this long without news.
const FORGET_AFTER: Duration = Duration::from_secs(3 * 3_600);
/// Every this often counts are halved.
const FADE_EVERY: Duration = Duration::from_secs(1_800);

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
    peak_bytes_per_sec: u64,
    build_ms: u32,
    last_news: Instant,
    last_fade: Instant,
}

impl Profile {
    fn new(now: Instant) -> Self {
        Self {
            agreed: 0,
            declined: 0,
            unanswered: 0,
            tests_passed: 0,
            tests_failed: 0,
            declined_in_row: 0,
            failed_in_row: 0,
            avoid_until: Instant::ZERO,
            peak_bytes_per_sec: 0,
            build_ms: 0,
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
            self.peak_bytes_per_sec /= 2;
        }
    }

    fn pause(&mut self, now: Instant, base: Duration, times: u32) {
        let pause = base.saturating_mul(1 << times.min(8)).min(DECLINE_PAUSE_MAX);
        self.avoid_until = self.avoid_until.max(now + pause);
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
    fast_floor: u64,
}

impl Profiles {
    /// None yet.
    pub(crate) fn new(limit: usize) -> Self {
        Self { peers: BTreeMap::new(), limit, fast_floor: 0 }
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
        p.avoid_until = p.avoid_until.max(now + UNREACHABLE_PAUSE);
    }

    /// A session with the peer stands: earlier failures to reach it are forgotten.
    pub(crate) fn connected(&mut self, peer: &RouterHash, now: Instant) {
        let p = self.entry(peer, now);
        p.failed_in_row = 0;
        if p.declined_in_row == 0 {
            p.avoid_until = now;
        }
    }

    /// A tunnel with this peer carried our traffic at this rate.
    pub(crate) fn carried(&mut self, peer: &RouterHash, bytes_per_sec: u64, now: Instant) {
        let p = self.entry(peer, now);
        p.peak_bytes_per_sec = p.peak_bytes_per_sec.max(bytes_per_sec);
    }

    /// Builds through the peer that nobody answered since the last that was.
    pub(crate) fn failures_in_row(&self, peer: &RouterHash) -> u32 {
        self.peers.get(peer).map_or(0, |p| p.failed_in_row)
    }

    /// Where the peer stands.
    pub(crate) fn tier(&self, peer: &RouterHash, now: Instant) -> Tier {
        let Some(p) = self.peers.get(peer) else { return Tier::Standard };
        if p.avoid_until > now || p.tests_failed > 2 + 2 * p.tests_passed {
            return Tier::Avoid;
        }
        if p.agreed == 0 || p.agreed < p.declined + p.unanswered {
            return Tier::Standard;
        }
        if p.peak_bytes_per_sec > self.fast_floor { Tier::Fast } else { Tier::HighCapacity }
    }

    /// Forgets the silent, fades the counts and draws the line above which a peer is fast.
    pub(crate) fn maintain(&mut self, now: Instant) {
        self.peers.retain(|_, p| {
            p.fade(now);
            now.since(p.last_news) < FORGET_AFTER
        });
        let mut rates: Vec<u64> =
            self.peers.values().map(|p| p.peak_bytes_per_sec).filter(|r| *r > 0).collect();
        rates.sort_unstable();
        self.fast_floor = rates.get(rates.len() / 2).map_or(0, |median| median / 2);
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
            let oldest = self.peers.iter().min_by_key(|(_, p)| p.last_news).map(|(h, _)| *h);
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
            }
        }
        let p = self.peers.entry(*peer).or_insert_with(|| Profile::new(now));
        p.last_news = now;
        p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn refusals_pause_longer_each_time_and_are_forgiven() {
        let mut profiles = Profiles::new(10);
        let peer = RouterHash::new([1; 32]);
        assert_eq!(profiles.tier(&peer, at(0)), Tier::Standard);
        profiles.declined(&peer, at(0));
        assert_eq!(profiles.tier(&peer, at(59)), Tier::Avoid);
        assert_eq!(profiles.tier(&peer, at(61)), Tier::Standard);
        profiles.declined(&peer, at(61));
        assert_eq!(profiles.tier(&peer, at(180)), Tier::Avoid);
        profiles.agreed(&peer, Duration::from_millis(80), at(190));
        profiles.agreed(&peer, Duration::from_millis(80), at(190));
        assert_eq!(profiles.tier(&peer, at(190)), Tier::HighCapacity);
    }

    #[test]
    fn throughput_makes_a_peer_fast_and_fades() {
        let mut profiles = Profiles::new(10);
        let peer = RouterHash::new([1; 32]);
        profiles.agreed(&peer, Duration::from_millis(80), at(0));
        profiles.carried(&peer, 100_000, at(0));
        profiles.maintain(at(1));
        assert_eq!(profiles.tier(&peer, at(1)), Tier::Fast);
        profiles.maintain(at(4 * 3_600));
        assert!(profiles.is_empty());
    }

    #[test]
    fn the_limit_forgets_whom_we_heard_of_longest_ago() {
        let mut profiles = Profiles::new(2);
        for n in 1..=3 {
            profiles.agreed(&RouterHash::new([n; 32]), Duration::ZERO, at(u64::from(n)));
        }
        assert_eq!(profiles.len(), 2);
        assert_eq!(profiles.tier(&RouterHash::new([1; 32]), at(3)), Tier::Standard);
        assert_eq!(profiles.tier(&RouterHash::new([3; 32]), at(3)), Tier::HighCapacity);
    }
}
