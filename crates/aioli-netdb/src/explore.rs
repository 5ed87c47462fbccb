//! Learning of routers that nobody told us about, and meeting floodfills that somebody told us about
//! (`network-database#exploration`).

use aioli_core::{Cx, Duration, Rng};

use crate::search::SearchKey;
use crate::{NetDb, Timer, config};

/// First exploration after the start.
pub(crate) const FIRST: Duration = Duration::from_secs(3);
/// With fewer routers than this and at the start, we are in a hurry.
const HURRY_ROUTERS: usize = 100;
const HURRY_TIME: Duration = Duration::from_secs(10 * 60);
/// With fewer floodfills than this, every other exploration looks for floodfills.
const MANY_FLOODFILLS: usize = 200;
/// With fewer routers than this, explorations are frequent.
const MANY_ROUTERS: usize = 2_500;
/// Explorations without news double the pause up to this many times.
const MAX_DOUBLINGS: u32 = 4;

/// How much exploring pays off.
#[derive(Debug, Default)]
pub(crate) struct Explorer {
    fruitless: u32,
    for_floodfills: bool,
}

impl Explorer {
    /// An exploration named so many unknown routers.
    pub(crate) fn note(&mut self, news: usize) {
        self.fruitless = if news > 0 { 0 } else { (self.fruitless + 1).min(MAX_DOUBLINGS) };
    }

    /// The pause until the next one.
    fn pause(&self, routers: usize, strangers: bool, uptime: Duration, rng: &mut Rng) -> Duration {
        let secs = Duration::from_secs;
        let pause = if routers < HURRY_ROUTERS && uptime < HURRY_TIME {
            rng.duration(secs(8), secs(16))
        } else if routers < MANY_ROUTERS {
            rng.duration(secs(28), secs(55))
        } else {
            rng.duration(secs(55), secs(225))
        };
        // Whatever a reply names, there is somebody to be met.
        pause * if strangers { 2 } else { 1 << self.fruitless }
    }
}

impl NetDb {
    pub(crate) fn on_explore_timer(&mut self, cx: &mut Cx<'_>) {
        let routers = self.routers.len();
        let hidden = self.local.as_ref().is_some_and(|info| info.caps().hidden);
        if routers < config::EXPLORE_ENOUGH && self.routers.floodfills() > 0 && !hidden {
            let key = SearchKey::explore(cx.rng.bytes().into());
            self.stats.explorations += 1;
            let few = self.routers.floodfills() < MANY_FLOODFILLS;
            self.explorer.for_floodfills = few && !self.explorer.for_floodfills;
            let for_floodfills = self.explorer.for_floodfills;
            if let Some(search) = self.start_search(key, config::EXPLORE_SEARCH_TIME, cx) {
                search.for_floodfills = for_floodfills;
            }
        }
        let uptime = self.started.map_or(Duration::ZERO, |start| cx.now.mono.since(start));
        let strangers = self.routers.has_enough_newcomers() && self.routers.has_strangers(cx.now.mono);
        let pause = self.explorer.pause(routers, strangers, uptime, cx.rng);
        self.timers.set(Timer::Explore, cx.now.mono + pause);
    }
}
