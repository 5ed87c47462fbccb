//! What there is to see of a router, for whoever looks after it: nothing secret, and every list with a limit.
//!
//! [`Overview`] is cheap and may be taken every second. [`Details`] walks through the tables and is taken when somebody
//! looks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use aioli_core::{Duration, Now};
use aioli_transport::ssu2::Family;
use aioli_transport::{Bandwidth, SessionView};
use aioli_tunnel::{PoolId, TunnelView};
use aioli_wire::{DestinationHash, RouterAddress, RouterHash, RouterInfo};

use crate::client::SessionId;
use crate::limits::Limits;
use crate::reachability::Told;
use crate::router::Router;
use crate::stats::Stats;

/// Floodfills listed at most.
const MOST_FLOODFILLS: usize = 200;

/// A router at a glance.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its name.
    pub hash: RouterHash,
    /// What it publishes of itself.
    pub caps: String,
    /// Since its start.
    pub uptime: Duration,
    /// Its counters.
    pub stats: Stats,
    /// Whether others reach it, in each address family.
    pub families: [Told; 2],
    /// Where it says that others reach it.
    pub published: Vec<SocketAddr>,
    /// Its own tunnels that can be used: towards it, away from it.
    pub exploratory: (usize, usize),
    /// Of the sessions, those over SSU2. A second one with a router over the other transport does not count.
    pub over_ssu2: usize,
    /// True time minus the machine's, in milliseconds.
    pub clock_offset_ms: i64,
    /// Time servers or enough peers have confirmed the clock.
    pub clock_confirmed: bool,
    /// It holds a part of the NetDB for others.
    pub floodfill: bool,
    /// It publishes nothing.
    pub hidden: bool,
    /// It is to stop.
    pub draining: bool,
    /// What it may send and receive.
    pub bandwidth: Bandwidth,
    /// Of what others may use of the bandwidth, how much they do, in percent; 0 without a limit.
    pub transit_used_percent: u64,
    /// How long a message takes through two of its tunnels, smoothed.
    pub tunnel_round_trip: Option<Duration>,
    /// Its bounds.
    pub limits: Limits,
}

/// Its sessions, tunnels, destinations and what it knows of others.
#[derive(Clone, Debug)]
pub struct Details {
    /// Sessions with other routers.
    pub sessions: Vec<PeerView>,
    /// Its tunnels.
    pub tunnels: Vec<TunnelView>,
    /// Local destinations.
    pub destinations: Vec<DestinationView>,
    /// Floodfills that it knows, some of them.
    pub floodfills: Vec<RouterView>,
    /// Known routers by bandwidth letter.
    pub by_class: BTreeMap<char, usize>,
    /// Known routers by version.
    pub by_version: BTreeMap<(u8, u8, u8), usize>,
    /// Known routers that can be dialled.
    pub reachable: usize,
}

/// A session, and what its peer says of itself.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// The session.
    pub session: SessionView,
    /// The peer, if its RouterInfo is known.
    pub router: Option<RouterView>,
}

/// Another router.
#[derive(Clone, Debug)]
pub struct RouterView {
    /// Its name.
    pub hash: RouterHash,
    /// Its capability letters.
    pub caps: String,
    /// Its version.
    pub version: Option<(u8, u8, u8)>,
}

/// A local destination.
#[derive(Clone, Debug)]
pub struct DestinationView {
    /// Its session.
    pub id: SessionId,
    /// Its tunnels.
    pub pool: PoolId,
    /// Its name.
    pub hash: DestinationHash,
    /// Others may find it.
    pub published: bool,
    /// It can be used.
    pub ready: bool,
    /// Its program is gone.
    pub ending: bool,
    /// Leases in its LeaseSet.
    pub leases: usize,
    /// Until its LeaseSet ends.
    pub lease_set_ends: Option<Duration>,
    /// Open streams.
    pub streams: usize,
}

impl From<&RouterInfo> for RouterView {
    fn from(info: &RouterInfo) -> Self {
        Self { hash: info.hash(), caps: info.caps().to_string(), version: info.version() }
    }
}

impl Router {
    /// The router at a glance.
    pub fn overview(&self, now: Now) -> Overview {
        Overview {
            hash: self.hash,
            caps: self.own.caps().to_string(),
            uptime: now.mono.since(self.since),
            stats: self.stats(),
            families: Family::ALL.map(|family| self.reaching.observer.told(family)),
            published: {
                let places = self.own.addresses.iter().filter_map(RouterAddress::endpoint);
                places.collect::<BTreeSet<_>>().into_iter().collect()
            },
            exploratory: self.tunnels.usable(PoolId::EXPLORATORY),
            over_ssu2: self.transport.active_ssu2(),
            clock_offset_ms: self.clock.offset_ms(),
            clock_confirmed: self.clock.is_settled(),
            floodfill: self.role.is_floodfill(),
            hidden: self.config.hidden,
            draining: self.draining || self.shutting_down,
            bandwidth: self.config.bandwidth,
            transit_used_percent: self.governor.used_percent(),
            tunnel_round_trip: self.tunnels.round_trip(),
            limits: self.config.limits.clone(),
        }
    }

    /// What its tables hold, so many entries of each list at most.
    pub fn details(&self, most: usize, now: Now) -> Details {
        let peer = |session: SessionView| PeerView {
            router: self.netdb.router(&session.peer).map(|info| RouterView::from(&***info)),
            session,
        };
        let mut details = Details {
            sessions: self.transport.views(most, now.mono).into_iter().map(peer).collect(),
            tunnels: self.tunnels.views(most, now.mono),
            destinations: self.destination_views(most),
            floodfills: Vec::new(),
            by_class: BTreeMap::new(),
            by_version: BTreeMap::new(),
            reachable: 0,
        };
        for info in self.netdb.routers() {
            let caps = info.caps();
            let letter = caps.bandwidth.map_or('-', aioli_wire::Bandwidth::letter);
            *details.by_class.entry(letter).or_default() += 1;
            *details.by_version.entry(info.version().unwrap_or_default()).or_default() += 1;
            details.reachable += usize::from(caps.reachable);
            if caps.floodfill && details.floodfills.len() < MOST_FLOODFILLS.min(most) {
                details.floodfills.push(RouterView::from(&***info));
            }
        }
        details
    }
}
