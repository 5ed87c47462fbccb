//! What makes a network like the live one: hosts that come and go for good,
//! lookups of anybody by anybody; and what is measured of it.

use aioli_core::{Duration, Instant, Rng};
use aioli_router::tap::{BuildResult, SearchEnded, Sought, Tapped};
use aioli_wire::{DestinationHash, RouterHash};

use crate::host::{HOPS, Host, Setup};
use crate::hostile::Role;
use crate::oracle::Violation;
use crate::scenario::{Scale, Scenario};
use crate::tally::Share;
use crate::world::{Happening, World};

/// Whoever has been up for this long is published where it must be.
const SETTLED: Duration = Duration::from_secs(180);
/// Lost searches of one quarter of which a report tells.
const MOST_LOST: usize = 10;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The hosts that a scenario begins with.
pub(crate) fn hosts(scenario: &Scenario, rng: &mut Rng) -> Vec<Host> {
    let setup = |i: usize| {
        let floodfill = i < scenario.floodfills;
        let Some(scale) = &scenario.scale else {
            return Setup { floodfill, role: Role::Honest, session: Some(HOPS) };
        };
        let role = match (floodfill, i < scenario.routers) {
            (true, _) => Role::of_floodfill(i, scale.hostile_percent),
            (false, true) => Role::Honest,
            (false, false) => Role::Flooding,
        };
        let has_session = role == Role::Honest && i.is_multiple_of(scale.session_every);
        Setup { floodfill, role, session: has_session.then_some(HOPS) }
    };
    let senders = scenario.scale.as_ref().and_then(|s| s.flood.as_ref()).map_or(0, |flood| flood.senders);
    (0..scenario.routers + senders)
        .map(|i| Host::new(i, setup(i), scenario, Instant::ZERO, rng.fork()))
        .collect()
}

impl World {
    /// The first of everything that a live network has.
    pub(crate) fn schedule_life(&mut self) {
        let Some(scale) = self.scenario.scale.clone() else { return };
        if let Some(every) = self.replace_every(&scale) {
            self.schedule(every, Happening::Replace);
        }
        self.schedule(SETTLED, Happening::Probe);
        if let Some(every) = scale.junk_every {
            self.schedule(scale.warm_up + every, Happening::Junk);
        }
        if let Some(flood) = scale.flood {
            self.schedule(flood.after, Happening::Flood { number: 0 });
        }
    }

    fn replace_every(&self, scale: &Scale) -> Option<Duration> {
        let per_day = scale.replaced_per_day_permille * self.scenario.routers as u64 / 1_000;
        let per_day = u32::try_from(per_day).unwrap_or(u32::MAX);
        (per_day > 0).then(|| DAY / per_day)
    }

    pub(crate) fn hosts_that_are(&self, keep: impl Fn(&Host) -> bool) -> Vec<usize> {
        let up = self.hosts.iter().enumerate().filter(|(_, host)| host.up.is_some() && keep(host));
        up.map(|(i, _)| i).collect()
    }

    /// Somebody leaves for good, and a stranger of the same kind joins.
    pub(crate) fn on_replace(&mut self) {
        let Some(scale) = self.scenario.scale.clone() else { return };
        if let Some(every) = self.replace_every(&scale) {
            self.schedule(every, Happening::Replace);
        }
        let leaving =
            self.hosts_that_are(|host| host.config.floodfill.is_always() || host.role == Role::Honest);
        let Some(leaving) = self.rng.choose(&leaving).copied() else { return };
        self.leave(leaving);
        let setup = self.hosts[leaving].setup();
        let host = self.hosts.len();
        let mut joining = Host::new(host, setup, &self.scenario, self.now, self.rng.fork());
        let mut known =
            self.hosts_that_are(|host| host.config.floodfill.is_always() || host.role == Role::Honest);
        self.rng.shuffle(&mut known);
        for i in known.into_iter().take(scale.reseed) {
            if let Some(up) = &self.hosts[i].up {
                let info = up.router.router_info();
                joining.disk.prepare(info.hash(), info.shared_bytes());
            }
        }
        self.report.tally.replaced += 1;
        self.enter_host(host, &joining);
        self.hosts.push(joining);
        self.schedule(Duration::from_secs(1), Happening::Start { host });
    }

    /// Notes how a host is found.
    pub(crate) fn enter_host(&mut self, i: usize, host: &Host) {
        self.by_router.insert(host.identity.hash(), i);
        for address in &host.config.published {
            self.by_address.insert(*address, i);
        }
    }

    /// Somebody looks for somebody.
    pub(crate) fn on_probe(&mut self) -> Result<(), Violation> {
        let Some(every) = self.scenario.scale.as_ref().map(|scale| scale.probe_every) else { return Ok(()) };
        self.schedule(every, Happening::Probe);
        let settled = self.now;
        let is_settled = |host: &Host| host.up.as_ref().is_some_and(|up| settled.since(up.since) >= SETTLED);
        let asking = self.hosts_that_are(|host| host.role == Role::Honest && is_settled(host));
        let sought = self.hosts_that_are(is_settled);
        let (Some(from), Some(to)) = (self.rng.choose(&asking).copied(), self.rng.choose(&sought).copied())
        else {
            return Ok(());
        };
        let (to, now) = (self.hosts[to].identity.hash(), self.clock(from));
        if let Some(up) = &mut self.hosts[from].up {
            up.router.seek_router(&to, now);
        }
        self.pump(from)
    }

    /// What a host lets us see.
    pub(crate) fn on_tapped(&mut self, host: usize, tapped: Tapped) {
        let warm_up = self.scenario.scale.as_ref().map_or(Duration::ZERO, |scale| scale.warm_up);
        let measured = self.now.since(Instant::ZERO) >= warm_up;
        match tapped {
            Tapped::Database { source, message } => self.on_hostile(host, source, &message),
            Tapped::Search(ended) if measured => self.on_search(host, &ended),
            Tapped::Build { hops, result, took } if measured && !hops.is_empty() => {
                self.on_build(&hops, &result, took);
            }
            Tapped::Search(_) | Tapped::Build { .. } => {}
        }
    }

    fn on_search(&mut self, host: usize, ended: &SearchEnded) {
        self.count_search(ended);
        let quarter = self.quarter();
        let exists = match ended.what {
            Sought::RouterInfo => self.is_up_since(&RouterHash::from(ended.key), ended.began, SETTLED),
            Sought::LeaseSet => self.is_published(&DestinationHash::from(ended.key), ended.began),
        };
        if exists && !ended.found {
            self.report_lost_search(host, ended);
        }
        let tally = &mut self.report.tally.quarters[quarter];
        if !exists {
            tally.vain += 1;
            return;
        }
        let share = match ended.what {
            Sought::RouterInfo => &mut tally.routers,
            Sought::LeaseSet => &mut tally.lease_sets,
        };
        share.count(ended.found);
        tally.queries += u64::from(ended.queries);
    }

    fn report_lost_search(&mut self, asker: usize, ended: &SearchEnded) {
        let quarter = self.quarter();
        if self.report.tally.quarters[quarter].lost.len() >= MOST_LOST {
            return;
        }
        let SearchEnded { what, key, queries, derived, began, .. } = *ended;
        let owner = match what {
            Sought::RouterInfo => self.by_router.get(&RouterHash::from(key)),
            Sought::LeaseSet => self.by_destination.get(&DestinationHash::from(key)),
        };
        let owner = owner.copied().unwrap_or_default();
        let (at, took) = (self.now.since(Instant::ZERO).as_secs_f64(), self.now.since(began).as_secs_f64());
        let stats = self.hosts[asker].up.as_ref().map(|up| up.router.stats()).unwrap_or_default();
        let lost = format!(
            "host {asker} for the {what:?} of host {owner}, until {at:.1} s, {took:.1} s long, \
             {queries} queries; derived: {derived}; {} floodfills known, {} and {} tunnels; {}",
            stats.floodfills,
            stats.tunnels_in,
            stats.tunnels_out,
            self.why_lost(ended)
        );
        self.report.tally.quarters[quarter].lost.push(lost);
    }

    fn on_build(&mut self, hops: &[RouterHash], result: &BuildResult, took: Duration) {
        let quarter = self.quarter();
        let asked = Instant::ZERO + self.now.since(Instant::ZERO).saturating_sub(took);
        let honest = |hop: &RouterHash| {
            let host = self.by_router.get(hop).and_then(|i| self.hosts.get(*i));
            host.is_some_and(|host| host.role == Role::Honest) && self.is_up_since(hop, asked, Duration::ZERO)
        };
        let honest = hops.iter().all(honest);
        let ok = *result == BuildResult::Accepted;
        let flooded = self.scenario.scale.as_ref().and_then(|s| s.flood.as_ref());
        let flooded = flooded.is_some_and(|flood| self.now.since(Instant::ZERO) >= flood.after);
        let tally = &mut self.report.tally.quarters[quarter];
        tally.builds.count(ok);
        if flooded {
            tally.builds_flooded.count(ok);
        }
        if honest {
            tally.honest_builds.count(ok);
            match result {
                BuildResult::Accepted => {}
                BuildResult::Rejected { .. } => tally.honest_rejected += 1,
                BuildResult::TimedOut => tally.honest_timed_out += 1,
                BuildResult::Failed => tally.honest_damaged += 1,
            }
        }
    }

    /// Whether this router was up, for so long, at `at`, and is still.
    fn is_up_since(&self, router: &RouterHash, at: Instant, already: Duration) -> bool {
        let host = self.by_router.get(router).and_then(|i| self.hosts.get(*i));
        host.and_then(|host| host.up.as_ref()).is_some_and(|up| up.since + already <= at)
    }

    fn is_published(&self, destination: &DestinationHash, at: Instant) -> bool {
        let host = self.by_destination.get(destination);
        let published = host.and_then(|i| Some((*i, self.published.get(i)?)));
        published.is_some_and(|(i, (hash, life, since))| {
            hash == destination && self.hosts[i].life == *life && *since + SETTLED / 3 <= at
        })
    }

    pub(crate) fn quarter(&self) -> usize {
        let passed = self.now.since(Instant::ZERO) * 4;
        let total = self.scenario.duration;
        (1..4).rev().find(|n| passed >= total * *n).map_or(0, |n| n as usize)
    }

    /// Whether as many succeeded as the scenario demands.
    pub(crate) fn judge_scale(&self) -> Result<(), Violation> {
        let Some(scale) = &self.scenario.scale else { return Ok(()) };
        let all = self.report.tally.total();
        let lookups =
            Share { ok: all.routers.ok + all.lease_sets.ok, of: all.routers.of + all.lease_sets.of };
        let builds = if scale.flood.is_some() { all.builds_flooded } else { all.builds };
        let demands = scale.demands;
        for (what, share, permille) in [
            ("lookups of what exists", lookups, demands.lookups),
            ("builds through honest hops", all.honest_builds, demands.honest_builds),
            ("builds", builds, demands.builds),
        ] {
            if share.ok * 1_000 < share.of * permille {
                return Err(Violation::TooFew { what, ok: share.ok, of: share.of, permille });
            }
        }
        Ok(())
    }
}
