//! `i2p-tunnel`: client and server tunnels.

use std::process::ExitCode;

use aioli::settings::{expand_home, first_line};
use aioli::terminal::{complain, log_to_stderr};
use aioli::tunnel::{self, Cli};
use clap::Parser;

/// Exit status for a command line that is not possible.
const BAD_USE: u8 = 2;

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
