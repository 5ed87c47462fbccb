//! What goes into [`crate::Tunnels`] and what comes out.

use std::fmt;

use aioli_core::crypto::{Secret, x25519};
use aioli_core::{Cx, Duration, Instant, Rng};
use aioli_wire::build::BandwidthWish;
use aioli_wire::ip::Subnet;
use aioli_wire::{Lease, Message, RouterHash, SessionTag, TunnelId};
use thiserror::Error;

/// How often old fragments and counts are swept out.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Who we are, and the bounds.
#[derive(Clone)]
pub struct Config {
    /// Our name.
    pub our_hash: RouterHash,
    /// Opens build records that are for us.
    pub our_key: x25519::PrivateKey,
    /// What others can make us keep.
    pub limits: Limits,
}

impl Config {
    /// With the default bounds.
    pub fn new(our_hash: RouterHash, our_key: x25519::PrivateKey) -> Self {
        Self { our_hash, our_key, limits: Limits::default() }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What others can make us keep.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tunnels of others through us.
    pub transit_tunnels: usize,
    /// Tunnel messages remembered against duplicates, per generation.
    pub duplicates: usize,
    /// Build records remembered against replays, per generation.
    pub seen_builds: usize,
    /// Bytes of fragments that wait for others, in all.
    pub reassembly_bytes: usize,
    /// Bytes of fragments that wait for others, of one tunnel.
    pub reassembly_tunnel_bytes: usize,
    /// Neighbours whose build requests are counted.
    pub throttled_peers: usize,
    /// Build requests of one neighbour in 110 s that are always considered.
    pub requests_per_neighbour: usize,
    /// The same for all neighbours of one /16 of IPv4, or /32 of IPv6.
    pub requests_per_subnet: usize,
    /// Bytes that wait at one gateway for a flush.
    pub gateway_bytes: usize,
    /// Builds of ours at a time.
    pub builds: usize,
    /// Builds of ours that were given up, but whose answer may still come.
    pub late_builds: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transit_tunnels: 10_000,
            duplicates: 1 << 20,
            seen_builds: 65_536,
            reassembly_bytes: 64 << 20,
            reassembly_tunnel_bytes: 4 << 20,
            throttled_peers: 8_192,
            requests_per_neighbour: 40,
            requests_per_subnet: 160,
            gateway_bytes: 4 << 20,
            builds: 13,
            late_builds: 64,
        }
    }
}

/// Whether we become hop of others' tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// Of all, up to the limit.
    All,
    /// Of so many in a hundred: there is some congestion.
    Percent(u8),
    /// Of none: starting, shutting down, hidden, or at the end of our means.
    None,
}

impl Acceptance {
    /// Whether it is yes this time.
    pub(crate) fn draw(self, cx: &mut Cx<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Percent(share) => cx.rng.chance(u64::from(share), 100),
            Self::None => false,
        }
    }
}

/// A set of tunnels with one owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

impl PoolId {
    /// The router's own.
    pub const EXPLORATORY: Self = Self(0);
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}", self.0)
    }
}

/// Whose tunnels a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoolKind {
    /// The router's: lookups, builds, getting to know peers.
    Exploratory,
    /// A local destination's.
    Client,
}

/// One direction of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Hops, 0 to 8.
    pub length: u8,
    /// `n` adds up to n hops, `-n` adds or removes up to n.
    pub variance: i8,
    /// Tunnels kept ready.
    pub quantity: u8,
    /// Kept besides.
    pub backup: u8,
    /// Whether a tunnel without hops may stand in until real ones are there.
    pub allow_zero_hop: bool,
    /// What its tunnels ask of their hops. Hardly anybody asks: whoever does stands out.
    pub bandwidth: BandwidthWish,
}

/// How a pool is set up.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Whose.
    pub kind: PoolKind,
    /// Towards us.
    pub inbound: Side,
    /// Away from us.
    pub outbound: Side,
    /// Fixes the order of hops.
    pub order_key: [u8; 32],
}

/// A router that is to be a hop.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Its name.
    pub hash: RouterHash,
    /// What its build record is sealed to.
    pub encryption_key: x25519::PublicKey,
}

/// A tunnel that needs hops.
#[derive(Clone, Debug)]
pub struct HopRequest {
    /// For whom.
    pub kind: PoolKind,
    /// Towards us.
    pub inbound: bool,
    /// How many.
    pub length: u8,
    /// Not these.
    pub exclude: Vec<RouterHash>,
    /// Rather not these: one router that fails should not take every tunnel of a pool with it.
    pub apart: Vec<RouterHash>,
    /// Rather not these next to us: they were given their fill of builds.
    pub spent: Vec<RouterHash>,
    /// The hops of all builds under way, each as often as it is one.
    pub building: Vec<RouterHash>,
    /// How many builds are under way.
    pub builds: usize,
    /// Fixes their order.
    pub order_key: [u8; 32],
}

/// Knows where routers are: all of one subnet share a budget.
pub trait Places {
    /// The subnet of a router; none if that is not known.
    fn subnet(&self, router: &RouterHash) -> Option<Subnet>;
}

/// Nothing is known of where routers are.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Places for Nowhere {
    fn subnet(&self, _: &RouterHash) -> Option<Subnet> {
        None
    }
}

/// Who chooses hops. The first of the result is the gateway, the last the endpoint.
pub trait Peers {
    /// As many hops as asked for, all different; none if there are too few peers.
    fn choose_hops(&self, request: &HopRequest, rng: &mut Rng) -> Option<Vec<Hop>>;
}

/// Where a message goes behind the end of an outbound tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To this router.
    Router(RouterHash),
    /// Into the tunnel that starts there.
    Tunnel(RouterHash, TunnelId),
}

/// The pool has no tunnel to send through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no outbound tunnel")]
pub struct NoTunnel;

/// What became of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildResult {
    /// Every hop agreed.
    Accepted,
    /// These hops refused.
    Rejected {
        /// Who.
        by: Vec<RouterHash>,
    },
    /// No answer came.
    TimedOut,
    /// The answer could not be read: some hop damaged it, nobody knows which.
    Failed,
}

/// What tunnels want done, and what happened.
#[derive(Debug)]
pub enum Output {
    /// To the next hop; may be ourselves.
    Send {
        /// Who.
        to: RouterHash,
        /// What.
        messages: Vec<Message>,
        /// Whether it is relayed for others.
        transit: bool,
    },
    /// A message came out of one of our inbound tunnels.
    Received {
        /// Of which pool.
        pool: PoolId,
        /// Which tunnel.
        tunnel: TunnelId,
        /// What.
        message: Message,
    },
    /// A reply will come, encrypted so.
    ExpectReply {
        /// Through which pool.
        pool: PoolId,
        /// Its one-time tag.
        tag: SessionTag,
        /// Its one-time key.
        key: Secret<32>,
        /// After this it can be forgotten.
        until: Instant,
    },
    /// The inbound tunnels that can be given to others have changed.
    LeasesChanged {
        /// Of which pool.
        pool: PoolId,
        /// All of them.
        leases: Vec<Lease>,
    },
    /// The number of a pool's usable tunnels has changed. Tunnels without hops
    /// count only where they were asked for.
    PoolChanged {
        /// Which pool.
        pool: PoolId,
        /// Towards us.
        inbound: usize,
        /// Away from us.
        outbound: usize,
    },
    /// A build was begun towards us: this router is to hand its answer to us, and all that comes later.
    BuildBegun {
        /// The last hop.
        last: RouterHash,
    },
    /// A build ended.
    BuildDone {
        /// For which pool.
        pool: PoolId,
        /// Whether towards us: the last hop is next to us then, else the first.
        inbound: bool,
        /// Through whom.
        hops: Vec<RouterHash>,
        /// What hops offered for it, in KB/s, if they were asked.
        offers: Vec<(RouterHash, u32)>,
        /// How.
        result: BuildResult,
        /// After how long.
        took: Duration,
    },
    /// A test of two tunnels ended.
    TestDone {
        /// The hops of both.
        hops: Vec<RouterHash>,
        /// Whether it came back.
        ok: bool,
        /// After how long.
        rtt: Duration,
    },
    /// A tunnel of ours carried traffic.
    Carried {
        /// Its hops.
        hops: Vec<RouterHash>,
        /// On average of some seconds.
        bytes_per_sec: u64,
    },
    /// A tunnel that was accepted has ended.
    TunnelEnded {
        /// Its hops.
        hops: Vec<RouterHash>,
    },
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A tunnel ends.
    TunnelEnds,
    /// A build must be answered.
    Build,
    /// A pool looks at its tunnels.
    Pool,
    /// A test must come back.
    Test,
    /// Old entries go.
    Sweep,
}

/// Counters since the start, and table sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Our tunnels towards us.
    pub inbound: u64,
    /// Our tunnels away from us.
    pub outbound: u64,
    /// Tunnels of others through us.
    pub transit: u64,
    /// Builds of ours under way.
    pub builds: u64,
    /// Messages of which fragments are missing.
    pub fragments_held: u64,
    /// Tunnel messages relayed for others.
    pub transit_messages: u64,
    /// Their bytes.
    pub transit_bytes: u64,
    /// Builds begun.
    pub builds_started: u64,
    /// Builds that every hop accepted.
    pub builds_succeeded: u64,
    /// Builds that a hop refused.
    pub builds_refused: u64,
    /// Builds that nobody answered in time.
    pub builds_timed_out: u64,
    /// Of these, builds that every hop had accepted, as we learned too late.
    pub builds_late: u64,
    /// Builds whose answer some hop had damaged.
    pub builds_failed: u64,
    /// Others' tunnels that we accepted.
    pub transit_accepted: u64,
    /// Others' tunnels that we refused.
    pub transit_refused: u64,
    /// Others' tunnels that were dropped, unused, to make room.
    pub transit_idle: u64,
    /// Messages of others' tunnels dropped: they came faster than those may.
    pub transit_policed: u64,
    /// Build requests over a neighbour's share.
    pub throttled: u64,
    /// Build requests over the share of a neighbour's subnet.
    pub throttled_subnet: u64,
    /// Others' tunnels refused because they asked for more bandwidth than there is.
    pub refused_bandwidth: u64,
    /// Messages dropped because a gateway's tunnel was to carry no more (proposal 168).
    pub gateway_limited: u64,
    /// Build records seen before.
    pub builds_replayed: u64,
    /// Bodies that made no sense.
    pub malformed: u64,
    /// Messages of tunnels that we are no hop of.
    pub unknown_tunnel: u64,
    /// Messages from someone who is not the previous hop.
    pub wrong_previous_hop: u64,
    /// Messages that came twice.
    pub duplicates: u64,
    /// Messages of which some fragment never came.
    pub fragments_expired: u64,
    /// Fragments that came twice or contradict others.
    pub fragments_refused: u64,
    /// Messages of which fragments were missing when the memory was needed.
    pub fragments_evicted: u64,
    /// Messages over a gateway's limit.
    pub gateway_overflows: u64,
    /// Messages that are too large for any tunnel.
    pub oversized: u64,
    /// Tests that came back.
    pub tests_passed: u64,
    /// Tests that did not.
    pub tests_failed: u64,
}
