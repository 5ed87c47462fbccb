//! Looks at the router once a second, and more closely when somebody asks; keeps what was seen, and puts it into the
//! types of the API. However many look, the router is asked once a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aioli_node::embed::{Client, ClientError, View};
use aioli_router::{Details, PoolId, RouterView, TunnelView};
use aioli_wire::base32;
use tokio::time::Instant;

use super::history::{Counters, History, Range, Rates};
use super::journal::Journal;
use super::model;
use super::words::{self, Facts};

/// Entries of each list at most.
pub(crate) const MOST_ENTRIES: usize = 1_000;
/// What was seen is shown for so long.
const FRESH: Duration = Duration::from_millis(900);
/// The router is looked at this often.
const EVERY: Duration = Duration::from_secs(1);
/// Rates are over this many looks.
const RATE_LOOKS: usize = 5;

/// What was seen.
#[derive(Debug)]
struct Seen {
    view: Option<Arc<View>>,
    /// The counters of the last looks.
    counters: Vec<Counters>,
    history: History,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Observer {
    client: Client,
    journal: Arc<Journal>,
    services: Vec<model::Service>,
    seen: Mutex<Seen>,
    close: tokio::sync::Mutex<Option<(Instant, Arc<View>)>>,
}

impl Observer {
    pub(crate) fn new(client: Client, journal: Arc<Journal>, services: Vec<model::Service>) -> Self {
        let seen = Seen { view: None, counters: Vec::new(), history: History::new() };
        Self { client, journal, services, seen: Mutex::new(seen), close: tokio::sync::Mutex::default() }
    }

    /// Looks at the router until dropped.
    pub(crate) async fn keep(&self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let view = self.client.overview().await.ok().map(Arc::new);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = &view {
            seen.history.add(&view.router, crate::address_book::now().as_secs());
            if seen.counters.len() > RATE_LOOKS {
                seen.counters.remove(0);
            }
            seen.counters.push(Counters::of(&view.router));
        }
        seen.view = view;
    }

    fn rates(seen: &Seen) -> Rates {
        match (seen.counters.first(), seen.counters.last()) {
            (Some(first), Some(last)) if seen.counters.len() > 1 => last.rates_since(first),
            _ => Rates::default(),
        }
    }

    /// The view of the last look; a first one if there was none yet. None: the router has ended.
    pub(crate) async fn view(&self) -> Option<Arc<View>> {
        let first = self.seen.lock().unwrap_or_else(PoisonError::into_inner).counters.is_empty();
        if first {
            self.look().await;
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).view.clone()
    }

    /// A closer look, not a second old.
    pub(crate) async fn details(&self) -> Option<Arc<View>> {
        // Whoever comes meanwhile waits for the same look.
        let mut close = self.close.lock().await;
        if let Some((at, view)) = &*close
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(view));
        }
        let view = Arc::new(self.client.details(MOST_ENTRIES).await.ok()?);
        *close = Some((Instant::now(), Arc::clone(&view)));
        Some(view)
    }

    /// Other bandwidth limits hold from now on.
    pub(crate) async fn set_bandwidth(
        &self,
        inbound: Option<u64>,
        outbound: Option<u64>,
    ) -> Result<(), ClientError> {
        self.client.set_bandwidth(inbound, outbound).await
    }

    pub(crate) fn history(&self, range: Range) -> model::History {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).history.get(range)
    }

    pub(crate) fn logs(&self) -> model::Logs {
        model::Logs { events: self.journal.events(), log: self.journal.lines() }
    }

    /// The router's state alone, and whether it can be used.
    pub(crate) async fn health(&self) -> model::Finding {
        let view = self.view().await;
        words::state(view.as_deref().map(|view| &view.router))
    }

    /// The router at a glance.
    pub(crate) async fn overview(&self) -> model::Overview {
        let view = self.view().await;
        let (rates, builds) = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            (Self::rates(&seen), seen.history.recent_builds())
        };
        let facts = Facts { view: view.as_deref().map(|v| &v.router), rates, builds };
        let mut overview = view.as_deref().map_or_else(empty, |view| seen_as(view, rates, builds));
        overview.state = words::state(facts.view);
        overview.notes = words::notes(facts);
        overview.services.clone_from(&self.services);
        overview.port_mapping = self.journal.mappings();
        overview
    }
}

/// What is shown of a router that has ended.
fn empty() -> model::Overview {
    model::Overview {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: 0,
        identity: String::new(),
        caps: String::new(),
        state: words::state(None),
        notes: Vec::new(),
        reachability: Vec::new(),
        published: Vec::new(),
        port_mapping: Vec::new(),
        bandwidth: model::Bandwidth::default(),
        sessions: model::SessionCounts::default(),
        tunnels: model::TunnelCounts::default(),
        builds: model::Builds::default(),
        latency_ms: None,
        netdb: model::NetDbCounts::default(),
        clients: model::ClientCounts::default(),
        clock: model::Clock::default(),
        services: Vec::new(),
    }
}

fn seen_as(view: &View, rates: Rates, (ended, good): (u64, u64)) -> model::Overview {
    let (router, s) = (&view.router, &view.router.stats);
    model::Overview {
        uptime_s: router.uptime.as_secs(),
        identity: router.hash.to_base64(),
        caps: router.caps.clone(),
        reachability: router.families.iter().map(reachability).collect(),
        published: router.published.iter().map(ToString::to_string).collect(),
        bandwidth: model::Bandwidth {
            received_rate: rates.received,
            sent_rate: rates.sent,
            relayed_rate: rates.relayed,
            received: s.bytes_in,
            sent: s.bytes_out,
            relayed: s.transit_bytes_sent,
            receive_limit: router.bandwidth.inbound,
            send_limit: router.bandwidth.outbound,
            relayed_share_percent: router.bandwidth.transit_percent,
        },
        sessions: model::SessionCounts {
            all: s.sessions,
            ntcp2: s.sessions.saturating_sub(router.over_ssu2 as u64),
            ssu2: router.over_ssu2 as u64,
            limit: router.limits.connections as u64,
        },
        tunnels: model::TunnelCounts {
            inbound: s.tunnels_in,
            outbound: s.tunnels_out,
            exploratory_inbound: router.exploratory.0 as u64,
            exploratory_outbound: router.exploratory.1 as u64,
            relayed: s.transit_tunnels,
            relayed_limit: router.limits.transit_tunnels as u64,
        },
        builds: model::Builds {
            started: s.builds_started,
            succeeded: s.builds_succeeded,
            refused: s.builds_refused,
            timed_out: s.builds_timed_out,
            failed: s.builds_failed,
            recent_success_percent: (good * 100).checked_div(ended),
        },
        latency_ms: router.tunnel_round_trip.map(millis),
        netdb: model::NetDbCounts {
            routers: s.known_routers,
            routers_limit: router.limits.routers as u64,
            floodfills: s.floodfills,
            lease_sets: s.lease_sets,
            floodfill: router.floodfill,
            searches: s.searches_started,
            searches_found: s.searches_found,
        },
        clients: model::ClientCounts {
            destinations: s.client_sessions,
            streams: s.streams,
            sam_connections: view.sam.connections,
        },
        clock: model::Clock { offset_ms: router.clock_offset_ms, confirmed: router.clock_confirmed },
        ..empty()
    }
}

fn reachability(told: &aioli_router::reachability::Told) -> model::Reachability {
    model::Reachability {
        family: told.family.to_string(),
        state: told.state.word().to_owned(),
        address: told.address.map(|at| at.to_string()),
        words: told.to_string(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn version(numbers: Option<(u8, u8, u8)>) -> String {
    numbers.map_or_else(String::new, |(a, b, c)| format!("{a}.{b}.{c}"))
}

/// Sessions with other routers, those that carried most first.
pub(crate) fn sessions(details: &Details) -> Vec<model::Session> {
    let session = |peer: &aioli_router::PeerView| {
        let s = &peer.session;
        model::Session {
            peer: s.peer.to_base64(),
            transport: if s.over_ssu2 { "SSU2" } else { "NTCP2" }.to_owned(),
            direction: if s.inbound { "in" } else { "out" }.to_owned(),
            address: s.address.map(|at| at.to_string()),
            age_s: s.age.as_secs(),
            received: s.received,
            sent: s.sent,
            queued: s.queued as u64,
            rtt_ms: s.round_trip.map(millis),
            caps: peer.router.as_ref().map(|r| r.caps.clone()).unwrap_or_default(),
            version: version(peer.router.as_ref().and_then(|r| r.version)),
        }
    };
    details.sessions.iter().map(session).collect()
}

/// Our tunnels by owner, the router's own first.
pub(crate) fn pools(details: &Details) -> Vec<model::Pool> {
    let mut pools: Vec<(PoolId, model::Pool)> = Vec::new();
    for tunnel in &details.tunnels {
        if pools.last().is_none_or(|(id, _)| *id != tunnel.pool) {
            let owner = details.destinations.iter().find(|d| d.pool == tunnel.pool);
            let destination = owner.map(|d| base32::host_name(&d.hash));
            pools.push((tunnel.pool, model::Pool { destination, tunnels: Vec::new() }));
        }
        if let Some((_, pool)) = pools.last_mut() {
            pool.tunnels.push(self::tunnel(tunnel));
        }
    }
    pools.into_iter().map(|(_, pool)| pool).collect()
}

fn tunnel(tunnel: &TunnelView) -> model::Tunnel {
    let state = match (tunnel.in_doubt, tunnel.is_old) {
        (true, _) => "in doubt",
        (false, true) => "old",
        (false, false) => "good",
    };
    model::Tunnel {
        direction: if tunnel.inbound { "in" } else { "out" }.to_owned(),
        hops: tunnel.hops.iter().map(|hop| hop.to_base64()).collect(),
        left_s: tunnel.left.as_secs(),
        state: state.to_owned(),
    }
}

/// What is known of the network.
pub(crate) fn netdb(view: &View, details: &Details) -> model::NetDb {
    let share = |name: String, routers: usize| model::Share { name, routers: routers as u64 };
    let router = |r: &RouterView| model::Router {
        hash: r.hash.to_base64(),
        caps: r.caps.clone(),
        version: version(r.version),
    };
    let versions = details.by_version.iter().rev().take(20);
    let name = |of: &(u8, u8, u8)| if *of == (0, 0, 0) { "unknown".to_owned() } else { version(Some(*of)) };
    model::NetDb {
        routers: view.router.stats.known_routers,
        reachable: details.reachable as u64,
        floodfills: details.floodfills.iter().map(router).collect(),
        by_class: details.by_class.iter().map(|(letter, n)| share(letter.to_string(), *n)).collect(),
        by_version: versions.map(|(numbers, n)| share(name(numbers), *n)).collect(),
    }
}

/// Local destinations.
pub(crate) fn destinations(details: &Details) -> Vec<model::Destination> {
    let tunnels = |pool, inbound| {
        details.tunnels.iter().filter(|t| t.pool == pool && t.inbound == inbound).count() as u64
    };
    let destination = |d: &aioli_router::DestinationView| model::Destination {
        name: base32::host_name(&d.hash),
        published: d.published,
        state: match (d.ending, d.ready) {
            (true, _) => "ending",
            (false, true) => "ready",
            (false, false) => "building",
        }
        .to_owned(),
        inbound: tunnels(d.pool, true),
        outbound: tunnels(d.pool, false),
        leases: d.leases as u64,
        lease_set_left_s: d.lease_set_ends.map(|left| left.as_secs()),
        streams: d.streams as u64,
    };
    details.destinations.iter().map(destination).collect()
}
