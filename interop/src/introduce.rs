//! A router of ours behind a gateway is a hop for two others behind gateways of
//! theirs: they find it through introducers, and open the NATs between them.
//!
//! ```text
//!   r1, then r3: ours ── gateway ┐                              ┌ gateway ── r2: ours
//!                                ├── introducer: r4 … or i2pd ──┤
//!                                └ ─ ─ ─ ─ hole punch ─ ─ ─ ─ ─ ┘
//! ```
//!
//! The first knows none but ours, so that one of ours introduces it. Then ours
//! are stopped: the second can only be introduced by an i2pd.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::net::nat::{self, Edge, Nat};
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::{Binaries, Kind, Router};
use crate::router_info;
use crate::scenario::{Place, probe, rebound};

/// Routers of ours, and of i2pd's. Peer tests need some that have no session with each other.
pub const ROUTERS: (usize, usize) = (8, 6);
/// Who is a hop for others.
const CHARLIE: usize = 2;
/// Who builds tunnels over it, who may introduce them, and where the stream ends.
const MEETINGS: [(usize, Kind, usize); 2] = [(1, Kind::Aioli, 4), (3, Kind::I2pd, 9)];
/// Until a router has published who introduces it.
const INTRODUCED_WITHIN: Duration = Duration::from_secs(120);
/// A session and a connection.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// The stream at the latest.
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// Until counters are written that were counted a moment ago.
const COUNTED_WITHIN: Duration = Duration::from_secs(12);
/// The stream: so many bytes each way, so fast.
const BYTES: u64 = 1_000_000;
const BYTES_PER_SECOND: u64 = 200_000;

/// Runs it; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    let begun = Instant::now();
    println!("network of {} aioli and {} i2pd, three of ours behind gateways", ROUTERS.0, ROUTERS.1);
    let mut layout = Layout::mixed(ROUTERS.0, ROUTERS.1);
    let edge = Edge::Behind(Nat::KeepingPorts);
    layout.edges = vec![(CHARLIE, edge)];
    // So that those who introduce him first are ours.
    layout.strangers = (ROUTERS.0 + 1..=ROUTERS.0 + ROUTERS.1).collect();
    for (alice, ..) in MEETINGS {
        layout = layout.with_fresh(alice);
        layout.edges.push((alice, edge));
    }
    let directory = place.directory.join("introduce");
    let started = nat::ensure_installed().and_then(|()| Network::start(&layout, &place.binaries, &directory));
    let mut network = match started {
        Ok(network) => network,
        Err(error) => {
            report.check::<String>("(introduce) the network", Err(error));
            return;
        }
    };
    for (alice, by, server) in MEETINGS {
        let met = meet(&mut network, &place.binaries, alice, by);
        let met = met.and_then(|()| carried(&network, &directory, alice, server));
        let name = format!("(introduce) a stream over one who was introduced by {}", by.name());
        if report.check(&name, met).is_some() {
            let name = format!("(introduce) holes were punched, introduced by {}", by.name());
            report.check(&name, punched(&network, alice, by));
        }
    }
    println!("introduce took {} s", begun.elapsed().as_secs());
}

/// Starts Alice when Charlie is introduced by routers of this kind, which alone she knows beside him.
fn meet(network: &mut Network, binaries: &Binaries, alice: usize, by: Kind) -> Result<()> {
    if by == Kind::I2pd {
        for router in CHARLIE + 2..=ROUTERS.0 {
            network.router_mut(router)?.stop();
        }
    }
    let known = |router: &&Router| router.kind() == by && !router.is_fresh();
    let names = network.routers().iter().filter(known).filter_map(Router::router_info);
    let names = names.map(|info| router_info::name(&info)).collect::<Result<Vec<_>>>()?;
    let charlie = network.router(CHARLIE)?;
    let is_introduced = || {
        let info = charlie.router_info().unwrap_or_default();
        let has = |what: &[u8]| info.windows(what.len()).any(|w| w == what);
        has(b"itag0") && names.iter().any(|name| has(name.as_bytes()))
    };
    until(INTRODUCED_WITHIN, || Ok(is_introduced()))
        .context("nobody introduces the router behind the gateway")?;
    let mut infos =
        network.routers().iter().filter(known).filter_map(Router::router_info).collect::<Vec<_>>();
    let info = charlie.router_info().context("Charlie has a RouterInfo")?;
    let name = router_info::name(&info)?;
    infos.push(info);
    let alice = network.router_mut(alice)?;
    alice.build_over(&name);
    infos.iter().try_for_each(|info| alice.seed(info))?;
    alice.start(binaries, "run")
}

/// A stream from Alice, whose tunnels all begin and end at Charlie.
fn carried(network: &Network, logs: &Path, alice: usize, server: usize) -> Result<String> {
    let (alice, charlie, server) =
        (network.router(alice)?, network.router(CHARLIE)?, network.router(server)?);
    let before = charlie.counters()?.transit_bytes;
    let (_server, lines, _) = probe(server.namespace(), logs, server.index())?;
    let destination = lines.expect("DESTINATION", READY_WITHIN)?;
    let log = logs.join(format!("stream{}.log", alice.index()));
    let (_client, lines) = rebound(alice, &destination, (BYTES, BYTES_PER_SECOND), &log)?;
    lines.expect("RUNNING", READY_WITHIN)?;
    lines.expect("REBOUND", DONE_WITHIN)?;
    let relayed = || anyhow::Ok(charlie.counters()?.transit_bytes.saturating_sub(before));
    until(COUNTED_WITHIN, || Ok(relayed()? >= 2 * BYTES))
        .with_context(|| format!("the router behind the gateway relayed {:?} bytes", relayed().ok()))?;
    Ok(format!("{} MB each way, SHA-256 equal, {:.1} MB relayed", BYTES / 1_000_000, relayed()? as f64 / 1e6))
}

/// What both ends, and introducers of ours, counted.
fn punched(network: &Network, alice: usize, by: Kind) -> Result<String> {
    let counted = |router: usize, what: &str| network.router(router)?.counter(what);
    let (at_alice, at_charlie) = ("introductions_made", "hole_punches_sent");
    until(COUNTED_WITHIN, || Ok(counted(alice, at_alice)? > 0 && counted(CHARLIE, at_charlie)? > 0))
        .context("no hole was punched")?;
    let mut passed_on = 0;
    for router in CHARLIE + 2..=ROUTERS.0 {
        passed_on += counted(router, "relays_passed_on")?;
    }
    ensure!(by == Kind::I2pd || passed_on > 0, "no router of ours passed an introduction on");
    let (sent, made) = (counted(CHARLIE, at_charlie)?, counted(alice, at_alice)?);
    Ok(format!("{sent} sent, {made} introductions made, {passed_on} passed on by ours"))
}
