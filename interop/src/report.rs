//! What a run printed as it went, counted for its last line.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;

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

    /// Runs these at the same time, each by its name, and counts what they count.
    pub fn at_once<'a, R>(&mut self, runs: impl IntoIterator<Item = (&'a str, R)>)
    where
        R: FnOnce(&mut Self) + Send,
    {
        thread::scope(|scope| {
            let begin = |(name, run): (&'a str, R)| {
                let thread = scope.spawn(|| {
                    let mut own = Self::default();
                    run(&mut own);
                    own
                });
                (name, thread)
            };
            let threads: Vec<_> = runs.into_iter().map(begin).collect();
            for (name, thread) in threads {
                match thread.join() {
                    Ok(own) => {
                        self.passed += own.passed;
                        self.failed += own.failed;
                    }
                    Err(_) => drop(self.check::<String>(name, Err(anyhow!("the runner panicked")))),
                }
            }
        });
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
