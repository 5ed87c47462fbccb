//! A bandwidth limit under load: six routers of ours, one of them limited. Its
//! own stream and the streams that it relays want far more than it may carry.
//! What it sends and receives is read second by second off its interface.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::net::process::{Lines, Process};
use crate::network::{Layout, Network};
use crate::router::Binaries;

/// The router that has the limit.
const LIMITED: usize = 1;
/// Who connects to whom; the first is the limited router's own stream.
const STREAMS: [(usize, usize); 3] = [(LIMITED, 2), (3, 4), (5, 6)];
/// More than fits in the time.
const BYTES: u64 = 10_000_000_000;
/// Until tunnels run through the limited router, so that a table without transit tells nothing.
const WARM_UP: Duration = Duration::from_secs(15);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The limit, in KB/s.
    pub kbytes: u32,
    /// How long each direction is loaded.
    pub time: Duration,
    /// The routers' programs.
    pub binaries: Binaries,
    /// Data directories and logs go below here.
    pub directory: PathBuf,
}

/// Loads the limited router in both directions. Returns the table of seconds.
pub fn run(plan: &Plan) -> Result<String> {
    let layout = Layout::mixed(6, 0).with_limit(LIMITED, plan.kbytes);
    let network = Network::start(&layout, &plan.binaries, &plan.directory.join("limit"))?;
    let mut servers = Vec::new();
    let mut destinations = Vec::new();
    for (_, to) in STREAMS {
        let (server, lines) = talk(&network, to, &["load", "serve"], &format!("serve{to}"))?;
        lines.expect("SESSION", Duration::from_secs(120))?;
        destinations.push(lines.expect("DESTINATION", Duration::from_secs(10))?);
        servers.push((server, lines));
    }
    let mut clients = Vec::new();
    let (bytes, seconds) = (BYTES.to_string(), plan.time.as_secs().to_string());
    for ((from, _), destination) in STREAMS.iter().zip(&destinations) {
        let arguments =
            ["load", "measure", destination, "--pings", "1", "--bytes", &bytes, "--seconds", &seconds];
        clients.push(talk(&network, *from, &arguments, &format!("measure{from}"))?);
    }
    for (_, lines) in &clients {
        lines.expect("ECHO", Duration::from_secs(180))?;
    }
    thread::sleep(WARM_UP);
    let mut table = format!(
        "limit {} KB/s each way; per second on the wire, headers of TCP and IP included\n\n\
         | second | received KB/s | sent KB/s | relayed by it so far, MB |\n|---:|---:|---:|---:|\n",
        plan.kbytes
    );
    let rows = plan.time.as_secs() * 2;
    sample(&network, rows, &mut table)?;
    for ((from, to), (_, lines)) in STREAMS.iter().zip(&clients) {
        let limit = plan.time + Duration::from_secs(300);
        let result = |word: &str| match lines.expect(word, limit).and_then(|line| rate(&line)) {
            Ok(rate) => rate,
            // What others get of a limited router is up to it.
            Err(error) => format!("not finished ({})", error.root_cause()),
        };
        let (towards, back) = (result("UPLOAD"), result("DOWNLOAD"));
        writeln!(table, "\nstream {from} to {to}: {towards} towards {to}, {back} back")?;
    }
    Ok(table)
}

/// What of a row of the table, which is received and sent.
type Column = fn(&(u64, u64)) -> u64;

fn sample(network: &Network, rows: u64, table: &mut String) -> Result<()> {
    let router = network.router(LIMITED)?;
    let begun = Instant::now();
    let mut before = traffic(network)?;
    let mut sums = Vec::new();
    for second in 1..=rows {
        let due = begun + Duration::from_secs(second);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = traffic(network)?;
        let (received, sent) = (now.0 - before.0, now.1 - before.1);
        before = now;
        sums.push((received, sent));
        let relayed = router.counters().map_or(0, |c| c.transit_bytes) / 1_000_000;
        let row = format!("| {second} | {} | {} | {relayed} |", received / 1024, sent / 1024);
        println!("{row}");
        writeln!(table, "{row}")?;
    }
    let mean = |of: Column, part: &[(u64, u64)]| {
        part.iter().map(of).sum::<u64>() / 1024 / (part.len() as u64).max(1)
    };
    let most = |of: Column| sums.iter().map(of).max().unwrap_or(0) / 1024;
    let tens = |of: Column| {
        let means: Vec<_> = sums.windows(10).map(|ten| mean(of, ten)).collect();
        (means.iter().min().copied().unwrap_or(0), means.iter().max().copied().unwrap_or(0))
    };
    let columns: [(_, Column); 2] = [("received", |row| row.0), ("sent", |row| row.1)];
    for (name, of) in columns {
        let (low, high) = tens(of);
        writeln!(table, "\n{name}: over any 10 s {low} to {high} KB/s, highest second {} KB/s", most(of))?;
    }
    Ok(())
}

/// Bytes received and sent by the limited router's interface.
fn traffic(network: &Network) -> Result<(u64, u64)> {
    let mut command = network.router(LIMITED)?.namespace().command(Path::new("cat"));
    command.args(["rx_bytes", "tx_bytes"].map(|name| format!("/sys/class/net/eth0/statistics/{name}")));
    let output = command.output().context("reading the interface's counters")?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next().context("the interface has no counters")?.context("a counter");
    Ok((next()?, next()?))
}

fn talk(network: &Network, router: usize, arguments: &[&str], log: &str) -> Result<(Process, Lines)> {
    let mut command = network.router(router)?.namespace().command(&std::env::current_exe()?);
    command.args(arguments);
    Process::start_talking(command, log, &network.directory().join(format!("{log}.log")))
}

/// `BYTES SECONDS` as a rate.
fn rate(line: &str) -> Result<String> {
    let (bytes, seconds) = line.trim().split_once(' ').context("a client's line")?;
    let rate = bytes.parse::<f64>()? / seconds.parse::<f64>()? / 1024.0;
    Ok(format!("{rate:.0} KB/s"))
}
