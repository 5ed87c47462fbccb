//! Ten routers of one kind, then ten of another, on the same machine under the
//! same load, with and without delay on the links: one table. Ours also with SSU2 as
//! their only transport; i2pd finds no peers without NTCP2.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::client::load::Bounds;
use crate::net::process::{Lines, Process};
use crate::network::{Layout, Network};
use crate::router::{Binaries, Kind, NET_ID, Router};

/// How many routers each network has.
const ROUTERS: usize = 10;
/// How long a network is left alone before its memory counts as idle.
const SETTLE: Duration = Duration::from_secs(20);
/// How long a router may take to its first tunnel.
const FIRST_TUNNEL: Duration = Duration::from_secs(120);
/// Handshakes that are measured.
const HANDSHAKES: u32 = 3_000;
/// Echoes per measurement; the median counts.
const PINGS: u32 = 21;

/// Ten of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// i2pd, both transports.
    I2pd,
    /// Ours, both transports; between routers that do not know each other yet that is NTCP2.
    Aioli,
    /// Ours over SSU2 alone.
    AioliSsu2,
}

impl Subject {
    const fn title(self) -> &'static str {
        match self {
            Self::I2pd => "i2pd",
            Self::Aioli => "aioli",
            Self::AioliSsu2 => "aioli over SSU2",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::I2pd => Kind::I2pd,
            Self::Aioli | Self::AioliSsu2 => Kind::Aioli,
        }
    }

    fn layout(self) -> Layout {
        match self.kind() {
            Kind::I2pd => Layout::mixed(0, ROUTERS),
            Kind::Aioli => Layout { ssu2_only: self == Self::AioliSsu2, ..Layout::mixed(ROUTERS, 0) },
        }
    }
}

/// What to compare.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order.
    pub subjects: Vec<Subject>,
    /// One-way delays of the links in milliseconds; 0 is a plain bridge.
    pub delays: Vec<u64>,
    /// Of each bulk transfer.
    pub bounds: Bounds,
    /// The routers' programs.
    pub binaries: Binaries,
    /// Data directories and logs go below here.
    pub directory: PathBuf,
}

/// What one kind of router showed in one network.
#[derive(Clone, Debug, Default)]
struct Column {
    title: String,
    cells: Vec<(&'static str, String)>,
}

/// Measures everything and returns the text of the results file.
pub fn run(plan: &Plan) -> Result<String> {
    let mut columns = Vec::new();
    for delay in &plan.delays {
        for subject in &plan.subjects {
            let title = match delay {
                0 => subject.title().to_owned(),
                _ => format!("{}, {delay} ms links", subject.title()),
            };
            println!("measuring {title}");
            let mut column = Column { title, cells: Vec::new() };
            let delay = (*delay > 0).then(|| Duration::from_millis(*delay));
            if let Err(error) = measure(plan, *subject, delay, &mut column) {
                // A network that fails should not cost the numbers of the others.
                column.add("failed", format!("{error:#}").lines().next().unwrap_or_default().to_owned());
            }
            for (key, value) in &column.cells {
                println!("  {key}: {value}");
            }
            columns.push(column);
        }
    }
    table(&columns, plan)
}

/// One network of one kind.
fn measure(plan: &Plan, subject: Subject, delay: Option<Duration>, column: &mut Column) -> Result<()> {
    let layout = subject.layout().with_delay(delay);
    let directory = plan.directory.join(column.title.replace([' ', ','], "-"));
    let mut network = Network::start(&layout, &plan.binaries, &directory)?;
    column.add("first tunnel after the start", first_tunnel(&network)?);

    // A client that asks at once, as an impatient user does.
    let (probe, lines) = server(&network, 1, 3)?;
    lines.expect("SESSION", Duration::from_secs(180))?;
    let since_start = network.router(1)?.started().map(|at| at.elapsed()).context("router 1 was started")?;
    column.add("SAM session ready, from a cold start", seconds(since_start));
    drop(probe);
    thread::sleep(SETTLE);
    column.add("resident memory idle, MB", memory(&network)?);

    for hops in [3, 1] {
        bulk(plan, &network, hops, column).with_context(|| format!("{hops} hops"))?;
        if hops == 3 {
            column.add("resident memory after load, MB", memory(&network)?);
        }
    }
    handshakes(&network, column)?;
    // i2pd 2.45.1 crashes now and then when SAM streams end: said, but not held against the comparison.
    match network.ensure_running() {
        Err(error) if subject == Subject::I2pd => {
            column.add("ended by itself", format!("{error:#}").lines().next().unwrap_or_default().to_owned());
            Ok(())
        }
        other => other,
    }
}

/// From the start of the router that started last to its first tunnel.
fn first_tunnel(network: &Network) -> Result<String> {
    let router = network.router(ROUTERS)?;
    let started = router.started().context("the last router was started")?;
    match router.kind() {
        // Ours says when there is one in each direction.
        Kind::Aioli => {
            while !router.log("run").contains("ready: ") {
                ensure!(started.elapsed() < FIRST_TUNNEL, "no tunnel within {FIRST_TUNNEL:?}");
                thread::sleep(Duration::from_millis(20));
            }
        }
        Kind::I2pd => {
            let mut command = router.namespace().command(&std::env::current_exe()?);
            command.args(["load", "first-tunnel", "--seconds", &FIRST_TUNNEL.as_secs().to_string()]);
            let log = network.directory().join("first-tunnel.log");
            let (_asker, lines) = Process::start_talking(command, "who asks for tunnels", &log)?;
            lines.expect("TUNNEL", FIRST_TUNNEL)?;
        }
    }
    Ok(seconds(started.elapsed()))
}

/// Handshakes of routers that nobody knows with the last router, from the one before it.
fn handshakes(network: &Network, column: &mut Column) -> Result<()> {
    let target = network.router(ROUTERS)?;
    let mut command = network.router(ROUTERS - 1)?.namespace().command(&std::env::current_exe()?);
    command.args(["load", "handshakes"]).arg(target.router_info_file());
    command.args(["--net-id", NET_ID, "--count", &HANDSHAKES.to_string(), "--seconds", "30"]);
    let log = network.directory().join("handshakes.log");
    let before = target.usage()?.cpu;
    let (_client, lines) = Process::start_talking(command, "the handshaking client", &log)?;
    let line = match lines.expect("HANDSHAKES", Duration::from_secs(60)) {
        Ok(line) => line,
        Err(error) => {
            column.add("handshakes per second", format!("{error:#}").lines().next().unwrap_or("?").into());
            return Ok(());
        }
    };
    let cpu = target.usage()?.cpu.saturating_sub(before);
    if let [count, seconds] = numbers(&line)[..] {
        column.add("handshakes per second", format!("{:.0}", count / seconds));
        column
            .add("CPU ms per handshake at the responder", format!("{:.2}", cpu.as_secs_f64() * 1e3 / count));
    }
    Ok(())
}

/// Sessions, connection, echo and bulk over tunnels of `hops`.
fn bulk(plan: &Plan, network: &Network, hops: u8, column: &mut Column) -> Result<()> {
    // Different routers for each length: what one stream leaves behind must not weigh on the other.
    let (near, far) = if hops == 3 { (1, 2) } else { (3, 4) };
    let (_server, from_server) = server(network, far, hops)?;
    let mut session = from_server.expect("SESSION", Duration::from_secs(180))?;
    let destination = from_server.expect("DESTINATION", Duration::from_secs(10))?;
    let mut command = network.router(near)?.namespace().command(&std::env::current_exe()?);
    command.args([
        "load",
        "measure",
        &destination,
        "--hops",
        &hops.to_string(),
        "--pings",
        &PINGS.to_string(),
    ]);
    command.args(["--bytes", &plan.bounds.bytes.to_string()]);
    command.args(["--seconds", &plan.bounds.time.as_secs().to_string()]);
    let log = network.directory().join(format!("measure{hops}.log"));
    let (_client, lines) = Process::start_talking(command, "the measuring client", &log)?;
    session = [session, lines.expect("SESSION", Duration::from_secs(180))?].join(" and ");
    let connect = lines.expect("CONNECT", Duration::from_secs(180))?;
    let echo = numbers(&lines.expect("ECHO", Duration::from_secs(300))?);
    let before = Cpu::read(network)?;
    let limit = plan.bounds.time + Duration::from_secs(400);
    let upload = Bulk::parse(&lines.expect("UPLOAD", limit)?)?;
    let cpu = Cpu::read(network)?.since(&before);
    let download = Bulk::parse(&lines.expect("DOWNLOAD", limit)?)?;

    let millis = |s: Option<&f64>| s.map_or_else(|| "?".to_owned(), |s| format!("{:.1}", s * 1e3));
    if hops == 3 {
        column.add("SAM session ready on a running router, s (both ends)", session);
        let connect = numbers(&connect);
        column.add("STREAM CONNECT answered, ms", millis(connect.first()));
        column.add("connect and first echo, ms", millis(connect.get(1)));
        column.add("echo round trip, 3 hops, ms", millis(echo.first()));
        column.add("bulk 3 hops, MB/s (towards the server)", upload.rate());
        column.add("bulk 3 hops, MB/s (towards the client)", download.rate());
        let gigabytes = upload.bytes / 1e9;
        let relayed = gigabytes * 2.0 * f64::from(hops);
        column.add("CPU s per GB relayed, per hop", format!("{:.1}", cpu.relays.as_secs_f64() / relayed));
        column.add("CPU s per GB at each end", format!("{:.1}", cpu.ends.as_secs_f64() / 2.0 / gigabytes));
    } else {
        column.add("echo round trip, 1 hop, ms", millis(echo.first()));
        column.add("bulk 1 hop, MB/s (towards the server)", upload.rate());
        column.add("bulk 1 hop, MB/s (towards the client)", download.rate());
    }
    Ok(())
}

/// A server for measurements on one router.
fn server(network: &Network, index: usize, hops: u8) -> Result<(Process, Lines)> {
    let mut command = network.router(index)?.namespace().command(&std::env::current_exe()?);
    command.args(["load", "serve", "--hops", &hops.to_string()]);
    let log = network.directory().join(format!("serve{index}-{hops}.log"));
    Process::start_talking(command, "the measuring server", &log)
}

/// The outcome of one bulk transfer.
struct Bulk {
    bytes: f64,
    seconds: f64,
}

impl Bulk {
    fn parse(line: &str) -> Result<Self> {
        match numbers(line).as_slice() {
            [bytes, seconds] => Ok(Self { bytes: *bytes, seconds: *seconds }),
            _ => anyhow::bail!("not a bulk result: {line}"),
        }
    }

    fn rate(&self) -> String {
        format!("{:.2}", self.bytes / 1e6 / self.seconds)
    }
}

/// Processor time of the stream's two routers, and of all others.
struct Cpu {
    ends: Duration,
    relays: Duration,
}

impl Cpu {
    fn read(network: &Network) -> Result<Self> {
        let mut all = Self { ends: Duration::ZERO, relays: Duration::ZERO };
        for router in network.routers() {
            let cpu = router.usage()?.cpu;
            *(if router.index() <= 2 { &mut all.ends } else { &mut all.relays }) += cpu;
        }
        Ok(all)
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            ends: self.ends.saturating_sub(earlier.ends),
            relays: self.relays.saturating_sub(earlier.relays),
        }
    }
}

impl Column {
    fn add(&mut self, row: &'static str, value: String) {
        self.cells.push((row, value));
    }

    fn get(&self, row: &str) -> &str {
        self.cells.iter().find(|(name, _)| *name == row).map_or("–", |(_, value)| value)
    }
}

/// Mean and maximum over all routers.
fn memory(network: &Network) -> Result<String> {
    let used = network.routers().iter().map(Router::usage).collect::<Result<Vec<_>>>()?;
    let megabytes = used.iter().map(|u| u.resident as f64 / 1e6).collect::<Vec<_>>();
    let mean = megabytes.iter().sum::<f64>() / megabytes.len() as f64;
    let most = megabytes.iter().copied().fold(0.0, f64::max);
    Ok(format!("{mean:.1} (most {most:.1})"))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().filter_map(|w| w.parse().ok()).collect()
}

/// The results file.
fn table(columns: &[Column], plan: &Plan) -> Result<String> {
    let mut text = String::from("# Side by side\n\n");
    writeln!(
        text,
        "Made by `cargo xtask compare` on {} ({}). {ROUTERS} routers of one kind in network namespaces, \
         one SAM stream between two of them, SHA-256 checked, at most {} MB or {} s of sending per \
         transfer; all routers, both applications and the forwarder of the delayed links share the machine.\n",
        today(),
        machine(),
        plan.bounds.bytes / 1_000_000,
        plan.bounds.time.as_secs(),
    )?;
    let mut rows = Vec::new();
    for (row, _) in columns.iter().flat_map(|c| &c.cells) {
        if !rows.contains(row) {
            rows.push(*row);
        }
    }
    let titles = columns.iter().map(|c| c.title.as_str()).collect::<Vec<_>>();
    writeln!(text, "| | {} |", titles.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(columns.len()))?;
    for row in rows {
        let cells = columns.iter().map(|c| c.get(row)).collect::<Vec<_>>();
        writeln!(text, "| {row} | {} |", cells.join(" | "))?;
    }
    Ok(text)
}

/// Cores, processor and memory.
fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = memory.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    format!("{cores} cores, {model}, {} GB", kilobytes.div_ceil(1_048_576))
}

/// The date, as `date` writes it.
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400);
    let (mut year, mut left) = (1970_u64, days);
    let length = |year: u64| {
        if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) {
            366
        } else {
            365
        }
    };
    while left >= length(year) {
        left -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < days {
            break;
        }
        left -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}
