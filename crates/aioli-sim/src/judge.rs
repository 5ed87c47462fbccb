//! What must hold while a network runs, and at its end.

use aioli_core::{Duration, Instant};
use aioli_router::client::StreamEnd;

use crate::oracle::{LostTransfer, Report, Violation};
use crate::world::{Happening, INSPECT_EVERY, Transfer, World};

/// A session must stand this long after its host started.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// By then a router must not be wrong about the time by more.
const CLOCK_TOLERANCE_MS: u64 = 30_000;
/// A transfer between live hosts must end within this time.
const TRANSFER_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Tables breathe with the generations of tunnels, ten minutes each: growth shows only where a quarter
/// of the run holds one.
const GROWTH_SHOWS_AFTER: Duration = Duration::from_secs(40 * 60);
/// Tables that remember others for hours or days: where strangers keep coming they grow up to their limits.
const REMEMBER: [&str; 5] = ["known_routers", "floodfills", "proven_routers", "profiles", "clock_voices"];
/// Failures of which a report tells more than the number.
const MOST_FAILURES: usize = 20;

impl World {
    /// Liveness, bounds, and the sizes of all tables.
    pub(crate) fn on_inspect(&mut self) -> Result<(), Violation> {
        self.schedule(INSPECT_EVERY, Happening::Inspect);
        let total = self.scenario.duration;
        let elapsed = self.now.since(Instant::ZERO);
        for (i, host) in self.hosts.iter().enumerate() {
            let Some(up) = &host.up else { continue };
            let split = !self.split.is_empty();
            let waited_for = host.session.is_some() && self.scenario.scale.is_none() && !split;
            if waited_for && !up.app.is_ready() && self.now.since(up.since) > READY_WITHIN {
                return Err(Violation::NotReady { host: i, after: self.now.since(up.since) });
            }
            let error = self.clock_error_ms(i);
            if self.now.since(up.since) > READY_WITHIN && error.unsigned_abs() > CLOCK_TOLERANCE_MS {
                return Err(Violation::WrongClock { host: i, error_ms: error });
            }
            let stats = up.router.stats();
            if stats.bugs > 0 {
                return Err(Violation::Bug { host: i, bugs: stats.bugs });
            }
            let limits = &host.config.limits;
            for (table, size, limit) in [
                ("transit_tunnels", stats.transit_tunnels, limits.transit_tunnels),
                ("known_routers", stats.known_routers, limits.routers),
                ("profiles", stats.profiles, limits.profiles),
            ] {
                if size > limit as u64 {
                    return Err(Violation::Bound { host: i, table, size, limit });
                }
            }
            for (table, size) in stats.tables() {
                let (early, late) = self.report.tables.entry(table).or_default();
                if elapsed * 4 > total && elapsed * 2 < total {
                    *early = size.max(*early);
                } else if elapsed * 4 > total * 3 {
                    *late = size.max(*late);
                }
                let looks = self.report.means.entry(table).or_default();
                let quarter = (elapsed * 4 > total && elapsed * 2 < total, elapsed * 4 > total * 3);
                for (on, (sum, looks)) in [quarter.0, quarter.1].into_iter().zip(looks) {
                    *sum += u64::from(on) * size;
                    *looks += u64::from(on);
                }
            }
        }
        self.take_census();
        self.report.tally.up = self.hosts.iter().filter(|host| host.up.is_some()).count() as u64;
        let stuck = self.transfers.iter().find(|(_, t)| self.now.since(t.since) > TRANSFER_WITHIN);
        stuck.map_or(Ok(()), |(id, t)| Err(Violation::Stuck { id: *id, since: t.since }))
    }

    /// A transfer failed while both its hosts lived.
    pub(crate) fn on_failed(&mut self, id: u64, t: &Transfer, why: StreamEnd) -> Result<(), Violation> {
        let lost = LostTransfer {
            id,
            hosts: (t.from.0, t.to.0),
            since: t.since.since(Instant::ZERO),
            lasted: self.now.since(t.since),
            why,
        };
        if t.call {
            return Err(Violation::NotReached { host: t.to.0, why: lost.to_string() });
        }
        let split_since = self.healed.is_some_and(|at| at >= t.since);
        if split_since || !self.split.is_empty() {
            self.report.parted += 1;
            return Ok(());
        }
        self.report.failed += 1;
        if self.report.failures.len() < MOST_FAILURES {
            self.report.failures.push(lost);
        }
        Ok(())
    }

    /// What must hold at the end.
    pub(crate) fn judge(&self) -> Result<(), Violation> {
        let Report { failed, started, .. } = self.report;
        if let Some(t) = self.transfers.values().find(|t| t.call) {
            let why = format!("a call from host {} has not ended", t.from.0);
            return Err(Violation::NotReached { host: t.to.0, why });
        }
        if failed * 1_000 > started * self.scenario.tolerated_failures_permille {
            return Err(Violation::Unreachable { failed, started });
        }
        self.judge_scale()?;
        if self.scenario.duration < GROWTH_SHOWS_AFTER {
            return Ok(());
        }
        let strangers_come = self.scenario.scale.is_some();
        for (table, (early, late)) in &self.report.tables {
            if strangers_come && REMEMBER.contains(table) {
                continue;
            }
            // Half as much again is chance; more is growth.
            if *late > early + early / 2 + 64 {
                return Err(Violation::Grew { table, early: *early, late: *late });
            }
        }
        Ok(())
    }
}
