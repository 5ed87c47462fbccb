//! Sweeping, records for the disk, and the turn of the day.

use std::sync::Arc;

use aioli_core::{Cx, Duration, Now};

use crate::{NetDb, Output, Record, Timer, config};

impl NetDb {
    pub(crate) fn on_sweep_timer(&mut self, cx: &mut Cx<'_>) {
        self.timers.set(Timer::Sweep, cx.now.mono + config::SWEEP_INTERVAL);
        for sets in self.lease_sets.values_mut() {
            sets.expire(cx.now.wall);
        }
        self.failures.sweep(cx.now.mono);
        self.gate.sweep(cx.now.mono);
        self.expire_routers(cx.now);
        let day = cx.now.wall.utc_day();
        if day != self.day {
            self.day = day;
            self.on_new_day(cx);
        }
    }

    /// Whether our clock is known to be right from now on; at first it is taken for that. While it is not, RouterInfos
    /// are neither too young nor do they expire, and files that seem outdated stay.
    pub fn set_clock_known(&mut self, known: bool, now: Now) {
        if known && !self.clock_known {
            self.begin(now);
            self.stats.routers_expired += self.routers.remove_after(now.wall + config::MAX_FUTURE) as u64;
            for hash in std::mem::take(&mut self.doubtful) {
                self.routers.discard_record(hash);
            }
        }
        self.clock_known = known;
    }

    /// Our clock was wrong: what seemed outdated may not be.
    pub fn handle_clock_step(&mut self) {
        self.doubtful.clear();
    }

    fn expire_routers(&mut self, now: Now) {
        let uptime = self.started.map_or(Duration::ZERO, |start| now.mono.since(start));
        let known = self.routers.len();
        if !self.clock_known || uptime < config::NO_EXPIRY_AFTER_START || known <= config::NO_EXPIRY_ROUTERS {
            return;
        }
        let max = self.max_router_age();
        let unreachable = if known < config::FEW_ROUTERS { max } else { config::UNREACHABLE_ROUTER_AGE };
        self.stats.routers_expired +=
            self.routers.expire(now.wall, (max, unreachable, config::PROVEN_ROUTER_AGE)) as u64;
    }

    /// How old a RouterInfo may be, the less the more we have.
    pub(crate) fn max_router_age(&self) -> Duration {
        let known = self.routers.len();
        if known < config::FEW_ROUTERS {
            return config::MAX_ROUTER_AGE_FEW;
        }
        if self.floodfill {
            return config::FLOODFILL_ROUTER_AGE;
        }
        let spare = config::MAX_ROUTER_AGE - config::MIN_ROUTER_AGE;
        let limit = u32::try_from(self.config.limits.routers.max(1)).unwrap_or(u32::MAX);
        let used = u32::try_from(known).unwrap_or(u32::MAX).min(limit);
        config::MAX_ROUTER_AGE - spare / limit * used
    }

    /// Hands all changes over to the disk, for a shutdown.
    pub fn flush_records(&mut self, now: Now) {
        self.hand_over_records(usize::MAX, now);
    }

    /// Hands changes over to the disk, at most so many RouterInfos: a crowd must not keep it busy.
    pub(crate) fn hand_over_records(&mut self, max: usize, now: Now) {
        self.timers.set(Timer::Records, now.mono + config::RECORDS_INTERVAL);
        let (write, remove) = self.routers.take_records(max);
        for info in write {
            self.outputs.push_back(Output::Record(Record::StoreRouter(info.hash(), info.shared_bytes())));
        }
        for hash in remove {
            self.outputs.push_back(Output::Record(Record::RemoveRouter(hash)));
        }
    }

    /// The computer has slept: nobody is forgotten before there was a chance to hear of them, and
    /// what we publish is published again.
    pub fn resumed(&mut self, now: Now) {
        if self.started.is_some() {
            self.started = Some(now.mono);
        }
        self.republish_now(now.mono);
    }

    /// All keys have moved: what we publish must be at its new place.
    fn on_new_day(&mut self, cx: &mut Cx<'_>) {
        self.routers.fade();
        self.republish_all(cx);
        if self.local.is_some() {
            let soon = cx.rng.duration(Duration::ZERO, config::MIDNIGHT_ROUTER_SPREAD);
            self.timers.set_earlier(Timer::Renew, cx.now.mono + soon);
        }
    }

    pub(crate) fn on_renew_timer(&mut self, cx: &mut Cx<'_>) {
        // Set again by `set_local`; until then as a reminder.
        self.timers.set(Timer::Renew, cx.now.mono + cx.rng.duration(config::RENEW_MIN, config::RENEW_MAX));
        self.outputs.push_back(Output::RenewLocal);
    }

    /// Sets our own RouterInfo, and publishes it unless it says that we hide.
    /// Call it at the start, at each change and for each [`Output::RenewLocal`].
    pub fn set_local(&mut self, info: Arc<aioli_wire::Verified<aioli_wire::RouterInfo>>, cx: &mut Cx<'_>) {
        self.begin(cx.now);
        if info.hash() != self.our_hash() {
            aioli_core::bug!("the local RouterInfo has another hash than the configuration");
            return;
        }
        let caps = info.caps();
        self.floodfill = caps.floodfill;
        self.local = Some(info);
        self.timers.set(Timer::Renew, cx.now.mono + cx.rng.duration(config::RENEW_MIN, config::RENEW_MAX));
        if caps.hidden {
            self.drop_publication(&crate::PublicationKey::Router);
        } else {
            let known = caps.reachable || caps.unreachable;
            let wait = if known { Duration::ZERO } else { config::UNKNOWN_REACHABILITY_WAIT };
            self.publish_router(cx.now.mono + wait);
        }
    }
}
