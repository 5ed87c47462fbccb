//! `i2p-tunnel`: client and server tunnels.

use std::process::ExitCode;

use aioli::settings::{expand_home, first_line};
use aioli::terminal::{complain, log_to_stderr};
use aioli::tunnel;
use clap::Parser;

/// Exit status for a command line that is not possible.
const BAD_USE: u8 = 2;

/// Client and server tunnels: ordinary programs in I2P.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    task: tunnel::Task,
    /// The data directory of i2p-router.
    #[arg(long, value_name = "DIR", env = "I2P_DATA_DIR", default_value = "~/.aioli", global = true)]
    data_dir: String,
    /// error, warn, info, debug or trace; logs go to stderr.
    #[arg(long, default_value = "warn", env = "I2P_LOG_LEVEL", global = true)]
    log_level: tracing::Level,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            complain(format!("i2p-tunnel: {}; --help lists the options", first_line(&error)));
            return ExitCode::from(BAD_USE);
        }
    };
    log_to_stderr(cli.log_level);
    let data_dir = expand_home(&cli.data_dir, &|name| std::env::var(name).ok());
    match tunnel::run(cli.task, &data_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format!("i2p-tunnel: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
