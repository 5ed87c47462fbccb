//! `aioli-sim --scenario S --seed N [--minutes M] [--once]`: replays one run, twice, and compares.
//! `aioli-sim --scenario limited --seed N [--minutes M]`: a minute of a limit of 256 KB/s, second by second.

use std::io::Write;
use std::process::ExitCode;

use aioli_core::Duration;
use aioli_sim::{LIMIT, LIMITED_LINK, Report, SCENARIOS, World, broken, check, limited, scenario};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let name = value("--scenario").map_or("small", String::as_str);
    let seed = value("--seed").and_then(|s| s.parse().ok()).unwrap_or(1);
    let minutes = value("--minutes").and_then(|m| m.parse::<u64>().ok());
    if name == "limited" {
        return run_limited(seed, 60 * minutes.unwrap_or(1));
    }
    let mut out = std::io::stdout();
    let Some(scenario) = scenario(name) else {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).collect();
        let _ = writeln!(out, "no scenario {name}: there are {}", names.join(", "));
        return ExitCode::from(2);
    };
    let mut scenario = scenario.clone();
    if let Some(minutes) = minutes {
        scenario.duration = Duration::from_secs(60 * minutes);
    }
    let once = args.iter().any(|a| a == "--once");
    let result = if once {
        World::new(&scenario, seed).run_watched(&mut |at, report| progress(at, report))
    } else {
        check(&scenario, seed)
    };
    let _ = writeln!(out, "{}", used());
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

/// Prints what the router with the limit did, in KB, and whether that is as it should be.
fn run_limited(seed: u64, seconds: u64) -> ExitCode {
    let mut out = std::io::stdout();
    let table = match limited(LIMIT, LIMITED_LINK, seconds, seed) {
        Ok(table) => table,
        Err(violation) => {
            let _ = writeln!(out, "limited, seed {seed}: {violation}");
            return ExitCode::FAILURE;
        }
    };
    let _ = writeln!(out, "second received sent relayed; arrived of its own two streams and of four others");
    for (at, s) in (1..).zip(&table) {
        let kb = |bytes: &u64| format!("{:>5}", bytes / 1024);
        let figures: Vec<_> = [s.received, s.sent, s.relayed].iter().chain(&s.arrived).map(kb).collect();
        let _ = writeln!(out, "{at:>3} {}", figures.join(" "));
    }
    match broken(&table, LIMIT) {
        None => {
            let _ = writeln!(out, "limited, seed {seed}: held");
            ExitCode::SUCCESS
        }
        Some(what) => {
            let _ = writeln!(out, "limited, seed {seed}: {what}");
            ExitCode::FAILURE
        }
    }
}

/// One line every ten virtual minutes, on the error output.
fn progress(at: Duration, report: &Report) {
    let minutes = at.as_millis() / 60_000;
    if !minutes.is_multiple_of(10) {
        return;
    }
    let all = report.tally.total();
    let _ = writeln!(
        std::io::stderr(),
        "{minutes} min: {} events; RouterInfos {}; LeaseSets {}; honest builds {}; builds {}; {}",
        report.events,
        all.routers,
        all.lease_sets,
        all.honest_builds,
        all.builds,
        used()
    );
}

/// Memory and CPU time of this process, where Linux tells.
fn used() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1_024
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    let ticks = |i: usize| fields.get(i).copied().unwrap_or(0);
    format!(
        "{} MB resident, at most {} MB, {} s CPU",
        memory("VmRSS"),
        memory("VmHWM"),
        (ticks(11) + ticks(12)) / 100
    )
}
