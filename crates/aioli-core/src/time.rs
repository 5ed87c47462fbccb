//! Time as data: the driver owns the clocks, everything else is told.
//!
//! I2P checks wall time inside its protocols (expirations, skew), so both a
//! monotonic and a wall clock come in with every call. No `now()` exists.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// A point on the driver's monotonic clock, in microseconds since its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's start.
    pub const ZERO: Self = Self(0);
    /// A point that never comes.
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// `micros` microseconds after the driver's start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the driver's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The specification's `Date`: milliseconds since 1970-01-01 00:00 UTC, 0 for "not set".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Date(u64);

impl Date {
    /// "Not set".
    pub const NULL: Self = Self(0);

    /// `ms` milliseconds since 1970.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// `secs` seconds since 1970.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Seconds since 1970, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Seconds since 1970 to the nearest second, as the 4-byte fields on the wire carry it.
    pub const fn as_wire_secs(self) -> u32 {
        ((self.0 + 500) / 1000) as u32
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The distance between two dates, whichever comes first.
    pub const fn abs_diff(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }

    /// The date that is so many milliseconds later, or earlier if they are negative.
    pub const fn shifted(self, ms: i64) -> Self {
        Self(self.0.saturating_add_signed(ms))
    }

    /// The UTC day as eight ASCII digits `yyyymmdd`: what routing keys and
    /// blinding factors are made from.
    pub fn utc_day(self) -> [u8; 8] {
        let (y, m, d) = civil_from_days(self.0 / 86_400_000);
        let mut out = [b'0'; 8];
        let mut n = y * 10_000 + m * 100 + d;
        for slot in out.iter_mut().rev() {
            *slot = b'0' + u8::try_from(n % 10).unwrap_or(0);
            n /= 10;
        }
        out
    }

    /// Time left until the next UTC midnight.
    pub const fn until_utc_midnight(self) -> Duration {
        Duration::from_millis(86_400_000 - self.0 % 86_400_000)
    }
}

/// Days since 1970 to (year, month, day) in the proleptic Gregorian calendar.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(m <= 2), m, d)
}

impl Add<Duration> for Date {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Date {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({}ms)", self.0)
    }
}

/// Both clocks of the driver at one call. Clock corrections move `wall` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back.
    pub mono: Instant,
    /// What peers compare with their own clocks.
    pub wall: Date,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_day_follows_the_calendar() {
        for (secs, day) in [
            (0, b"19700101"),
            (951_782_400, b"20000229"),
            (1_760_486_400, b"20251015"),
            (1_782_432_000, b"20260626"),
            (4_107_542_399, b"21000228"),
            (4_107_542_400, b"21000301"),
        ] {
            assert_eq!(&Date::from_secs(secs).utc_day(), day);
        }
    }

    #[test]
    fn wire_seconds_round_to_nearest() {
        assert_eq!(Date::from_millis(1_499).as_wire_secs(), 1);
        assert_eq!(Date::from_millis(1_500).as_wire_secs(), 2);
    }
}
