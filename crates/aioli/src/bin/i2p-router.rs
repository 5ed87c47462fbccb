//! `i2p-router`: one router, until it is told to stop.
//!
//! Exit status: 0 stopped cleanly, 1 it cannot start or go on, 2 a setting is
//! not possible, 130 or 143 ended at once by a further SIGINT or SIGTERM.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aioli::console::{ConsolePort, Shown};
use aioli::service::Service;
use aioli::services::{Services, start_tunnels};
use aioli::settings::{Reseed, Settings, SettingsError};
use aioli::setup;
use aioli::terminal::{INTERRUPTED, Phases, TERMINATED, complain, log_to, say};
use aioli_apps::Apps;
use aioli_apps::address_book::AddressBook;
use aioli_apps::console::{Console, Journal};
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{Defaults, Tunnels};
use aioli_client::{SamConfig, SessionDefaults};
use aioli_core::Rng;
use aioli_node::mapping::MappingConfig;
use aioli_node::reseed::{ReseedConfig, ReseedSource, Trust};
use aioli_node::{
    AddressWatch, Clock, DataDir, Node, NodeConfig, Notice, SntpConfig, bind, bind_udp, entropy,
};
use aioli_router::blocklist::MAX_BLOCKLIST_BYTES;
use aioli_router::{Blocklist, Config, Event, Identity, TunnelOptions};
use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status for settings that are not possible.
const BAD_SETTINGS: u8 = 2;
/// Ports that `--port 0` draws from: those that other routers use.
const PORTS: (u64, u64) = (9_151, 30_777);

/// Ports drawn until one is free.
const DRAWS: usize = 20;

fn main() -> ExitCode {
    let asked = Settings::setup(std::env::args(), |name| std::env::var(name).ok());
    if let Ok(Some(request)) = asked {
        return set_up(&request);
    }
    let settings = match Settings::resolve(std::env::args(), |name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(SettingsError::CommandLine(error)) if !error.use_stderr() => error.exit(),
        Err(error) => {
            complain(format!("i2p-router: {error}"));
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    if settings.print_config {
        say(settings.describe().trim_end());
        return ExitCode::SUCCESS;
    }
    let journal = Arc::new(Journal::default());
    log_to(settings.log_level, Some(Arc::clone(&journal)));
    match run(&settings, journal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format!("i2p-router: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn set_up(request: &setup::Request) -> ExitCode {
    let mut talk = setup::Talk { input: &mut std::io::stdin().lock(), say: &mut |line| say(line) };
    match setup::run(request, &mut talk) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format!("i2p-router: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings, journal: Arc<Journal>) -> Result<()> {
    let started = Instant::now();
    say(format!(
        "i2p-router {} starting, data in {}",
        env!("CARGO_PKG_VERSION"),
        settings.data_dir.display()
    ));
    let data_dir = DataDir::open(&settings.data_dir)?;
    let identity = identity(&data_dir)?;
    let listening = if settings.hidden { None } else { Some(sockets(settings, &data_dir)?) };
    if let Some(path) = &settings.stats_file {
        // Heard of now rather than every five seconds.
        std::fs::write(path, "{}\n").with_context(|| {
            format!("cannot write the counters to {}: choose another file with --stats-file", path.display())
        })?;
    }
    let sam = settings.sam.map(|a| bind(a, "SAM", "--sam or --no-sam")).transpose()?;
    let mut addresses = watched(settings, listening.as_ref().map(|s| s.port));
    let published = listening.as_ref().and_then(|s| say_where(settings, s.port, &mut addresses));
    let mapped = listening.as_ref().and_then(|s| mapped(settings, s.port));
    let services = Services::bind(settings)?;
    let console = ConsolePort::bind(settings.console, Some(&settings.data_dir))?;
    say_what(settings);
    let router = router_config(settings, listening.as_ref().map_or(0, |s| s.port), published)?;
    let (inbound, outbound) = (router.inbound, router.outbound);
    let reseed = reseed(settings)?;
    let reseeds = reseed.is_some();
    let (tcp, udp) = match listening {
        Some(sockets) => (sockets.tcp, sockets.udp),
        None => (None, if settings.ssu2 { dialling_sockets() } else { Vec::new() }),
    };
    let node = Node::start(NodeConfig {
        router,
        identity,
        listeners: tcp.into_iter().collect(),
        udp,
        sam,
        sam_config: SamConfig {
            defaults: SessionDefaults { inbound, outbound },
            max_connections: settings.limits.sam_connections,
            ..SamConfig::default()
        },
        data_dir: Some(data_dir),
        known_routers: Vec::new(),
        stats_file: settings.stats_file.clone(),
        reseed,
        time_servers: settings.time_servers.clone().map(SntpConfig::new),
        clock: Clock::start(),
        addresses: Some(addresses),
        port_mapping: mapped,
        links: None,
        seed: None,
    })?;
    let _people = for_people(settings, (services, console), &node, &journal, (inbound, outbound))?;
    let service = Service::of_environment();
    service.ready();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(until_stopped(node, service, Run { started, grace: settings.grace, reseeds, journal }))
}

/// What is offered to people; it ends with this.
type People = (Option<Apps>, Option<Tunnels>, Option<Console>);

/// Offers proxies, tunnels for people's programs, and the console.
fn for_people(
    settings: &Settings,
    (services, console): (Services, Option<ConsolePort>),
    node: &Node,
    journal: &Arc<Journal>,
    (inbound, outbound): (TunnelOptions, TunnelOptions),
) -> Result<People> {
    if services.is_empty() && settings.tunnels.is_none() && console.is_none() {
        return Ok((None, None, None));
    }
    let book = Arc::new(AddressBook::open(&settings.data_dir)?);
    let naming = Arc::new(Naming::new(Arc::clone(&book)));
    let tunnels = settings.tunnels.as_ref().map(|of_settings| {
        let defaults = Defaults { inbound, outbound };
        start_tunnels(of_settings, &settings.data_dir, node.client(), Arc::clone(&naming), defaults)
    });
    let tunnels = tunnels.transpose()?;
    let apps = (!services.is_empty()).then(|| services.start(node.client(), naming, inbound, outbound));
    let apps = apps.transpose()?;
    let shown = Shown {
        journal: Arc::clone(journal),
        book,
        tunnels: tunnels.clone(),
        settings: settings.rows(),
        services: aioli::console::services(apps.as_ref(), node.sam),
    };
    let console = console.map(|port| port.start(node.client(), shown)).transpose()?;
    Ok((apps, tunnels, console))
}

/// The router's own configuration.
fn router_config(settings: &Settings, port: u16, published: Option<SocketAddr>) -> Result<Config> {
    let tunnels = |quantity| TunnelOptions {
        length: settings.tunnel_length,
        variance: 0,
        quantity,
        backup: 0,
        kbps: 0,
    };
    Ok(Config {
        net_id: settings.net_id,
        private_network: settings.private_network,
        floodfill: settings.floodfill,
        hidden: settings.hidden,
        ntcp2: settings.ntcp2,
        ssu2: settings.ssu2,
        mtu: settings.mtu,
        port,
        explicit_peers: settings.explicit_peers.clone(),
        published: published.into_iter().collect(),
        inbound: tunnels(settings.inbound_tunnels),
        outbound: tunnels(settings.outbound_tunnels),
        bandwidth: settings.bandwidth,
        blocklist: Arc::new(blocklist(settings)?),
        handshake_timeout: settings.handshake_timeout,
        idle_timeout: settings.idle_timeout,
        limits: settings.limits.clone(),
    })
}

/// Says what is unusual about this router, and what it offers.
fn say_what(settings: &Settings) {
    if settings.hidden {
        say("hidden: listening for no other router, publishing nothing, relaying nothing for others");
    }
    if !settings.explicit_peers.is_empty() {
        say(
            "explicit peers: only they are next to this router in its tunnels. They see more of it than they should",
        );
    }
    if let Some(address) = settings.sam {
        say(format!("SAM for applications on {address}"));
    }
}

/// Says where others reach this router as far as it is known, and returns what the settings name.
fn say_where(settings: &Settings, port: u16, watch: &mut AddressWatch) -> Option<SocketAddr> {
    say(format!("listening on {}", SocketAddr::new(settings.host, port)));
    let named = published(settings).filter(|_| !watch.publishes).map(|ip| SocketAddr::new(ip, port));
    // If it fails now, the node says so and tries again.
    let found = if watch.publishes { watch.look().unwrap_or_default() } else { None };
    match named.or_else(|| found.map(|ip| SocketAddr::new(ip, port))) {
        Some(address) => say(format!("publishing {address}")),
        None => {
            say("publishing no address: give --external-host so that other routers can connect to this one")
        }
    }
    named
}

/// The user's blocklist. Wrong lines are named and skipped; without the file the router does not start.
fn blocklist(settings: &Settings) -> Result<Blocklist> {
    let Some(path) = &settings.blocklist else { return Ok(Blocklist::default()) };
    let name = path.display();
    let cannot_read = || format!("cannot read the blocklist {name}");
    let bytes = std::fs::metadata(path).with_context(cannot_read)?.len();
    ensure!(
        bytes <= MAX_BLOCKLIST_BYTES,
        "the blocklist {name} has {bytes} bytes, more than {MAX_BLOCKLIST_BYTES}"
    );
    let text = std::fs::read(path).with_context(cannot_read)?;
    let (list, skipped) = Blocklist::parse(&String::from_utf8_lossy(&text));
    for (line, why) in &skipped.first {
        complain(format!("i2p-router: {name}, line {line} is skipped: {why}"));
    }
    let wrong = if skipped.lines > 0 { format!("; {} lines skipped", skipped.lines) } else { String::new() };
    say(format!("blocklist: {} entries{wrong}", list.len()));
    Ok(list)
}

/// How first peers are found.
fn reseed(settings: &Settings) -> Result<Option<ReseedConfig>> {
    // The public servers know nobody of a private network.
    let own_servers = settings.reseed_config.is_some();
    let when_needed = settings.reseed != Reseed::Never && (own_servers || !settings.private_network);
    let at_start = match &settings.reseed {
        Reseed::Now => {
            ensure!(
                own_servers || !settings.private_network,
                "--reseed needs --reseed-config in a private network: the public servers know nobody of it"
            );
            Some(ReseedSource::Servers)
        }
        Reseed::From(path) => Some(ReseedSource::Path(path.clone())),
        Reseed::Auto | Reseed::Never => None,
    };
    let trust = match &settings.reseed_config {
        Some(path) => Trust::read(path)?,
        None if when_needed || at_start.is_some() => Trust::public(),
        None => return Ok(None),
    };
    let config = ReseedConfig { trust, proxy: settings.reseed_proxy.clone(), at_start, when_needed };
    Ok((config.when_needed || config.at_start.is_some()).then_some(config))
}

fn identity(data_dir: &DataDir) -> Result<Identity> {
    if let Some(identity) = data_dir.load_identity()? {
        say(format!("identity {}", identity.hash().to_base64()));
        return Ok(identity);
    }
    let identity = Identity::generate(&mut Rng::from_seed(entropy()));
    data_dir.store_identity(&identity)?;
    say(format!("new identity {}, kept in {}", identity.hash().to_base64(), data_dir.keys_path().display()));
    Ok(identity)
}

/// Where the router listens: one port for both transports.
struct Sockets {
    port: u16,
    tcp: Option<TcpListener>,
    udp: Vec<UdpSocket>,
}

/// Sockets for SSU2 that listen nowhere in particular: for dialling. A family that the system does not have is left out.
fn dialling_sockets() -> Vec<UdpSocket> {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    any.into_iter().filter_map(|ip| bind_udp(SocketAddr::new(ip, 0), "--no-ssu2").ok()).collect()
}

/// Binds what the settings ask for at a port.
fn sockets_at(settings: &Settings, port: u16) -> Result<Sockets> {
    let address = SocketAddr::new(settings.host, port);
    let tcp = settings.ntcp2.then(|| bind(address, "NTCP2", "--port")).transpose()?;
    let mut udp: Vec<_> =
        settings.ssu2.then(|| bind_udp(address, "--port")).transpose()?.into_iter().collect();
    if let Some(other) = settings.other_family().filter(|_| settings.ssu2) {
        // To dial the other family, which TCP needs no socket for. Not every system has it.
        udp.extend(bind_udp(SocketAddr::new(other, port), "--port").ok());
    }
    Ok(Sockets { port, tcp, udp })
}

/// The port to listen on: the one asked for, the one drawn by an earlier start, or a free one drawn now.
fn sockets(settings: &Settings, data_dir: &DataDir) -> Result<Sockets> {
    let at = |port| sockets_at(settings, port);
    let fixed = if settings.port == 0 { data_dir.load_port() } else { Some(settings.port) };
    if let Some(port) = fixed {
        return at(port);
    }
    let mut rng = Rng::from_seed(entropy());
    let mut draw = || {
        let port = u16::try_from(rng.between(PORTS.0, PORTS.1)).context("ports have 16 bits")?;
        at(port)
    };
    // Another program may have the port that is drawn; an address that is not ours fails every time.
    let sockets = (1..DRAWS).find_map(|_| draw().ok()).map_or_else(draw, Ok)?;
    data_dir.store_port(sockets.port).context("cannot keep the port that was drawn in the data directory")?;
    Ok(sockets)
}

/// The address that peers can reach, as far as the settings tell.
fn published(settings: &Settings) -> Option<IpAddr> {
    let own =
        settings.external_host.or_else(|| (!settings.host.is_unspecified()).then_some(settings.host))?;
    (settings.private_network || aioli_wire::ip::is_public(own)).then_some(own)
}

/// How the address is found out when the settings name none, and changes of the network in any case.
fn watched(settings: &Settings, port: Option<u16>) -> AddressWatch {
    let watch = AddressWatch::new(port.unwrap_or(0), settings.host, settings.private_network);
    let is_named = settings.external_host.is_some() || !settings.host.is_unspecified();
    if is_named || port.is_none() { watch.unpublished() } else { watch }
}

/// What gateways are asked to map. A router that listens on loopback alone is for nobody else.
fn mapped(settings: &Settings, port: u16) -> Option<MappingConfig> {
    let wanted = settings.port_mapping && !settings.host.is_loopback();
    let port = NonZeroU16::new(port).filter(|_| wanted)?;
    Some(MappingConfig::new(port, settings.host, settings.private_network))
}

/// What asks the router to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

/// What matters while a router runs.
struct Run {
    started: Instant,
    /// How long others' tunnels are waited for.
    grace: Duration,
    /// First peers are looked for.
    reseeds: bool,
    /// What the console shows of what happened.
    journal: Arc<Journal>,
}

/// How far a router is on its way out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It runs.
    Running,
    /// It waits for others' tunnels.
    Draining,
    /// It says goodbye.
    Leaving,
}

/// Tells what happens until the router has stopped. SIGINT lets others' tunnels end first,
/// SIGTERM does not; each further signal goes one step on.
async fn until_stopped(mut node: Node, mut service: Service, run: Run) -> Result<()> {
    let mut signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let (mut phases, mut way) = (Phases::default(), Way::Running);
    loop {
        let status = tokio::select! {
            notice = node.notice() => match notice.inspect(|notice| run.journal.note(notice)) {
                // Reseeding says what to do, should it fail.
                Some(Notice::Router(Event::NoRouters)) if run.reseeds => continue,
                Some(Notice::Stopping) => {
                    way = Way::Leaving;
                    service.stopping();
                    phases.stopping();
                    continue;
                }
                Some(notice) => {
                    service.follow(&notice);
                    tell(&mut phases, notice, run.started);
                    continue;
                }
                None if way == Way::Leaving => break,
                None => anyhow::bail!("the router has ended by itself; the log says why"),
            },
            () = service.due() => {
                service.alive(node.snapshot().number);
                continue;
            }
            _ = signals.interrupt.recv() => INTERRUPTED,
            _ = signals.terminate.recv() => TERMINATED,
        };
        way = match way {
            Way::Running if status == INTERRUPTED => {
                node.begin_drain(run.grace);
                Way::Draining
            }
            Way::Running | Way::Draining => {
                node.begin_stop();
                Way::Leaving
            }
            Way::Leaving => std::process::exit(status),
        };
    }
    // What it has to write is written when its thread has ended.
    tokio::select! {
        stopped = tokio::task::spawn_blocking(move || node.stop()) => stopped.context("stopping failed")?,
        _ = signals.interrupt.recv() => std::process::exit(INTERRUPTED),
        _ = signals.terminate.recv() => std::process::exit(TERMINATED),
    }
    say("stopped");
    Ok(())
}

/// A line, or what is waited for.
fn tell(phases: &mut Phases, notice: Notice, started: Instant) {
    match notice {
        Notice::Loaded { routers, skipped: 0 } => phases.say(format!("{routers} other routers known")),
        Notice::Loaded { routers, skipped } => phases
            .say(format!("{routers} other routers known; {skipped} damaged or outdated entries skipped")),
        Notice::Remembered { routers } => {
            phases.say(format!("{routers} of them remembered from the last time"))
        }
        Notice::Reseed(progress) => phases.reseed(&progress),
        Notice::TimeServers(error) => phases.say(error.to_string()),
        Notice::PortMapping(event) => phases.say(event.to_string()),
        Notice::Router(event @ Event::Ready { .. }) => {
            phases.done();
            phases.say(format!("{event}, {:.1} s after the start", started.elapsed().as_secs_f64()));
        }
        Notice::Router(event @ (Event::Connecting { .. } | Event::Building { .. })) => {
            phases.wait(&event.to_string());
        }
        Notice::Router(event) => phases.say(event.to_string()),
        Notice::Draining { tunnels, at_most } => phases.drain(tunnels, at_most),
        Notice::Stopping => phases.stopping(),
    }
}
