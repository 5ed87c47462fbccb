//! The router's part in finding out whether others reach it: tests are asked for, introducers sought, and what
//! follows is published. What is concluded from what is in [`crate::reachability`].

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aioli_core::{Duration, Instant};
use aioli_transport::ssu2::{Family, TestOutcome};
use aioli_wire::ip::is_public;
use aioli_wire::ssu2::Ssu2Address;
use aioli_wire::{RouterHash, RouterInfo, Verified};

use crate::event::Event;
use crate::introducers::Introducers;
use crate::own_info::Serves;
use crate::reachability::{Observer, Publish, Setup};
use crate::router::{Output, Router, Timer, cx};

/// It is looked at this often while something is to be found out, or introducers are wanted.
pub(crate) const SOON: Duration = Duration::from_secs(4);
/// And so soon when a test was refused.
const AT_ONCE: Duration = Duration::from_secs(1);
/// And this often otherwise.
const LATER: Duration = Duration::from_secs(30);
/// Sessions over SSU2, in a family, that are enough to be seen and tested.
const ENOUGH_SESSIONS: usize = 4;
/// Those asked last for a test are not asked again.
const ASKED_LAST: usize = 6;
/// A lost session is begun anew no more often than this,
const RECONNECT: Duration = Duration::from_secs(10);
/// and so many are remembered.
const RECONNECTED: usize = 64;
/// So long after the first session nobody who has just been met is asked over UDP as well: an i2pd that knew us before we
/// started again holds on to its old session of SSU2, and sends into that, if a second one is begun beside NTCP2.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Connections that are lost so soon after a change of our addresses are lost by it.
const UPROOTED: Duration = Duration::from_secs(2);
/// So many connections that break within this make our address doubtful.
const BROKEN: usize = 3;
const BROKEN_WITHIN: Duration = Duration::from_secs(30);
/// Routers looked at for another session.
const LOOKED_AT: usize = 64;

/// Where others may reach us, as far as this machine and its gateways tell: addresses of interfaces, and those that
/// port mappings lead from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presumed {
    /// Over UDP: to be tested.
    pub udp: Vec<SocketAddr>,
    /// Over TCP. It differs when a gateway gave each another port.
    pub tcp: Vec<SocketAddr>,
}

impl Presumed {
    /// Where NTCP2 is reached if SSU2 is at `udp`, and NTCP2 at another port.
    fn tcp_beside(&self, udp: SocketAddr) -> Option<SocketAddr> {
        let mapped = self.udp.contains(&udp) && !self.tcp.contains(&udp);
        self.tcp.iter().find(|tcp| mapped && tcp.ip() == udp.ip()).copied()
    }
}

/// What a router knows of how others reach it.
#[derive(Debug)]
pub(crate) struct Reaching {
    pub(crate) observer: Observer,
    introducers: [Introducers; 2],
    /// Addresses that we were told to publish.
    pub(crate) fixed: Vec<SocketAddr>,
    /// Addresses at which others may reach us.
    presumed: Presumed,
    /// Whose sessions over NTCP2 were begun anew, of late.
    reconnected: VecDeque<(Instant, RouterHash)>,
    /// When there was a first session.
    began: Option<Instant>,
    /// When this machine's addresses last changed.
    pub(crate) uprooted: Option<Instant>,
    /// When connections broke, the last of them.
    broken: VecDeque<Instant>,
    /// What is published of introductions.
    pub(crate) serves: Serves,
    asked: VecDeque<RouterHash>,
}

impl Reaching {
    pub(crate) fn new(fixed: Vec<SocketAddr>, ssu2: bool) -> Self {
        let introduces = Family::ALL.map(|f| ssu2 && fixed.iter().any(|at| Family::of(&at.ip()) == f));
        Self {
            observer: Observer::default(),
            introducers: <[Introducers; 2]>::default(),
            serves: Serves { introduces, ..Serves::default() },
            fixed,
            presumed: Presumed::default(),
            reconnected: VecDeque::new(),
            began: None,
            uprooted: None,
            broken: VecDeque::new(),
            asked: VecDeque::new(),
        }
    }

    /// Takes over what is presumed. False if nothing is new.
    pub(crate) fn presume(&mut self, presumed: Presumed) -> bool {
        let new = self.presumed != presumed;
        self.presumed = presumed;
        new
    }
}

/// What a router says of its SSU2 in a family, if it can be dialled there.
fn listens(info: &RouterInfo, family: Family) -> Option<Ssu2Address> {
    info.ssu2().find(|a| a.host.is_some_and(|host| Family::of(&host.ip()) == family))
}

impl Router {
    /// Takes over the settings.
    pub(crate) fn set_up_reach(&mut self) {
        for family in Family::ALL {
            let of_family = |at: &&SocketAddr| Family::of(&at.ip()) == family;
            let fixed = self.reaching.fixed.iter().find(of_family).copied();
            let presumed = self.reaching.presumed.udp.iter().find(of_family).copied();
            let known = fixed.or(presumed).map_or(0, |at| at.port());
            let port = if self.config.port == 0 { known } else { self.config.port };
            let (on, hidden) = (self.config.ssu2, self.config.hidden);
            let setup = Setup { on, hidden, port, fixed, presumed };
            self.reaching.observer.set_up(family, setup, self.now.mono);
        }
        self.want_tags();
    }

    /// Some give a tag only when a session begins: it is asked for from the first dial on, while nobody knows whether it
    /// will be needed, and even where there are enough, for they may go.
    fn want_tags(&mut self) {
        let on = self.config.ssu2 && !self.config.hidden;
        let [ipv4, ipv6] =
            Family::ALL.map(|family| on && self.reaching.observer.may_want_introducers(family));
        self.transport.want_tags(ipv4, ipv6);
    }

    pub(crate) fn on_seen(&mut self, by: IpAddr, address: SocketAddr) {
        if self.config.private_network || is_public(address.ip()) {
            self.reaching.observer.on_seen(by, address, self.now.mono);
        }
    }

    pub(crate) fn on_visitor(&mut self, from: IpAddr) {
        self.reaching.observer.on_visitor(from, self.now.mono);
    }

    pub(crate) fn on_tested(&mut self, by: Option<IpAddr>, address: SocketAddr, outcome: TestOutcome) {
        tracing::debug!("a test of {address}: {outcome:?}");
        self.reaching.observer.on_tested(by, address, outcome, self.now.mono);
        self.timers.set_earlier(Timer::Reach, self.now.mono);
    }

    /// A router with which there is a session over NTCP2 does not answer over SSU2. If others do, it is its own affair.
    pub(crate) fn on_silent(&mut self, at: IpAddr) {
        let family = Family::of(&at);
        if self.transport.ssu2_peers().iter().all(|(_, peer)| Family::of(&peer.ip()) != family) {
            tracing::debug!("the router at {at}, which is there over TCP, does not answer over UDP");
            self.reaching.observer.on_silent(at, self.now.mono);
            self.timers.set_earlier(Timer::Reach, self.now.mono);
        }
    }

    /// There is a session. While nobody has answered over UDP it is asked why: who is there over TCP can show it.
    pub(crate) fn on_peer(&mut self) {
        let (began, now) = (*self.reaching.began.get_or_insert(self.now.mono), self.now.mono);
        if now.since(began) >= UNANSWERED && self.reaching.observer.is_unanswered(Family::V4) {
            self.timers.set_earlier(Timer::Reach, now);
        }
    }

    /// A session over NTCP2 is lost. Who is next to us in our tunnels may go on sending into it: it is begun anew. If it
    /// was we who moved, so is everybody: others' tunnels lead through us.
    pub(crate) fn on_lost(&mut self, peer: RouterHash) {
        let now = self.now.mono;
        self.note_broken();
        let lately = |(at, who): &(Instant, RouterHash)| *who == peer && now.since(*at) < RECONNECT;
        let we_moved = self.reaching.uprooted.is_some_and(|at| now.since(at) < UPROOTED);
        if self.shutting_down
            || !(we_moved || self.tunnels.is_next_to_us(&peer))
            || self.reaching.reconnected.iter().any(lately)
        {
            return;
        }
        if self.reaching.reconnected.len() >= RECONNECTED {
            self.reaching.reconnected.pop_front();
        }
        self.reaching.reconnected.push_back((now, peer));
        tracing::debug!("the session with {peer:?}, who is next to us in tunnels, is lost: begun anew");
        if let Some(info) = self.netdb.router(&peer).map(Arc::clone) {
            self.transport.reconnect_ntcp2(&info, &mut cx!(self));
        }
    }

    /// When a gateway gets another address the connections through it break, and nothing else shows it.
    fn note_broken(&mut self) {
        let (now, broken) = (self.now.mono, &mut self.reaching.broken);
        broken.push_back(now);
        while broken.front().is_some_and(|at| now.since(*at) > BROKEN_WITHIN) {
            broken.pop_front();
        }
        if broken.len() >= BROKEN {
            broken.clear();
            self.reaching.observer.doubt();
            self.timers.set_earlier(Timer::Reach, now);
        }
    }

    /// Somebody sends into a session over SSU2 that ended when this router last did: if a router publishes that
    /// address, a new one is begun.
    pub(crate) fn on_stray(&mut self, from: SocketAddr) {
        if self.shutting_down {
            return;
        }
        // All known routers are looked at, so the cheap question comes first.
        let is_there = |info: &&Arc<Verified<RouterInfo>>| {
            info.addresses.iter().any(|a| a.endpoint() == Some(from) && Ssu2Address::parse(a).is_some())
        };
        let Some(info) = self.netdb.routers().find(is_there).map(Arc::clone) else { return };
        if !self.refuses(&info) {
            self.transport.connect_ssu2(&info, &mut cx!(self));
        }
    }

    pub(crate) fn on_relay_tag(&mut self, by: RouterHash, at: SocketAddr, tag: u32) {
        self.reaching.introducers[Family::of(&at.ip()) as usize].offered(by, at, tag, self.now.mono);
        self.timers.set_earlier(Timer::Reach, self.now.mono);
    }

    /// The transport wants to know who a router is.
    pub(crate) fn tell_transport(&mut self, router: &RouterHash) {
        if let Some(info) = self.netdb.router(router).map(Arc::clone) {
            self.transport.learn(info, &mut cx!(self));
        }
    }

    /// Somebody can only be reached through one of these.
    pub(crate) fn bring_introducers(&mut self, routers: &[RouterHash]) {
        for router in routers {
            match self.netdb.router(router).map(Arc::clone) {
                Some(info) if !self.refuses(&info) => self.transport.connect_ssu2(&info, &mut cx!(self)),
                Some(_) => {}
                None => self.with_paths(|netdb, cx, _| netdb.find_router(router, cx)),
            }
        }
    }

    /// Asks for tests and introducers that are due, and publishes what has changed.
    pub(crate) fn review_reach(&mut self) {
        let now = self.now.mono;
        self.reaching.observer.judge(now);
        let mut again = now + LATER;
        if self.config.ssu2 && !self.config.hidden && !self.draining && !self.shutting_down {
            for family in Family::ALL {
                if self.seek_out(family) {
                    again = again.min(now + SOON);
                }
                if self.reaching.observer.was_refused(family) {
                    again = again.min(now + AT_ONCE);
                }
            }
            self.want_tags();
            let [ipv4, ipv6] = Family::ALL.map(|family| self.reaching.observer.outside(family));
            self.transport.set_external(ipv4, ipv6);
        }
        self.publish_reach();
        for told in self.reaching.observer.news() {
            self.outputs.push_back(Output::Event(Event::Reachability(told)));
        }
        self.timers.set(Timer::Reach, again);
    }

    /// Sees to the tests and introducers of a family. Whether something is missing.
    fn seek_out(&mut self, family: Family) -> bool {
        let now = self.now.mono;
        let peers = self.transport.ssu2_peers();
        let peers: Vec<_> = peers.into_iter().filter(|(_, at)| Family::of(&at.ip()) == family).collect();
        if let Some(address) = self.reaching.observer.wants_test(family, now)
            && let Some(bob) = self.choose_bob(family, &peers)
            && self.transport.test_reachability(&bob, address, &mut cx!(self))
        {
            self.reaching.observer.on_asked(family, now);
            self.reaching.asked.push_back(bob);
            if self.reaching.asked.len() > ASKED_LAST {
                self.reaching.asked.pop_front();
            }
        }
        let closed = self.reaching.observer.wants_introducers(family);
        let introducers = &mut self.reaching.introducers[family as usize];
        introducers.keep(|router| closed && self.transport.tag_at(router).is_some());
        for (router, at) in peers.iter().filter(|_| closed) {
            if !introducers.knows(router)
                && let Some(tag) = self.transport.tag_at(router)
            {
                introducers.offered(*router, *at, tag, now);
            }
        }
        let renew = introducers.to_renew(now);
        let wants = closed && introducers.wants_more();
        for bob in &renew {
            self.transport.request_tag(bob, &mut cx!(self));
        }
        let spoken = family == Family::V4 || !peers.is_empty();
        let testing = spoken && self.reaching.observer.is_unjudged(family);
        let unseen = spoken && self.reaching.observer.wants_witnesses(family);
        if (testing && peers.len() < ENOUGH_SESSIONS) || unseen || wants {
            self.meet_another(family, wants, &peers);
        }
        testing || wants || unseen
    }

    /// One of these to ask for a test: not one of those asked last, if there is a choice.
    fn choose_bob(&mut self, family: Family, peers: &[(RouterHash, SocketAddr)]) -> Option<RouterHash> {
        let tests = |router: &RouterHash| {
            let info = self.netdb.router(router);
            info.and_then(|info| listens(info, family)).is_some_and(|a| a.peer_test)
        };
        let bobs = peers.iter().map(|(router, _)| *router).filter(tests).collect::<Vec<_>>();
        let fresh = bobs.iter().filter(|b| !self.reaching.asked.contains(b)).copied().collect::<Vec<_>>();
        self.rng.choose(if fresh.is_empty() { &bobs } else { &fresh }).copied()
    }

    /// Begins a session over SSU2 with another router, one that introduces others if so, or asks one that we have.
    fn meet_another(&mut self, family: Family, introducer: bool, peers: &[(RouterHash, SocketAddr)]) {
        let fits = |info: &Verified<RouterInfo>| {
            listens(info, family).is_some_and(|a| if introducer { a.introduces } else { a.peer_test })
        };
        if introducer {
            let asks = peers.iter().map(|(router, _)| *router).filter(|router| {
                self.transport.tag_at(router).is_none() && self.netdb.router(router).is_some_and(|i| fits(i))
            });
            let asks = asks.collect::<Vec<_>>();
            if let Some(bob) = self.rng.choose(&asks).copied() {
                self.transport.request_tag(&bob, &mut cx!(self));
            }
        }
        let known = self.netdb.router_count();
        let start = self.rng.up_to(known.saturating_sub(1) as u64) as usize;
        let round = self.netdb.routers().skip(start).chain(self.netdb.routers()).take(known.min(LOOKED_AT));
        // While nobody answers over UDP, those who are there over TCP show why.
        let silent = peers.is_empty() && self.transport.sessions() > 0;
        let is_new = |info: &RouterInfo| {
            let hash = info.hash();
            let backed_off = self.transport.is_silent(&hash, self.now.mono);
            !peers.iter().any(|(peer, _)| *peer == hash)
                && !self.transport.is_dialled(&hash)
                && (!silent || (self.transport.is_connected(&hash) && !backed_off))
        };
        let found = round.filter(|info| is_new(info)).find(|info| fits(info)).map(Arc::clone);
        if let Some(info) = found.filter(|info| !self.refuses(info)) {
            self.transport.connect_ssu2(&info, &mut cx!(self));
        }
    }

    /// Signs a new RouterInfo if other addresses or introducers are to be published.
    fn publish_reach(&mut self) {
        let mut published = self.reaching.fixed.clone();
        let mut serves = Serves::default();
        let mut due = false;
        if !self.config.ssu2 && published.is_empty() {
            // Nobody tests what TCP lets through.
            published.clone_from(&self.reaching.presumed.tcp);
        }
        for family in Family::ALL {
            let introducers = &mut self.reaching.introducers[family as usize];
            match self.reaching.observer.publish(family) {
                Publish::Host { at, introduces } => {
                    if !published.iter().any(|p| Family::of(&p.ip()) == family) {
                        published.push(at);
                        serves.ntcp2[family as usize] = self.reaching.presumed.tcp_beside(at);
                    }
                    serves.introduces[family as usize] = introduces;
                    introducers.clear();
                }
                Publish::NoHost { introducers: true } => {
                    if introducers.is_due(self.now) {
                        serves.introducers[family as usize] = introducers.publish(self.now).to_vec();
                        due = true;
                    } else {
                        serves.introducers[family as usize] = introducers.published().to_vec();
                    }
                }
                Publish::NoHost { introducers: false } | Publish::Nothing => introducers.clear(),
            }
        }
        let moved = published != self.config.published;
        if moved {
            self.config.published.clone_from(&published);
            self.outputs.push_back(Output::Event(Event::Addresses(published)));
        }
        if moved || due || serves != self.reaching.serves {
            self.reaching.serves = serves;
            let at = self.addresses_not_before.max(self.now.mono);
            self.timers.set_earlier(Timer::Addresses, at);
        }
    }
}

#[cfg(test)]
mod tests;
