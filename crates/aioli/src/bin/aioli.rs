//! `aioli`: tools around the router.

use std::net::SocketAddr;
use std::process::ExitCode;

use aioli::settings::first_line;
use aioli::terminal::{complain, log_to_stderr};
use aioli::testnet::{self, Options};
use clap::{Parser, Subcommand};

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
        /// Send 20 MB between two SAM sessions over three-hop tunnels, print the rate, and exit.
        #[arg(long)]
        check: bool,
        /// error, warn, info, debug or trace; logs go to stderr.
        #[arg(long, default_value = "warn")]
        log_level: tracing::Level,
    },
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
    let Tool::Testnet { routers, sam, check, log_level } = cli.tool;
    log_to_stderr(log_level);
    match testnet::run(&Options { routers: usize::from(routers), sam, check }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format!("aioli: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
