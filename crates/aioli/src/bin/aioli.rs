//! `aioli`: tools around the router.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aioli::address;
use aioli::doctor;
use aioli::import::{self, Part};
use aioli::manual;
use aioli::settings::{self, Listen, expand_home, first_line};
use aioli::terminal::{complain, log_to, say};
use aioli::{testnet, top};
use aioli_apps::console::Journal;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

/// Tools around the aioli I2P router.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand)]
enum Tool {
    /// Run a whole private I2P network in this process, on loopback.
    Testnet {
        /// Routers in the network, 5 to 100.
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(5..=100))]
        routers: u16,
        /// Where SAM of the first router listens.
        #[arg(long, default_value = "127.0.0.1:7656")]
        sam: SocketAddr,
        /// How much later what one router sends arrives at another, up to 2s: 50ms, 1s.
        #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = testnet::parse_delay)]
        delay: Duration,
        /// How much of it is lost, up to 50%: for SSU2 datagrams, for NTCP2 segments that come a retransmission later.
        #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = testnet::parse_loss)]
        loss: u32,
        /// The same routers, destination of hello.i2p and draws as in another run; ports and times are the system's.
        #[arg(long, value_name = "N")]
        seed: Option<u32>,
        /// Without NTCP2.
        #[arg(long, conflicts_with = "no_ssu2")]
        no_ntcp2: bool,
        /// Without SSU2.
        #[arg(long)]
        no_ssu2: bool,
        /// Where the HTTP proxy of the first router listens.
        #[arg(long, default_value = "127.0.0.1:4444")]
        http_proxy: SocketAddr,
        /// Where the SOCKS proxy of the first router listens.
        #[arg(long, default_value = "127.0.0.1:4447")]
        socks_proxy: SocketAddr,
        /// Where the console of the first router listens; the usual port is done without if another program has it.
        #[arg(long, value_name = "HOST:PORT")]
        console: Option<SocketAddr>,
        /// Send 20 MB between two SAM sessions over three-hop tunnels, print the rate, and exit.
        #[arg(long)]
        check: bool,
        /// error, warn, info, debug or trace; logs go to stderr.
        #[arg(long, default_value = "warn")]
        log_level: tracing::Level,
    },
    /// A running router at a glance; q ends it.
    Top {
        /// The console of the router: HOST:PORT, or a port of this computer.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7657")]
        console: String,
        /// The console's password, if it has one; better in the environment.
        #[arg(long, env = "I2P_CONSOLE_PASSWORD", hide_env_values = true)]
        password: Option<String>,
        /// Print it once, as text.
        #[arg(long)]
        once: bool,
    },
    /// Set the password of the console, which it needs on any address but loopback.
    ///
    /// It is asked for, or read from the standard input; kept is only a hash of it.
    ConsolePassword {
        /// The data directory of i2p-router.
        #[arg(long, value_name = "DIR", env = "I2P_DATA_DIR", default_value = "~/.aioli")]
        data_dir: String,
    },
    /// Look at what a router needs on this computer, and say what is wrong and what to do.
    ///
    /// It changes nothing. Exit status: 0 without an error, 1 with one, 2 if this cannot be asked.
    Doctor {
        /// The router's configuration file.
        #[arg(long, value_name = "FILE", env = "I2P_CONFIG")]
        config: Option<String>,
        /// The router's data directory.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Ask no time server.
        #[arg(long)]
        offline: bool,
        /// Further options, as i2p-router gets them.
        #[arg(last = true, value_name = "OPTIONS OF i2p-router")]
        settings: Vec<String>,
    },
    /// The address book: names of sites.
    Address {
        #[command(subcommand)]
        task: address::Task,
        /// The data directory of i2p-router.
        #[arg(long, value_name = "DIR", env = "I2P_DATA_DIR", default_value = "~/.aioli", global = true)]
        data_dir: String,
    },
    /// Write files with which a shell completes i2p-router, i2p-tunnel and aioli.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        #[arg(hide_possible_values = true)]
        shell: Shell,
        /// Where to.
        directory: PathBuf,
    },
    /// Write the manual pages of i2p-router, i2p-tunnel and aioli.
    Man {
        /// Where to.
        directory: PathBuf,
    },
    /// Take identity, destinations, NetDB, address book and tunnels from i2pd or Java I2P.
    ///
    /// Without one of --identity, --destinations, --netdb, --addresses and --tunnels it takes all of them.
    Import {
        /// The other router's data directory.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Where to put it; the data directory of i2p-router.
        #[arg(long, value_name = "DIR", env = "I2P_DATA_DIR", default_value = "~/.aioli")]
        data_dir: String,
        /// Say what would be taken, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// The router's own identity.
        #[arg(long)]
        identity: bool,
        /// Private keys of destinations.
        #[arg(long)]
        destinations: bool,
        /// Other routers.
        #[arg(long)]
        netdb: bool,
        /// Names.
        #[arg(long)]
        addresses: bool,
        /// Client and server tunnels.
        #[arg(long)]
        tunnels: bool,
    },
}

/// The command lines of all programs.
fn programs() -> Vec<clap::Command> {
    vec![settings::command(), aioli::tunnel::Cli::command(), Cli::command().name("aioli")]
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            complain(format!("aioli: {}; --help lists the options", first_line(&error)));
            return ExitCode::from(2);
        }
    };
    match run(cli.tool) {
        Ok(code) => code,
        Err(error) => {
            complain(format!("aioli: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked for.
fn run(tool: Tool) -> anyhow::Result<ExitCode> {
    match tool {
        Tool::Testnet {
            routers,
            sam,
            delay,
            loss,
            seed,
            no_ntcp2,
            no_ssu2,
            http_proxy: http,
            socks_proxy: socks,
            console,
            check,
            log_level,
        } => {
            let journal = Arc::new(Journal::default());
            log_to(log_level, Some(Arc::clone(&journal)));
            let usual = SocketAddr::from(([127, 0, 0, 1], 7657));
            let console = Listen { address: console.unwrap_or(usual), insisted: console.is_some() };
            let (ntcp2, ssu2) = (!no_ntcp2, !no_ssu2);
            let any = testnet::Layout::new(usize::from(routers));
            let layout = testnet::Layout { ntcp2, ssu2, delay, loss, seed: seed.unwrap_or(any.seed), ..any };
            testnet::run(&testnet::Options { layout, sam, http, socks, console, journal, check })?;
        }
        Tool::Top { console, password, once } => {
            top::run(&top::Options { console: top::console_address(&console)?, password, once })?;
        }
        Tool::ConsolePassword { data_dir } => {
            aioli::console::set_password(&expand_home(&data_dir, &|name| std::env::var(name).ok()))?;
        }
        Tool::Doctor { config, data_dir, json, offline, settings } => {
            let options = doctor::Options { config, data_dir, json, offline, settings };
            if doctor::run(&options, |name| std::env::var(name).ok())? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Tool::Completions { shell, directory } => {
            let files = manual::completions(shell, &directory, programs())?;
            files.iter().for_each(|file| say(file.display().to_string()));
        }
        Tool::Man { directory } => manual::pages(&directory, programs())?,
        Tool::Address { task, data_dir } => {
            let data_dir = expand_home(&data_dir, &|name| std::env::var(name).ok());
            address::run(&task, &data_dir)?;
        }
        Tool::Import { from, data_dir, dry_run, identity, destinations, netdb, addresses, tunnels } => {
            let wanted = [
                (identity, Part::Identity),
                (destinations, Part::Destinations),
                (netdb, Part::NetDb),
                (addresses, Part::Addresses),
                (tunnels, Part::Tunnels),
            ];
            let parts = wanted.into_iter().filter_map(|(wanted, part)| wanted.then_some(part)).collect();
            let data_dir = expand_home(&data_dir, &|name| std::env::var(name).ok());
            let lines = import::run(&import::Options { from, data_dir, dry_run, parts })?;
            lines.iter().for_each(|line| say(line.to_string()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
