//! The scenarios that a change must pass: applications on our routers and on
//! i2pd exchange data through three-hop tunnels.
//!
//! | | connects from | to | routers |
//! |---|---|---|---|
//! | a | ours | i2pd | 4 of ours, 6 i2pd |
//! | b | i2pd | ours | the same |
//! | c | i2pd | i2pd | the same; our transit counters must grow |
//! | d | ours | ours | 2 of ours, 8 i2pd |
//! | i2pd | i2pd | i2pd | 10 i2pd: proves the harness, not us |
//! | join | ours, that knew nobody | i2pd | 9 i2pd: see [`crate::join`] |
//! | limit | ours | ours | 6 of ours, one with a bandwidth limit: see [`crate::limit`] |
//! | ssu2 | ours | i2pd | as a and b, ours with SSU2 alone |
//! | ssu2-back | i2pd | ours | the same |
//! | ssu2-mtu | ours | i2pd | the same, and packets of more than 1,280 bytes are lost |
//! | ssu2-ipv6 | ours | i2pd | the same, ours with IPv6 alone; i2pd takes nobody without IPv4 for a floodfill |
//! | reach | | | 8 of ours, some behind gateways, and 6 i2pd: see [`crate::reach`] |
//! | mapping | | | one of ours behind a gateway: see [`crate::mapping`] |
//! | tunnels | ours | ours | 6 of ours, with nginx and ngircd behind tunnels: see [`crate::tunnels`] |
//! | browse | | | `aioli testnet`, and 3 of ours and 6 i2pd, with curl and Chromium: see [`crate::browse`] |
//! | leak | ours | ours | 6 of ours, with hostile pages and a packet capture: see [`crate::leak`] |
//! | moving | ours | ours | 4 of ours, 4 i2pd; an address is replaced: see [`crate::moving`] |
//! | introduce | ours | ours, i2pd | three of ours behind gateways: see [`crate::introduce`] |
//! | aioli | ours | ours | 10 of ours |

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;

use crate::client::programs::{Client, Programs, Transfer};
use crate::net::namespace::Namespace;
use crate::net::process::Process;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::{Binaries, Kind, Router};
use crate::{browse, introduce, join, leak, limit, mapping, moving, reach, tunnels};

/// How long each direction is loaded in `limit`.
const LIMIT_TIME: Duration = Duration::from_secs(15);

/// Which scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// An application on ours connects to one on i2pd.
    A,
    /// An application on i2pd connects to one on ours.
    B,
    /// Both applications on i2pd, ours as hops.
    C,
    /// Both applications on ours, i2pd as hops.
    D,
    /// A router that knows nobody reseeds, and is killed again and again.
    Join,
    /// A bandwidth limit under load.
    Limit,
    /// As `a`, ours with SSU2 alone.
    Ssu2,
    /// As `b`, ours with SSU2 alone.
    Ssu2Back,
    /// As `ssu2` where packets of more than 1,280 bytes are lost.
    Ssu2Mtu,
    /// As `ssu2` with IPv6 alone.
    Ssu2Ipv6,
    /// A gateway that maps ports.
    Mapping,
    /// Ordinary servers and programs behind tunnels.
    Tunnels,
    /// Browsers open sites and the console.
    Browse,
    /// Hostile pages have nothing leave but what routers say to each other.
    Leak,
    /// Whether routers say rightly that others reach them.
    Reach,
    /// Another address in mid-transfer.
    Moving,
    /// Two behind gateways, introduced to each other.
    Introduce,
    /// Ten i2pd and none of ours: whether the harness itself works.
    I2pd,
    /// Ten of ours.
    Aioli,
}

/// A scenario in networks of its own.
type Apart = fn(&Place, &mut Report);

/// Those that need little of the machine: they run all at once.
const WAITING: [(Scenario, Apart); 4] = [
    (Scenario::Reach, reach::run),
    (Scenario::Moving, moving::run),
    (Scenario::Introduce, introduce::run),
    (Scenario::Mapping, mapping::run),
];

impl Scenario {
    /// What continuous integration runs.
    pub const CI: [Self; 16] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::Ssu2,
        Self::Ssu2Mtu,
        Self::Ssu2Ipv6,
        Self::Join,
        Self::Limit,
        Self::Mapping,
        Self::Tunnels,
        Self::Moving,
        Self::Reach,
        Self::Introduce,
        Self::Browse,
        Self::Leak,
    ];

    /// Whether both run on one network: only transfers do, where it is the same.
    fn shares_network_with(self, other: Self) -> bool {
        let makes_its_own = |s: Self| {
            use Scenario::{Browse, Introduce, Join, Leak, Limit, Mapping, Moving, Reach, Tunnels};
            matches!(s, Browse | Introduce | Join | Leak | Limit | Mapping | Moving | Reach | Tunnels)
        };
        self == other || (!makes_its_own(self) && !makes_its_own(other) && self.layout() == other.layout())
    }

    /// How many routers of ours and of i2pd's it wants.
    const fn routers(self) -> (usize, usize) {
        match self {
            Self::A | Self::B | Self::C | Self::Ssu2 | Self::Ssu2Back | Self::Ssu2Mtu | Self::Ssu2Ipv6 => {
                (4, 6)
            }
            Self::D => (2, 8),
            Self::Join => (1, 9),
            Self::Limit => (6, 0),
            Self::Mapping => (1, 0),
            Self::Tunnels => (tunnels::ROUTERS, 0),
            Self::Browse => browse::ROUTERS,
            Self::Leak => (leak::ROUTERS, 0),
            Self::Reach => reach::ROUTERS,
            Self::Moving => moving::ROUTERS,
            Self::Introduce => introduce::ROUTERS,
            Self::I2pd => (0, 10),
            Self::Aioli => (10, 0),
        }
    }

    /// The network that it wants; those that want the same share one.
    fn layout(self) -> Layout {
        let (aioli, i2pd) = self.routers();
        let mut layout = Layout::mixed(aioli, i2pd);
        layout.ssu2_only = matches!(self, Self::Ssu2 | Self::Ssu2Back | Self::Ssu2Mtu | Self::Ssu2Ipv6);
        layout.ipv6 = self == Self::Ssu2Ipv6;
        layout.mtu = (self == Self::Ssu2Mtu).then_some(1_280);
        layout
    }

    /// The routers of the connecting and of the accepting application.
    const fn ends(self) -> (usize, usize) {
        match self {
            Self::A | Self::Join | Self::Ssu2 | Self::Ssu2Mtu | Self::Ssu2Ipv6 => (1, 5),
            Self::B | Self::Ssu2Back => (6, 2),
            Self::C => (5, 6),
            Self::D | Self::I2pd | Self::Aioli | Self::Limit | Self::Mapping => (1, 2),
            Self::Reach | Self::Moving | Self::Introduce | Self::Tunnels | Self::Browse | Self::Leak => {
                (1, 2)
            }
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::A => "(a) ours to i2pd",
            Self::B => "(b) i2pd to ours",
            Self::C => "(c) i2pd to i2pd, ours between",
            Self::D => "(d) ours to ours, i2pd between",
            Self::Join => "(join) ours, that knew nobody, to i2pd",
            Self::Limit => "(limit) a bandwidth limit under load",
            Self::Ssu2 => "(ssu2) ours to i2pd over SSU2 alone",
            Self::Ssu2Back => "(ssu2-back) i2pd to ours over SSU2 alone",
            Self::Ssu2Mtu => "(ssu2-mtu) ours to i2pd, packets of 1,280 bytes at most",
            Self::Ssu2Ipv6 => "(ssu2-ipv6) ours to i2pd over SSU2 and IPv6 alone",
            Self::Reach => "(reach) whether others reach us",
            Self::Moving => "(moving) another address in mid-transfer",
            Self::Introduce => "(introduce) two behind gateways",
            Self::Mapping => "(mapping) a gateway that maps ports",
            Self::Tunnels => "(tunnels) servers and programs behind tunnels",
            Self::Browse => "(browse) sites and the console in browsers",
            Self::Leak => "(leak) hostile pages and a packet capture",
            Self::I2pd => "(i2pd) among i2pd alone",
            Self::Aioli => "(aioli) among ours alone",
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenarios, in order; those that want the same network share it.
    pub scenarios: Vec<Scenario>,
    /// The client programs, each for every scenario.
    pub clients: Vec<Client>,
    /// Bytes in each direction.
    pub bytes: usize,
    /// Tunnel length.
    pub hops: usize,
    /// How often the router of `join` is killed.
    pub kills: u32,
    /// Decides when.
    pub seed: u64,
    /// The routers' programs.
    pub binaries: Binaries,
    /// Data directories and logs go below here.
    pub directory: PathBuf,
}

/// Where a scenario with a network of its own finds what it needs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The routers' programs.
    pub binaries: Binaries,
    /// Data directories and logs go below here.
    pub directory: PathBuf,
}

/// Runs the plan. Failures are in the report; an error means that nothing could be run.
pub fn run(plan: &Plan, programs: &Programs) -> Result<Report> {
    programs.install(&plan.clients)?;
    let mut report = Report::default();
    let mut rest = plan.scenarios.clone();
    run_waiting(plan, &mut report);
    while let Some(first) = rest.first().copied() {
        let (together, others): (Vec<_>, Vec<_>) = rest.iter().partition(|s| s.shares_network_with(first));
        rest = others;
        let (binaries, directory) = (plan.binaries.clone(), plan.directory.clone());
        match first {
            Scenario::Join => {
                let plan = join::Plan { kills: plan.kills, seed: plan.seed, binaries, directory };
                join::run(&plan, &mut report);
            }
            Scenario::Limit => {
                limit::run(&limit::Plan { kbytes: 256, time: LIMIT_TIME, binaries, directory }, &mut report);
            }
            Scenario::Tunnels => tunnels::run(&Place { binaries, directory }, &mut report),
            Scenario::Browse => browse::run(&Place { binaries, directory }, &mut report),
            Scenario::Leak => leak::run(&Place { binaries, directory }, &mut report),
            Scenario::A
            | Scenario::B
            | Scenario::C
            | Scenario::D
            | Scenario::Ssu2
            | Scenario::Ssu2Back
            | Scenario::Ssu2Mtu
            | Scenario::Ssu2Ipv6
            | Scenario::I2pd
            | Scenario::Aioli => run_network(plan, programs, &together, &mut report),
            // They have run.
            Scenario::Reach | Scenario::Moving | Scenario::Introduce | Scenario::Mapping => {}
        }
    }
    Ok(report)
}

/// Runs those of the plan that need little of the machine.
fn run_waiting(plan: &Plan, report: &mut Report) {
    let place = &Place { binaries: plan.binaries.clone(), directory: plan.directory.clone() };
    let wanted = WAITING.iter().filter(|(scenario, _)| plan.scenarios.contains(scenario));
    report.at_once(wanted.map(|(scenario, run)| (scenario.title(), |own: &mut Report| run(place, own))));
}

/// One network and the scenarios on it.
fn run_network(plan: &Plan, programs: &Programs, scenarios: &[Scenario], report: &mut Report) {
    let Some(first) = scenarios.first() else { return };
    let (aioli, i2pd) = first.routers();
    println!("network of {aioli} aioli and {i2pd} i2pd");
    let begun = Instant::now();
    let layout = first.layout();
    let directory = plan.directory.join(format!("{first:?}").to_lowercase());
    let started = Network::start(&layout, &plan.binaries, &directory).context("starting the network");
    let mut network = match started {
        Ok(network) => network,
        Err(error) => {
            report.check::<String>(&format!("network of {aioli} aioli and {i2pd} i2pd"), Err(error));
            return;
        }
    };
    if let Err(error) = ready(&network) {
        println!("note: not every router was ready: {error:#}");
    }
    for scenario in scenarios {
        let before = transit_bytes(&network);
        for (client, result) in twice(plan, programs, &mut network, *scenario) {
            report.check(&format!("{}, {}", scenario.title(), client.name()), result);
        }
        if aioli > 0 {
            let name = format!("{}: relayed by ours", scenario.title());
            report.check(&name, relayed(plan, &network, *scenario, before));
            let name = format!("{}: every router of ours still runs", scenario.title());
            report.check(&name, network.ensure_kind_running(Kind::Aioli).map(|()| "yes"));
        }
    }
    let killed = network.stop();
    let name = format!("the {aioli} aioli routers end when asked");
    if aioli > 0 {
        let ours = killed.iter().filter(|i| usize::from(**i) <= aioli).count();
        report.check(&name, if ours == 0 { Ok("yes") } else { Err(anyhow!("{ours} did not")) });
    }
    println!("that network took {} s", begun.elapsed().as_secs());
}

/// The transfers, and once more those that failed: i2pd 2.45.1 crashes now and
/// then when SAM sessions end, and at times cannot find a LeaseSet for minutes.
/// A first failure is printed, so that none of ours hides behind this.
fn twice(
    plan: &Plan,
    programs: &Programs,
    network: &mut Network,
    scenario: Scenario,
) -> Vec<(Client, Result<String>)> {
    let mut results = transfers(plan, programs, network, scenario, &plan.clients);
    let failed = results.iter().filter(|(_, r)| r.is_err()).map(|(client, _)| *client).collect::<Vec<_>>();
    if failed.is_empty() {
        return results;
    }
    for (client, error) in results.iter().filter_map(|(c, r)| Some((c, r.as_ref().err()?))) {
        println!("note: {}, {}: first attempt: {error:#}", scenario.title(), client.name());
    }
    match network.revive(Kind::I2pd) {
        Ok(ended) => ended.iter().for_each(|line| println!("note: {line}; started again")),
        Err(error) => println!("note: {error:#}"),
    }
    if let Err(error) = ready(network) {
        println!("note: {error:#}");
    }
    results.retain(|(_, result)| result.is_ok());
    results.extend(transfers(plan, programs, network, scenario, &failed));
    results
}

/// A transfer by each client, all at once: most of the time goes into waiting for i2pd's sessions.
fn transfers(
    plan: &Plan,
    programs: &Programs,
    network: &Network,
    scenario: Scenario,
    clients: &[Client],
) -> Vec<(Client, Result<String>)> {
    thread::scope(|scope| {
        let start = |client| scope.spawn(move || transfer(plan, programs, network, scenario, client));
        let running = clients.iter().map(|client| (*client, start(*client))).collect::<Vec<_>>();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<String>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("the runner panicked")))
        };
        running.into_iter().map(|(client, thread)| (client, join(thread))).collect()
    })
}

/// One transfer.
fn transfer(
    plan: &Plan,
    programs: &Programs,
    network: &Network,
    scenario: Scenario,
    client: Client,
) -> Result<String> {
    let (from, to) = scenario.ends();
    let logs = network.directory().join(format!("{scenario:?}").to_lowercase());
    fs::create_dir_all(&logs)?;
    let took = Transfer {
        client,
        from: network.router(from)?,
        to: network.router(to)?,
        bytes: plan.bytes,
        hops: plan.hops,
        logs: &logs,
    }
    .run(programs)?;
    let megabytes = f64::from(u32::try_from(plan.bytes)?) / 1e6;
    Ok(format!(
        "{megabytes:.1} MB each way, SHA-256 equal, {:.2} MB/s, {:.1} s to connect",
        megabytes * 2.0 / took.to_transfer.as_secs_f64(),
        took.to_connect.as_secs_f64()
    ))
}

/// What our transit counters say about a scenario's transfers.
fn relayed(plan: &Plan, network: &Network, scenario: Scenario, before: u64) -> Result<String> {
    // The counters are written every five seconds.
    thread::sleep(Duration::from_secs(6));
    let relayed = transit_bytes(network).saturating_sub(before);
    let payload = u64::try_from(plan.bytes * 2 * plan.clients.len())?;
    if scenario == Scenario::C {
        ensure!(relayed > payload / 8, "{relayed} bytes while {payload} were exchanged: not used as hops");
    }
    Ok(format!("{:.1} MB", relayed as f64 / 1e6))
}

/// What all routers of ours have relayed for others.
fn transit_bytes(network: &Network) -> u64 {
    let ours = network.routers().iter().filter(|r| r.kind() == Kind::Aioli);
    ours.filter_map(|r| r.counters().ok()).map(|c| c.transit_bytes).sum()
}

/// Waits until the routers at the ends can make a session each.
fn ready(network: &Network) -> Result<()> {
    let mut probes = Vec::new();
    for router in network.routers().iter().take(6) {
        probes.push(probe(router.namespace(), network.directory(), router.index())?);
    }
    for (mut process, lines, index) in probes {
        let seconds =
            lines.expect("SESSION", Duration::from_secs(150)).with_context(|| format!("router {index}"))?;
        println!("router {index}: first session after {seconds} s");
        process.stop(Duration::from_secs(1));
    }
    Ok(())
}

/// A server of streams on a router; its lines tell when its session is ready, and where.
pub fn probe(
    namespace: &Namespace,
    logs: &Path,
    index: u8,
) -> Result<(Process, crate::net::process::Lines, u8)> {
    let mut command: Command = namespace.command(&std::env::current_exe()?);
    command.args(["load", "serve", "--hops", "3"]);
    let log = logs.join(format!("probe{index}.log"));
    let (process, lines) = Process::start_talking(command, "a probe", &log)?;
    Ok((process, lines, index))
}

/// A stream from a router over tunnels of two hops: so many bytes at a rate, and the same back. Its lines are `RUNNING`
/// and `REBOUND`.
pub fn rebound(
    from: &Router,
    destination: &str,
    (bytes, bytes_per_second): (u64, u64),
    log: &Path,
) -> Result<(Process, crate::net::process::Lines)> {
    let mut command = from.namespace().command(&std::env::current_exe()?);
    command.args(["load", "rebound", destination, "--hops", "2", "--bytes", &bytes.to_string()]);
    command.args(["--bytes-per-second", &bytes_per_second.to_string()]);
    Process::start_talking(command, "the stream", log)
}

/// One stream between the two ends of a scenario for `time`, across tunnel generations.
pub fn soak(scenario: Scenario, time: Duration, binaries: &Binaries, directory: &Path) -> Result<String> {
    let mut network = Network::start(&scenario.layout(), binaries, &directory.join("soak"))?;
    ready(&network)?;
    let (from, to) = scenario.ends();
    let (_server, lines, _) = probe(network.router(to)?.namespace(), network.directory(), 100)?;
    let destination = lines.expect("DESTINATION", Duration::from_secs(120))?;
    let mut command = network.router(from)?.namespace().command(&std::env::current_exe()?);
    command.args(["load", "soak", &destination, "--seconds", &time.as_secs().to_string()]);
    let log = network.directory().join("soak.log");
    let (_client, lines) = Process::start_talking(command, "the stream", &log)?;
    let result = lines.expect("SOAK", time + Duration::from_secs(300))?;
    network.ensure_running()?;
    Ok(format!("{}: pings answered and longest round trip in seconds: {result}", scenario.title()))
}

#[cfg(test)]
mod tests {
    use super::Scenario;

    #[test]
    fn what_makes_its_own_network_is_left_out_for_no_other() {
        assert!(Scenario::A.shares_network_with(Scenario::B));
        let alone = [Scenario::Join, Scenario::Limit, Scenario::Mapping, Scenario::Tunnels, Scenario::Browse];
        for one in alone.into_iter().chain([Scenario::Reach, Scenario::Introduce, Scenario::Leak]) {
            assert!(Scenario::CI.iter().all(|s| *s == one || !s.shares_network_with(one)), "{one:?}");
        }
    }
}
