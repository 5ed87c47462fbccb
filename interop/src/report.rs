//! What a run printed as it went, counted for its last line.

use std::fmt;
use std::time::{Duration, Instant};

/// Passed and failed checks of a run.
#[derive(Debug)]
pub struct Report {
    passed: u32,
    failed: u32,
    begun: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Self { passed: 0, failed: 0, begun: Instant::now() }
    }
}

impl Report {
    /// Counts one check and prints its line; what it returned, if it passed.
    pub fn check<T: fmt::Display>(&mut self, name: &str, result: anyhow::Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                println!("ok      {name}: {value}");
                self.passed += 1;
                Some(value)
            }
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                self.failed += 1;
                None
            }
        }
    }

    /// Counts what another has counted.
    pub const fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Whether nothing has failed.
    pub const fn is_clean(&self) -> bool {
        self.failed == 0
    }

    /// How long the run has taken.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}
