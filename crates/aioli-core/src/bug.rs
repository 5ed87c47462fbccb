//! The third kind of error: not the bytes, not the peer, but us.

use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many bugs this process has met. More than zero is worth a report.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

#[doc(hidden)]
pub fn record(what: &str, file: &str, line: u32) {
    COUNT.fetch_add(1, Ordering::Relaxed);
    tracing::error!("bug at {file}:{line}: {what}; please report this line");
}

/// Says that a state cannot be and why. Panics where debug assertions are on
/// (tests, simulator); counts and logs in a release, where the caller goes on
/// by closing whatever was affected.
#[macro_export]
macro_rules! bug {
    ($($why:tt)+) => {{
        let why = format!($($why)+);
        if cfg!(debug_assertions) {
            panic!("bug: {why}");
        }
        $crate::bug::record(&why, file!(), line!());
    }};
}
