//! Spreads packets over time, so that no burst fills a queue on the way.

use crate::{Duration, Instant};

/// Packets that may leave at once, whatever the rate: the least and the most.
const BURST: (f64, f64) = (2.0, 32.0);
/// Time that a burst may stand for.
const BURST_SECONDS: f64 = 0.004;
/// So late may a timer be without loss of rate.
const LATE: Duration = Duration::from_millis(5);
const NANOS: f64 = 1e9;
/// No packet waits longer for its turn, however low the rate.
const MAX_GAP: f64 = 10.0;

/// When the next packet may leave. Exact to nanoseconds: at speed, packets are microseconds apart.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Units in a packet.
    packet: f64,
    /// When the next packet may leave, in nanoseconds.
    at: u64,
    now: u64,
    /// Seconds that a unit takes.
    gap: f64,
    /// Seconds that half a burst takes, less one packet.
    half_burst: f64,
}

impl Pacer {
    /// A pacer for packets of so many units.
    pub fn new(packet: u32, now: Instant) -> Self {
        Self { packet: f64::from(packet), at: nanos(now), now: nanos(now), gap: 0.0, half_burst: 0.0 }
    }

    /// Takes in that it is now, and the rate in units a second; no rate is no limit. Timers
    /// that were late are made up for, an idle time is not.
    pub fn refill(&mut self, rate: Option<f64>, round_trip: Duration, now: Instant) {
        let packets = rate.map(|r| (r / self.packet).max(1.0 / MAX_GAP));
        let gap = packets.map_or(0.0, |p| 1.0 / p);
        let burst = packets.map_or(BURST.1, |p| (p * BURST_SECONDS).clamp(BURST.0, BURST.1));
        self.gap = gap / self.packet;
        self.half_burst = gap * (burst / 2.0 - 1.0).max(0.0);
        self.now = nanos(now);
        let credit = (burst * gap).max(LATE.min(round_trip).as_secs_f64());
        self.at = self.at.max(self.now.saturating_sub((credit * NANOS) as u64));
    }

    /// Whether a packet may leave.
    pub const fn may_send(&self) -> bool {
        self.at <= self.now
    }

    /// So many units have left.
    pub fn on_sent(&mut self, units: u64) {
        self.at = self.at.saturating_add((self.gap * units as f64 * NANOS) as u64);
    }

    /// When to ask again: after half a burst, not for every packet.
    pub fn wake_at(&self) -> Instant {
        let wait = if self.may_send() { 0 } else { (self.half_burst * NANOS) as u64 };
        Instant::from_micros(self.at.saturating_add(wait).div_ceil(1_000))
    }
}

const fn nanos(at: Instant) -> u64 {
    at.as_micros().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_kept_and_bursts_are_small() {
        for (packet, rate) in [(1u32, 100.0), (1, 30_000.0), (1_440, 1e6), (1_440, 120e6)] {
            let (mut now, mut packets) = (Instant::ZERO, 0u64);
            let mut pacer = Pacer::new(packet, now);
            let end = Instant::ZERO + Duration::from_secs(10);
            while now < end {
                pacer.refill(Some(rate), Duration::from_millis(50), now);
                let mut burst = 0.0;
                while pacer.may_send() {
                    pacer.on_sent(u64::from(packet));
                    (packets, burst) = (packets + 1, burst + 1.0);
                }
                let most = rate / f64::from(packet) * 0.006 + BURST.0 + 1.0;
                assert!(burst <= most, "{burst} of {most}");
                now = pacer.wake_at();
            }
            let share = packets as f64 * f64::from(packet) / rate / 10.0;
            assert!((0.99..1.01).contains(&share), "{share} of {rate}");
        }
    }

    #[test]
    fn late_timers_are_made_up_for_and_idle_times_are_not() {
        let mut pacer = Pacer::new(1, Instant::ZERO);
        let burst = |pacer: &mut Pacer, now| {
            pacer.refill(Some(2_000.0), Duration::from_millis(50), now);
            let mut n = 0;
            while pacer.may_send() {
                pacer.on_sent(1);
                n += 1;
            }
            n
        };
        assert_eq!(burst(&mut pacer, Instant::ZERO), 1);
        assert_eq!(burst(&mut pacer, Instant::from_micros(4_500)), 9);
        assert_eq!(burst(&mut pacer, Instant::from_micros(60_000_000)), 11);
    }
}
