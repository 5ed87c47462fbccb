//! `aioli-sim --scenario S --seed N [--minutes M] [--once]`: replays one run, twice, and compares.

use std::io::Write;
use std::process::ExitCode;

use aioli_core::Duration;
use aioli_sim::{SCENARIOS, World, check, scenario};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let name = value("--scenario").map_or("small", String::as_str);
    let seed = value("--seed").and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut out = std::io::stdout();
    let Some(scenario) = scenario(name) else {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
        let _ = writeln!(out, "no scenario {name}: there are {}", names.join(", "));
        return ExitCode::from(2);
    };
    let mut scenario = scenario.clone();
    if let Some(minutes) = value("--minutes").and_then(|m| m.parse::<u64>().ok()) {
        scenario.duration = Duration::from_secs(60 * minutes);
    }
    let once = args.iter().any(|a| a == "--once");
    let result = if once { World::new(&scenario, seed).run() } else { check(&scenario, seed) };
    match result {
        Ok(report) => {
            let _ = writeln!(out, "{name}, seed {seed}: {report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(
                out,
                "{name}, seed {seed}: {failure}\nreplay: cargo xtask sim --seed {seed} --scenario {name}"
            );
            ExitCode::FAILURE
        }
    }
}
