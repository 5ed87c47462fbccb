//! Whether this router holds a part of the NetDB for others: never, always, or
//! by the rules (`network-database#floodfill-router-opt-in`).
//!
//! By the rules a router becomes a floodfill when all of this has held for a
//! while, and ceases to be one when something of it has not held for half an
//! hour; it changes its mind once in six hours at most:
//!
//! * others get at least 128 KB/s of it;
//! * it has run for two to four hours: which, is drawn, so that the moment
//!   does not tell when it was started;
//! * it can be reached, has enough sessions and knows enough routers;
//! * it is neither congested nor stopping, and its clock agrees with others'.

use aioli_core::{Duration, Instant, Rng};
use aioli_wire::Congestion;

use crate::event::Event;
use crate::own_info;
use crate::router::{Output, Router};

/// Whether to serve the NetDB to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FloodfillRole {
    /// Not at all.
    #[default]
    Never,
    /// From the start.
    Always,
    /// When the rules say so.
    Auto,
}

impl FloodfillRole {
    /// Whether a router of this role is a floodfill from the start.
    pub const fn is_always(self) -> bool {
        matches!(self, Self::Always)
    }
}

impl From<bool> for FloodfillRole {
    fn from(always: bool) -> Self {
        if always { Self::Always } else { Self::Never }
    }
}

const MIN_SHARED_KBYTES: u64 = 128;
const MIN_UPTIME: (Duration, Duration) = (Duration::from_secs(2 * 3_600), Duration::from_secs(4 * 3_600));
const MIN_BETWEEN_CHANGES: Duration = Duration::from_secs(6 * 3_600);
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Sessions, and known routers; in a private network a few are all.
const MIN_PEERS: (u64, u64) = (20, 90);
const MIN_PEERS_PRIVATE: (u64, u64) = (3, 3);

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) shared_kbytes: u64,
    pub(crate) reachable: bool,
    pub(crate) congestion: Congestion,
    pub(crate) clock_agrees: bool,
    pub(crate) sessions: u64,
    pub(crate) routers: u64,
}

/// The role, and what it depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    setting: FloodfillRole,
    floodfill: bool,
    min_peers: (u64, u64),
    /// Not before.
    from: Instant,
    /// The other role has been the right one since.
    other_since: Option<Instant>,
    /// No change before.
    settled_until: Instant,
}

impl Role {
    pub(crate) fn new(setting: FloodfillRole, private_network: bool, now: Instant, rng: &mut Rng) -> Self {
        Self {
            setting,
            floodfill: setting == FloodfillRole::Always,
            min_peers: if private_network { MIN_PEERS_PRIVATE } else { MIN_PEERS },
            from: now + rng.duration(MIN_UPTIME.0, MIN_UPTIME.1),
            other_since: None,
            settled_until: Instant::ZERO,
        }
    }

    pub(crate) const fn is_floodfill(&self) -> bool {
        self.floodfill
    }

    /// Looks at the state, once a minute or so; says whether the role has changed.
    pub(crate) fn look(&mut self, state: &State, now: Instant) -> bool {
        if self.setting != FloodfillRole::Auto || now < self.from {
            return false;
        }
        if self.is_fit(state) == self.floodfill {
            self.other_since = None;
            return false;
        }
        let since = *self.other_since.get_or_insert(now);
        if now.since(since) < PATIENCE || now < self.settled_until {
            return false;
        }
        self.floodfill = !self.floodfill;
        self.other_since = None;
        self.settled_until = now + MIN_BETWEEN_CHANGES;
        true
    }

    fn is_fit(&self, state: &State) -> bool {
        let congested = matches!(state.congestion, Congestion::High | Congestion::RejectingAll);
        state.shared_kbytes >= MIN_SHARED_KBYTES
            && state.reachable
            && !congested
            && state.clock_agrees
            && state.sessions >= self.min_peers.0
            && state.routers >= self.min_peers.1
    }
}

impl Router {
    /// Becomes a floodfill, or ceases to be one, if the rules say so.
    pub(crate) fn review_role(&mut self) {
        let now = self.now.mono;
        let state = State {
            shared_kbytes: own_info::shared_kbytes(self.governor.shared_kbytes()),
            reachable: !self.config.published.is_empty() && !self.config.hidden,
            congestion: self.tunnels.congestion(),
            clock_agrees: self.clock.is_settled(),
            sessions: self.transport.sessions() as u64,
            routers: self.netdb.router_count() as u64,
        };
        if !self.shutting_down && !self.draining && self.role.look(&state, now) {
            self.outputs.push_back(Output::Event(Event::Floodfill(self.role.is_floodfill())));
            self.renew_own_info();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: State = State {
        shared_kbytes: 200,
        reachable: true,
        congestion: Congestion::Medium,
        clock_agrees: true,
        sessions: 30,
        routers: 500,
    };

    fn at(minutes: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(minutes * 60)
    }

    /// The minutes at which the role changes in so many hours.
    fn changes(setting: FloodfillRole, hours: u64, state: impl Fn(u64) -> State) -> Vec<u64> {
        let mut role = Role::new(setting, false, at(0), &mut Rng::from_seed([5; 32]));
        (1..hours * 60).filter(|minute| role.look(&state(*minute), at(*minute))).collect()
    }

    #[test]
    fn the_fit_become_floodfills_after_hours_and_stay_so() {
        let changes = changes(FloodfillRole::Auto, 48, |_| FIT);
        assert!(matches!(changes[..], [at] if (150..=271).contains(&at)), "{changes:?}");
    }

    #[test]
    fn every_rule_counts() {
        let unfit = [
            State { shared_kbytes: 127, ..FIT },
            State { reachable: false, ..FIT },
            State { congestion: Congestion::High, ..FIT },
            State { clock_agrees: false, ..FIT },
            State { sessions: 19, ..FIT },
            State { routers: 89, ..FIT },
        ];
        for state in unfit {
            assert_eq!(changes(FloodfillRole::Auto, 24, |_| state), Vec::<u64>::new(), "{state:?}");
        }
        assert_eq!(changes(FloodfillRole::Never, 24, |_| FIT), Vec::<u64>::new());
        assert_eq!(changes(FloodfillRole::Always, 24, |_| unfit[0]), Vec::<u64>::new());
    }

    #[test]
    fn the_mind_changes_rarely_and_not_for_a_moment() {
        // Congested for 20 minutes of each hour: no reason to change.
        let moments = |minute: u64| State {
            congestion: if minute % 60 < 20 { Congestion::High } else { Congestion::None },
            ..FIT
        };
        assert_eq!(changes(FloodfillRole::Auto, 24, moments).len(), 1);
        // Unreachable every other hour.
        let hours = |minute: u64| State { reachable: (minute / 60).is_multiple_of(2), ..FIT };
        let changes = changes(FloodfillRole::Auto, 72, hours);
        assert!(changes.len() >= 2, "{changes:?}");
        assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= 360), "{changes:?}");
    }
}
