//! One iterative search: which floodfills were asked, and which is next.
//!
//! ```text
//!            ask ──► silence ──► next floodfill (a late answer still counts)
//!  closest ─►    ──► not here ─► next floodfill, and fetch those it names
//!                ──► found
//! nobody left ─► silent ones again ─► wait a little ─► not found
//! ```

use std::collections::{BTreeMap, BTreeSet};

use aioli_core::{Date, Instant};
use aioli_wire::{Hash, RouterHash};

use crate::config;
use crate::routers::RouterStore;
use crate::routing::RoutingKey;
use crate::{LookupId, View};

/// What a search seeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// The RouterInfo of the key.
    Router,
    /// The LeaseSet of the key.
    LeaseSet,
    /// Routers near the key.
    Explore,
}

/// Names a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SearchKey {
    pub(crate) view: View,
    pub(crate) what: What,
    pub(crate) key: Hash,
}

impl SearchKey {
    pub(crate) const fn router(key: Hash) -> Self {
        Self { view: View::Router, what: What::Router, key }
    }

    pub(crate) const fn lease_set(view: View, key: Hash) -> Self {
        Self { view, what: What::LeaseSet, key }
    }

    pub(crate) const fn explore(key: Hash) -> Self {
        Self { view: View::Router, what: What::Explore, key }
    }
}

/// What became of asking one floodfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No answer yet, and time left.
    Waiting,
    /// It has nothing.
    NotHere,
    /// No answer in time.
    Silent,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) outcome: Outcome,
    pub(crate) times: u8,
}

/// What a search does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Asks this floodfill.
    Ask(RouterHash),
    /// Looks again at this time.
    Wait(Instant),
    /// Gives up.
    Fail,
}

/// One search.
#[derive(Debug)]
pub(crate) struct Search {
    /// Callers who wait for a LeaseSet.
    pub(crate) waiters: Vec<LookupId>,
    /// A caller waits for the router.
    pub(crate) wanted: bool,
    /// On behalf of a client: only through tunnels, and the result is not served.
    pub(crate) secret: bool,
    /// An exploration that looks for floodfills rather than for others.
    pub(crate) for_floodfills: bool,
    /// Who named the router, and so probably knows it.
    pub(crate) hint: Option<RouterHash>,
    /// The same, to tell whether it lied.
    pub(crate) named_by: Option<RouterHash>,
    /// Nobody asked for it but a reply's naming it: few queries, and what they name is not fetched, or
    /// one liar who names phantoms would keep us asking for ever more of them.
    pub(crate) derived: bool,
    pub(crate) began: Instant,
    pub(crate) deadline: Instant,
    pub(crate) asked: BTreeMap<RouterHash, Asked>,
    /// Who is being asked, and until when we wait.
    pub(crate) current: Option<RouterHash>,
    pub(crate) current_direct: bool,
    pub(crate) queries: u8,
    pub(crate) last_query: Option<Instant>,
    /// Routers that replies named and that we are fetching.
    pub(crate) fetching: BTreeSet<RouterHash>,
    pub(crate) fetches: usize,
    /// Whom replies named: who is closer knows better who is there.
    pub(crate) named: BTreeSet<RouterHash>,
}

impl Search {
    pub(crate) const fn new(began: Instant, deadline: Instant) -> Self {
        Self {
            waiters: Vec::new(),
            wanted: false,
            secret: false,
            for_floodfills: false,
            hint: None,
            derived: false,
            began,
            named_by: None,
            deadline,
            asked: BTreeMap::new(),
            current: None,
            current_direct: false,
            queries: 0,
            last_query: None,
            fetching: BTreeSet::new(),
            fetches: 0,
            named: BTreeSet::new(),
        }
    }

    /// What to do now that nobody is being asked. `own` is our own hash if we
    /// are a floodfill and may ask ourselves through tunnels.
    pub(crate) fn next_step(
        &self,
        key: &SearchKey,
        routers: &RouterStore,
        own: Option<RouterHash>,
        now: (Instant, Date),
    ) -> Step {
        let (mono, wall) = now;
        if mono >= self.deadline {
            return Step::Fail;
        }
        let max = match key.what {
            What::Explore => 2,
            What::Router | What::LeaseSet if self.derived => config::MAX_DERIVED_QUERIES,
            What::Router | What::LeaseSet => config::MAX_QUERIES,
        };
        let near = RoutingKey::of(&key.key, wall);
        let target = RouterHash::from(key.key);
        let fresh = |h: &RouterHash| !self.asked.contains_key(h) && *h != target;
        if self.queries < max {
            if let Some(hint) = self.hint.filter(|h| fresh(h) && routers.get(h).is_some()) {
                return Step::Ask(hint);
            }
            if let Some(next) = self.next_floodfill(key.what, &near, routers, mono, fresh) {
                return Step::Ask(next);
            }
        }
        let since = self.last_query.map(|at| mono.since(at));
        if !self.fetching.is_empty() && since.is_some_and(|s| s < config::FETCH_PATIENCE) {
            return Step::Wait((mono + config::RETRY_PATH).min(self.deadline));
        }
        if let Some(own) = own.filter(|own| self.asked.is_empty() && fresh(own)) {
            return Step::Ask(own);
        }
        if self.asked.is_empty() {
            return Step::Wait((mono + config::RETRY_PATH).min(self.deadline));
        }
        self.ask_again(max, mono)
    }

    /// Who is asked next of those that were not yet.
    fn next_floodfill(
        &self,
        what: What,
        near: &RoutingKey,
        routers: &RouterStore,
        now: Instant,
        fresh: impl Fn(&RouterHash) -> bool,
    ) -> Option<RouterHash> {
        let mut next = routers.floodfill_for(near, now, &fresh);
        let closer = |than: Option<RouterHash>, other: &RouterHash| {
            than.is_none_or(|than| near.distance(other) < near.distance(&than))
        };
        let named = routers.floodfill_of(&self.named, near, now, &fresh);
        if named.is_some_and(|named| closer(next.filter(|next| routers.is_met(next)), &named)) {
            next = named;
        }
        let stranger = match what {
            // What it explores is its business alone: here strangers are met.
            What::Explore if self.queries == 0 => routers.stranger_for(near, now, &fresh),
            What::LeaseSet if (self.queries + 1).is_multiple_of(config::STRANGER_ONE_IN) => {
                routers.stranger_for(near, now, &fresh).filter(|h| closer(next, h))
            }
            What::Explore | What::LeaseSet | What::Router => None,
        };
        let denied = self.asked.values().filter(|asked| asked.outcome == Outcome::NotHere).count();
        let enough = what == What::Router && denied >= config::ENOUGH_DENIALS;
        stranger.or_else(|| next.filter(|next| !enough || routers.is_met(next)))
    }

    /// Nobody new is left.
    fn ask_again(&self, max: u8, now: Instant) -> Step {
        let silent = || self.asked.iter().filter(|(_, asked)| asked.outcome == Outcome::Silent);
        let again =
            silent().filter(|(_, asked)| asked.times < config::MAX_ASKED_AGAIN).min_by_key(|(_, a)| a.times);
        if let Some((router, _)) = again
            && self.queries < max
        {
            return Step::Ask(*router);
        }
        match self.last_query.map(|at| (at + config::LINGER).min(self.deadline)) {
            Some(end) if end > now && (silent().next().is_some() || !self.fetching.is_empty()) => {
                Step::Wait(end)
            }
            _ => Step::Fail,
        }
    }

    /// Notes that `router` is asked now.
    pub(crate) fn ask(&mut self, router: RouterHash, direct: bool, now: Instant) {
        let asked = self.asked.entry(router).or_insert(Asked { outcome: Outcome::Waiting, times: 0 });
        asked.outcome = Outcome::Waiting;
        asked.times = asked.times.saturating_add(1);
        self.current = Some(router);
        self.current_direct = direct;
        self.queries = self.queries.saturating_add(1);
        self.last_query = Some(now);
    }

    /// The router that was being asked has kept silent.
    pub(crate) fn time_out(&mut self) -> Option<RouterHash> {
        let router = self.current.take()?;
        if let Some(asked) = self.asked.get_mut(&router) {
            asked.outcome = Outcome::Silent;
        }
        Some(router)
    }

    /// Whether `router` was asked and had not answered yet; now it has nothing.
    pub(crate) fn not_here(&mut self, router: &RouterHash) -> bool {
        let Some(asked) = self.asked.get_mut(router).filter(|a| a.outcome != Outcome::NotHere) else {
            return false;
        };
        asked.outcome = Outcome::NotHere;
        if self.current == Some(*router) {
            self.current = None;
        }
        true
    }

    /// A reply named this router.
    pub(crate) fn note_named(&mut self, router: RouterHash) {
        if self.named.len() < config::MAX_NAMED {
            self.named.insert(router);
        }
    }

    /// Whether anyone has said that there is nothing.
    pub(crate) fn was_denied(&self) -> bool {
        self.asked.values().any(|a| a.outcome == Outcome::NotHere)
    }
}
