//! One simulated computer: a router, its disk, its application.

use std::collections::BTreeMap;
use std::sync::Arc;

use aioli_core::{Instant, Now, Rng};
use aioli_router::{Config, ConnId, Identity, Router, StoreWrite, TunnelOptions};
use aioli_wire::RouterHash;

use crate::app::App;
use crate::pipe;

/// The network id of simulated networks.
const NET_ID: u8 = 98;

/// A computer. Its identity and its disk outlive crashes.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) disk: BTreeMap<RouterHash, Arc<[u8]>>,
    /// The running router and its application; none while it is down.
    pub(crate) up: Option<Up>,
    /// Counts starts.
    pub(crate) life: u32,
    pub(crate) rng: Rng,
}

/// What a crash destroys.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) router: Router,
    pub(crate) app: App,
    pub(crate) since: Instant,
    /// Which pipe a connection is, and which of its ends.
    pub(crate) conns: BTreeMap<ConnId, (u64, usize)>,
    /// The wake-up that stands in the world's queue.
    pub(crate) wake: Option<Instant>,
}

impl Host {
    pub(crate) fn new(index: usize, floodfill: bool, mut rng: Rng) -> Self {
        let tunnels = TunnelOptions { length: 3, variance: 0, quantity: 2, backup: 0 };
        let config = Config {
            net_id: NET_ID,
            private_network: true,
            floodfill,
            published: vec![pipe::address(index)],
            inbound: tunnels,
            outbound: tunnels,
            ..Config::default()
        };
        let identity = Identity::generate(&mut rng);
        Self { config, identity, disk: BTreeMap::new(), up: None, life: 0, rng }
    }

    /// Starts the router from what the disk holds.
    pub(crate) fn start(&mut self, now: Now) {
        self.life += 1;
        let mut router = Router::new(self.config.clone(), self.identity.clone(), self.rng.bytes(), now);
        for bytes in self.disk.values() {
            // What is outdated by now is skipped, as the product does.
            let _ = router.load_router_info(bytes, now);
        }
        router.start(now);
        let mut app = App::default();
        app.start(&mut router, now);
        self.up = Some(Up { router, app, since: now.mono, conns: BTreeMap::new(), wake: None });
    }

    /// Carries out a write of the router.
    pub(crate) fn store(&mut self, write: StoreWrite) {
        match write {
            StoreWrite::RouterInfo { hash, bytes } => {
                self.disk.insert(hash, bytes);
            }
            StoreWrite::RemoveRouterInfo(hash) => {
                self.disk.remove(&hash);
            }
            StoreWrite::OwnRouterInfo(_) => {}
        }
    }
}
