//! `interop`: runs the scenarios, the comparison, and the small programs that
//! they start inside namespaces. `cargo xtask interop` and `cargo xtask compare`
//! build what it needs and call it.

#![allow(clippy::print_stdout, reason = "a program for a terminal: its output is its purpose")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use interop::canary;
use interop::client::first_tunnel;
use interop::client::handshakes;
use interop::client::load::{self, Bounds};
use interop::client::programs::{Client, Programs};
use interop::client::yosemite;
use interop::compare::{self, Subject};
use interop::limit;
use interop::net::{delay, guard, namespace};
use interop::network::{Layout, Network};
use interop::report::Report;
use interop::reseed_server;
use interop::router::Binaries;
use interop::scenario::{self, Plan, Scenario};
use interop::soak;

/// Real routers and real clients in network namespaces. Needs root.
#[derive(Parser, Debug)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Applications on our routers and on others' exchange data.
    Run(RunArguments),
    /// Ten routers of one kind, then ten of another: one table.
    Compare(CompareArguments),
    /// One stream between ours and i2pd that stays up across tunnel generations.
    Soak(SoakArguments),
    /// A bandwidth limit under load: a table of seconds.
    Limit(LimitArguments),
    /// A network that runs until a line or an end is read: for trying things by hand.
    Up(UpArguments),
    /// Removes the namespaces that killed runs left behind.
    Sweep,
    #[command(hide = true)]
    Guard { prefix: String },
    #[command(hide = true)]
    ReseedServer { listen: SocketAddr, configuration: PathBuf, router_infos: Vec<PathBuf> },
    #[command(hide = true)]
    Canary { addresses: Vec<SocketAddr> },
    #[command(hide = true)]
    Forward { millis: u64, indices: Vec<u8> },
    #[command(hide = true, subcommand)]
    Load(Load),
    #[command(hide = true, subcommand)]
    Yosemite(Yosemite),
}

/// Where the routers' programs are, and where data and logs go.
#[derive(clap::Args, Debug)]
struct Places {
    /// Our router.
    #[arg(long = "aioli-path", env = "AIOLI_ROUTER", default_value = "target/release/i2p-router")]
    aioli_path: PathBuf,
    /// i2pd.
    #[arg(long = "i2pd-path", env = "I2PD", default_value = "/usr/sbin/i2pd")]
    i2pd_path: PathBuf,
    /// Data directories and logs; emptied by the run.
    #[arg(long, default_value = "target/interop/run")]
    directory: PathBuf,
}

#[derive(clap::Args, Debug)]
struct RunArguments {
    #[command(flatten)]
    places: Places,
    /// Which; those of continuous integration by default.
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Which client programs; all three by default.
    #[arg(long, value_delimiter = ',')]
    client: Vec<Client>,
    /// One client and a tenth of the data.
    #[arg(long)]
    quick: bool,
    /// Keeps data directories and logs of a run that passed.
    #[arg(long)]
    keep: bool,
    /// Bytes in each direction.
    #[arg(long, default_value_t = 10_000_000)]
    bytes: usize,
    /// Tunnel length.
    #[arg(long, default_value_t = 3)]
    hops: usize,
    /// How often `join` kills the router.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Decides when `join` kills the router; drawn and printed by default.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(clap::Args, Debug)]
struct CompareArguments {
    #[command(flatten)]
    places: Places,
    /// Which kinds, in order.
    #[arg(long, value_delimiter = ',', default_value = "i2pd,aioli,aioli-ssu2")]
    kind: Vec<Subject>,
    /// One-way delays of the links, in milliseconds.
    #[arg(long, value_delimiter = ',', default_value = "0,25")]
    delay: Vec<u64>,
    /// Seconds that a bulk transfer may send.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Megabytes that a bulk transfer sends at most.
    #[arg(long, default_value_t = 200)]
    megabytes: u64,
    /// Where the table goes; `-` prints it only.
    #[arg(long, default_value = "bench/RESULTS.md")]
    output: PathBuf,
}

#[derive(clap::Args, Debug)]
struct SoakArguments {
    #[command(flatten)]
    places: Places,
    /// For how long.
    #[arg(long, default_value_t = 25)]
    minutes: u64,
    /// Between which routers: a, b, c, d as in `run`.
    #[arg(long, default_value = "a")]
    scenario: Scenario,
}

#[derive(clap::Args, Debug)]
struct LimitArguments {
    #[command(flatten)]
    places: Places,
    /// The limit, in KB/s.
    #[arg(long, default_value_t = 256)]
    kbytes: u32,
    /// Seconds of load in each direction.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[derive(clap::Args, Debug)]
struct UpArguments {
    #[command(flatten)]
    places: Places,
    /// Routers of ours; they come first.
    #[arg(long, default_value_t = 4)]
    aioli: usize,
    /// Routers of i2pd's.
    #[arg(long, default_value_t = 6)]
    i2pd: usize,
    /// One-way delay of each link.
    #[arg(long)]
    delay_ms: Option<u64>,
}

#[derive(Subcommand, Debug)]
enum Load {
    /// Serves streams.
    Serve {
        #[arg(long, default_value_t = 3)]
        hops: usize,
    },
    /// Measures against a server.
    Measure {
        #[arg(allow_hyphen_values = true)]
        destination: String,
        #[arg(long, default_value_t = 3)]
        hops: usize,
        #[arg(long)]
        bytes: u64,
        #[arg(long)]
        seconds: u64,
        #[arg(long, default_value_t = 20)]
        pings: u32,
    },
    /// Waits until the router finds a destination's LeaseSet.
    Find {
        #[arg(allow_hyphen_values = true)]
        destination: String,
        #[arg(long)]
        seconds: u64,
    },
    /// Sends at a rate and receives the same back.
    Rebound {
        #[arg(allow_hyphen_values = true)]
        destination: String,
        #[arg(long, default_value_t = 3)]
        hops: usize,
        #[arg(long)]
        bytes: u64,
        #[arg(long)]
        bytes_per_second: u64,
    },
    /// When the router of this namespace, an i2pd, has its first tunnel.
    FirstTunnel {
        #[arg(long)]
        seconds: u64,
    },
    /// Handshakes with one router.
    Handshakes {
        router_info: PathBuf,
        #[arg(long)]
        net_id: u8,
        #[arg(long)]
        count: u32,
        #[arg(long)]
        seconds: u64,
    },
    /// One stream, a ping each second.
    Soak {
        #[arg(allow_hyphen_values = true)]
        destination: String,
        #[arg(long)]
        seconds: u64,
    },
}

#[derive(Subcommand, Debug)]
enum Yosemite {
    /// The accepting side.
    Serve {
        bytes: usize,
        #[command(flatten)]
        settings: yosemite::Settings,
    },
    /// The connecting side.
    Connect {
        bytes: usize,
        #[arg(allow_hyphen_values = true)]
        destination: String,
        #[command(flatten)]
        settings: yosemite::Settings,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            // The runner of a client reads this; so does a person.
            println!("ERROR {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Run(arguments) => return run_scenarios(arguments),
        Task::Compare(arguments) => run_compare(arguments)?,
        Task::Soak(arguments) => run_soak(arguments)?,
        Task::Limit(arguments) => {
            let plan = limit::Plan {
                kbytes: arguments.kbytes,
                time: Duration::from_secs(arguments.seconds),
                binaries: arguments.places.binaries()?,
                directory: arguments.places.directory()?,
            };
            let mut report = Report::default();
            limit::run(&plan, &mut report);
            println!("{report}");
            return Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Task::Up(arguments) => up(&arguments)?,
        Task::Sweep => namespace::sweep_dead()?,
        Task::Guard { prefix } => guard::guard(&prefix)?,
        Task::ReseedServer { listen, configuration, router_infos } => {
            reseed_server::serve(listen, &configuration, &router_infos)?;
        }
        Task::Canary { addresses } => canary::listen(&addresses)?,
        Task::Forward { millis, indices } => delay::forward(Duration::from_millis(millis), &indices)?,
        Task::Load(Load::Serve { hops }) => load::serve(&options(hops), Duration::from_secs(120))?,
        Task::Load(Load::Measure { destination, hops, bytes, seconds, pings }) => {
            let bounds = Bounds { bytes, time: Duration::from_secs(seconds) };
            load::measure(&destination, &options(hops), bounds, pings)?;
        }
        Task::Load(Load::Find { destination, seconds }) => {
            load::find(&destination, Duration::from_secs(seconds))?;
        }
        Task::Load(Load::Rebound { destination, hops, bytes, bytes_per_second }) => {
            load::rebound(&destination, &options(hops), bytes, bytes_per_second)?;
        }
        Task::Load(Load::FirstTunnel { seconds }) => {
            first_tunnel::first_tunnel(Duration::from_secs(seconds))?;
        }
        Task::Load(Load::Handshakes { router_info, net_id, count, seconds }) => {
            handshakes::handshakes(&router_info, net_id, count, Duration::from_secs(seconds))?;
        }
        Task::Load(Load::Soak { destination, seconds }) => {
            soak::soak(&destination, &options(3), Duration::from_secs(seconds))?;
        }
        Task::Yosemite(Yosemite::Serve { bytes, settings }) => yosemite::serve(bytes, &settings)?,
        Task::Yosemite(Yosemite::Connect { bytes, destination, settings }) => {
            yosemite::connect(bytes, &destination, &settings)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_scenarios(arguments: RunArguments) -> Result<ExitCode> {
    let or_all = |given: Vec<Scenario>| if given.is_empty() { Scenario::CI.to_vec() } else { given };
    let mut clients = if arguments.client.is_empty() { Client::ALL.to_vec() } else { arguments.client };
    let mut bytes = arguments.bytes;
    if arguments.quick {
        clients.truncate(1);
        bytes /= 10;
    }
    let plan = Plan {
        scenarios: or_all(arguments.scenario),
        clients,
        bytes,
        hops: arguments.hops,
        kills: arguments.kills,
        seed: arguments.seed.map_or_else(drawn_seed, Ok)?,
        binaries: arguments.places.binaries()?,
        directory: arguments.places.directory()?,
    };
    let report = scenario::run(&plan, &Programs::new(Path::new(".")))?;
    if report.is_clean() && !arguments.keep {
        std::fs::remove_dir_all(&plan.directory)?;
    } else {
        println!("logs: {}", plan.directory.display());
    }
    println!("interop took {} s", report.elapsed().as_secs());
    println!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn drawn_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    load::random_bytes(&mut bytes)?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

fn run_compare(arguments: CompareArguments) -> Result<()> {
    let plan = compare::Plan {
        subjects: arguments.kind,
        delays: arguments.delay,
        bounds: Bounds {
            bytes: arguments.megabytes * 1_000_000,
            time: Duration::from_secs(arguments.seconds),
        },
        binaries: arguments.places.binaries()?,
        directory: arguments.places.directory()?,
    };
    let table = compare::run(&plan)?;
    println!("{table}");
    if arguments.output != Path::new("-") {
        std::fs::write(&arguments.output, table)?;
        println!("written to {}", arguments.output.display());
    }
    Ok(())
}

fn run_soak(arguments: SoakArguments) -> Result<()> {
    let time = Duration::from_secs(arguments.minutes * 60);
    let binaries = arguments.places.binaries()?;
    let line = scenario::soak(arguments.scenario, time, &binaries, &arguments.places.directory()?)?;
    println!("soak: {line}");
    Ok(())
}

fn up(arguments: &UpArguments) -> Result<()> {
    let layout = Layout::mixed(arguments.aioli, arguments.i2pd);
    let layout = layout.with_delay(arguments.delay_ms.map(Duration::from_millis));
    let network =
        Network::start(&layout, &arguments.places.binaries()?, &arguments.places.directory()?.join("up"))?;
    for router in network.routers() {
        let kind = router.kind().name();
        println!("router {} ({kind}): ip netns exec {} …", router.index(), router.namespace().name());
    }
    println!("data and logs: {}", network.directory().display());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

impl Places {
    fn binaries(&self) -> Result<Binaries> {
        let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Binaries { aioli: absolute(&self.aioli_path), i2pd: absolute(&self.i2pd_path) })
    }

    /// A directory that is ours to empty.
    fn directory(&self) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.directory)?;
        let directory = self.directory.canonicalize().context("the run's directory")?;
        ensure!(directory.components().count() > 2, "{} is too precious to be emptied", directory.display());
        Ok(directory)
    }
}

/// The options of a session for measurements; without the type, i2pd 2.45.1 offers ElGamal alone.
fn options(hops: usize) -> String {
    format!("inbound.length={hops} outbound.length={hops} i2cp.leaseSetEncType=4")
}
