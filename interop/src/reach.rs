//! Routers of ours behind whatever keeps others out, among i2pd's: each must
//! say within a minute whether others reach it, and be right.
//!
//! | router | behind | says |
//! |---|---|---|
//! | 1 | nothing, but nobody told it its address | open |
//! | 2 | a firewall of its own | firewalled |
//! | 3 | a gateway that keeps ports | firewalled |
//! | 4 | a gateway that draws a port for each peer | symmetric NAT |
//! | 5 | a gateway that lets no UDP pass | no UDP |
//! | 6 | a firewall of its own, through which nothing comes in but what answers over TCP | no UDP |
//! | 7, 8 | nothing: they are told their addresses | |
//! | 9 to 14 | i2pd; of the first three the others have not heard | |
//!
//! The others are there before them. Then the address outside of router 3's gateway is replaced, and router 1's own: each
//! must say so, and what it publishes must hold at the new address. Whom others do not reach must publish no address.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::net::nat::{self, Edge, Nat};
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::address;
use crate::scenario::Place;

/// What a user waits for at most.
const NAMED_WITHIN: Duration = Duration::from_secs(60);
/// Between the start of the first of them and of the last.
const STARTED_WITHIN: Duration = Duration::from_secs(10);

const OPEN: &str = "others reach this router at";
const FIREWALLED: &str = "keeps others out; the router works through";
const SYMMETRIC: &str = "symmetric NAT";
const NO_UDP: &str = "lets no UDP through";

/// What each router is behind, and what it must say.
const CASES: [(usize, &str, Edge, &str); 6] = [
    (1, "nothing in the way", Edge::Open, OPEN),
    (2, "a firewall", Edge::Filtered, FIREWALLED),
    (3, "a NAT that keeps ports", Edge::Behind(Nat::KeepingPorts), FIREWALLED),
    (4, "a NAT with random ports", Edge::Behind(Nat::RandomPorts), SYMMETRIC),
    (5, "a NAT without UDP", Edge::Behind(Nat::NoUdp), NO_UDP),
    (6, "a firewall that lets nothing in", Edge::NothingInbound, NO_UDP),
];
/// Of those that are there, whom they have not heard of: who tests a router must not have been sent anything.
const STRANGERS: [usize; 3] = [9, 10, 11];
/// Whose gateway gets another address, and which.
const BEHIND: usize = 3;
const BEHIND_TO: &str = "198.18.103.2";
/// Whose own address is replaced, and by which.
const OPEN_ROUTER: usize = 1;
const OPEN_TO: &str = "198.18.101.2";

/// Routers of ours, and of i2pd's.
pub const ROUTERS: (usize, usize) = (8, 6);

/// Runs it; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    let begun = Instant::now();
    println!("network of {} aioli and {} i2pd, some of ours behind gateways", ROUTERS.0, ROUTERS.1);
    let mut layout = Layout::mixed(ROUTERS.0, ROUTERS.1);
    let strangers = CASES.iter().flat_map(|(router, ..)| STRANGERS.map(|stranger| (*router, stranger)));
    layout.strangers = strangers.collect();
    layout.edges = CASES.iter().map(|(router, _, edge, _)| (*router, *edge)).collect();
    let started = nat::ensure_installed()
        .and_then(|()| Network::start(&layout, &place.binaries, &place.directory.join("reach")));
    let mut network = match started {
        Ok(network) => network,
        Err(error) => {
            report.check::<String>("(reach) the network", Err(error));
            return;
        }
    };
    for ((_, behind, ..), named) in CASES.iter().zip(all_named(&network)) {
        report.check(&format!("(reach) behind {behind}"), named);
    }
    let replaced = replace(&network);
    if report.check("(reach) addresses are replaced", replaced).is_some() {
        let (at, behind) = (format!("{OPEN} {OPEN_TO}:"), format!("NAT ({BEHIND_TO})"));
        report.check("(reach) the gateway's new address is known", moved(&network, BEHIND, &behind));
        report.check("(reach) the new address is known and open", moved(&network, OPEN_ROUTER, &at));
        report.check("(reach) the new address is published", published(&network));
    }
    report.check("(reach) each publishes what follows", follows(&network));
    report.check("(reach) every router still runs", network.ensure_running().map(|()| "yes"));
    println!("reach took {} s", begun.elapsed().as_secs());
}

/// Waits until every router says what it must, counted from its own start, and has said nothing else since.
fn all_named(network: &Network) -> Vec<Result<String>> {
    let mut after: [Option<Duration>; CASES.len()] = [None; CASES.len()];
    // Those that are late have an error of their own.
    let _ = until(NAMED_WITHIN + STARTED_WITHIN, || {
        let mut all = true;
        for ((router, _, _, says), after) in CASES.iter().zip(&mut after) {
            let router = network.router(*router)?;
            let age = router.started().context("it was not started")?.elapsed();
            let right = verdict(&router.log("run")).is_some_and(|line| line.contains(says));
            *after = if right { after.or(Some(age)) } else { None };
            all &= right || age > NAMED_WITHIN;
        }
        Ok(all)
    });
    let named = |((router, _, _, says), after): (&(usize, &str, Edge, &str), Option<Duration>)| {
        let log = network.router(*router)?.log("run");
        let last = verdict(&log).unwrap_or_else(|| "nothing".to_owned());
        let after = after.with_context(|| format!("it did not say \"{says}\" but: {last}"))?;
        ensure!(after <= NAMED_WITHIN, "named after {:.1} s", after.as_secs_f64());
        Ok(format!("named after {:.1} s", after.as_secs_f64()))
    };
    CASES.iter().zip(after).map(named).collect()
}

/// Waits until those whom others do not reach publish no address any more, but who introduces them if UDP gets through.
fn follows(network: &Network) -> Result<&'static str> {
    let right = |(router, _, _, says): &(usize, &str, Edge, &str)| {
        let router = network.router(*router)?;
        let published = (router.publishes(&address(router.index(), false)), router.publishes("itag0"));
        anyhow::Ok(*says == OPEN || published == (false, *says != NO_UDP))
    };
    until(NAMED_WITHIN, || CASES.iter().try_fold(true, |all, case| Ok(all && right(case)?))).with_context(
        || {
            let wrong = CASES.iter().filter(|case| !right(case).is_ok_and(|right| right));
            format!(
                "not those behind {}",
                wrong.map(|(_, behind, ..)| *behind).collect::<Vec<_>>().join(", ")
            )
        },
    )?;
    Ok("yes")
}

/// The last line about it in a log.
fn verdict(log: &str) -> Option<String> {
    let mut lines = log.lines().filter(|line| line.starts_with("IPv4: "));
    lines.next_back().map(str::to_owned)
}

/// Gives a gateway and a router other addresses.
fn replace(network: &Network) -> Result<&'static str> {
    let behind = network.router(BEHIND)?;
    let gateway = behind.gateway().context("it has a gateway")?;
    gateway.namespace().replace_address("wan0", &address(behind.index(), false), BEHIND_TO)?;
    let open = network.router(OPEN_ROUTER)?;
    open.namespace().replace_address("eth0", &address(open.index(), false), OPEN_TO)?;
    Ok("yes")
}

/// Waits until the router's last word is about the new address.
fn moved(network: &Network, router: usize, says: &str) -> Result<String> {
    let (router, begun) = (network.router(router)?, Instant::now());
    let last = || verdict(&router.log("run"));
    until(NAMED_WITHIN, || Ok(last().is_some_and(|line| line.contains(says))))
        .with_context(|| format!("it did not say \"{says}\" but: {}", last().unwrap_or_default()))?;
    Ok(format!("within {} s", begun.elapsed().as_secs() + 1))
}

/// Waits until the open router publishes its new address, and not the old.
fn published(network: &Network) -> Result<&'static str> {
    let router = network.router(OPEN_ROUTER)?;
    let old = address(router.index(), false);
    until(NAMED_WITHIN, || Ok(router.publishes(OPEN_TO) && !router.publishes(&old)))
        .context("its RouterInfo has not")?;
    Ok("yes")
}
