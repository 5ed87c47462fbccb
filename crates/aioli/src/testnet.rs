//! A whole private I2P network in one process, on loopback.
//!
//! Every router is a full one with its own thread, sockets and keys; they
//! know each other from the start, as after a reseed. The network id is one
//! that no other network uses, so nothing can join or leak.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aioli_apps::address_book::{AddressBook, List};
use aioli_apps::console::Journal;
use aioli_apps::names::HostName;
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{Defaults, Tunnels, TunnelsConfig};
use aioli_apps::{Apps, site};
use aioli_client::{SamConfig, SessionDefaults};
use aioli_core::Rng;
use aioli_node::embed::Client;
use aioli_node::{Clock, Node, NodeConfig, Notice, Snapshot, bind, bind_udp, entropy};
use aioli_router::{Config, Event, Identity, TunnelOptions, create_router_info};
use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::check;
use crate::console::{ConsolePort, Shown};
use crate::services::{Services, session_options};
use crate::settings::Listen;
use crate::terminal::{INTERRUPTED, TERMINATED, is_interactive, redraw, say, say_stopping};

/// The network id of test networks.
const NET_ID: u8 = 99;
/// The network must be usable within this time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The table is redrawn this often.
const REFRESH: Duration = Duration::from_secs(1);
/// Lines are written this often where nobody looks.
const REPORT: Duration = Duration::from_secs(10);

/// So often a port is drawn that is free for both transports.
const DRAWS: usize = 20;
/// Routers shown one by one: the table must fit on a screen to be redrawn in place.
const MAX_ROWS: usize = 16;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Routers in the network.
    pub routers: usize,
    /// SAM of the first router.
    pub sam: SocketAddr,
    /// Whether the routers speak NTCP2.
    pub ntcp2: bool,
    /// Whether they speak SSU2.
    pub ssu2: bool,
    /// The HTTP proxy of the first router.
    pub http: SocketAddr,
    /// The SOCKS proxy of the first router.
    pub socks: SocketAddr,
    /// The console of the first router.
    pub console: Listen,
    /// What it shows of the log.
    pub journal: Arc<Journal>,
    /// Only check that the network carries data, then exit.
    pub check: bool,
}

/// Starts the network and runs it until it is interrupted, or until the check is done.
pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    // First of all: a port that is taken is told at once. The check must not depend on the usual port being free.
    let sam = if options.check { None } else { Some(bind(options.sam, "SAM", "--sam")?) };
    let services =
        if options.check { None } else { Some(Services::of_testnet(options.http, options.socks)?) };
    // A test network is tried out on the spot: it has no password.
    let console = if options.check { None } else { ConsolePort::bind(Some(options.console), None)? };
    let sam = match sam {
        Some(listener) => vec![(0, Some(listener))],
        None => vec![(0, None), (options.routers / 2, None)],
    };
    say(format!("starting {} routers", options.routers));
    let mut network = Network::with_sam(options.routers, sam, (options.ntcp2, options.ssu2))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Signals::new()?;
        let work = async {
            network.wait_until_usable(START_TIMEOUT).await?;
            let all = options.routers;
            say(format!("{all} routers ready after {:.1} s", started.elapsed().as_secs_f64()));
            if options.check {
                let &[a, b] = &network.sam()[..] else { bail!("the check needs two SAM ports") };
                return tokio::task::spawn_blocking(move || check::transfer(a, b)).await?;
            }
            let (apps, book) = services.map(|services| hello(&network, services)).transpose()?.unzip();
            let console = console.zip(book).map(|(port, book)| {
                let (journal, settings) = (Arc::clone(&options.journal), Vec::new());
                let services = crate::console::services(apps.as_ref(), Some(options.sam));
                let tunnels = Some(own_tunnels(network.client(0), &book)?);
                port.start(network.client(0), Shown { journal, book, tunnels, settings, services })
            });
            let _console = console.transpose()?;
            say(format!("SAM for applications on {}   (Ctrl-C stops the network)", options.sam));
            say(format!(
                "open http://hello.i2p/ in a browser, or: curl -x http://{} http://hello.i2p/",
                options.http
            ));
            show(&network.nodes).await;
            Ok(())
        };
        tokio::select! {
            done = work => return done,
            _ = stop.next() => {}
        }
        if options.check {
            bail!("interrupted before the check was done");
        }
        say_stopping();
        tokio::select! {
            stopped = tokio::task::spawn_blocking(move || drop(network)) => stopped?,
            status = stop.next() => std::process::exit(status),
        }
        say("stopped");
        Ok(())
    })
}

/// Puts `hello.i2p` on a router in the middle, and the proxies on the first.
fn hello(network: &Network, services: Services) -> Result<(Apps, Arc<AddressBook>)> {
    let tunnels = tunnels();
    let book = Arc::new(AddressBook::in_memory());
    let (host, site_book) = (network.client(network.nodes.len() / 2), Arc::clone(&book));
    tokio::spawn(async move {
        if let Err(error) = publish_hello(host, &site_book, tunnels).await {
            say(format!("hello.i2p cannot be offered: {error:#}"));
        }
    });
    let naming = Arc::new(Naming::new(Arc::clone(&book)));
    Ok((services.start(network.client(0), naming, tunnels, tunnels)?, book))
}

/// Client and server tunnels that are tried out with the console; they end with it.
fn own_tunnels(client: Client, book: &Arc<AddressBook>) -> Result<Tunnels> {
    let started = Tunnels::start(TunnelsConfig {
        way: client.into(),
        naming: Arc::new(Naming::new(Arc::clone(book))),
        defaults: Defaults { inbound: tunnels(), outbound: tunnels() },
        data_dir: None,
        file: None,
        i2pd: None,
        configured: Vec::new(),
    });
    started.context("cannot start the tunnels")
}

async fn publish_hello(host: Client, book: &AddressBook, tunnels: TunnelOptions) -> Result<()> {
    let session = host.session(session_options(tunnels, tunnels, true)).await?;
    session.ready(START_TIMEOUT).await?;
    book.set(List::Hosts, &HostName::parse("hello.i2p")?, session.destination())?;
    // It ends with the network.
    site::serve(session.listen().await?).await;
    Ok(())
}

/// What asks a program to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one; gives the exit status of a program that it kills.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

/// Routers that know each other. Dropping it stops them.
#[derive(Debug)]
pub struct Network {
    nodes: Vec<Node>,
}

impl Network {
    /// Starts this many routers; those at these places offer SAM on a free port.
    pub fn start(routers: usize, with_sam: &[usize]) -> Result<Self> {
        Self::start_with(routers, with_sam, (true, true))
    }

    /// The same with only some transports: NTCP2, SSU2.
    pub fn start_with(routers: usize, with_sam: &[usize], transports: (bool, bool)) -> Result<Self> {
        Self::with_sam(routers, with_sam.iter().map(|i| (*i, None)).collect(), transports)
    }

    fn with_sam(
        routers: usize,
        sam: Vec<(usize, Option<TcpListener>)>,
        transports: (bool, bool),
    ) -> Result<Self> {
        Ok(Self { nodes: start(routers, sam, transports)? })
    }

    /// Sessions over SSU2 that the routers have, and those over either transport.
    pub fn sessions(&self) -> (u64, u64) {
        let stats = self.nodes.iter().map(|node| node.snapshot().stats);
        stats.fold((0, 0), |(ssu2, all), s| (ssu2 + s.ssu2_sessions, all + s.sessions))
    }

    /// Where SAM listens.
    pub fn sam(&self) -> Vec<SocketAddr> {
        self.nodes.iter().filter_map(|n| n.sam).collect()
    }

    /// A way into the router at this place.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn client(&self, router: usize) -> Client {
        self.nodes.get(router).expect("the network has such a router").client()
    }

    /// Waits until every router has tunnels both ways.
    pub async fn wait_until_usable(&mut self, patience: Duration) -> Result<()> {
        wait_until_usable(&mut self.nodes, patience).await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // All at once, rather than one after the other as they are dropped.
        self.nodes.iter_mut().for_each(Node::begin_stop);
    }
}

/// Binds every port, signs every RouterInfo, then starts every router knowing all others.
fn start(
    routers: usize,
    sam: Vec<(usize, Option<TcpListener>)>,
    (ntcp2, ssu2): (bool, bool),
) -> Result<Vec<Node>> {
    let mut rng = Rng::from_seed(entropy());
    let now = Clock::start().now();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut prepared = Vec::new();
    for i in 0..routers {
        let (address, listener, udp) = ports(loopback)?;
        let identity = Identity::generate(&mut rng);
        let config = Config { ntcp2, ssu2, ..config(address, i % 3 == 0) };
        let router_info = create_router_info(&config, &identity, now).bytes().to_vec();
        prepared.push(((listener, udp), identity, config, router_info));
    }
    let known: Vec<_> = prepared.iter().map(|p| p.3.clone()).collect();
    let mut sam: BTreeMap<usize, Option<TcpListener>> = sam.into_iter().collect();
    prepared
        .into_iter()
        .enumerate()
        .map(|(i, ((listener, udp), identity, router, _))| {
            let defaults = SessionDefaults { inbound: router.inbound, outbound: router.outbound };
            let free = || bind(loopback, "SAM", "--sam");
            let sam = sam.remove(&i).map(|given| given.map_or_else(free, Ok)).transpose()?;
            Ok(Node::start(NodeConfig {
                listeners: if ntcp2 { vec![listener] } else { Vec::new() },
                udp: vec![udp],
                sam,
                sam_config: SamConfig { defaults, ..SamConfig::default() },
                known_routers: known.clone(),
                ..NodeConfig::new(router, identity)
            })?)
        })
        .collect()
}

/// A port that is free for TCP and for UDP.
fn ports(address: SocketAddr) -> Result<(SocketAddr, TcpListener, UdpSocket)> {
    let draw = || {
        let listener = bind(address, "NTCP2", "--routers")?;
        let address = listener.local_addr()?;
        anyhow::Ok((address, listener, bind_udp(address, "--routers")?))
    };
    // What one has, another program may have of the other.
    (1..DRAWS).find_map(|_| draw().ok()).map_or_else(draw, Ok)
}

const fn tunnels() -> TunnelOptions {
    TunnelOptions { length: 3, variance: 0, quantity: 2, backup: 0, kbps: 0 }
}

fn config(published: SocketAddr, floodfill: bool) -> Config {
    let tunnels = tunnels();
    Config {
        net_id: NET_ID,
        private_network: true,
        floodfill: floodfill.into(),
        published: vec![published],
        inbound: tunnels,
        outbound: tunnels,
        ..Config::default()
    }
}

/// Waits until every router has tunnels both ways.
async fn wait_until_usable(nodes: &mut [Node], patience: Duration) -> Result<()> {
    let started = Instant::now();
    let all = nodes.len();
    for (i, node) in nodes.iter_mut().enumerate() {
        let ready = async {
            while let Some(notice) = node.notice().await {
                if matches!(notice, Notice::Router(Event::Ready { .. })) {
                    return true;
                }
            }
            false
        };
        match tokio::time::timeout(patience.saturating_sub(started.elapsed()), ready).await {
            Ok(true) => {}
            Ok(false) => bail!("router {i} has ended by itself; run again with --log-level debug"),
            Err(_) => bail!(
                "router {i} has no tunnels after {} s; run again with --log-level debug",
                patience.as_secs()
            ),
        }
        if is_interactive() {
            redraw(usize::from(i > 0), &format!("{} of {all} routers have tunnels\n", i + 1));
        }
    }
    if is_interactive() {
        redraw(1, "");
    }
    Ok(())
}

/// Shows what the network does, until cancelled.
async fn show(nodes: &[Node]) {
    let mut lines = 0;
    // Snapshots are half a second old at most: the first ones would be those from before the start.
    tokio::time::sleep(Duration::from_millis(600)).await;
    loop {
        let table = table(&nodes.iter().map(Node::snapshot).collect::<Vec<_>>());
        if is_interactive() {
            redraw(lines, &table);
            lines = table.lines().count();
            tokio::time::sleep(REFRESH).await;
        } else {
            let total = table.lines().last().unwrap_or_default().to_owned();
            say(total);
            tokio::time::sleep(REPORT).await;
        }
    }
}

fn table(snapshots: &[Snapshot]) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "{:>6} {:>8} {:>8} {:>8} {:>12} {:>10}\n",
        "router", "sessions", "tunnels", "transit", "relayed MB", "known"
    );
    let mut sum = (0, 0, 0, 0);
    for (i, s) in snapshots.iter().enumerate() {
        let s = &s.stats;
        let tunnels = s.tunnels_in + s.tunnels_out;
        if i < MAX_ROWS {
            let _ = writeln!(
                text,
                "{i:>6} {:>8} {tunnels:>8} {:>8} {:>12.1} {:>10}",
                s.sessions,
                s.transit_tunnels,
                s.transit_bytes as f64 / 1e6,
                s.known_routers
            );
        } else if i == MAX_ROWS {
            let _ = writeln!(text, "   ... {} more", snapshots.len() - MAX_ROWS);
        }
        sum = (sum.0 + s.sessions, sum.1 + tunnels, sum.2 + s.transit_tunnels, sum.3 + s.transit_bytes);
    }
    let _ =
        writeln!(text, "{:>6} {:>8} {:>8} {:>8} {:>12.1}", "all", sum.0, sum.1, sum.2, sum.3 as f64 / 1e6);
    text
}
