//! A router of ours behind a gateway is a hop for two others behind gateways of
//! theirs: they find it through introducers, and open the NATs between them.
//!
//! ```text
//!   r1, ours ── gateway ┐                         ┌ gateway ── r2, ours
//!                       ├── introducer: ours ─────┤
//!                       └ ─ ─ ─ hole punch ─ ─ ─ ─┘
//!   r3, ours ── gateway ┐                         ┌ gateway ── r4, ours
//!                       ├── introducer: i2pd ─────┤
//!                       └ ─ ─ ─ hole punch ─ ─ ─ ─┘
//! ```
//!
//! The first two know none but ours at first, the others none but i2pd's.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::net::nat::{self, Edge, Nat};
use crate::net::process::Lines;
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::{Binaries, Kind, Router};
use crate::router_info;
use crate::scenario::{Place, probe, rebound};

/// Routers of ours, and of i2pd's.
pub const ROUTERS: (usize, usize) = (9, 6);
/// Those that others reach. Peer tests need some that have no session with each other.
const OURS: RangeInclusive<usize> = 5..=9;
const I2PD: RangeInclusive<usize> = 10..=15;

/// Two behind gateways.
struct Meeting {
    /// Who builds tunnels over Charlie.
    alice: usize,
    /// A hop for others.
    charlie: usize,
    /// Whose routers introduce them.
    by: Kind,
    /// Where the stream ends.
    server: usize,
}

const MEETINGS: [Meeting; 2] = [
    Meeting { alice: 1, charlie: 2, by: Kind::Aioli, server: 5 },
    Meeting { alice: 3, charlie: 4, by: Kind::I2pd, server: 10 },
];
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
    println!("network of {} aioli and {} i2pd, four of ours behind gateways", ROUTERS.0, ROUTERS.1);
    let directory = place.directory.join("introduce");
    let started =
        nat::ensure_installed().and_then(|()| Network::start(&layout(), &place.binaries, &directory));
    let mut network = match started {
        Ok(network) => network,
        Err(error) => {
            report.check::<String>("(introduce) the network", Err(error));
            return;
        }
    };
    // They take their time, those of i2pd above all.
    let servers = MEETINGS.map(|meeting| {
        let server = network.router(meeting.server)?;
        probe(server.namespace(), &directory, server.index())
    });
    // Before the others have met whom they did not know.
    let charlies = MEETINGS.map(|meeting| introduced(&network, &meeting));
    for ((meeting, server), charlie) in MEETINGS.iter().zip(servers).zip(charlies) {
        let by = meeting.by.name();
        let met = charlie.and_then(|info| meet(&mut network, &place.binaries, meeting, &info));
        let carried =
            met.and(server).and_then(|(_process, lines, _)| carried(&network, &directory, meeting, &lines));
        let name = format!("(introduce) a stream over one who was introduced by {by}");
        if report.check(&name, carried).is_some() {
            let name = format!("(introduce) holes were punched, introduced by {by}");
            report.check(&name, punched(&network, meeting));
        }
    }
    println!("introduce took {} s", begun.elapsed().as_secs());
}

fn layout() -> Layout {
    let mut layout = Layout::mixed(ROUTERS.0, ROUTERS.1);
    for Meeting { alice, charlie, by, .. } in MEETINGS {
        layout = layout.with_fresh(alice);
        layout.edges.extend([alice, charlie].map(|router| (router, Edge::Behind(Nat::KeepingPorts))));
        let others = if by == Kind::Aioli { I2PD } else { OURS };
        layout.strangers.extend(others.map(|other| (charlie, other)));
    }
    layout
}

/// The RouterInfos of routers of this kind that others reach.
fn open_ones(network: &Network, kind: Kind) -> Vec<Vec<u8>> {
    let open = |router: &&Router| router.kind() == kind && !router.has_edge();
    network.routers().iter().filter(open).filter_map(Router::router_info).collect()
}

/// Waits until Charlie says that routers of this kind introduce him, and no others; what he says.
fn introduced(network: &Network, meeting: &Meeting) -> Result<Vec<u8>> {
    let charlie = network.router(meeting.charlie)?;
    let names = |kind| {
        open_ones(network, kind).iter().map(|info| router_info::name(info)).collect::<Result<Vec<_>>>()
    };
    let [ours, i2pd] = [names(Kind::Aioli)?, names(Kind::I2pd)?];
    let (right, wrong) = if meeting.by == Kind::Aioli { (ours, i2pd) } else { (i2pd, ours) };
    let mut said = None;
    until(INTRODUCED_WITHIN, || {
        let info = charlie.router_info().unwrap_or_default();
        let has = |name: &String| info.windows(name.len()).any(|w| w == name.as_bytes());
        let is_introduced = right.iter().any(has) && !wrong.iter().any(has);
        said = is_introduced.then_some(info);
        Ok(is_introduced)
    })
    .context("nobody introduces the router behind the gateway")?;
    said.context("Charlie has a RouterInfo")
}

/// Starts Alice, who knows Charlie and beside him none but routers of the kind that introduces him.
fn meet(network: &mut Network, binaries: &Binaries, meeting: &Meeting, charlie: &[u8]) -> Result<()> {
    let infos = open_ones(network, meeting.by);
    let alice = network.router_mut(meeting.alice)?;
    alice.build_over(&router_info::name(charlie)?);
    infos.iter().map(Vec::as_slice).chain([charlie]).try_for_each(|info| alice.seed(info))?;
    alice.start(binaries, "run")
}

/// A stream from Alice, whose tunnels all begin and end at Charlie.
fn carried(network: &Network, logs: &Path, meeting: &Meeting, server: &Lines) -> Result<String> {
    let (alice, charlie) = (network.router(meeting.alice)?, network.router(meeting.charlie)?);
    let before = charlie.counters()?.transit_bytes;
    let destination = server.expect("DESTINATION", READY_WITHIN)?;
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
fn punched(network: &Network, meeting: &Meeting) -> Result<String> {
    let made = || network.router(meeting.alice)?.counter("introductions_made");
    let sent = || network.router(meeting.charlie)?.counter("hole_punches_sent");
    until(COUNTED_WITHIN, || Ok(made()? > 0 && sent()? > 0)).context("no hole was punched")?;
    let by_ours =
        || OURS.map(|router| network.router(router)?.counter("relays_passed_on")).sum::<Result<u64>>();
    if meeting.by == Kind::Aioli {
        until(COUNTED_WITHIN, || Ok(by_ours()? > 0))
            .context("no router of ours passed an introduction on")?;
    }
    Ok(format!("{} sent, {} introductions made", sent()?, made()?))
}
