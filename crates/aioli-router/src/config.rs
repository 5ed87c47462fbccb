//! How a router is set up. Units are in the names; `Default` is production.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::Duration;
use aioli_transport::Bandwidth;
use aioli_wire::RouterHash;

use crate::blocklist::Blocklist;
use crate::client::TunnelOptions;
use crate::limits::Limits;
use crate::role::FloodfillRole;

/// The network that everyone uses.
pub const PUBLIC_NETWORK: u8 = 2;

/// The API level that we publish (PROTOCOL of the I2NP version table): all
/// that a peer may expect of a router of this level works here.
pub(crate) const PUBLISHED_VERSION: &str = "0.9.64";

/// A router's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Routers of other networks are refused. 2 is the public network.
    pub net_id: u8,
    /// Private and loopback addresses are allowed, and the rules that need a
    /// large network (one hop per /16, version floors) do not hold.
    pub private_network: bool,
    /// Whether to serve the NetDB to others.
    pub floodfill: FloodfillRole,
    /// Publish no address and nothing in the NetDB, and be no hop of others' tunnels. What serves others
    /// (`floodfill`, `published`) has no meaning then.
    pub hidden: bool,
    /// If there are any, only these are next to us in our tunnels. For finding faults: it gives them away.
    pub explicit_peers: BTreeSet<RouterHash>,
    /// Whether NTCP2 is spoken.
    pub ntcp2: bool,
    /// Whether SSU2 is spoken. The driver must have UDP sockets then.
    pub ssu2: bool,
    /// The largest IP packet that our network takes, for SSU2: 1280 to 1500.
    pub mtu: u16,
    /// The port on which we listen; 0 if it is not known. With it others may reach us at an address that is learned.
    pub port: u16,
    /// Where peers reach us, over either transport; empty when that is not known, or nothing listens.
    pub published: Vec<SocketAddr>,
    /// Exploratory tunnels towards us.
    pub inbound: TunnelOptions,
    /// Exploratory tunnels away from us.
    pub outbound: TunnelOptions,
    /// What we may send and receive, and what of it is for others.
    pub bandwidth: Bandwidth,
    /// Addresses and routers that we have nothing to do with.
    pub blocklist: Arc<Blocklist>,
    /// Until a handshake must be done.
    pub handshake_timeout: Duration,
    /// Until a silent session is closed.
    pub idle_timeout: Duration,
    /// The bounds of everything that others can fill.
    pub limits: Limits,
}

impl Config {
    /// Whether others can dial us.
    pub(crate) const fn is_reachable(&self) -> bool {
        !self.published.is_empty() && !self.hidden
    }
}

impl Default for Config {
    fn default() -> Self {
        let exploratory = TunnelOptions { length: 3, variance: 0, quantity: 3, backup: 0, kbps: 0 };
        Self {
            net_id: PUBLIC_NETWORK,
            private_network: false,
            hidden: false,
            explicit_peers: BTreeSet::new(),
            floodfill: FloodfillRole::Never,
            ntcp2: true,
            ssu2: true,
            mtu: 1500,
            port: 0,
            published: Vec::new(),
            inbound: exploratory,
            outbound: exploratory,
            bandwidth: Bandwidth::default(),
            blocklist: Arc::default(),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            limits: Limits::default(),
        }
    }
}
