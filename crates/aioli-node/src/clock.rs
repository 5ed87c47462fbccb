//! The clocks and the entropy of the operating system.

use std::time::{Instant as StdInstant, SystemTime, UNIX_EPOCH};

use aioli_core::{Date, Instant, Now};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Reads both clocks. Wall time moves on with the monotonic clock from the
/// moment of creation, so that a step of the system clock is a decision, not
/// an accident.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: StdInstant,
    wall_at_start_ms: u64,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: StdInstant::now(),
            wall_at_start_ms: u64::try_from(since_1970.as_millis()).unwrap_or(0),
        }
    }

    /// The same clock with another wall time, by so many milliseconds: how a machine whose clock is wrong looks.
    pub fn shifted(self, ms: i64) -> Self {
        Self { wall_at_start_ms: self.wall_at_start_ms.saturating_add_signed(ms), ..self }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now {
            mono: Instant::from_micros(micros),
            wall: Date::from_millis(self.wall_at_start_ms + micros / 1000),
        }
    }

    /// When `at` comes, for the runtime's timers.
    pub(crate) fn to_std(self, at: Instant) -> StdInstant {
        // A far future stays representable on every platform.
        let capped = at.as_micros().min(365 * 86_400 * 1_000_000);
        self.start + std::time::Duration::from_micros(capped)
    }
}

/// 32 bytes of the operating system's entropy, to seed a router.
pub fn entropy() -> [u8; 32] {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).expect("the operating system has entropy once it has booted");
    seed
}
