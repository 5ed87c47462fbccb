//! What is counted of a network like the live one, by quarters of the run.

use std::collections::BTreeMap;
use std::fmt;

use crate::census::Census;

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Succeeded.
    pub ok: u64,
    /// Of so many.
    pub of: u64,
}

impl Share {
    pub(crate) fn count(&mut self, ok: bool) {
        self.ok += u64::from(ok);
        self.of += 1;
    }

    fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.of += other.of;
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, of } = self;
        let permyriad = ok * 10_000 / of.max(&1);
        write!(f, "{ok} of {of} ({}.{:02} %)", permyriad / 100, permyriad % 100)
    }
}

/// Searches and builds of honest routers in one quarter of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Searches for RouterInfos of routers that were up.
    pub routers: Share,
    /// Searches for LeaseSets of destinations that were up.
    pub lease_sets: Share,
    /// Searches for what is not there.
    pub vain: u64,
    /// Queries that the searches for what exists took.
    pub queries: u64,
    /// Builds through any hops.
    pub builds: Share,
    /// Of these, after a flood has begun.
    pub builds_flooded: Share,
    /// Builds through hops that were all honest and up.
    pub honest_builds: Share,
    /// Of these, refused by a hop.
    pub honest_rejected: u64,
    /// Of these, without an answer in time.
    pub honest_timed_out: u64,
    /// Of these, with an answer that made no sense.
    pub honest_damaged: u64,
    /// Whom they seek, ask and know.
    pub census: Census,
    /// The first searches that failed for what exists.
    pub lost: Vec<String>,
    /// Events by kind.
    pub events: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.routers.add(other.routers);
        self.lease_sets.add(other.lease_sets);
        self.vain += other.vain;
        self.queries += other.queries;
        self.builds.add(other.builds);
        self.builds_flooded.add(other.builds_flooded);
        self.honest_builds.add(other.honest_builds);
        self.honest_rejected += other.honest_rejected;
        self.honest_timed_out += other.honest_timed_out;
        self.honest_damaged += other.honest_damaged;
        self.census.add(&other.census);
        for (kind, more) in &other.events {
            *self.events.entry(kind).or_default() += more;
        }
    }
}

/// All that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// By quarters of the run.
    pub quarters: [Counts; 4],
    /// Hosts that were replaced.
    pub replaced: u64,
    /// Fake RouterInfos that were sent.
    pub fakes: u64,
    /// Routers up at the end.
    pub up: u64,
}

impl Tally {
    /// Of the whole run.
    pub fn total(&self) -> Counts {
        let mut all = Counts::default();
        self.quarters.iter().for_each(|quarter| all.add(quarter));
        all
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {} hosts replaced, {} fakes sent, {} up at the end",
            self.replaced, self.fakes, self.up
        )?;
        let all = self.total();
        let quarters = self.quarters.iter().enumerate().map(|(i, q)| (format!("quarter {}", i + 1), q));
        for (name, c) in quarters.chain([("all".to_owned(), &all)]) {
            writeln!(f, "  {name}: RouterInfos found {}, LeaseSets {}", c.routers, c.lease_sets)?;
            writeln!(f, "    {} queries for them; {} searches for what is not there", c.queries, c.vain)?;
            writeln!(
                f,
                "    honest builds {} ({} refused, {} unanswered, {} damaged)",
                c.honest_builds, c.honest_rejected, c.honest_timed_out, c.honest_damaged
            )?;
            writeln!(f, "    builds {}, after a flood began {}", c.builds, c.builds_flooded)?;
            write!(f, "    events:")?;
            for (kind, n) in &c.events {
                write!(f, " {kind} {n};")?;
            }
            write!(f, "\n{}", c.census)?;
        }
        for lost in self.quarters.iter().flat_map(|quarter| &quarter.lost) {
            writeln!(f, "  lost: {lost}")?;
        }
        Ok(())
    }
}
