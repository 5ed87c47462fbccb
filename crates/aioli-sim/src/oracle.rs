//! What must hold, whatever happens: bytes in are bytes out, in order; tables
//! stay bounded; what is published can be reached.

use std::collections::BTreeMap;
use std::fmt;

use aioli_core::{Duration, Instant};
use aioli_router::client::StreamEnd;
use thiserror::Error;

use crate::tally::Tally;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hash over everything that was delivered.
    pub trace: [u8; 32],
    /// Events handled.
    pub events: u64,
    /// Transfers started.
    pub started: u64,
    /// Transfers whose every byte arrived and was answered.
    pub completed: u64,
    /// Transfers that ended because a host crashed.
    pub crashed: u64,
    /// Transfers that failed while the network was split for a part of their time.
    pub parted: u64,
    /// Transfers that failed although both hosts lived and could reach each other.
    pub failed: u64,
    /// The first of those that failed.
    pub failures: Vec<LostTransfer>,
    /// Destinations called when the faults had stopped, all reached.
    pub called: u64,
    /// The longest time that a completed transfer took.
    pub slowest: Duration,
    /// The largest size of each table, in the second quarter of the run and in the last.
    pub tables: BTreeMap<&'static str, (u64, u64)>,
    /// The size of each table summed over routers and looks, in the same quarters; then the looks.
    pub means: BTreeMap<&'static str, [(u64, u64); 2]>,
    /// Of a network like the live one.
    pub tally: Tally,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} events; transfers: {} started, {} completed (slowest {:.1} s), {} lost to crashes, \
             {} to partitions, {} failed; \
             {} destinations called at the end",
            self.events,
            self.started,
            self.completed,
            self.slowest.as_secs_f64(),
            self.crashed,
            self.parted,
            self.failed,
            self.called
        )?;
        for lost in &self.failures {
            writeln!(f, "  {lost}")?;
        }
        if self.tally.up > 0 {
            write!(f, "{}", self.tally)?;
        }
        for (table, (early, late)) in &self.tables {
            let mean = |quarter: usize| {
                let (sum, looks) =
                    self.means.get(table).and_then(|m| m.get(quarter)).copied().unwrap_or((0, 0));
                sum / looks.max(1)
            };
            writeln!(
                f,
                "  {table:<28} at most {early:>8} early, {late:>8} late; on average {:>6} and {:>6}",
                mean(0),
                mean(1)
            )?;
        }
        let trace: String = self.trace.iter().take(8).map(|b| format!("{b:02x}")).collect();
        write!(f, "trace {trace}")
    }
}

/// A transfer that failed while both hosts lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostTransfer {
    /// Which.
    pub id: u64,
    /// The host that started it, and the one it went to.
    pub hosts: (usize, usize),
    /// When it started.
    pub since: Duration,
    /// How long it lasted.
    pub lasted: Duration,
    /// What its sender was told.
    pub why: StreamEnd,
}

impl fmt::Display for LostTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, hosts: (from, to), since, lasted, why } = self;
        let (since, lasted) = (since.as_secs_f64(), lasted.as_secs_f64());
        write!(f, "transfer {id}, host {from} to {to}, at {since:.1} s, failed after {lasted:.1} s: {why}")
    }
}

/// A run that did not hold, and how it went until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub violation: Violation,
    /// Until then.
    pub report: Report,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.violation, self.report)
    }
}

/// What must not happen, happened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// Bytes arrived that were not sent, or in the wrong order.
    #[error("transfer {id} was damaged at {at:?}")]
    Corrupt {
        /// Which.
        id: u64,
        /// When.
        at: Instant,
    },
    /// A transfer between live hosts neither completed nor failed in time.
    #[error("transfer {id} is stuck since {since:?}")]
    Stuck {
        /// Which.
        id: u64,
        /// When it started.
        since: Instant,
    },
    /// Too many transfers between live hosts failed.
    #[error("{failed} of {started} transfers failed between hosts that were up")]
    Unreachable {
        /// How many.
        failed: u64,
        /// Of how many.
        started: u64,
    },
    /// A destination could not be reached although all faults had stopped.
    #[error("host {host} could not be reached at the end: {why}")]
    NotReached {
        /// Whose.
        host: usize,
        /// How it showed.
        why: String,
    },
    /// A router met a state that its own code excludes.
    #[error("the router of host {host} counts {bugs} bugs")]
    Bug {
        /// Whose.
        host: usize,
        /// How many.
        bugs: u64,
    },
    /// A table is larger than its limit.
    #[error("table {table} of host {host} holds {size}, its limit is {limit}")]
    Bound {
        /// Whose.
        host: usize,
        /// Which.
        table: &'static str,
        /// Its size.
        size: u64,
        /// What the configuration allows.
        limit: usize,
    },
    /// A host had no session in time.
    #[error("host {host} has no session {after:?} after its start")]
    NotReady {
        /// Which.
        host: usize,
        /// How long it had.
        after: Duration,
    },
    /// A router is wrong about the time.
    #[error("the router of host {host} takes the time to be {error_ms} ms later than it is")]
    WrongClock {
        /// Which.
        host: usize,
        /// By how much; negative for earlier.
        error_ms: i64,
    },
    /// A table kept growing.
    #[error("table {table} grew from {early} to {late}")]
    Grew {
        /// Which.
        table: &'static str,
        /// Its largest size early in the run.
        early: u64,
        /// Its largest size late in the run.
        late: u64,
    },
    /// Fewer succeeded than the scenario demands.
    #[error("of {what} {ok} of {of} succeeded, fewer than {permille} in a thousand")]
    TooFew {
        /// Of what.
        what: &'static str,
        /// How many.
        ok: u64,
        /// Of how many.
        of: u64,
        /// The demand.
        permille: u64,
    },
    /// Two runs with one seed differ.
    #[error("two runs with the same seed differ: {first:02x?} and {second:02x?}")]
    Diverged {
        /// The trace of the first.
        first: [u8; 32],
        /// The trace of the second.
        second: [u8; 32],
    },
}
