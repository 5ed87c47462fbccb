//! A bandwidth limit under load: six routers of ours, one of them limited. Its
//! own stream and the streams that it relays want far more than it may carry.
//! What it sends and receives is read second by second off its interface.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::net::process::{Lines, Process};
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::Binaries;

/// The router that has the limit.
const LIMITED: usize = 1;
/// Who connects to whom; the first is the limited router's own stream.
const STREAMS: [(usize, usize); 3] = [(LIMITED, 2), (3, 4), (5, 6)];
/// More than fits in the time.
const BYTES: u64 = 10_000_000_000;
/// Until tunnels run through the limited router, so that a table without transit tells nothing.
const WARM_UP: Duration = Duration::from_secs(10);

/// Allowed beyond the time that this may take.
const SLACK: Duration = Duration::from_secs(20);
/// Headers of Ethernet, IPv4 and TCP with timestamps.
const HEADERS: u64 = 14 + 20 + 32;
/// Of the limit, what any ten seconds must use in percent in the busier direction, as more is wanted all the time: a
/// router that swings falls to nothing. It uses nearly all on a machine that is free, less on one with other work.
const STEADY: u64 = 40;
/// Of the limit, what the router's own stream must have each way, payload of the stream.
const OWN_SHARE: f64 = 0.10;
/// Of the limit, what others' tunnels must have for this to be a test.
const TRANSIT_SHARE: f64 = 0.1;

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

/// Loads the limited router in both directions, prints the table of seconds, and checks what it shows.
pub fn run(plan: &Plan, report: &mut Report) {
    println!("network of 6 aioli, one with a limit of {} KB/s", plan.kbytes);
    let begun = Instant::now();
    match load(plan) {
        Ok(mut outcome) => {
            println!("{}", outcome.table(plan));
            outcome.check(plan, report);
        }
        Err(error) => {
            report.check::<String>("(limit) the load", Err(error));
        }
    }
    println!("limit took {} s", begun.elapsed().as_secs());
}

/// What was seen.
#[derive(Debug, Default)]
struct Outcome {
    seconds: Vec<Second>,
    /// What the router's own stream had towards the far end and back, payload in bytes per second.
    own: Option<Result<(f64, f64)>>,
    /// What the limited router relayed during the seconds.
    relayed: u64,
}

/// Payload of TCP in one second, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    received: u64,
    sent: u64,
    /// What the router says it has relayed up to then.
    relayed: u64,
}

/// What of a second: received or sent.
type Direction = fn(&Second) -> u64;
const DIRECTIONS: [(&str, Direction); 2] = [("received", |s| s.received), ("sent", |s| s.sent)];

fn load(plan: &Plan) -> Result<Outcome> {
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
    let measure = |index: usize, bytes: u64, seconds: u64| {
        let (from, _) = STREAMS.get(index).context("a stream")?;
        let destination = destinations.get(index).context("a server")?;
        let (bytes, seconds) = (bytes.to_string(), seconds.to_string());
        let arguments =
            ["load", "measure", destination, "--pings", "1", "--bytes", &bytes, "--seconds", &seconds];
        talk(&network, *from, &arguments, &format!("measure{from}"))
    };
    // What the others get of a limited router is up to it: their ends are not waited for.
    for others in 1..STREAMS.len() {
        clients.push(measure(others, BYTES, plan.time.as_secs() * 4)?);
    }
    for (_, lines) in &clients {
        lines.expect("ECHO", Duration::from_secs(180))?;
    }
    thread::sleep(WARM_UP);
    let bytes = plan.own_bytes();
    let (_client, own) = measure(0, bytes, 600)?;
    own.expect("ECHO", Duration::from_secs(120)).context("its own stream")?;
    let mut outcome = Outcome::default();
    sample(&network, plan.time.as_secs() * 2, &mut outcome)?;
    // At the least rate that passes, and some more for a slow machine.
    let limit = Duration::from_secs_f64(bytes as f64 / plan.least()) + SLACK;
    let rate = |word| parse_rate(&own.expect(word, limit).context("its own stream starves")?);
    outcome.own = Some(rate("UPLOAD").and_then(|towards| Ok((towards, rate("DOWNLOAD")?))));
    Ok(outcome)
}

impl Plan {
    /// What the router's own stream transfers each way: it is not done before the seconds are, had it the limit alone.
    fn own_bytes(&self) -> u64 {
        u64::from(self.kbytes) * 1024 * self.time.as_secs()
    }

    /// What the router's own stream must have each way, in bytes per second.
    fn least(&self) -> f64 {
        f64::from(self.kbytes) * 1024.0 * OWN_SHARE
    }
}

fn sample(network: &Network, rows: u64, outcome: &mut Outcome) -> Result<()> {
    let relayed = || network.router(LIMITED)?.counters().map(|c| c.transit_bytes);
    let begun = Instant::now();
    let at_first = relayed()?;
    let mut before = traffic(network)?;
    for second in 1..=rows {
        let due = begun + Duration::from_secs(second);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = traffic(network)?;
        let (received, sent) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
        before = now;
        outcome.seconds.push(Second { received, sent, relayed: relayed()? - at_first });
    }
    outcome.relayed = relayed()? - at_first;
    Ok(())
}

/// Payload of TCP received and sent by the limited router's interface: all bytes but the headers. A packet
/// of the counters may be many segments that the kernel carries in one, under one header.
fn traffic(network: &Network) -> Result<(u64, u64)> {
    let mut command = network.router(LIMITED)?.namespace().command(Path::new("cat"));
    let names = ["rx_bytes", "rx_packets", "tx_bytes", "tx_packets"];
    command.args(names.map(|name| format!("/sys/class/net/eth0/statistics/{name}")));
    let output = command.output().context("reading the interface's counters")?;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let mut next = || numbers.next().context("the interface has no counters")?.context("a counter");
    let mut payload = || anyhow::Ok(next()?.saturating_sub(next()? * HEADERS));
    Ok((payload()?, payload()?))
}

impl Outcome {
    fn table(&self, plan: &Plan) -> String {
        let mut text = format!(
            "limit {} KB/s each way; payload of TCP per second; load of this machine's {} cores: {}\n\n\
             | second | received KB/s | sent KB/s | relayed by it so far, MB |\n|---:|---:|---:|---:|\n",
            plan.kbytes,
            thread::available_parallelism().map_or(0, usize::from),
            std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim_end(),
        );
        for (at, second) in (1..).zip(&self.seconds) {
            let Second { received, sent, relayed } = second;
            let relayed = *relayed as f64 / 1e6;
            text += &format!("| {at} | {} | {} | {relayed:.1} |\n", received / 1024, sent / 1024);
        }
        text
    }

    /// Lowest and highest mean of ten seconds, in KB/s.
    fn tens(&self, of: Direction) -> (u64, u64) {
        let mean = |ten: &[Second]| ten.iter().map(of).sum::<u64>() / 1024 / 10;
        let means: Vec<_> = self.seconds.windows(10).map(mean).collect();
        (means.iter().min().copied().unwrap_or(0), means.iter().max().copied().unwrap_or(0))
    }

    fn check(&mut self, plan: &Plan, report: &mut Report) {
        let limit = u64::from(plan.kbytes);
        for (name, of) in DIRECTIONS {
            let (low, high) = self.tens(of);
            let most = self.seconds.iter().map(of).max().unwrap_or(0) / 1024;
            let result = || {
                ensure!(high * 100 <= limit * 105, "{high} KB/s over 10 s: more than 5 % above the limit");
                ensure!(most <= limit * 2, "{most} KB/s in one second: more than twice the limit");
                Ok(format!("over any 10 s {low} to {high} KB/s, highest second {most} KB/s"))
            };
            report.check(&format!("(limit) {name} within {limit} KB/s"), result());
        }
        let (low, _) = self.tens(|second| second.received.max(second.sent));
        let steady = || {
            ensure!(low * 100 >= limit * STEADY, "{low} KB/s over 10 s while more was wanted: it swings");
            Ok(format!("at least {low} KB/s over any 10 s in the busier direction"))
        };
        report.check("(limit) steady", steady());
        let least = plan.least();
        let own =
            self.own.take().context("there was no stream of its own").flatten().and_then(|(to, back)| {
                let text =
                    format!("{:.0} KB/s towards the far end, then {:.0} back", to / 1024.0, back / 1024.0);
                ensure!(to >= least && back >= least, "{text}: it starves");
                Ok(text)
            });
        report.check("(limit) its own stream", own);
        let relayed = self.relayed as f64 / 1e6;
        let least = limit as f64 * 1024.0 * self.seconds.len() as f64 * TRANSIT_SHARE / 1e6;
        let transit = || {
            ensure!(relayed >= least, "{relayed:.1} MB relayed, less than {least:.1}: no load");
            Ok(format!("{relayed:.1} MB relayed in {} s", self.seconds.len()))
        };
        report.check("(limit) others' streams beside it", transit());
    }
}

fn talk(network: &Network, router: usize, arguments: &[&str], log: &str) -> Result<(Process, Lines)> {
    let mut command = network.router(router)?.namespace().command(&std::env::current_exe()?);
    command.args(arguments);
    Process::start_talking(command, log, &network.directory().join(format!("{log}.log")))
}

/// `BYTES SECONDS` as bytes per second.
fn parse_rate(line: &str) -> Result<f64> {
    let (bytes, seconds) = line.trim().split_once(' ').context("a client's line")?;
    Ok(bytes.parse::<f64>()? / seconds.parse::<f64>()?)
}
