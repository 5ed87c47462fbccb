//! Who is who in a network with enemies: what searches are for, whom they ask, and what the tables hold.

use std::collections::BTreeMap;
use std::fmt;

use aioli_core::Instant;
use aioli_router::tap::{Answer, SearchEnded, Sought};
use aioli_wire::{DestinationHash, RouterHash};

use crate::hostile::Role;
use crate::world::World;

/// The tables are looked through this often.
const EVERY_MINUTES: u64 = 10;

/// What a router is in truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It is up and does what the product does.
    Honest,
    /// It is up and an enemy.
    Hostile,
    /// It has left, or is down.
    Gone,
    /// Its RouterInfo is signed and there is nothing behind it.
    Fake,
    /// There is not even a RouterInfo.
    Phantom,
}

/// Searches of one cause for routers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searches {
    /// So many.
    pub of: u64,
    /// Which found what they sought.
    pub found: u64,
    /// Their queries.
    pub queries: u64,
}

/// What honest routers know, seek and ask, by kinds; in one quarter of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Searches for RouterInfos: own ones (`false`), and those that only a reply's naming began.
    pub searches: BTreeMap<(bool, Kind), Searches>,
    /// Who was asked, and what came of it.
    pub asked: BTreeMap<(Kind, Answer), u64>,
    /// Entries of all tables at the last look, proven (`true`) or not.
    pub known: BTreeMap<(Kind, bool), u64>,
    /// Tables looked through.
    pub tables: u64,
}

impl Census {
    pub(crate) fn add(&mut self, other: &Self) {
        for (key, more) in &other.searches {
            let sum = self.searches.entry(*key).or_default();
            sum.of += more.of;
            sum.found += more.found;
            sum.queries += more.queries;
        }
        for (key, more) in &other.asked {
            *self.asked.entry(*key).or_default() += more;
        }
        if other.tables > 0 {
            self.known.clone_from(&other.known);
            self.tables = other.tables;
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((derived, kind), Searches { of, found, queries }) in &self.searches {
            let cause = if *derived { "named" } else { "sought" };
            writeln!(f, "    {cause} {kind:?}: {of} searches, {found} found, {queries} queries")?;
        }
        write!(f, "    asked:")?;
        for ((kind, answer), n) in &self.asked {
            write!(f, " {kind:?} {answer:?} {n};")?;
        }
        write!(f, "\n    a table holds:")?;
        for ((kind, proven), n) in &self.known {
            let proven = if *proven { "proven" } else { "new" };
            write!(f, " {kind:?} {proven} {};", n / self.tables.max(1))?;
        }
        writeln!(f)
    }
}

impl World {
    pub(crate) fn kind_of(&self, router: &RouterHash) -> Kind {
        match self.by_router.get(router).and_then(|i| self.hosts.get(*i)) {
            Some(host) if host.up.is_none() => Kind::Gone,
            Some(host) if host.role == Role::Honest => Kind::Honest,
            Some(_) => Kind::Hostile,
            None if self.fakes.contains(router) => Kind::Fake,
            None => Kind::Phantom,
        }
    }

    pub(crate) fn count_search(&mut self, ended: &SearchEnded) {
        let asked: Vec<_> = ended.asked.iter().map(|(who, answer)| (self.kind_of(who), *answer)).collect();
        let kind = self.kind_of(&RouterHash::from(ended.key));
        let quarter = self.quarter();
        let census = &mut self.report.tally.quarters[quarter].census;
        for key in asked {
            *census.asked.entry(key).or_default() += 1;
        }
        if ended.what == Sought::RouterInfo {
            let sum = census.searches.entry((ended.derived, kind)).or_default();
            sum.of += 1;
            sum.found += u64::from(ended.found);
            sum.queries += u64::from(ended.queries);
        }
    }

    /// Looks through all honest routers' tables.
    pub(crate) fn take_census(&mut self) {
        let minutes = self.now.since(Instant::ZERO).as_secs() / 60;
        if self.scenario.scale.is_none() || !minutes.is_multiple_of(EVERY_MINUTES) {
            return;
        }
        let mut known: BTreeMap<(Kind, bool), u64> = BTreeMap::new();
        let honest = || self.hosts.iter().filter(|host| host.role == Role::Honest);
        let routers = || honest().filter_map(|host| host.up.as_ref()).map(|up| &up.router);
        for (router, proven) in routers().flat_map(aioli_router::Router::known_routers) {
            *known.entry((self.kind_of(&router), proven)).or_default() += 1;
        }
        let tables = routers().count() as u64;
        let quarter = self.quarter();
        let census = &mut self.report.tally.quarters[quarter].census;
        census.known = known;
        census.tables = tables;
    }

    /// Who was asked in vain, and who of them held it; how many floodfills hold it at all.
    pub(crate) fn why_lost(&self, ended: &SearchEnded) -> String {
        let (key, router) = (DestinationHash::from(ended.key), RouterHash::from(ended.key));
        let holds = |i: usize| {
            let up = self.hosts.get(i).and_then(|host| host.up.as_ref());
            up.is_some_and(|up| match ended.what {
                Sought::LeaseSet => up.router.holds_lease_set(&key),
                Sought::RouterInfo => up.router.known_routers().any(|(known, _)| known == router),
            })
        };
        let asked: Vec<String> = ended
            .asked
            .iter()
            .map(|(who, answer)| {
                let held = self.by_router.get(who).is_some_and(|i| holds(*i));
                format!("{:?} {answer:?}{}", self.kind_of(who), if held { ", held it" } else { "" })
            })
            .collect();
        let holders =
            (0..self.hosts.len()).filter(|i| self.hosts[*i].role == Role::Honest && holds(*i)).count();
        format!("asked: {}; held by {holders}", asked.join("; "))
    }
}
