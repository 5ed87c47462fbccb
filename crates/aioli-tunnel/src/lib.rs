//! Tunnels: building, carrying, being a hop of others' (`tunnel-implementation`).
//!
//! ```text
//!  build.rs    records of our own builds, and what comes back
//!  transit.rs  others' build requests: admission, reply, forwarding
//!  hops.rs     the hop table: what to do with a message of a tunnel id
//!  load.rs     whether there is room for others' tunnels
//!  packer.rs   a gateway: messages into tunnel messages
//!  reassembly.rs  an endpoint: fragments into messages
//!  own.rs      our tunnels' ends: send out of one, take what comes in
//!  pool.rs     how many there are: replacing, testing
//! ```
//!
//! The data plane touches the hop table, a packer and a reassembly buffer and
//! nothing else; the control plane (builds, pools) installs and removes hops.

mod build;
mod duplicates;
mod hops;
mod load;
mod own;
mod packer;
mod pool;
mod reassembly;
mod throttle;
mod transit;
mod types;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aioli_core::map::{Table, table};
use aioli_core::{Bucket, Cx, Duration, Instant, Rng, Timers};
use aioli_wire::ip::Subnet;
use aioli_wire::{Congestion, Lease, Message, MessageType, RouterHash, TunnelId};

use build::Build;
use duplicates::DuplicateFilter;
use hops::Entry;
use own::{GRACE, Inbound, LIFETIME, Outbound};
use pool::{Neighbour, Pool, Test};
use reassembly::Reassembly;
use throttle::Throttle;

pub use load::Load;
pub use types::{
    Acceptance, BuildResult, Config, Delivery, Hop, HopRequest, Limits, NoTunnel, Nowhere, Output, Peers,
    Places, PoolConfig, PoolId, PoolKind, Side, Stats, Why,
};
pub use view::TunnelView;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A hop-table entry ends.
    Entry(u32),
    /// An outbound tunnel ends.
    Outbound(TunnelId),
    /// A build was not answered.
    Build(u32),
    /// A build will not be answered any more.
    LateBuild(u32),
    /// A pool looks at its tunnels.
    Pool(PoolId),
    /// A test was not answered.
    Test(u32),
    /// Old fragments and throttle counts go.
    Sweep,
}

/// Others' tunnels may be ahead of their rate by what comes in this part of a second.
const TRANSIT_BURST_PART: u64 = 4;
/// They may be ahead by so many bytes whatever the rate.
const MIN_TRANSIT_BURST: u64 = 16 * 1024;

/// All tunnels of a router: its own and those it is a hop of.
#[derive(Debug)]
pub struct Tunnels {
    config: Config,
    entries: Table<u32, Entry>,
    transit: usize,
    /// When the last of others' tunnels ends, at the latest.
    transit_ends: Instant,
    duplicates: DuplicateFilter,
    reassembly: Reassembly,
    throttle: Throttle<RouterHash>,
    seen_builds: DuplicateFilter,
    throttle_next: Throttle<RouterHash>,
    throttle_subnet: Throttle<Subnet>,
    throttle_next_subnet: Throttle<Subnet>,
    /// What was promised to others' tunnels, in KB/s.
    promised_kbps: u64,
    acceptance: Acceptance,
    load: Load,
    /// What others' tunnels may receive here, if there is a limit.
    transit_rate: Option<Bucket>,
    pools: BTreeMap<PoolId, Pool>,
    inbound: BTreeMap<TunnelId, Inbound>,
    outbound: BTreeMap<TunnelId, Outbound>,
    builds: BTreeMap<u32, Build>,
    /// Given up, but their answers may still come.
    late_builds: BTreeMap<u32, Build>,
    tests: BTreeMap<u32, Test>,
    /// How long tests take, smoothed.
    test_rtt: Option<Duration>,
    /// Who was next to us in builds of late.
    neighbours: BTreeMap<RouterHash, Neighbour>,
    /// Gateways with messages that wait for the flush.
    waiting_gateways: BTreeSet<u32>,
    waiting_outbound: BTreeSet<TunnelId>,
    /// The clock of the latest call with one.
    latest: Instant,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Tunnels {
    /// No tunnels.
    pub fn new(config: Config, mut rng: Rng) -> Self {
        Self {
            entries: table(&mut rng),
            transit: 0,
            transit_ends: Instant::ZERO,
            duplicates: DuplicateFilter::new(config.limits.duplicates, LIFETIME + GRACE, &mut rng),
            reassembly: Reassembly::new(
                config.limits.reassembly_tunnel_bytes,
                config.limits.reassembly_bytes,
            ),
            throttle: Throttle::new(config.limits.throttled_peers, config.limits.requests_per_neighbour),
            throttle_next: Throttle::new(config.limits.throttled_peers, config.limits.requests_per_neighbour),
            throttle_subnet: Throttle::new(config.limits.throttled_peers, config.limits.requests_per_subnet),
            throttle_next_subnet: Throttle::new(
                config.limits.throttled_peers,
                config.limits.requests_per_subnet,
            ),
            promised_kbps: 0,
            seen_builds: DuplicateFilter::new(config.limits.seen_builds, transit::REQUEST_WINDOW, &mut rng),
            acceptance: Acceptance::All,
            load: Load::default(),
            transit_rate: None,
            pools: BTreeMap::new(),
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            builds: BTreeMap::new(),
            late_builds: BTreeMap::new(),
            tests: BTreeMap::new(),
            test_rtt: None,
            neighbours: BTreeMap::new(),
            waiting_gateways: BTreeSet::new(),
            waiting_outbound: BTreeSet::new(),
            latest: Instant::ZERO,
            timers: Timers::new(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// Whether others' tunnels are accepted from now on.
    pub const fn set_accepting(&mut self, acceptance: Acceptance) {
        self.acceptance = acceptance;
    }

    /// How many tunnels of others run through us, and how long the last of them may last.
    pub const fn transit_left(&self, now: Instant) -> (usize, Duration) {
        let left = if self.transit == 0 { Duration::ZERO } else { self.transit_ends.since(now) };
        (self.transit, left)
    }

    /// The wall clock was corrected by so many milliseconds: our leases end at other dates, though at the same
    /// moments.
    pub fn handle_clock_step(&mut self, by_ms: i64) {
        for tunnel in self.inbound.values_mut() {
            tunnel.ends_wall = tunnel.ends_wall.shifted(by_ms);
        }
        for build in self.builds.values_mut().chain(self.late_builds.values_mut()) {
            build.started_wall = build.started_wall.shifted(by_ms);
        }
        for id in self.pools.keys().copied().collect::<Vec<_>>() {
            self.refresh_pool(id);
        }
    }

    /// How busy the router is from now on; its owner tells every few seconds.
    pub const fn set_load(&mut self, load: Load) {
        self.load = load;
    }

    /// How many bytes a second others' tunnels may bring here from now on; none for no limit.
    /// What comes faster is dropped, so that their streams slow down.
    pub fn set_transit_rate(&mut self, rate: Option<u64>, now: Instant) {
        let burst = |rate: u64| (rate / TRANSIT_BURST_PART).max(MIN_TRANSIT_BURST);
        match (&mut self.transit_rate, rate) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate, burst(rate), now),
            (bucket, rate) => *bucket = rate.map(|rate| Bucket::new(rate, burst(rate), now)),
        }
    }

    /// What the router should say about itself (proposal 162).
    pub fn congestion(&self) -> Congestion {
        let limit = self.config.limits.transit_tunnels.max(1);
        let by_tunnels = load::by_share((self.transit * 100 / limit) as u64);
        self.load.congestion().max(self.load.bandwidth_letter()).max(by_tunnels)
    }

    /// Takes all tunnel messages of one batch from one peer: TunnelData,
    /// TunnelGateway and build messages. `places` says which peers share a budget.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the owner sends only these; anything else is dropped"
    )]
    pub fn handle_message(
        &mut self,
        from: RouterHash,
        messages: Vec<Message>,
        cx: &mut Cx<'_>,
        places: &dyn Places,
    ) {
        self.start_sweeping(cx.now.mono);
        let mut data = Vec::with_capacity(messages.len());
        for message in messages {
            match message.kind {
                MessageType::TunnelData => data.push(message),
                MessageType::TunnelGateway => self.on_gateway_message(&message, cx),
                MessageType::ShortTunnelBuild => self.on_short_build(from, &message, cx, places),
                MessageType::VariableTunnelBuild => self.on_long_build(from, &message, cx, places),
                _ => self.stats.malformed += 1,
            }
        }
        if !data.is_empty() {
            self.on_data(from, data, cx);
        }
    }

    /// Packs what waits at gateways into tunnel messages. To be called at the
    /// end of each round of the driver.
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        for id in std::mem::take(&mut self.waiting_gateways) {
            self.flush_gateway(id, cx);
        }
        for id in std::mem::take(&mut self.waiting_outbound) {
            self.flush_outbound(id, cx);
        }
    }

    /// Does all whose time has come. `peers` chooses the hops of new tunnels.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>, peers: &dyn Peers) {
        self.latest = cx.now.mono;
        while let Some(timer) = self.timers.pop_expired(cx.now.mono) {
            match timer {
                Timer::Entry(id) => self.on_entry_timer(id, cx.now.mono),
                Timer::Outbound(id) => self.end_outbound(id),
                Timer::Build(id) => self.on_build_timeout(id, cx),
                Timer::LateBuild(id) => drop(self.late_builds.remove(&id)),
                Timer::Pool(id) => self.manage_pool(id, cx, peers),
                Timer::Test(id) => self.on_test_timeout(id, cx),
                Timer::Sweep => self.sweep(cx),
            }
        }
    }

    /// When to call [`Tunnels::handle_timeout`], and why.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        let (at, timer) = self.timers.next()?;
        let why = match timer {
            Timer::Entry(_) | Timer::Outbound(_) => Why::TunnelEnds,
            Timer::Build(_) | Timer::LateBuild(_) => Why::Build,
            Timer::Pool(_) => Why::Pool,
            Timer::Test(_) => Why::Test,
            Timer::Sweep => Why::Sweep,
        };
        Some((at, why))
    }

    /// What is to be done; none: nothing more for now.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Counters and table sizes.
    pub fn stats(&self) -> Stats {
        Stats {
            inbound: self.inbound.len() as u64,
            outbound: self.outbound.len() as u64,
            transit: self.transit as u64,
            builds: self.builds.len() as u64,
            fragments_held: self.reassembly.len() as u64,
            fragments_refused: self.reassembly.refused,
            fragments_evicted: self.reassembly.evicted,
            ..self.stats
        }
    }

    /// The inbound tunnels of a pool that can be given to others, longest lasting first.
    pub fn leases(&self, pool: PoolId) -> Vec<Lease> {
        self.pools.get(&pool).map(|p| p.leases.clone()).unwrap_or_default()
    }

    /// Whether a pool has a tunnel to send through.
    pub fn has_outbound(&self, pool: PoolId) -> bool {
        self.pools.get(&pool).is_some_and(|p| !p.outbound.is_empty())
    }

    /// There is something that grows old from the first pool or message on.
    fn start_sweeping(&mut self, now: Instant) {
        if self.timers.get(&Timer::Sweep).is_none() {
            self.timers.set(Timer::Sweep, now + types::SWEEP_INTERVAL);
        }
    }

    fn sweep(&mut self, cx: &Cx<'_>) {
        let now = cx.now.mono;
        self.stats.fragments_expired += self.reassembly.expire(now);
        self.throttle.expire(now);
        self.throttle_next.expire(now);
        self.throttle_subnet.expire(now);
        self.throttle_next_subnet.expire(now);
        self.duplicates.expire(now);
        self.seen_builds.expire(now);
        self.neighbours.retain(|_, n| now.since(n.since) < pool::NEIGHBOUR_WINDOW);
        self.timers.set(Timer::Sweep, now + types::SWEEP_INTERVAL);
        self.report_carried();
    }

    /// Tells how fast each tunnel was of late: what the choice of hops learns from.
    fn report_carried(&mut self) {
        let inbound = self.inbound.values_mut().map(|t| (&t.hops, &mut t.carried));
        let outbound = self.outbound.values_mut().map(|t| (&t.hops, &mut t.carried));
        for (hops, carried) in
            inbound.chain(outbound).filter(|(hops, carried)| !hops.is_empty() && **carried > 0)
        {
            let bytes_per_sec = std::mem::take(carried) / types::SWEEP_INTERVAL.as_secs();
            self.outputs.push_back(Output::Carried { hops: hops.clone(), bytes_per_sec });
        }
    }
}
