//! Routers that speak SSU2 alone, some behind a NAT, under virtual time: each finds out how it stands.

use std::collections::BTreeMap;

use aioli_core::{Date, Instant, Now, Rng};

use super::*;
use crate::reachability::{Reachability, Told};
use crate::{Config, Identity};

/// One way through the network.
const DELAY: Duration = Duration::from_millis(30);
/// A way through a NAT that nothing went for so long is closed.
const LIFE: Duration = Duration::from_secs(60);

/// How a NAT lets packets in and names them; a machine without one lets all in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nat {
    None,
    /// Only from where something was sent to.
    PortRestricted,
    /// Whatever comes to a port that is in use.
    FullCone,
    /// Another port for each other end.
    Symmetric,
}

struct Host {
    router: Router,
    outside: SocketAddr,
    nat: Nat,
    /// Whom something was sent to from which port, and when.
    open: BTreeMap<(SocketAddr, u16), Instant>,
    ports: BTreeMap<SocketAddr, u16>,
    told: Vec<Told>,
}

impl Host {
    fn outward(&mut self, to: SocketAddr, now: Instant) -> SocketAddr {
        let next = 20_000 + self.ports.len() as u16;
        let port = if self.nat == Nat::Symmetric {
            *self.ports.entry(to).or_insert(next)
        } else {
            self.outside.port()
        };
        self.open.insert((to, port), now);
        SocketAddr::new(self.outside.ip(), port)
    }

    fn lets_in(&self, from: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        if to.ip() != self.outside.ip() {
            return false;
        }
        let alive = |at: &Instant| now.since(*at) < LIFE;
        match self.nat {
            Nat::None => to == self.outside,
            Nat::FullCone => to == self.outside && self.open.values().any(alive),
            Nat::PortRestricted | Nat::Symmetric => self.open.get(&(from, to.port())).is_some_and(alive),
        }
    }
}

/// The routers, and datagrams on their way: when, from, to.
struct Net {
    hosts: Vec<Host>,
    now: Instant,
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
}

impl Net {
    /// Routers behind these, each in a /16 of its own. All know of those without a NAT.
    fn new(nats: &[Nat]) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1_000);
        let mut rng = Rng::from_seed([9; 32]);
        let hosts = nats.iter().enumerate().map(|(n, nat)| {
            let outside = SocketAddr::from(([20 + n as u8, 40, 1, 2], 9_000 + n as u16));
            let published = if *nat == Nat::None { vec![outside] } else { Vec::new() };
            let config =
                Config { ntcp2: false, ssu2: true, port: outside.port(), published, ..Config::default() };
            let router = Router::new(config, Identity::generate(&mut rng), rng.bytes(), clock(now));
            let (open, ports, told) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
            Host { router, outside, nat: *nat, open, ports, told }
        });
        let mut net = Self { hosts: hosts.collect(), now, flying: BTreeMap::new(), sent: 0 };
        for n in 0..nats.len() {
            for (other, nat) in nats.iter().enumerate() {
                if other != n && *nat == Nat::None {
                    net.introduce(n, other);
                }
            }
        }
        for n in 0..nats.len() {
            net.hosts[n].router.start(clock(now));
            net.drain(n);
        }
        net
    }

    /// Router `n` gets to know router `other`.
    fn introduce(&mut self, n: usize, other: usize) {
        let bytes = self.hosts[other].router.router_info().bytes().to_vec();
        self.hosts[n].router.load_router_info(&bytes, clock(self.now)).unwrap();
    }

    fn drain(&mut self, n: usize) {
        let mut bytes = Vec::new();
        loop {
            while let Some(output) = self.hosts[n].router.poll_output() {
                if let Output::Event(Event::Reachability(told)) = output {
                    self.hosts[n].told.push(told);
                }
            }
            bytes.clear();
            let Some(batch) = self.hosts[n].router.poll_datagrams(&mut bytes, 1, clock(self.now)) else {
                break;
            };
            let from = self.hosts[n].outward(batch.to, self.now);
            self.sent += 1;
            self.flying.insert((self.now + DELAY, self.sent), (from, batch.to, bytes.clone()));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timers =
                self.hosts.iter().enumerate().filter_map(|(n, h)| Some((h.router.next_timeout()?, n)));
            let timer = timers.min();
            let next = arrival.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some((_, (from, to, mut bytes))) = self.flying.pop_first() else { return };
                let now = self.now;
                if let Some(n) = self.hosts.iter().position(|h| h.lets_in(from, to, now)) {
                    self.hosts[n].router.handle_datagram(from, &mut bytes, clock(now));
                    self.drain(n);
                }
            } else if let Some((_, n)) = timer {
                self.hosts[n].router.handle_timeout(clock(self.now));
                self.drain(n);
            }
        }
    }

    fn state(&self, n: usize) -> Reachability {
        self.hosts[n].router.reaching.observer.state(Family::V4)
    }
}

fn clock(now: Instant) -> Now {
    Now { mono: now, wall: Date::from_secs(1_780_000_000) + now.since(Instant::ZERO) }
}

#[test]
fn each_finds_out_how_it_stands_within_a_minute() {
    let mut nats = [Nat::None; 12].to_vec();
    nats.extend([Nat::PortRestricted, Nat::FullCone, Nat::Symmetric]);
    let mut net = Net::new(&nats);
    net.run(Duration::from_secs(60));
    assert_eq!(net.state(12), Reachability::Firewalled);
    assert_eq!(net.state(13), Reachability::Open);
    assert_eq!(net.state(14), Reachability::SymmetricNat);
    let last = |n: usize| net.hosts[n].told.last().map(ToString::to_string).unwrap_or_default();
    assert!(last(12).contains("let UDP and TCP port 9012 through"), "{}", last(12));
    assert_eq!(last(13), "IPv4: others reach this router at 33.40.1.2:9013");
    assert!(last(14).contains("symmetric NAT"), "{}", last(14));
    // And says so to others.
    net.run(Duration::from_secs(240));
    let of = |n: usize| net.hosts[n].router.router_info().ssu2().collect::<Vec<_>>();
    let open = of(13);
    assert_eq!((open.len(), open[0].host), (1, Some(net.hosts[13].outside)));
    assert!(open[0].peer_test && open[0].introduces);
    for n in [12, 14] {
        let [closed] = of(n).try_into().unwrap();
        assert_eq!((closed.host, closed.ipv4, closed.ipv6), (None, true, false));
        assert_eq!(closed.introducers.len(), 3, "{n}");
        assert!(closed.introducers.iter().all(|i| i.tag != 0 && i.expires.is_some()));
        assert!(net.hosts[n].router.router_info().caps().unreachable);
    }
}

#[test]
fn two_behind_nats_meet_through_an_introducer() {
    let mut nats = [Nat::None; 10].to_vec();
    nats.extend([Nat::PortRestricted, Nat::PortRestricted]);
    let (a, b) = (10, 11);
    let mut net = Net::new(&nats);
    net.run(Duration::from_secs(180));
    assert_eq!((net.state(a), net.state(b)), (Reachability::Firewalled, Reachability::Firewalled));
    net.introduce(a, b);
    let hash = net.hosts[b].router.hash();
    let info = Arc::clone(net.hosts[a].router.netdb.router(&hash).unwrap());
    let router = &mut net.hosts[a].router;
    router.transport.connect(&info, &mut cx!(router));
    router.handle_timeout(clock(net.now));
    net.drain(a);
    net.run(Duration::from_secs(10));
    let here = net.hosts[a].router.hash();
    let both = net.hosts[a].router.transport.is_connected(&hash)
        && net.hosts[b].router.transport.is_connected(&here);
    assert!(both, "{:?}", net.hosts[a].router.transport.ssu2_stats());
    // It can be a hop: whoever can ask an introducer gets to it.
    let far = crate::ways::Reach::of(&info, false);
    let public = crate::ways::Reach::of(net.hosts[0].router.router_info(), false);
    assert!(public.gets_to(&far) && far.gets_to(&public) && far.gets_to(&far));
}

#[test]
fn the_first_dials_ask_for_introducers() {
    // Some give a tag only when a session begins, and most sessions begin when a router starts.
    let mut nats = [Nat::None; 8].to_vec();
    nats.push(Nat::PortRestricted);
    let mut net = Net::new(&nats);
    net.run(SOON - Duration::from_millis(500));
    let transport = &net.hosts[8].router.transport;
    let peers = transport.ssu2_peers();
    assert!(!peers.is_empty());
    assert!(peers.iter().all(|(peer, _)| transport.tag_at(peer).is_some()), "{peers:?}");
}

#[test]
fn connections_that_break_together_make_it_ask_where_it_is() {
    let mut net = Net::new(&[Nat::PortRestricted]);
    let (outside, start) = (net.hosts[0].outside, net.now);
    let router = &mut net.hosts[0].router;
    for n in 40..43 {
        router.on_seen(IpAddr::from([n, 1, 2, 3]), outside);
        router.on_tested(Some(IpAddr::from([n, 1, 2, 3])), outside, TestOutcome::Firewalled);
    }
    let asks = |router: &Router| router.reaching.observer.wants_witnesses(Family::V4);
    assert!(!asks(router));
    for n in 0..8 {
        router.handle_timeout(clock(start + BROKEN_WITHIN * n));
        router.on_lost(RouterHash::new([n as u8; 32]));
        assert!(!asks(router), "now and then one breaks");
    }
    router.on_lost(RouterHash::new([8; 32]));
    router.on_lost(RouterHash::new([9; 32]));
    assert!(asks(router));
}

#[test]
fn who_is_met_while_nobody_answers_over_udp_is_asked_at_once() {
    let mut net = Net::new(&[Nat::PortRestricted]);
    net.run(Duration::from_secs(11));
    let (now, outside) = (net.now, net.hosts[0].outside);
    let router = &mut net.hosts[0].router;
    let due = |router: &Router| router.timers.get(&Timer::Reach).is_some_and(|at| at <= now);
    router.on_peer();
    assert!(!due(router), "it has just started");
    router.reaching.began = Some(now - UNANSWERED);
    router.on_peer();
    assert!(due(router));
    router.handle_timeout(clock(now));
    router.on_seen(IpAddr::from([40, 1, 2, 3]), outside);
    router.on_peer();
    assert!(!due(router), "one has answered");
}

#[test]
fn who_moves_begins_every_lost_connection_anew() {
    let mut net = Net::new(&[Nat::None; 2]);
    net.run(Duration::from_secs(1));
    let (now, info) = (net.now, net.hosts[1].router.router_info().clone());
    let peer = info.hash();
    let router = &mut net.hosts[0].router;
    let dials = |router: &Router| router.transport.stats().dials;
    let before = dials(router);
    router.on_lost(peer);
    assert_eq!(dials(router), before, "nobody next to us: it may be over for good");
    router.network_changed(clock(now));
    router.on_lost(peer);
    assert_eq!(dials(router), before + 1);
}
