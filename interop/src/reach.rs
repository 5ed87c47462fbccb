//! Routers of ours behind whatever keeps others out, among i2pd's: each must
//! say within a minute whether others reach it, and be right.
//!
//! | router | behind | says |
//! |---|---|---|
//! | 1 | nothing, but nobody told it its address | open |
//! | 2 | a firewall of its own | firewalled |
//! | 3 | a gateway that keeps ports | firewalled |
//! | 4 | a gateway that draws a port for each peer | symmetric NAT |
//! | 5 | a gateway that lets no UDP pass | firewalled |
//! | 6, 7 | nothing: they are told their addresses | |
//! | 8 to 13 | i2pd | |
//!
//! Then the address outside of router 3's gateway is replaced.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::net::nat::{self, Edge, Nat};
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::{Binaries, Router, address};

/// What a user waits for at most.
const NAMED_WITHIN: Duration = Duration::from_secs(60);

const OPEN: &str = "others reach this router at";
const FIREWALLED: &str = "a firewall or NAT keeps others out";
const SYMMETRIC: &str = "symmetric NAT";

/// What each router is behind, and what it must say.
const CASES: [(usize, &str, Edge, &str); 5] = [
    (1, "nothing in the way", Edge::Open, OPEN),
    (2, "a firewall", Edge::Filtered, FIREWALLED),
    (3, "a NAT that keeps ports", Edge::Behind(Nat::KeepingPorts), FIREWALLED),
    (4, "a NAT with random ports", Edge::Behind(Nat::RandomPorts), SYMMETRIC),
    (5, "a NAT without UDP", Edge::Behind(Nat::NoUdp), FIREWALLED),
];
/// Whose address is replaced, and by which.
const MOVED: usize = 3;
const MOVED_TO: &str = "198.18.103.2";

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The routers' programs.
    pub binaries: Binaries,
    /// Data directories and logs go below here.
    pub directory: PathBuf,
}

/// Routers of ours, and of i2pd's.
pub const ROUTERS: (usize, usize) = (7, 6);

/// Runs it; failures are in the report.
pub fn run(plan: &Plan, report: &mut Report) {
    let begun = Instant::now();
    println!("network of {} aioli and {} i2pd, some of ours behind gateways", ROUTERS.0, ROUTERS.1);
    let mut layout = Layout::mixed(ROUTERS.0, ROUTERS.1);
    layout.edges = CASES.iter().map(|(router, _, edge, _)| (*router, *edge)).collect();
    let started = nat::ensure_installed()
        .and_then(|()| Network::start(&layout, &plan.binaries, &plan.directory.join("reach")));
    let mut network = match started {
        Ok(network) => network,
        Err(error) => {
            report.check::<String>("(reach) the network", Err(error));
            return;
        }
    };
    for (router, behind, _, says) in CASES {
        let named = network.router(router).and_then(|router| named(router, says));
        report.check(&format!("(reach) behind {behind}"), named);
    }
    report.check("(reach) the gateway has another address", moved(&network));
    report.check("(reach) every router still runs", network.ensure_running().map(|()| "yes"));
    println!("reach took {} s", begun.elapsed().as_secs());
}

/// Waits until the router says so, counted from its start; nothing else may be its last word.
fn named(router: &Router, says: &str) -> Result<String> {
    let started = router.started().context("it was not started")?;
    let last = || verdict(&router.log("run"));
    until(NAMED_WITHIN.saturating_sub(started.elapsed()), || {
        Ok(last().is_some_and(|line| line.contains(says)))
    })
    .with_context(|| format!("it did not say \"{says}\" but: {}", last().as_deref().unwrap_or("nothing")))?;
    Ok(format!("named after {} s at most", started.elapsed().as_secs().max(1)))
}

/// The last line about it in a log.
fn verdict(log: &str) -> Option<String> {
    let mut lines = log.lines().filter(|line| line.starts_with("IPv4: "));
    lines.next_back().map(str::to_owned)
}

/// Gives a gateway another address; the router behind it must have sessions afterwards.
fn moved(network: &Network) -> Result<String> {
    let router = network.router(MOVED)?;
    let gateway = router.gateway().context("it has a gateway")?;
    let before = router.counters()?.sessions;
    ensure!(before > 0, "it has no sessions that could outlive the change");
    gateway.replace_address(&format!("{}/15", address(router.index(), false)), &format!("{MOVED_TO}/15"))?;
    let replaced = SystemTime::now();
    until(NAMED_WITHIN, || Ok(router.counted()? > replaced && router.counters()?.sessions > 0))
        .context("no session")?;
    Ok(format!("{before} sessions before, {} after", router.counters()?.sessions))
}
