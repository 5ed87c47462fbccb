//! Profiles from one start to the next.
//!
//! Stored by name, so that a program which knows other values than the one
//! that wrote them takes what it knows. Nothing stored can keep a peer away
//! for longer than an hour or make the table larger than its limit.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aioli_core::{Date, Duration, Now};
use aioli_wire::RouterHash;

use super::{DECLINE_PAUSE_MAX, Profile, Profiles};

/// Peers stored at most: those heard of last.
const STORED: usize = 1_000;
/// Older profiles are not taken back.
const STALE_AFTER: Duration = Duration::from_secs(36 * 3_600);
/// Nothing is learned while the router is down, and so less forgotten than while it runs.
const FADE_WHILE_DOWN: Duration = Duration::from_secs(6 * 3_600);
/// The longest that a peer stays avoided after a start.
const AVOID_MAX: Duration = DECLINE_PAUSE_MAX;

/// No tunnel carries more.
const MOST_BYTES_PER_SEC: u64 = 1 << 40;

/// What is kept of a peer's profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProfile {
    /// Who.
    pub peer: RouterHash,
    /// When we last had news of it.
    pub heard: Date,
    /// Counts, rates and times by name; what is 0 is left out.
    pub values: BTreeMap<Cow<'static, str>, u64>,
}

impl Profiles {
    /// All that is worth keeping, heard of last first.
    pub(crate) fn stored(&self, now: Now) -> Vec<StoredProfile> {
        let mut peers: Vec<_> = self.peers.iter().collect();
        peers.sort_by_key(|(_, p)| std::cmp::Reverse(p.last_news));
        peers.into_iter().take(STORED).map(|(peer, p)| store(*peer, p, now)).collect()
    }

    /// Takes profiles of an earlier start. Gives how many were of use.
    pub(crate) fn restore(&mut self, stored: &[StoredProfile], now: Now) -> usize {
        let fresh: Vec<_> = stored.iter().filter(|s| now.wall.since(s.heard) < STALE_AFTER).collect();
        for s in fresh.iter().take(self.limit) {
            self.peers.entry(s.peer).or_insert_with(|| restore(s, now));
        }
        self.maintain(now.mono);
        fresh.len().min(self.limit)
    }

    /// Those of high capacity that we have dialled before, best first.
    pub(crate) fn best(&self) -> Vec<RouterHash> {
        let mut peers: Vec<_> =
            self.peers.iter().filter(|(peer, p)| p.reached && self.high.contains(peer)).collect();
        peers.sort_by_key(|(peer, p)| (std::cmp::Reverse(p.capacity()), **peer));
        peers.into_iter().map(|(peer, _)| *peer).collect()
    }
}

fn store(peer: RouterHash, p: &Profile, now: Now) -> StoredProfile {
    let avoid_until = (p.avoid_until > now.mono).then(|| now.wall + p.avoid_until.since(now.mono));
    let [first, second, third] = p.peaks;
    let values = [
        ("agreed", u64::from(p.agreed)),
        ("declined", u64::from(p.declined)),
        ("unanswered", u64::from(p.unanswered)),
        ("tests_passed", u64::from(p.tests_passed)),
        ("tests_failed", u64::from(p.tests_failed)),
        ("declined_in_row", u64::from(p.declined_in_row)),
        ("failed_in_row", u64::from(p.failed_in_row)),
        ("avoid_until", avoid_until.map_or(0, Date::as_secs)),
        ("peak_bytes_per_sec", first),
        ("second_peak", second),
        ("third_peak", third),
        ("build_ms", u64::from(p.build_ms)),
        // What was never offered and what was offered as 0 are not the same.
        ("offered_kbps_and_1", p.offered_kbps.map_or(0, |kbps| u64::from(kbps) + 1)),
        ("proven", u64::from(p.proven)),
        ("reached", u64::from(p.reached)),
    ];
    let values = values.into_iter().filter(|(_, value)| *value > 0).map(|(n, v)| (n.into(), v)).collect();
    StoredProfile { peer, heard: now.wall - now.mono.since(p.last_news), values }
}

fn restore(stored: &StoredProfile, now: Now) -> Profile {
    let value = |name: &str| stored.values.get(name).copied().unwrap_or(0);
    let down = now.wall.since(stored.heard);
    let fades = down.as_secs() / FADE_WHILE_DOWN.as_secs();
    // What once worked counts for something, however long ago.
    let faded = |name: &str| match value(name) {
        0 => 0,
        n => u32::try_from(n >> fades.min(63)).unwrap_or(u32::MAX).clamp(1, u32::from(u16::MAX)),
    };
    let in_row = |name: &str| u32::try_from(value(name) >> fades.min(63)).unwrap_or(0).min(8);
    let avoid = Date::from_secs(value("avoid_until")).since(now.wall).min(AVOID_MAX);
    Profile {
        agreed: faded("agreed"),
        declined: faded("declined"),
        unanswered: faded("unanswered"),
        tests_passed: faded("tests_passed"),
        tests_failed: faded("tests_failed"),
        declined_in_row: in_row("declined_in_row"),
        failed_in_row: in_row("failed_in_row"),
        avoid_until: now.mono + avoid,
        peaks: ["peak_bytes_per_sec", "second_peak", "third_peak"]
            .map(|name| (value(name) >> fades.min(63)).min(MOST_BYTES_PER_SEC)),
        build_ms: u32::try_from(value("build_ms")).unwrap_or(u32::MAX),
        offered_kbps: value("offered_kbps_and_1").checked_sub(1).and_then(|kbps| u32::try_from(kbps).ok()),
        proven: value("proven") > 0,
        reached: value("reached") > 0,
        ..Profile::new(now.mono)
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::Instant;

    use super::*;
    use crate::profiles::Tier;

    fn peer(n: u8) -> RouterHash {
        RouterHash::new([n; 32])
    }

    fn at(mono: u64, wall: u64) -> Now {
        Now { mono: Instant::ZERO + Duration::from_secs(mono), wall: Date::from_secs(wall) }
    }

    const DAY: u64 = 1_782_514_800;

    fn learned() -> Vec<StoredProfile> {
        let mut profiles = Profiles::new(10);
        let now = at(7_200, DAY);
        for _ in 0..8 {
            profiles.agreed(&peer(1), Duration::from_millis(80), now.mono);
        }
        profiles.proved(&peer(1), now.mono);
        profiles.connected(&peer(1), false, now.mono);
        profiles.carried(&peer(1), 100_000, now.mono);
        profiles.declined(&peer(2), now.mono);
        profiles.stored(now)
    }

    #[test]
    fn what_was_learned_holds_after_a_restart() {
        let mut profiles = Profiles::new(10);
        let now = at(0, DAY + 20);
        assert_eq!(profiles.restore(&learned(), now), 2);
        assert_eq!(profiles.tier(&peer(1), now.mono), Tier::Fast);
        assert_eq!(profiles.tier(&peer(2), now.mono), Tier::Avoid);
        assert_eq!(profiles.tier(&peer(2), at(41, 0).mono), Tier::Standard, "the pause goes on, not anew");
        assert_eq!(profiles.best(), [peer(1)]);
        assert_eq!(profiles.stored(now).len(), 2);
    }

    #[test]
    fn a_night_fades_it_and_two_days_end_it() {
        let mut profiles = Profiles::new(10);
        profiles.restore(&learned(), at(0, DAY + 8 * 3_600));
        assert_eq!(profiles.tier(&peer(1), Instant::ZERO), Tier::Fast);
        assert_eq!(profiles.peers[&peer(1)].agreed, 4);
        assert_eq!(profiles.tier(&peer(2), Instant::ZERO), Tier::Standard);
        let mut profiles = Profiles::new(10);
        assert_eq!(profiles.restore(&learned(), at(0, DAY + 2 * 86_400)), 0);
    }

    #[test]
    fn unknown_and_missing_values_and_wrong_clocks_do_no_harm() {
        let mut odd = learned();
        odd[0].values.insert("colour".into(), 7);
        odd[0].values.remove("tests_passed");
        odd[1].values.insert("avoid_until".into(), u64::MAX);
        odd[1].values.insert("agreed".into(), u64::MAX);
        // The clock was ahead by years when this was written.
        odd[1].heard = Date::from_secs(DAY * 2);
        let mut profiles = Profiles::new(10);
        assert_eq!(profiles.restore(&odd, at(0, DAY)), 2);
        assert_eq!(profiles.tier(&odd[0].peer, Instant::ZERO) == Tier::Avoid, odd[0].peer == peer(2));
        let later = Instant::ZERO + AVOID_MAX;
        assert_ne!(profiles.tier(&odd[1].peer, later), Tier::Avoid);
        let mut small = Profiles::new(1);
        assert_eq!(small.restore(&odd, at(0, DAY)), 1);
        assert_eq!(small.len(), 1);
    }
}
