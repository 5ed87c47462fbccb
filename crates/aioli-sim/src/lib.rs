//! Whole I2P networks in one process under virtual time.
//!
//! The routers are the product's own; only their driver differs. Same seed,
//! same run, bit for bit: every delivered byte goes into a trace hash, and
//! [`check`] runs each scenario twice and compares.
//!
//! ```text
//!  Scenario, seed ─► World ── events in order of (time, number) ─► Host: Router + App
//!                      ▲                                             │
//!                      └── Pipe: delay, jitter, loss, rate, cuts ◄───┘
//! ```

mod app;
mod census;
mod datagrams;
mod faults;
mod host;
mod hostile;
mod judge;
mod life;
mod limited;
mod live;
mod memo;
mod oracle;
mod pipe;
mod scenario;
mod tally;
mod world;

pub use census::{Census, Kind, Searches};
pub use limited::{LIMIT, LIMITED_LINK, Second, broken, limited};
pub use oracle::{Failure, LostTransfer, Report, Violation};
pub use pipe::LinkModel;
pub use scenario::{Demands, Flood, REGRESSIONS, SCENARIOS, Scale, Scenario, Transports, scenario};
pub use tally::{Counts, Share, Tally};
pub use world::World;

/// Runs a scenario twice with the same seed. Fails on a violation, or if the runs differ.
pub fn check(scenario: &Scenario, seed: u64) -> Result<Report, Box<Failure>> {
    let first = World::new(scenario, seed).run()?;
    let second = World::new(scenario, seed).run()?;
    if first.trace != second.trace {
        let violation = Violation::Diverged { first: first.trace, second: second.trace };
        return Err(Box::new(Failure { violation, report: first }));
    }
    Ok(first)
}
