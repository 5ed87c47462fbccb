//! The clocks and the entropy of the operating system.

use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use aioli_core::{Date, Instant, Now};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustix::time::{ClockId, clock_gettime};

/// The clock that goes on while the computer sleeps: what the network counts on (the end of a
/// tunnel, the age of a session) does not sleep either.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// Reads both clocks. Wall time moves on with the monotonic clock from the
/// moment of creation, so that a step of the system clock is a decision, not
/// an accident: see [`Clock::apart`] and [`Clock::follow`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
    wall_at_start_ms: u64,
    /// Of which so much is wrong on purpose.
    shifted_ms: i64,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self { start: running(), wall_at_start_ms: system_wall().as_millis(), shifted_ms: 0 }
    }

    /// The same clock with another wall time, by so many milliseconds: how a machine whose clock is wrong looks.
    pub fn shifted(self, ms: i64) -> Self {
        let wall_at_start_ms = self.wall_at_start_ms.saturating_add_signed(ms);
        Self { wall_at_start_ms, shifted_ms: self.shifted_ms.saturating_add(ms), ..self }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let micros = u64::try_from(running().saturating_sub(self.start).as_micros()).unwrap_or(u64::MAX);
        Now {
            mono: Instant::from_micros(micros),
            wall: Date::from_millis(self.wall_at_start_ms.saturating_add(micros / 1000)),
        }
    }

    /// By how many milliseconds the system's wall clock is ahead of ours: it was set, or the
    /// computer is a copy that was woken up elsewhere.
    pub fn apart(&self) -> i64 {
        let millis = |date: Date| i64::try_from(date.as_millis()).unwrap_or(i64::MAX);
        millis(system_wall().shifted(self.shifted_ms)).saturating_sub(millis(self.now().wall))
    }

    /// Sets our wall clock on by so many milliseconds.
    pub const fn follow(&mut self, by_ms: i64) {
        self.wall_at_start_ms = self.wall_at_start_ms.saturating_add_signed(by_ms);
    }

    /// When `at` comes, for the runtime's timers.
    pub(crate) fn to_std(self, at: Instant) -> StdInstant {
        // A far future stays representable on every platform.
        let wait = at.since(self.now().mono).min(Duration::from_secs(365 * 86_400));
        StdInstant::now() + wait
    }
}

/// The system's monotonic clock.
fn running() -> Duration {
    let time = clock_gettime(MONOTONIC);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The system's wall clock.
pub(crate) fn system_wall() -> Date {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_millis(u64::try_from(since_1970.as_millis()).unwrap_or(0))
}

/// 32 bytes of the operating system's entropy, to seed a router.
pub fn entropy() -> [u8; 32] {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).expect("the operating system has entropy once it has booted");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_noticed_followed_and_leaves_the_other_clock_alone() {
        let mut clock = Clock::start();
        assert!(clock.apart().abs() < 1_000, "{}", clock.apart());
        for by in [-3_600_000, 7_200_000, -i64::MAX] {
            let before = clock.now();
            clock.follow(by);
            let after = clock.now();
            assert!(after.mono >= before.mono);
            assert_eq!(after.mono.since(before.mono).as_secs(), 0);
            assert!((clock.apart() + by.max(-i64::try_from(before.wall.as_millis()).unwrap())).abs() < 1_000);
            clock.follow(clock.apart());
            assert!(clock.apart().abs() < 1_000);
        }
        // One that is wrong on purpose stays so.
        assert!(clock.shifted(-3_600_000).apart().abs() < 1_000);
    }

    #[test]
    fn a_deadline_of_ours_is_one_of_the_runtime() {
        let clock = Clock::start();
        let soon = clock.to_std(clock.now().mono + Duration::from_secs(5)) - StdInstant::now();
        assert!(soon <= Duration::from_secs(5) && soon > Duration::from_secs(3), "{soon:?}");
        assert!(clock.to_std(Instant::ZERO) <= StdInstant::now());
        clock.to_std(Instant::FAR_FUTURE);
    }
}
