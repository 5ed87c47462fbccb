//! Two routers of ours behind gateways, of which one builds its tunnels over the
//! other: they find each other through an introducer, open their NATs, and the
//! one is a hop for the other.
//!
//! ```text
//!   r1: ours ── gateway ┐                      ┌ gateway ── r2: ours, a hop of r1's tunnels
//!                       ├── introducer: r3... ──┤
//!                       └ ─ ─ hole punch ─ ─ ─ ┘
//! ```
//!
//! Once among i2pd's, any of which may be the introducer, and once among ours.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::net::nat::{self, Edge, Nat};
use crate::net::process::Process;
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::{Kind, Router};
use crate::scenario::{Place, probe};

/// Routers of ours, and of i2pd's, in the first network.
pub const ROUTERS: (usize, usize) = (2, 6);
/// Who builds its tunnels over whom, and where the stream ends.
const ALICE: usize = 1;
const CHARLIE: usize = 2;
const SERVER: usize = 3;
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
    for (i2pd, by) in [(ROUTERS.1, "i2pd"), (0, "ours")] {
        let aioli = ROUTERS.0 + ROUTERS.1 - i2pd;
        println!("network of {aioli} aioli and {i2pd} i2pd, two of ours behind gateways");
        let mut layout = Layout::mixed(aioli, i2pd).with_fresh(ALICE);
        let edge = Edge::Behind(Nat::KeepingPorts);
        layout.edges = vec![(ALICE, edge), (CHARLIE, edge)];
        let directory = place.directory.join(format!("introduce-{by}"));
        let started =
            nat::ensure_installed().and_then(|()| Network::start(&layout, &place.binaries, &directory));
        let mut network = match started {
            Ok(network) => network,
            Err(error) => {
                report.check::<String>(&format!("(introduce) the network, {by}"), Err(error));
                continue;
            }
        };
        let carried = meet(&mut network, &place.binaries).and_then(|()| carried(&network, &directory));
        if report
            .check(&format!("(introduce) a stream over one who was introduced by {by}"), carried)
            .is_some()
        {
            report.check(&format!("(introduce) holes were punched, by {by}"), punched(&network));
        }
        report.check(
            &format!("(introduce) every router still runs, {by}"),
            network.ensure_running().map(|()| "yes"),
        );
    }
}

/// Starts Alice when Charlie has published who introduces it, knowing everybody.
fn meet(network: &mut Network, binaries: &crate::router::Binaries) -> Result<()> {
    let charlie = network.router(CHARLIE)?;
    let introduced =
        |router: &Router| router.router_info().is_some_and(|info| info.windows(5).any(|w| w == b"itag0"));
    until(INTRODUCED_WITHIN, || Ok(introduced(charlie)))
        .context("nobody introduces the router behind the gateway")?;
    let infos = network.routers().iter().filter_map(Router::router_info).collect::<Vec<_>>();
    let hash = crate::router_info::name(&charlie.router_info().context("Charlie has a RouterInfo")?)?;
    let alice = network.router_mut(ALICE)?;
    alice.build_over(&hash);
    for info in &infos {
        alice.seed(info)?;
    }
    alice.start(binaries, "run")
}

/// A stream from Alice, whose tunnels all begin and end at Charlie.
fn carried(network: &Network, logs: &Path) -> Result<String> {
    let (alice, charlie, server) =
        (network.router(ALICE)?, network.router(CHARLIE)?, network.router(SERVER)?);
    let before = charlie.counters()?.transit_bytes;
    let (_server, lines, _) = probe(server.namespace(), logs, server.index())?;
    let destination = lines.expect("DESTINATION", READY_WITHIN)?;
    let mut command: Command = alice.namespace().command(&std::env::current_exe()?);
    command.args(["load", "rebound", &destination, "--hops", "2", "--bytes", &BYTES.to_string()]);
    command.args(["--bytes-per-second", &BYTES_PER_SECOND.to_string()]);
    let (_client, lines) = Process::start_talking(command, "the stream", &logs.join("stream.log"))?;
    lines.expect("RUNNING", READY_WITHIN)?;
    lines.expect("REBOUND", DONE_WITHIN)?;
    let relayed = || anyhow::Ok(charlie.counters()?.transit_bytes.saturating_sub(before));
    until(COUNTED_WITHIN, || Ok(relayed()? >= 2 * BYTES))
        .with_context(|| format!("the router behind the gateway relayed {:?} bytes", relayed().ok()))?;
    Ok(format!("{} MB each way, SHA-256 equal, {:.1} MB relayed", BYTES / 1_000_000, relayed()? as f64 / 1e6))
}

/// What both ends, and introducers of ours, counted.
fn punched(network: &Network) -> Result<String> {
    let counted = |router: usize, what: &str| network.router(router)?.counter(what);
    until(COUNTED_WITHIN, || {
        Ok(counted(ALICE, "hole_punches_received")? > 0 && counted(CHARLIE, "hole_punches_sent")? > 0)
    })
    .context("no hole was punched")?;
    let ours =
        network.routers().iter().filter(|r| r.kind() == Kind::Aioli && usize::from(r.index()) > CHARLIE);
    let (mut count, mut passed_on) = (0, 0);
    for router in ours {
        count += 1;
        passed_on += router.counter("relays_passed_on")?;
    }
    ensure!(count == 0 || passed_on > 0, "no router of ours passed an introduction on");
    let (sent, received) = (counted(CHARLIE, "hole_punches_sent")?, counted(ALICE, "hole_punches_received")?);
    Ok(format!("{sent} sent, {received} led to a session, {passed_on} introductions passed on by ours"))
}
