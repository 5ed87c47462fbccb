//! A router on a thread of its own, and the handle to it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aioli_client::{Sam, SamConfig, SamStats};
use aioli_core::Rng;
use aioli_router::{Config, Event, Identity, Router, Stats, StoreWrite};
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::addresses::{self, AddressWatch};
use crate::clock::{Clock, entropy};
use crate::complaints::Complaints;
use crate::disk::DataDir;
use crate::driver::{self, Machines, Shared, Sinks};
use crate::embed::{self, Client, Commands, Embed, EmbedStats, Hub};
use crate::link::SocketBuffers;
use crate::links::LinkConditions;
use crate::mapping::{Mapper, MappingConfig, MappingEvent};
use crate::reseed::{self, ReseedConfig, ReseedProgress, ReseedSource};
use crate::sntp::{self, Sntp, SntpConfig, SntpError};
use crate::udp::{self, UdpStats};

/// Snapshots are taken this often.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(500);
/// At the end, what is queued for peers and programs that do not read is given up after this time.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Others' tunnels are counted this often while they are waited for.
const DRAIN_CHECK: Duration = Duration::from_millis(200);
/// And told about no more often than this.
const DRAIN_TOLD_EVERY: Duration = Duration::from_secs(1);
/// A wall clock that is this far from ours was set.
const CLOCK_SET_MS: u64 = 2_000;
/// Connections waiting in the kernel to be accepted.
const BACKLOG: i32 = 1024;

/// With fewer known routers, servers are asked for more.
pub const FEW_ROUTERS: u64 = 90;
/// So they are with fewer floodfills.
const FEW_FLOODFILLS: u64 = 5;
/// How often that is looked at.
const SEEDED_CHECK: Duration = Duration::from_secs(60);
/// Servers are asked again after the first time, if nothing came of it after up to the second.
const RESEED_AGAIN: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(3600));

/// How a node is set up.
#[derive(Debug)]
pub struct NodeConfig {
    /// The router itself.
    pub router: Config,
    /// Who it is.
    pub identity: Identity,
    /// Where NTCP2 listens; see [`bind`].
    pub listeners: Vec<TcpListener>,
    /// Where SSU2 listens, or only dials from: one socket an address family at most; see [`bind_udp`]. Without one
    /// there is no SSU2.
    pub udp: Vec<UdpSocket>,
    /// Where SAM listens, if it does; see [`bind`].
    pub sam: Option<TcpListener>,
    /// How SAM behaves.
    pub sam_config: SamConfig,
    /// Where state is kept; none keeps it in memory alone.
    pub data_dir: Option<DataDir>,
    /// RouterInfos to start with, besides those of the data directory.
    pub known_routers: Vec<Vec<u8>>,
    /// Where to write the counters every five seconds, for tests and supervisors.
    pub stats_file: Option<PathBuf>,
    /// How to find first peers; none leaves it to the caller.
    pub reseed: Option<ReseedConfig>,
    /// Time servers to ask at the start and every few hours; none leaves the clock to the peers.
    pub time_servers: Option<SntpConfig>,
    /// The machine's clocks; see [`Clock::start`].
    pub clock: Clock,
    /// How our addresses are found out; none leaves those that `router` publishes.
    pub addresses: Option<AddressWatch>,
    /// How gateways are asked to let other routers in; none asks nobody.
    pub port_mapping: Option<MappingConfig>,
    /// For test networks: how the links to other routers behave besides what they do by themselves.
    pub links: Option<LinkConditions>,
    /// For test networks: decides what the router draws; none takes the system's entropy. Whoever knows it knows
    /// the router's secrets.
    pub seed: Option<[u8; 32]>,
}

impl NodeConfig {
    /// A router that listens nowhere, keeps nothing on a disk and asks nobody for anything.
    pub fn new(router: Config, identity: Identity) -> Self {
        Self {
            router,
            identity,
            listeners: Vec::new(),
            udp: Vec::new(),
            sam: None,
            sam_config: SamConfig::default(),
            data_dir: None,
            known_routers: Vec::new(),
            stats_file: None,
            reseed: None,
            time_servers: None,
            clock: Clock::start(),
            addresses: None,
            port_mapping: None,
            links: None,
            seed: None,
        }
    }
}

/// Why a node cannot start.
#[derive(Debug, Error)]
pub enum NodeError {
    /// A port cannot be had.
    #[error(
        "cannot listen on {address} for {what}: {error}. Is another program using the port? Choose another with {option}"
    )]
    Listen {
        /// NTCP2, SSU2 or SAM.
        what: &'static str,
        /// The address asked for.
        address: SocketAddr,
        /// The option that changes it.
        option: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The runtime cannot be made.
    #[error("cannot start the router's thread: {0}")]
    Thread(std::io::Error),
}

/// What a node tells its owner as it happens.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The router says.
    Router(Event),
    /// RouterInfos were loaded from the data directory.
    Loaded {
        /// Usable ones.
        routers: usize,
        /// Damaged or outdated ones, skipped.
        skipped: usize,
    },
    /// What an earlier start has learned of other routers was loaded.
    Remembered {
        /// Routers that something is remembered of.
        routers: usize,
    },
    /// First peers are looked for.
    Reseed(ReseedProgress),
    /// No time server could be used at the start.
    TimeServers(SntpError),
    /// A gateway maps our port, or why not.
    PortMapping(MappingEvent),
    /// Others' tunnels are waited for before the end; see [`Node::begin_drain`].
    Draining {
        /// How many are left.
        tunnels: usize,
        /// How long the last of them may last, and no longer than is waited.
        at_most: Duration,
    },
    /// Goodbyes are said: the thread ends within seconds.
    Stopping,
}

/// The router's counters at a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its counters.
    pub stats: Stats,
    /// Those of SAM.
    pub sam: SamStats,
    /// Those of the UDP sockets.
    pub udp: UdpStats,
    /// Those of programs in the same process.
    pub embed: EmbedStats,
    /// Its RouterInfo as published.
    pub router_info: Arc<[u8]>,
    /// Which snapshot this is: one that does not grow is of a router whose thread hangs.
    pub number: u64,
}

/// A running router. Dropping it stops the router.
#[derive(Debug)]
pub struct Node {
    stop: Option<mpsc::UnboundedSender<Stop>>,
    thread: Option<JoinHandle<()>>,
    notices: mpsc::UnboundedReceiver<Notice>,
    snapshot: Arc<Mutex<Snapshot>>,
    hub: Arc<Hub>,
    /// Where NTCP2 listens, with the ports that were drawn.
    pub listening: Vec<SocketAddr>,
    /// Where SAM listens.
    pub sam: Option<SocketAddr>,
}

impl Node {
    /// Starts the router.
    pub fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let listening = config.listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        let sam = config.sam.as_ref().and_then(|l| l.local_addr().ok());
        let (stop, stopped) = mpsc::unbounded_channel();
        let (notice_sink, notices) = mpsc::unbounded_channel();
        let snapshot = Arc::new(Mutex::new(Snapshot::default()));
        let sinks = (notice_sink, Arc::clone(&snapshot));
        let (hub, commands) = Hub::new();
        let embedded = (Arc::clone(&hub), commands);
        let thread = std::thread::Builder::new()
            .name("router".into())
            .spawn(move || run_thread(config, sinks, embedded, stopped))
            .map_err(NodeError::Thread)?;
        Ok(Self { stop: Some(stop), thread: Some(thread), notices, snapshot, hub, listening, sam })
    }

    /// The next thing to tell; none when the router has ended.
    pub async fn notice(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// The counters, half a second old at most.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A way into the router for programs in this process: destinations and streams.
    pub fn client(&self) -> Client {
        Client::new(Arc::clone(&self.hub))
    }

    /// Asks the router to take part in no further tunnels of others and to stop when those that
    /// it takes part in have ended, or after `grace`. Until then everything goes on, and
    /// [`Notice::Draining`] tells how far it is; [`Notice::Stopping`] is the last one.
    pub fn begin_drain(&self, grace: Duration) {
        if let Some(stop) = &self.stop {
            // An error means that it has ended already.
            let _ = stop.send(Stop::Drained(grace));
        }
    }

    /// Stops the router and waits until its thread has ended.
    pub fn stop(mut self) {
        self.finish();
    }

    /// Asks the router to stop without waiting for it.
    pub fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that it has ended already.
            let _ = stop.send(Stop::Now);
        }
    }

    fn finish(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the router's thread panicked; please report the message above");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Binds a port. `what` and `option` name it for the user when that fails.
pub fn bind(address: SocketAddr, what: &'static str, option: &'static str) -> Result<TcpListener, NodeError> {
    bind_socket(address).map_err(|error| NodeError::Listen { what, address, option, error })
}

/// The same for SSU2.
pub fn bind_udp(address: SocketAddr, option: &'static str) -> Result<UdpSocket, NodeError> {
    udp::bind(address).map_err(|error| NodeError::Listen { what: "SSU2", address, option, error })
}

fn bind_socket(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = new_socket(address, Type::STREAM)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for addresses of this one's family; one of IPv6 is for IPv6 alone.
pub(crate) fn new_socket(address: SocketAddr, kind: Type) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// How a router is to stop.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// When others' tunnels have ended, or after this time.
    Drained(Duration),
    /// Saying goodbye.
    Now,
}

type JoinTask = tokio::task::JoinHandle<()>;

type OwnerSinks = (mpsc::UnboundedSender<Notice>, Arc<Mutex<Snapshot>>);

/// What the embedding API needs of the router's thread.
type Embedded = (Arc<Hub>, Commands);

fn run_thread(
    config: NodeConfig,
    sinks: OwnerSinks,
    embedded: Embedded,
    stopped: mpsc::UnboundedReceiver<Stop>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the router's runtime: {error}");
            return;
        }
    };
    let (store, writes) = std::sync::mpsc::channel();
    let data_dir = config.data_dir.clone();
    let writer = std::thread::spawn(move || store_all(data_dir, &writes));
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, serve(config, sinks, embedded, store, stopped));
    // The tasks hold the writer's channel: without them it finishes what is queued and ends.
    drop(tasks);
    // A reseed under way is not waited for.
    runtime.shutdown_background();
    if writer.join().is_err() {
        tracing::error!(
            "the thread that writes the data directory panicked; please report the message above"
        );
    }
}

async fn serve(
    config: NodeConfig,
    (notices, snapshot): OwnerSinks,
    (hub, commands): Embedded,
    store: std::sync::mpsc::Sender<StoreWrite>,
    mut stopped: mpsc::UnboundedReceiver<Stop>,
) {
    let NodeConfig {
        mut router,
        identity,
        listeners,
        udp,
        sam,
        sam_config,
        data_dir,
        known_routers,
        stats_file,
        reseed,
        time_servers,
        clock,
        addresses,
        port_mapping,
        links,
        seed,
    } = config;
    let sockets = if router.ssu2 { udp_sockets(udp) } else { Vec::new() };
    router.ssu2 = !sockets.is_empty();
    let net_id = router.net_id;
    let mut rng = Rng::from_seed(seed.unwrap_or_else(entropy));
    let buffers = socket_buffers(&router);
    let mut router = Router::new(router, identity, rng.bytes(), clock.now());
    let has = |ipv4| sockets.iter().any(|s| s.local_addr().is_ipv4() == ipv4);
    router.set_ssu2_families(has(true), has(false));
    // Before anything is judged by its date: RouterInfos, and the certificates of reseed servers.
    let mut sntp = time_servers.map(Sntp::new);
    let answered = tokio::select! {
        answered = set_clock(&mut router, sntp.as_mut(), clock, &notices) => answered,
        _ = stopped.recv() => {
            let _ = notices.send(Notice::Stopping);
            return;
        }
    };
    load(&mut router, data_dir.as_ref(), known_routers, clock, &notices);
    let embed = Embed::new(Arc::clone(&hub));
    let machines = Machines { router, sam: Sam::new(sam_config, rng.fork()), embed };
    let shared = Shared::new(machines, clock, Sinks { store, notices }, buffers, sockets, links);
    let listening = listen(&shared, listeners, sam);
    shared.receive_datagrams();
    tokio::task::spawn_local(embed::serve(Rc::clone(&shared), hub, commands));
    shared.with_machines(|m, now| m.router.start(now));
    if let Some(sntp) = sntp {
        tokio::task::spawn_local(sntp::keep(Rc::clone(&shared), sntp, answered));
    }
    if let Some(reseed) = reseed {
        tokio::task::spawn_local(keep_seeded(Rc::clone(&shared), reseed, net_id));
    }
    tokio::task::spawn_local(watch(Rc::clone(&shared), snapshot, stats_file));
    let mapping = find_addresses(&shared, addresses, port_mapping);
    let driver = tokio::task::spawn_local(driver::run(Rc::clone(&shared)));
    // None means that the handle was dropped: stop as well.
    if let Some(Stop::Drained(grace)) = stopped.recv().await {
        drain(&shared, grace, &mut stopped).await;
    }
    listening.iter().for_each(JoinTask::abort);
    tokio::join!(leave(&shared), unmap(mapping));
    join_driver(driver).await;
}

async fn join_driver(driver: JoinTask) {
    if driver.await.is_err() {
        tracing::error!("the router's driver panicked; please report the message above");
    }
}

/// Takes over the sockets of SSU2.
fn udp_sockets(sockets: Vec<UdpSocket>) -> Vec<Rc<udp::UdpSocket>> {
    let taken = sockets.into_iter().filter_map(|socket| match udp::UdpSocket::new(socket) {
        Ok(socket) => Some(Rc::new(socket)),
        Err(error) => {
            tracing::error!("cannot use a UDP socket: {error}");
            None
        }
    });
    taken.collect()
}

/// Finds out where others reach us: at the interfaces, and at the gateways.
fn find_addresses(
    shared: &Rc<Shared>,
    watch: Option<AddressWatch>,
    port_mapping: Option<MappingConfig>,
) -> Option<(Rc<Mapper>, JoinTask)> {
    let known = watch.map(|watch| {
        let known = Rc::new(addresses::Known::default());
        tokio::task::spawn_local(addresses::watch(Rc::clone(shared), Rc::clone(&known), watch));
        known
    });
    let config = port_mapping?;
    let mapper = Mapper::new(&config);
    let task = tokio::task::spawn_local(Rc::clone(&mapper).keep(Rc::clone(shared), known, config));
    Some((mapper, task))
}

/// Has gateways forget us, within a bounded time.
async fn unmap(mapping: Option<(Rc<Mapper>, JoinTask)>) {
    if let Some((mapper, task)) = mapping {
        task.abort();
        mapper.remove_all().await;
    }
}

/// Accepts at every listener.
fn listen(shared: &Rc<Shared>, peers: Vec<TcpListener>, sam: Option<TcpListener>) -> Vec<JoinTask> {
    let mut tasks = Vec::new();
    for (listener, for_sam) in peers.into_iter().map(|l| (l, false)).chain(sam.map(|l| (l, true))) {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let task = driver::listen(Rc::clone(shared), listener, for_sam);
                tasks.push(tokio::task::spawn_local(task));
            }
            Err(error) => tracing::error!("cannot listen: {error}"),
        }
    }
    tasks
}

/// Says goodbye to everyone and ends the driver.
async fn leave(shared: &Rc<Shared>) {
    shared.notify(Notice::Stopping);
    shared.with_machines(|m, now| {
        m.sam.shut_down(&mut m.router, now);
        m.embed.shut_down(&mut m.router, now);
        m.router.shut_down(now);
    });
    if tokio::time::timeout(LAST_WORDS, shared.all_ended()).await.is_err() {
        tracing::info!("some connections did not take their last words in time and are cut off");
    }
    shared.stop();
}

/// Waits until others' tunnels have ended, the time is over, or it is to be at once.
async fn drain(shared: &Rc<Shared>, grace: Duration, stopped: &mut mpsc::UnboundedReceiver<Stop>) {
    let begun = shared.now().mono;
    shared.with_machines(|m, now| m.router.begin_drain(now));
    let mut told: Option<(usize, aioli_core::Instant)> = None;
    loop {
        let ((tunnels, left), now) = shared.with_machines(|m, now| (m.router.transit_left(now), now.mono));
        let grace_left = grace.saturating_sub(now.since(begun));
        if tunnels == 0 || grace_left.is_zero() {
            return;
        }
        let since = |at| now.since(at);
        let tell = told.is_none_or(|(before, at)| {
            since(at) >= DRAIN_TOLD_EVERY && (before != tunnels || since(at) >= 10 * DRAIN_TOLD_EVERY)
        });
        if tell {
            shared.notify(Notice::Draining { tunnels, at_most: left.min(grace_left) });
            told = Some((tunnels, now));
        }
        let wait = DRAIN_CHECK.min(grace_left);
        if tokio::time::timeout(wait, stopped.recv()).await.is_ok() {
            return;
        }
    }
}

/// What the kernel may hold of each peer's bytes.
fn socket_buffers(router: &Config) -> SocketBuffers {
    let within_limit = router.bandwidth.inbound.map(receive_buffer);
    SocketBuffers {
        receive: within_limit.into_iter().chain(router.limits.socket_buffer).min(),
        send: router.limits.socket_buffer,
    }
}

/// The same under this limit in bytes a second.
fn receive_buffer(limit: u64) -> usize {
    usize::try_from(limit / 8).unwrap_or(usize::MAX).clamp(16 << 10, 4 << 20)
}

/// Gives the router what time servers answer, if any does.
async fn set_clock(
    router: &mut Router,
    sntp: Option<&mut Sntp>,
    clock: Clock,
    notices: &mpsc::UnboundedSender<Notice>,
) -> bool {
    let Some(sntp) = sntp else { return false };
    match sntp.ask().await {
        Ok(answer) => {
            let now = clock.now();
            router.set_clock_offset(answer.agreeing, answer.offset_ms(now.wall), now);
            true
        }
        Err(error) => {
            let _ = notices.send(Notice::TimeServers(error));
            false
        }
    }
}

/// Gives the router what the data directory and the caller know.
fn load(
    router: &mut Router,
    data_dir: Option<&DataDir>,
    known: Vec<Vec<u8>>,
    clock: Clock,
    notices: &mpsc::UnboundedSender<Notice>,
) {
    let (mut routers, mut skipped) = (0, 0);
    let mut take = |bytes: Vec<u8>| match router.load_router_info(&bytes, clock.now()) {
        Ok(_) => routers += 1,
        Err(error) => {
            tracing::debug!("NetDB entry skipped: {error}");
            skipped += 1;
        }
    };
    let unreadable = data_dir.map_or(0, |dir| dir.each_router_info(&mut take));
    known.into_iter().for_each(take);
    skipped += unreadable;
    let guards = data_dir.and_then(DataDir::load_guards);
    if guards.is_some_and(|text| !router.load_guards(&text)) {
        tracing::warn!("router.guards is damaged: what cannot be read of it is left out");
    }
    let _ = notices.send(Notice::Loaded { routers, skipped });
    let profiles = data_dir.map(DataDir::load_profiles).unwrap_or_default();
    let remembered = router.load_profiles(&profiles, clock.now());
    if remembered > 0 {
        let _ = notices.send(Notice::Remembered { routers: remembered });
    }
}

/// Reseeds at the start if that is asked for, and whenever too few routers are known.
async fn keep_seeded(shared: Rc<Shared>, config: ReseedConfig, net_id: u8) {
    let config = Arc::new(config);
    let (mut at_start, mut pause) = (config.at_start.clone(), RESEED_AGAIN.0);
    loop {
        let stats = shared.with_machines(|m, _| m.router.stats());
        let few = stats.known_routers < FEW_ROUTERS || stats.floodfills < FEW_FLOODFILLS;
        let needed = (few && config.when_needed).then_some(ReseedSource::Servers);
        let Some(source) = at_start.take().or(needed) else {
            tokio::time::sleep(SEEDED_CHECK).await;
            continue;
        };
        shared.notify(Notice::Reseed(ReseedProgress::Begun {
            known: stats.known_routers,
            source: source.clone(),
        }));
        let again = config.when_needed.then_some(pause);
        let taken = reseed_once(&shared, &config, source, net_id, again).await;
        tokio::time::sleep(if taken > 0 { RESEED_AGAIN.0 } else { pause }).await;
        pause = if taken > 0 { RESEED_AGAIN.0 } else { RESEED_AGAIN.1.min(pause * 2) };
    }
}

/// Gets RouterInfos on a thread of its own: TLS and signatures must not hold up the router. Gives how many are new.
async fn reseed_once(
    shared: &Rc<Shared>,
    config: &Arc<ReseedConfig>,
    source: ReseedSource,
    net_id: u8,
    again: Option<Duration>,
) -> usize {
    let (sender, mut progress) = mpsc::unbounded_channel();
    let (config, from) = (Arc::clone(config), source.clone());
    let now = shared.with_machines(|m, now| now.wall.shifted(m.router.clock_offset_ms()));
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut rng = Rng::from_seed(entropy());
        // An error means that the node has ended.
        let tell = |event| drop(sender.send(event));
        std::io::Result::Ok(runtime.block_on(reseed::run(&config, &from, net_id, now, &mut rng, tell)))
    });
    while let Some(event) = progress.recv().await {
        shared.notify(Notice::Reseed(event));
    }
    let found = match thread.await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::error!("cannot reseed: {error}");
            reseed::Found::default()
        }
        Err(error) => {
            tracing::error!("the thread that reseeds panicked; please report the message above ({error})");
            reseed::Found::default()
        }
    };
    let routers = shared.with_machines(|m, now| {
        found.routers.values().filter(|bytes| m.router.learn_router_info(bytes, now).is_ok()).count()
    });
    let (unwanted, sources) = (found.routers.len() - routers, found.sources);
    shared.notify(Notice::Reseed(ReseedProgress::Done { source, routers, unwanted, sources, again }));
    routers
}

/// Writes what the router wants kept, off its thread.
fn store_all(data_dir: Option<DataDir>, writes: &std::sync::mpsc::Receiver<StoreWrite>) {
    let mut failing = false;
    for write in writes {
        let Some(dir) = &data_dir else { continue };
        let result = match &write {
            StoreWrite::RouterInfo { hash, bytes } => dir.store_router_info(hash, bytes),
            StoreWrite::RemoveRouterInfo(hash) => dir.remove_router_info(hash),
            StoreWrite::OwnRouterInfo(bytes) => dir.store_own_router_info(bytes),
            StoreWrite::Guards(text) => dir.store_guards(text),
            StoreWrite::Profiles(profiles) => dir.store_profiles(profiles),
        };
        match result {
            Err(error) if !failing => {
                tracing::warn!(
                    "cannot write to the data directory: {error}. The router goes on; free some space"
                );
                failing = true;
            }
            Err(_) => {}
            Ok(()) => failing = false,
        }
    }
}

/// Publishes the counters to the handle and, if asked, to a file.
async fn watch(shared: Rc<Shared>, snapshot: Arc<Mutex<Snapshot>>, file: Option<PathBuf>) {
    let (mut round, mut complaints, mut failing) = (0_u32, Complaints::default(), false);
    loop {
        shared.follow_wall_clock(CLOCK_SET_MS);
        let udp = shared.udp_stats();
        let now = shared.with_machines(|m, _| Snapshot {
            stats: m.router.stats(),
            sam: m.sam.stats(),
            udp,
            embed: m.embed.stats(),
            router_info: Arc::from(m.router.router_info().bytes()),
            number: u64::from(round) + 1,
        });
        if let Some(path) = &file
            && round.is_multiple_of(10)
        {
            let result = write_stats(path, &now);
            if let (Err(error), false) = (&result, failing) {
                tracing::warn!("cannot write the counters to {}: {error}", path.display());
            }
            failing = result.is_err();
        }
        for line in complaints.lines(&now, shared.now().mono) {
            tracing::info!("{line}");
        }
        *snapshot.lock().unwrap_or_else(PoisonError::into_inner) = now;
        round = round.wrapping_add(1);
        tokio::time::sleep(SNAPSHOT_EVERY).await;
    }
}

fn write_stats(path: &std::path::Path, now: &Snapshot) -> std::io::Result<()> {
    let sam = &now.sam;
    let mut counters: std::collections::BTreeMap<_, _> = now.stats.counters().into_iter().collect();
    counters.extend([
        ("sam_connections", sam.connections),
        ("sam_refused_connections", sam.refused_connections),
        ("sam_bad_lines", sam.bad_lines),
        ("sam_silent_connections", sam.silent_connections),
        ("sam_refused_streams", sam.refused_streams),
        ("udp_received", now.udp.received),
        ("udp_sent", now.udp.sent),
        ("udp_send_calls", now.udp.send_calls),
        ("udp_receive_calls", now.udp.receive_calls),
        ("udp_too_large", now.udp.too_large),
        ("udp_unreachable", now.udp.unreachable),
        ("udp_unsendable", now.udp.unsendable),
        ("app_refused_streams", now.embed.refused_streams),
        ("app_refused_lookups", now.embed.refused_lookups),
    ]);
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, serde_json::to_vec_pretty(&counters)?)?;
    std::fs::rename(temporary, path)
}
