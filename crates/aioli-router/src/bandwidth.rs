//! What others' tunnels may use of the bandwidth, and how much of it they do.
//!
//! Sending is shaped by the transport, message by message. What is received
//! cannot be: it has arrived. So others' messages are dropped, early, when
//! they leave less than our own need; their streams then slow down. Twice a
//! second this looks at what came and went, and says
//!
//! * what others may bring from now on: their share, less what we use above
//!   the rest of it, and less while the limit is all but reached: beyond it
//!   peers' queues to us fill up, and what is ours waits there with the rest.
//!   Always an eighth;
//! * how much of what is theirs they use, smoothed over some ten seconds:
//!   whether more tunnels are accepted depends on it.

use aioli_core::{Duration, Instant};
use aioli_transport::Bandwidth;

/// How often it looks while there is a limit.
pub(crate) const EVERY: Duration = Duration::from_millis(500);
/// Of the limit, others keep this part of their share whatever we need ourselves.
const FLOOR_PART: u64 = 8;
/// Of the limit, when so many percent are received, others may bring less, else more, by these steps.
const ALL_BUT_PERCENT: u64 = 92;
const STEP_DOWN_PART: u64 = 16;
const STEP_UP_PART: u64 = 64;
/// What we use ourselves has this much room to grow, in percent of it.
const HEADROOM_PERCENT: u64 = 125;
/// Weight of the past against one look, for the use: about ten seconds.
const SMOOTH: u64 = 20;
/// The rate that decides the bandwidth class is smoothed over this time.
const CLASS_OVER: Duration = Duration::from_secs(60);

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Others' among `received`, dropped ones too.
    pub(crate) transit_received: u64,
    /// Others' among `sent`.
    pub(crate) transit_sent: u64,
}

/// What others' tunnels may use and do use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Governor {
    limits: Bandwidth,
    at: Instant,
    counters: Counters,
    /// In 1/`SMOOTH` percent.
    used: u64,
    /// Smoothed, in bytes a second.
    rate: u64,
    peak: u64,
    /// What others may bring, in bytes a second, for the limit not to be reached.
    bring: u64,
}

impl Governor {
    pub(crate) const fn new(limits: Bandwidth, now: Instant) -> Self {
        let none = Counters { received: 0, sent: 0, transit_received: 0, transit_sent: 0 };
        Self { limits, at: now, counters: none, used: 0, rate: 0, peak: 0, bring: u64::MAX }
    }

    /// Other limits hold from now on; what was measured stays.
    pub(crate) const fn set_limits(&mut self, limits: Bandwidth) {
        self.limits = limits;
        self.bring = u64::MAX;
    }

    /// Takes the counters; says how many bytes a second others may bring, if there is a limit.
    pub(crate) fn look(&mut self, counters: Counters, now: Instant) -> Option<u64> {
        let micros = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX).max(1);
        let per_second = |new: u64, old: u64| (new - old).saturating_mul(1_000_000) / micros;
        let old = std::mem::replace(&mut self.counters, counters);
        self.at = now;
        let received = per_second(counters.received, old.received);
        let sent = per_second(counters.sent, old.sent);
        let transit_received = per_second(counters.transit_received, old.transit_received);
        let transit_sent = per_second(counters.transit_sent, old.transit_sent);

        let over = u64::try_from(CLASS_OVER.as_micros()).unwrap_or(u64::MAX);
        let weigh = |rate: u64, micros: u64| u128::from(rate) * u128::from(micros) / u128::from(over);
        let weight = micros.min(over);
        self.rate = u64::try_from(weigh(self.rate, over - weight) + weigh(sent, weight)).unwrap_or(u64::MAX);
        self.peak = self.peak.max(self.rate);

        let may_receive = self.limits.inbound.map(|limit| {
            self.bring = self.next_bring(limit, received);
            self.may(limit, received.saturating_sub(transit_received)).min(self.bring)
        });
        let may_send = self.limits.outbound.map(|l| self.may(l, sent.saturating_sub(transit_sent)));
        let percent = |used: u64, may: Option<u64>| may.map_or(0, |may| used * 100 / may.max(1)).min(200);
        let used = percent(transit_received, may_receive).max(percent(transit_sent, may_send));
        self.used = self.used - self.used / SMOOTH + used;
        may_receive
    }

    const fn next_bring(&self, limit: u64, received: u64) -> u64 {
        let share = self.limits.transit(limit);
        let (floor, now) = (share / FLOOR_PART, if self.bring < share { self.bring } else { share });
        if received < limit / 100 * ALL_BUT_PERCENT {
            if now + share / STEP_UP_PART < share { now + share / STEP_UP_PART } else { share }
        } else if now - now / STEP_DOWN_PART > floor {
            now - now / STEP_DOWN_PART
        } else {
            floor
        }
    }

    /// What others may use of a limit while we use so much.
    const fn may(&self, limit: u64, own: u64) -> u64 {
        let share = self.limits.transit(limit);
        let left = limit.saturating_sub(own / 100 * HEADROOM_PERCENT);
        let floor = share / FLOOR_PART;
        if left < floor {
            floor
        } else if left < share {
            left
        } else {
            share
        }
    }

    /// Whether there is a limit to look after.
    pub(crate) const fn is_limited(&self) -> bool {
        self.limits.inbound.is_some() || self.limits.outbound.is_some()
    }

    /// Of what others may use, how much they do, in percent; 0 without a limit.
    pub(crate) const fn used_percent(&self) -> u64 {
        self.used / SMOOTH
    }

    /// The bandwidth that we share, in KB/s, for the class letter: of the
    /// limit, or the most that was sent over about a minute.
    pub(crate) fn shared_kbytes(&self) -> Shared {
        let limit = [self.limits.inbound, self.limits.outbound].into_iter().flatten().min();
        match limit {
            Some(limit) => Shared::Limited(self.limits.transit(limit) / 1024),
            None => Shared::Measured(self.peak / 1024),
        }
    }
}

/// Where the shared bandwidth comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// A share of the limit that is set.
    Limited(u64),
    /// No limit is set.
    Measured(u64),
}

impl Default for Shared {
    fn default() -> Self {
        Self::Measured(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000_000;

    fn governor() -> Governor {
        let limits = Bandwidth { inbound: Some(LIMIT), outbound: Some(LIMIT), transit_percent: 80 };
        Governor::new(limits, Instant::ZERO)
    }

    /// So many looks at these rates: our own and others', each way.
    fn run(governor: &mut Governor, looks: u64, own: u64, transit: u64) -> u64 {
        let mut may = 0;
        for _ in 0..looks {
            let old = governor.counters;
            let counters = Counters {
                received: old.received + (own + transit) / 2,
                sent: old.sent + (own + transit) / 2,
                transit_received: old.transit_received + transit / 2,
                transit_sent: old.transit_sent + transit / 2,
            };
            may = governor.look(counters, governor.at + EVERY).unwrap();
        }
        may
    }

    #[test]
    fn others_give_way_to_us_down_to_an_eighth() {
        let mut governor = governor();
        assert_eq!(run(&mut governor, 2, 0, 0), 800_000);
        assert_eq!(run(&mut governor, 2, 100_000, 800_000), 800_000);
        assert_eq!(run(&mut governor, 2, 200_000, 300_000), 750_000);
        assert_eq!(run(&mut governor, 2, 400_000, 500_000), 500_000);
        assert_eq!(run(&mut governor, 2, 950_000, 50_000), 100_000);
    }

    #[test]
    fn others_bring_less_until_the_limit_is_not_quite_reached() {
        let mut governor = governor();
        let first = run(&mut governor, 1, 150_000, 820_000);
        assert_eq!(first, 750_000);
        let later = run(&mut governor, 10, 150_000, 820_000);
        assert!((380_000..450_000).contains(&later), "{later}");
        assert_eq!(run(&mut governor, 60, 150_000, 820_000), 100_000, "an eighth of the share stays");
        let relieved = run(&mut governor, 20, 150_000, 500_000);
        assert!((320_000..=360_000).contains(&relieved), "{relieved}");
        assert_eq!(run(&mut governor, 100, 0, 500_000), 800_000);
    }

    #[test]
    fn the_use_is_smooth_and_counts_what_is_left_for_others() {
        let mut governor = governor();
        run(&mut governor, 4, 0, 800_000);
        assert!(governor.used_percent() < 25, "{}", governor.used_percent());
        run(&mut governor, 120, 0, 800_000);
        assert!((95..=100).contains(&governor.used_percent()), "{}", governor.used_percent());
        run(&mut governor, 120, 800_000, 80_000);
        assert!((70..=90).contains(&governor.used_percent()), "{}", governor.used_percent());
        run(&mut governor, 120, 0, 0);
        assert_eq!(governor.used_percent(), 0);
    }

    #[test]
    fn the_class_is_of_the_limit_or_of_what_was_measured() {
        assert_eq!(governor().shared_kbytes(), Shared::Limited(781));
        let mut free = Governor::new(Bandwidth::default(), Instant::ZERO);
        assert_eq!(free.shared_kbytes(), Shared::Measured(0));
        for n in 1..1_000 {
            let counters = Counters { sent: n * 2_048_000, ..Counters::default() };
            assert_eq!(free.look(counters, Instant::ZERO + EVERY * u32::try_from(n).unwrap()), None);
        }
        assert!(matches!(free.shared_kbytes(), Shared::Measured(3_900..=4_000)), "{free:?}");
        assert_eq!(free.used_percent(), 0);
    }
}
