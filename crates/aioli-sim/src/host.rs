//! One simulated computer: a router, its disk, its application.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use aioli_core::{Duration, Instant, Now, Rng};
use aioli_router::tap::Tap;
use aioli_router::{Config, ConnId, Identity, Router, StoreWrite, TunnelOptions, create_router_info};
use aioli_wire::{RouterHash, RouterInfo, Verified};

use crate::app::App;
use crate::hostile::Role;
use crate::memo::Memo;
use crate::pipe;
use crate::scenario::Scenario;
use crate::world::EPOCH;

/// The network id of simulated networks.
const NET_ID: u8 = 98;
/// Hops of a tunnel.
pub(crate) const HOPS: u8 = 3;
/// What the router writes is safe from a crash after this time.
const WRITE_DELAY: Duration = Duration::from_secs(5);

/// A computer. Its identity and its disk outlive crashes.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) disk: Disk,
    /// How far its clock is ahead of the slowest that the scenario allows.
    pub(crate) ahead: Duration,
    /// And so many milliseconds besides, or less.
    pub(crate) wrong_ms: i64,
    /// The running router and its application; none while it is down.
    pub(crate) up: Option<Up>,
    /// Counts starts.
    pub(crate) life: u32,
    pub(crate) rng: Rng,
    pub(crate) role: Role,
    /// Hops of the tunnels of its destination, if it has one.
    pub(crate) session: Option<u8>,
    /// It has left for good.
    pub(crate) gone: bool,
    /// Its first RouterInfo.
    pub(crate) first_info: Arc<Verified<RouterInfo>>,
}

/// What is fixed when a host is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) floodfill: bool,
    pub(crate) role: Role,
    /// Hops of the tunnels of its destination, if it has one.
    pub(crate) session: Option<u8>,
}

/// What a crash destroys.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) router: Router,
    pub(crate) app: App,
    pub(crate) since: Instant,
    /// Which pipe a connection is, and which of its ends.
    pub(crate) conns: BTreeMap<ConnId, (u64, usize)>,
    /// The power fails after this many more outputs of the router.
    pub(crate) fuse: Option<u64>,
    /// The wake-up that stands in the world's queue.
    pub(crate) wake: Option<Instant>,
}

impl Host {
    pub(crate) fn new(index: usize, setup: Setup, scenario: &Scenario, at: Instant, mut rng: Rng) -> Self {
        let mut config = config(scenario, index);
        config.floodfill = setup.floodfill.into();
        config.published = vec![match scenario.scale {
            Some(_) => pipe::public_address(index),
            None => pipe::address(index),
        }];
        let identity = Identity::generate(&mut rng);
        let ahead = rng.duration(Duration::ZERO, scenario.skew * 2);
        let wall = EPOCH - scenario.skew + at.since(Instant::ZERO) + ahead;
        let first_info = create_router_info(&config, &identity, Now { mono: at, wall });
        Self {
            config,
            identity,
            disk: Disk::default(),
            ahead,
            wrong_ms: 0,
            up: None,
            life: 0,
            rng,
            role: setup.role,
            session: setup.session,
            gone: false,
            first_info,
        }
    }

    /// How a host like this one is made.
    pub(crate) const fn setup(&self) -> Setup {
        Setup { floodfill: self.config.floodfill.is_always(), role: self.role, session: self.session }
    }

    /// Starts the router from what the disk holds.
    pub(crate) fn start(&mut self, memo: Option<&Arc<Memo>>, now: Now) {
        self.life += 1;
        let mut router = Router::new(self.config.clone(), self.identity.clone(), self.rng.bytes(), now);
        if let Some(memo) = memo {
            router.share_checks(Arc::<Memo>::clone(memo));
            let honest = self.role == Role::Honest;
            router.set_tap(Tap { outcomes: honest, database: !honest });
        }
        for bytes in self.disk.files.values() {
            // What is outdated by now is skipped, as the product does.
            let _ = router.load_router_info(bytes, now);
        }
        router.start(now);
        let mut app = App::default();
        if let Some(length) = self.session {
            app.start(&mut router, length, now);
        }
        self.up = Some(Up { router, app, since: now.mono, conns: BTreeMap::new(), fuse: None, wake: None });
    }

    /// The power fails: what was not on the disk yet is lost.
    pub(crate) fn crash(&mut self, now: Instant) -> Option<Up> {
        let up = self.up.take()?;
        self.disk.crash(now, &mut self.rng);
        Some(up)
    }
}

/// How router `index` of a scenario is set up.
pub(crate) fn config(scenario: &Scenario, index: usize) -> Config {
    let quantity = scenario.scale.as_ref().map_or(2, |scale| scale.quantity);
    let tunnels = TunnelOptions { length: HOPS, variance: 0, quantity, backup: 0, kbps: 0 };
    let mut config = Config {
        net_id: NET_ID,
        private_network: scenario.scale.is_none(),
        inbound: tunnels,
        outbound: tunnels,
        ..Config::default()
    };
    (config.ntcp2, config.ssu2) = scenario.transports.of(index);
    if let Some(scale) = &scenario.scale {
        config.limits.routers = scale.known_routers;
    }
    config
}

/// A disk that writes late, in order.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<RouterHash, Arc<[u8]>>,
    unwritten: VecDeque<(Instant, StoreWrite)>,
}

impl Disk {
    /// Puts a file there before the host has started.
    pub(crate) fn prepare(&mut self, hash: RouterHash, bytes: Arc<[u8]>) {
        self.files.insert(hash, bytes);
    }

    /// Takes a write of the router; it is safe after a while only.
    pub(crate) fn store(&mut self, write: StoreWrite, now: Instant) {
        self.flush(now);
        self.unwritten.push_back((now + WRITE_DELAY, write));
    }

    fn flush(&mut self, now: Instant) {
        while let Some((_, write)) = self.unwritten.pop_front_if(|(at, _)| *at <= now) {
            self.apply(write);
        }
    }

    /// Some of the late writes happened, and the one under way may have left half a file.
    fn crash(&mut self, now: Instant, rng: &mut Rng) {
        self.flush(now);
        for _ in 0..rng.up_to(self.unwritten.len() as u64) {
            let Some((_, write)) = self.unwritten.pop_front() else { break };
            self.apply(write);
        }
        if let Some((_, StoreWrite::RouterInfo { hash, bytes })) = self.unwritten.pop_front()
            && rng.chance(1, 2)
        {
            let half = usize::try_from(rng.up_to(bytes.len() as u64)).unwrap_or(0);
            self.files.insert(hash, bytes.iter().take(half).copied().collect());
        }
        self.unwritten.clear();
    }

    fn apply(&mut self, write: StoreWrite) {
        match write {
            StoreWrite::RouterInfo { hash, bytes } => {
                self.files.insert(hash, bytes);
            }
            StoreWrite::RemoveRouterInfo(hash) => {
                self.files.remove(&hash);
            }
            StoreWrite::OwnRouterInfo(_) | StoreWrite::Guards(_) | StoreWrite::Profiles(_) => {}
        }
    }
}
