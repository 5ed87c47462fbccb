//! A whole private I2P network in one process, on loopback.
//!
//! Every router is a full one with its own thread, sockets and keys; they
//! know each other from the start, as after a reseed. The network id is one
//! that no other network uses, so nothing can join or leak.
//!
//! A seed decides the routers' identities, the destination of `hello.i2p` and
//! what each router draws. Ports, times and the order in which threads run are
//! the system's, so two runs with one seed differ in what they make of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aioli_apps::address_book::{AddressBook, List};
use aioli_apps::console::{Console, Journal};
use aioli_apps::names::HostName;
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{Defaults, Tunnels, TunnelsConfig};
use aioli_apps::{Apps, site};
use aioli_client::{SamConfig, SessionDefaults};
use aioli_core::Rng;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::hash::sha256;
use aioli_node::embed::{Client, Listener};
use aioli_node::{
    Clock, LOSS_PARTS, LinkConditions, Node, NodeConfig, Notice, Snapshot, bind, bind_udp, entropy,
};
use aioli_router::client::SessionOptions;
use aioli_router::{Config, Event, Identity, Stats, TunnelOptions, create_router_info};
use aioli_wire::RouterHash;
use aioli_wire::keyfile::DestinationKeys;
use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
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
/// And this often while the network starts.
const PROGRESS: Duration = Duration::from_secs(2);

/// With more, handshakes take longer than routers wait.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// The same in percent.
const MAX_LOSS: f64 = 50.0;
/// So often a port is drawn that is free for both transports.
const DRAWS: usize = 20;
/// Routers shown one by one: the table must fit on a screen to be redrawn in place.
const MAX_ROWS: usize = 16;

/// How a network is made.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Routers in it.
    pub routers: usize,
    /// Whether they speak NTCP2.
    pub ntcp2: bool,
    /// Whether they speak SSU2.
    pub ssu2: bool,
    /// How much later what one sends arrives at another.
    pub delay: Duration,
    /// How much of it is lost, in parts of [`LOSS_PARTS`].
    pub loss: u32,
    /// What is the same in two networks.
    pub seed: u32,
}

impl Layout {
    /// Both transports over perfect links; something else each time.
    pub fn new(routers: usize) -> Self {
        let [a, b, c, d, ..] = entropy();
        let seed = u32::from_be_bytes([a, b, c, d]);
        Self { routers, ntcp2: true, ssu2: true, delay: Duration::ZERO, loss: 0, seed }
    }

    /// What it draws.
    fn rng(&self) -> Rng {
        Rng::from_seed(sha256(format!("aioli testnet {}", self.seed).as_bytes()))
    }

    /// How its links are, if they are not perfect.
    fn links(&self, rng: &mut Rng) -> Option<LinkConditions> {
        let seed = rng.bytes();
        let perfect = self.delay.is_zero() && self.loss == 0;
        (!perfect).then_some(LinkConditions { delay: self.delay, loss: self.loss, seed })
    }
}

/// A delay as `50ms` or `1s`.
pub fn parse_delay(text: &str) -> Result<Duration, String> {
    let (number, thousandths) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1),
        (None, Some(number)) => (number, 1_000),
        (None, None) => ("", 0),
    };
    let delay =
        number.parse::<u64>().ok().and_then(|n| n.checked_mul(thousandths)).map(Duration::from_millis);
    delay.filter(|delay| *delay <= MAX_DELAY).ok_or_else(|| "give 0ms to 2000ms, or 0s to 2s".to_owned())
}

/// A loss as `1%` or `0.25%`, in parts of [`LOSS_PARTS`].
pub fn parse_loss(text: &str) -> Result<u32, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok().filter(|p| (0.0..=MAX_LOSS).contains(p));
    // The range makes the conversion exact enough.
    percent
        .map(|p| (p / 100.0 * f64::from(LOSS_PARTS)).round() as u32)
        .ok_or_else(|| "give 0% to 50%".to_owned())
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network.
    pub layout: Layout,
    /// SAM of the first router.
    pub sam: SocketAddr,
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
    let layout = &options.layout;
    // First of all: a port that is taken is told at once. The check must not depend on the usual port being free.
    let sam = if options.check { None } else { Some(bind(options.sam, "SAM", "--sam")?) };
    let services =
        if options.check { None } else { Some(Services::of_testnet(options.http, options.socks)?) };
    // A test network is tried out on the spot: it has no password.
    let console = if options.check { None } else { ConsolePort::bind(Some(options.console), None)? };
    let sam = match sam {
        Some(listener) => vec![(0, Some(listener))],
        None => vec![(0, None), (layout.routers / 2, None)],
    };
    say_what(layout);
    let mut network = Network::with_sam(layout, sam)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Signals::new()?;
        let work = async {
            network.wait_until_usable(START_TIMEOUT).await?;
            let all = layout.routers;
            say(format!("{all} routers have tunnels after {:.1} s", started.elapsed().as_secs_f64()));
            if options.check {
                let &[a, b] = &network.sam()[..] else { bail!("the check needs two SAM ports") };
                return tokio::task::spawn_blocking(move || check::transfer(a, b)).await?;
            }
            let _people = match services {
                Some(services) => Some(offer(&network, (services, console), options, started).await?),
                None => None,
            };
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

/// Client and server tunnels that are tried out with the console; they end with it.
fn own_tunnels(client: Client, naming: Arc<Naming>) -> Result<Tunnels> {
    let started = Tunnels::start(TunnelsConfig {
        way: client.into(),
        naming,
        defaults: Defaults { inbound: tunnels(), outbound: tunnels() },
        data_dir: None,
        file: None,
        i2pd: None,
        configured: Vec::new(),
    });
    started.context("cannot start the tunnels")
}

/// Says what is about to start.
fn say_what(layout: &Layout) {
    say(format!(
        "starting {} routers on 127.0.0.1; they talk to each other and to nobody else (seed {})",
        layout.routers, layout.seed
    ));
    if layout.loss > 0 || !layout.delay.is_zero() {
        let percent = f64::from(layout.loss) * 100.0 / f64::from(LOSS_PARTS);
        say(format!("links take {} ms each way and lose {percent} %", layout.delay.as_millis()));
    }
}

/// What is offered to people; it ends with this.
type People = (Apps, Option<Console>);

/// Puts `hello.i2p` on a router in the middle, the proxies and the console on the first, and opens the page once.
async fn offer(
    network: &Network,
    (services, console): (Services, Option<ConsolePort>),
    options: &Options,
    started: Instant,
) -> Result<People> {
    let (tunnels, layout) = (tunnels(), &options.layout);
    let book = Arc::new(AddressBook::in_memory());
    let host = network.client(network.nodes.len() / 2);
    let listener = publish_hello(host, &book, tunnels, layout.rng().fork())
        .await
        .context("hello.i2p cannot be offered")?;
    // It ends with the network.
    tokio::spawn(site::serve(listener));
    let naming = Arc::new(Naming::new(Arc::clone(&book)));
    let apps = services.start(network.client(0), Arc::clone(&naming), tunnels, tunnels)?;
    let console = console.map(|port| {
        let (journal, settings) = (Arc::clone(&options.journal), Vec::new());
        let services = crate::console::services(Some(&apps), Some(options.sam));
        let tunnels = Some(own_tunnels(network.client(0), naming)?);
        port.start(network.client(0), Shown { journal, book, tunnels, settings, services })
    });
    let console = console.transpose()?;
    if let [sam] = network.sam()[..] {
        say(format!("SAM for applications on {sam}"));
    }
    let proxy = apps.http.context("there is no HTTP proxy")?;
    let opened = tokio::time::timeout(START_TIMEOUT, open_hello(proxy)).await;
    opened.context("no answer in time").flatten().context("http://hello.i2p/ does not open")?;
    let seconds = started.elapsed().as_secs_f64();
    say(format!("http://hello.i2p/ has opened through the proxy, {seconds:.1} s after the start. Try:"));
    say(format!("  curl -x http://{proxy} http://hello.i2p/"));
    say("Ctrl-C stops the network");
    Ok((apps, console))
}

async fn publish_hello(
    host: Client,
    book: &AddressBook,
    tunnels: TunnelOptions,
    mut rng: Rng,
) -> Result<Listener> {
    let keys = DestinationKeys::create(&SigningKey::generate(&mut rng), &rng.bytes());
    let session =
        host.session(SessionOptions { keys: Some(keys), ..session_options(tunnels, tunnels, true) }).await?;
    session.ready(START_TIMEOUT).await?;
    book.set(List::Hosts, &HostName::parse("hello.i2p")?, session.destination())?;
    Ok(session.listen().await?)
}

/// Asks for the page as a browser does: what a person tries next has been tried, and the proxy has its tunnels.
async fn open_hello(proxy: SocketAddr) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(proxy).await?);
    stream
        .write_all(b"GET http://hello.i2p/ HTTP/1.1\r\nHost: hello.i2p\r\nConnection: close\r\n\r\n")
        .await?;
    let mut status = String::new();
    stream.read_line(&mut status).await?;
    ensure!(status.starts_with("HTTP/1.1 200"), "the proxy says: {}", status.trim_end());
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
    identities: Vec<RouterHash>,
}

impl Network {
    /// Starts this many routers; those at these places offer SAM on a free port.
    pub fn start(routers: usize, with_sam: &[usize]) -> Result<Self> {
        Self::start_with(&Layout::new(routers), with_sam)
    }

    /// The same with links and transports of another kind.
    pub fn start_with(layout: &Layout, with_sam: &[usize]) -> Result<Self> {
        Self::with_sam(layout, with_sam.iter().map(|i| (*i, None)).collect())
    }

    fn with_sam(layout: &Layout, sam: Vec<(usize, Option<TcpListener>)>) -> Result<Self> {
        let (nodes, identities) = start(layout, sam)?;
        Ok(Self { nodes, identities })
    }

    /// Who they are.
    pub fn identities(&self) -> &[RouterHash] {
        &self.identities
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
fn start(layout: &Layout, sam: Vec<(usize, Option<TcpListener>)>) -> Result<(Vec<Node>, Vec<RouterHash>)> {
    let Layout { routers, ntcp2, ssu2, .. } = *layout;
    let mut rng = layout.rng();
    // The first is for the site.
    let _ = rng.fork();
    let now = Clock::start().now();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut prepared = Vec::new();
    for i in 0..routers {
        let (address, listener, udp) = ports(loopback)?;
        let mut rng = rng.fork();
        let identity = Identity::generate(&mut rng);
        let config = Config { ntcp2, ssu2, ..config(address, i % 3 == 0) };
        let router_info = create_router_info(&config, &identity, now).bytes().to_vec();
        prepared.push(((listener, udp), identity, config, router_info, rng));
    }
    let known: Vec<_> = prepared.iter().map(|p| p.3.clone()).collect();
    let identities = prepared.iter().map(|p| p.1.hash()).collect();
    let mut sam: BTreeMap<usize, Option<TcpListener>> = sam.into_iter().collect();
    let nodes = prepared
        .into_iter()
        .enumerate()
        .map(|(i, ((listener, udp), identity, router, _, mut rng))| {
            let defaults = SessionDefaults { inbound: router.inbound, outbound: router.outbound };
            let free = || bind(loopback, "SAM", "--sam");
            let sam = sam.remove(&i).map(|given| given.map_or_else(free, Ok)).transpose()?;
            Ok(Node::start(NodeConfig {
                listeners: if ntcp2 { vec![listener] } else { Vec::new() },
                udp: vec![udp],
                sam,
                sam_config: SamConfig { defaults, ..SamConfig::default() },
                known_routers: known.clone(),
                links: layout.links(&mut rng),
                seed: Some(rng.bytes()),
                ..NodeConfig::new(router, identity)
            })?)
        })
        .collect::<Result<_>>()?;
    Ok((nodes, identities))
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
    let (all, mut told) = (nodes.len(), started);
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
        let line = format!("{} of {all} routers have tunnels", i + 1);
        if is_interactive() {
            redraw(usize::from(i > 0), &format!("{line}\n"));
        } else if told.elapsed() > PROGRESS {
            say(line);
            told = Instant::now();
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
        let snapshots = nodes.iter().map(Node::snapshot).collect::<Vec<_>>();
        if is_interactive() {
            let table = table(&snapshots);
            redraw(lines, &table);
            lines = table.lines().count();
            tokio::time::sleep(REFRESH).await;
        } else {
            say(total(&snapshots));
            tokio::time::sleep(REPORT).await;
        }
    }
}

/// All routers in a line.
fn total(snapshots: &[Snapshot]) -> String {
    let sum = |of: fn(&Stats) -> u64| snapshots.iter().map(|s| of(&s.stats)).sum::<u64>();
    format!(
        "{} sessions, {} tunnels, {} tunnels at hops, {:.1} MB relayed",
        sum(|s| s.sessions),
        sum(|s| s.tunnels_in + s.tunnels_out),
        sum(|s| s.transit_tunnels),
        sum(|s| s.transit_bytes) as f64 / 1e6
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_and_losses_are_read_and_bounded() {
        let delay = |text| parse_delay(text).ok().map(|d| d.as_millis());
        let all = ["0ms", "50ms", "2s", "2000ms", "3s", "50", "ms", "s", "-1ms", "99999999999999999999s"];
        assert_eq!(all.map(delay).iter().flatten().copied().collect::<Vec<_>>(), [0, 50, 2_000, 2_000]);
        let loss = |text| parse_loss(text).ok();
        assert_eq!(["0%", "1%", "0.25%", "50%", "1"].map(loss), [0, 100, 25, 5_000, 100].map(Some));
        assert_eq!(["51%", "-1%", "%", "NaN", "x"].map(loss), [None; 5]);
    }
}
