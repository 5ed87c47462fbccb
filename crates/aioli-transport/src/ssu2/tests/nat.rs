//! What routers sit behind: NATs and firewalls (RFC 4787), and nodes behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aioli_core::{Duration, Instant};
use aioli_wire::ssu2::{Introducer, Ssu2Parts};

use super::link::World;
use super::{IntroKey, Keys};

/// A way that nothing went for so long is closed.
const LIFE: Duration = Duration::from_secs(60);

/// How it maps and filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One port for all, and whoever sends to it comes in.
    FullCone,
    /// One port for all; only those who were sent something come in.
    PortRestricted,
    /// A port for each other end, who alone comes in by it.
    Symmetric,
    /// No translation; only those who were sent something come in.
    Firewall,
}

/// A NAT or a firewall with one host behind it.
#[derive(Debug)]
pub(super) struct Nat {
    kind: Kind,
    /// The host's address on the outside, with the port that a mapping for all has.
    pub(super) outside: SocketAddr,
    next: u16,
    ports: BTreeMap<SocketAddr, u16>,
    open: BTreeMap<(SocketAddr, u16), Instant>,
}

impl Nat {
    pub(super) const fn new(kind: Kind, outside: SocketAddr) -> Self {
        Self { kind, outside, next: 20_000, ports: BTreeMap::new(), open: BTreeMap::new() }
    }

    /// Where a packet to `to` seems to come from.
    pub(super) fn outward(&mut self, to: SocketAddr, now: Instant) -> SocketAddr {
        let port = if self.kind == Kind::Symmetric {
            *self.ports.entry(to).or_insert_with(|| {
                self.next += 1;
                self.next
            })
        } else {
            self.outside.port()
        };
        self.open.insert((to, port), now);
        SocketAddr::new(self.outside.ip(), port)
    }

    /// Whether a packet from `from` to `to` comes in.
    pub(super) fn inward(&self, to: SocketAddr, from: SocketAddr, now: Instant) -> bool {
        if to.ip() != self.outside.ip() {
            return false;
        }
        let alive = |at: &Instant| now.since(*at) < LIFE;
        if self.kind == Kind::FullCone {
            return to.port() == self.outside.port() && self.open.values().any(alive);
        }
        self.open.get(&(from, to.port())).is_some_and(alive)
    }
}

/// The address of node `n` in a /16 of its own.
pub(super) fn public(n: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(5, 1 + n as u8, 7, 9)), 9_000 + n as u16)
}

impl World {
    /// Gives every node an address of the Internet, and puts those named behind something. These say
    /// nothing of where they are, and know where they seem to be.
    pub(super) fn settle(&mut self, behind: &[(usize, Kind)]) {
        self.readdress(|n| public(usize::from(n)));
        for (n, kind) in behind {
            let node = &mut self.nodes[*n];
            node.nat = Some(Nat::new(*kind, public(*n)));
            node.addr = SocketAddr::from(([10, 0, 0, 1 + *n as u8], 9_000));
            self.hide(*n, &[]);
        }
    }

    /// Node `n` publishes no host, but these introducers.
    pub(super) fn hide(&mut self, n: usize, introducers: &[Introducer]) {
        let node = &mut self.nodes[n];
        let keys: &Keys = &node.keys;
        let IntroKey(intro_key) = keys.intro_key;
        let parts = Ssu2Parts {
            cost: 14,
            static_key: &keys.static_key.public(),
            intro_key: &intro_key,
            host: None,
            caps: "4",
            mtu: 1_500,
            introducers,
        };
        let address = parts.address().unwrap();
        node.info = keys.router_info(|ri| ri.addresses = vec![address]);
        node.endpoint.set_router_info(node.info.clone());
        node.endpoint.set_external(Some(public(n)), None);
    }

    /// Where datagrams of a kind went, without repetition.
    pub(super) fn destinations(&self, from: SocketAddr) -> BTreeSet<SocketAddr> {
        let wire = self.wire.as_deref().unwrap_or(&[]);
        wire.iter().filter(|(f, _, _)| *f == from).map(|(_, to, _)| *to).collect()
    }
}
