//! What happens to a router besides the network: it is stopped, sleeps, gets
//! another address or another time, and remembers what it has learned.

use std::net::SocketAddr;

use aioli_core::{Date, Duration, Instant, Now};
use aioli_tunnel::{Acceptance, PoolId};
use aioli_wire::ntcp2::TerminationReason;

use crate::event::Event;
use crate::profiles::StoredProfile;
use crate::reach::Presumed;
use crate::router::{Output, Router, StoreWrite, Timer, cx, transients_key};

/// A driver that has not called for this long was asleep: something is due every ten seconds.
/// Peers may have given sessions up by then, and a NAT in between has.
pub(crate) const ASLEEP: Duration = Duration::from_secs(60);
/// A wall clock that moves this much against the monotonic one was set.
const STEP_MS: u64 = 2_000;
/// One that jumps this far may be that of a copy which was woken up elsewhere.
const FAR_STEP_MS: u64 = 60_000;
/// Profiles are stored this often.
pub(crate) const STORE_PROFILES_EVERY: Duration = Duration::from_secs(600);
/// Our addresses change no more often than this; a later change waits.
const ADDRESSES_EVERY: Duration = Duration::from_secs(60);
/// Peers that a start with profiles connects to at once.
const FIRST_PEERS: usize = 4;

impl Router {
    /// Takes what an earlier start has learned of other routers. Gives how much of it was of use.
    pub fn load_profiles(&mut self, stored: &[StoredProfile], now: Now) -> usize {
        self.enter(now);
        self.profiles.restore(stored, self.now)
    }

    /// Connects at once to those that first tunnels begin with: our guards and, where there are few,
    /// those that served best of whom we have dialled before.
    pub(crate) fn greet_old_friends(&mut self) {
        let explicit = &self.config.explicit_peers;
        let (guards, few) = if explicit.is_empty() {
            (self.guards.of(&transients_key(&self.identity.signing)), self.profiles.best())
        } else {
            (explicit.iter().copied().collect(), Vec::new())
        };
        let others = few.into_iter().filter(|peer| !guards.contains(peer));
        let friends = guards.iter().copied().chain(others);
        let known: Vec<_> =
            friends.filter_map(|peer| self.netdb.router(&peer).cloned()).take(FIRST_PEERS).collect();
        for info in known {
            self.transport.connect(&info, &mut cx!(self));
        }
    }

    /// Stores what was learned of other routers.
    pub(crate) fn store_profiles(&mut self) {
        let profiles = self.profiles.stored(self.now);
        self.outputs.push_back(Output::Store(StoreWrite::Profiles(profiles)));
        self.timers.set(Timer::StoreProfiles, self.now.mono + STORE_PROFILES_EVERY);
    }

    /// Takes part in no further tunnels of others; everything else goes on. Nothing that is
    /// published tells of it.
    pub fn begin_drain(&mut self, now: Now) {
        self.enter(now);
        self.draining = true;
        self.tunnels.set_accepting(Acceptance::None);
    }

    /// How many tunnels of others run through us, and how long the last of them may last.
    pub const fn transit_left(&self, now: Now) -> (usize, Duration) {
        self.tunnels.transit_left(now.mono)
    }

    /// Ends sessions and says goodbye to peers.
    pub fn shut_down(&mut self, now: Now) {
        self.enter(now);
        self.shutting_down = true;
        self.tunnels.set_accepting(Acceptance::None);
        for session in self.sessions.ids() {
            self.destroy_session(session, now);
        }
        self.store_profiles();
        self.netdb.flush_records(now);
        self.store_guards();
        self.transport.shut_down(&mut cx!(self));
    }

    /// How much time has passed on each clock since the call before: a driver that was silent for
    /// long, or a wall clock that jumped, are dealt with before anything else is.
    pub(crate) fn on_time(&mut self, before: Now) {
        let gap = self.now.mono.since(before.mono);
        let step = millis(self.now.wall) - millis(before.wall) - i64::try_from(gap.as_millis()).unwrap_or(0);
        let stepped = step.unsigned_abs() >= STEP_MS;
        if stepped {
            self.outputs.push_back(Output::Event(Event::ClockSet { seconds: step / 1_000 }));
            self.tunnels.handle_clock_step(step);
            self.netdb.handle_clock_step();
        }
        if gap >= ASLEEP || step.unsigned_abs() >= FAR_STEP_MS {
            self.resumed(gap.max(Duration::from_millis(step.unsigned_abs())));
        } else if stepped {
            self.renew_own_info();
        }
    }

    /// The computer has slept: sessions are begun anew, tunnels that are over go, the others are
    /// tested, and everyone is told that we are there.
    fn resumed(&mut self, gap: Duration) {
        self.resumed_at = self.now.mono;
        self.outputs.push_back(Output::Event(Event::Resumed { gap }));
        self.transport.close_all(TerminationReason::Normal, &mut cx!(self));
        self.netdb.resumed(self.now);
        self.expire();
        let pools: Vec<_> = self.sessions.pools().chain([PoolId::EXPLORATORY]).collect();
        for pool in pools {
            self.tunnels.suspect(pool, &cx!(self));
        }
        self.renew_own_info();
    }

    /// Publishes other addresses from now on, or, soon after another change, from soon on.
    pub fn set_published(&mut self, addresses: Vec<SocketAddr>, now: Now) {
        self.enter(now);
        if addresses == self.reaching.fixed {
            return;
        }
        self.reaching.fixed = addresses;
        self.on_addresses();
    }

    /// Others may reach us at other addresses from now on: what this machine and its gateways tell.
    pub fn set_presumed(&mut self, presumed: Presumed, now: Now) {
        self.enter(now);
        if self.reaching.presume(presumed) {
            self.on_addresses();
        }
    }

    fn on_addresses(&mut self) {
        self.transport.addresses_changed(self.now.mono);
        self.reaching.observer.moved();
        self.set_up_reach();
        self.review_reach();
        self.expire();
    }

    /// The machine's own addresses are others than before. Connections that were bound to one that is gone are to be
    /// closed after this.
    pub fn network_changed(&mut self, now: Now) {
        self.enter(now);
        self.reaching.uprooted = Some(now.mono);
        tracing::debug!("the addresses of this machine have changed");
        self.on_addresses();
    }

    pub(crate) fn publish_addresses(&mut self) {
        self.addresses_not_before = self.now.mono + ADDRESSES_EVERY;
        self.renew_own_info();
    }

    /// Whether something begun `took` ago was under way while the computer slept: what came of it
    /// says nothing of others.
    pub(crate) fn slept_through(&self, took: Duration) -> bool {
        self.resumed_at > Instant::ZERO && self.now.mono - took < self.resumed_at
    }

    /// Says how far the first tunnels are.
    pub(crate) fn tell_building(&mut self, inbound: usize, outbound: usize) {
        self.outputs.push_back(Output::Event(Event::Building {
            inbound: (inbound, usize::from(self.config.inbound.quantity)),
            outbound: (outbound, usize::from(self.config.outbound.quantity)),
        }));
    }
}

fn millis(date: Date) -> i64 {
    i64::try_from(date.as_millis()).unwrap_or(i64::MAX)
}
