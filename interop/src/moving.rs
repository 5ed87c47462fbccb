//! The address of a router of ours is replaced while a stream runs: the stream
//! goes on, and loses nothing.
//!
//! ```text
//!   r1: ours, 198.18.1.2, then 198.18.101.2 ── tunnels over ours and i2pd's ── r2: ours, gives all back
//! ```
//!
//! Once over SSU2 alone, whose sessions can move with the router, and once over
//! both transports: connections over TCP cannot.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::net::nat::Edge;
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::address;
use crate::scenario::{Place, probe, rebound};

/// Routers of ours, and of i2pd's.
pub const ROUTERS: (usize, usize) = (4, 4);
/// Whose address is replaced, by which, and who is at the other end.
const MOVED: usize = 1;
const MOVED_TO: &str = "198.18.101.2";
const OTHER: usize = 2;
/// The stream: so many bytes each way, so fast.
const BYTES: u64 = 6_000_000;
const BYTES_PER_SECOND: u64 = 300_000;
/// Bytes flow for this long before the change.
const BEFORE: Duration = Duration::from_secs(8);
/// And again this long after it at the latest.
const RESUMES_WITHIN: Duration = Duration::from_secs(10);
/// A session and a connection.
const READY_WITHIN: Duration = Duration::from_secs(150);
/// The rest of the stream at the latest.
const DONE_WITHIN: Duration = Duration::from_secs(90);
/// The new address is published.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(60);

/// Runs it, over both choices of transports at once; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    println!("two networks of {} aioli and {} i2pd", ROUTERS.0, ROUTERS.1);
    let choices = [(true, "SSU2 alone"), (false, "both transports")];
    report.at_once(
        choices.map(|(ssu2_only, over)| (over, move |own: &mut Report| moves(place, ssu2_only, over, own))),
    );
}

fn moves(place: &Place, ssu2_only: bool, over: &str, report: &mut Report) {
    let mut layout = Layout::mixed(ROUTERS.0, ROUTERS.1);
    layout.ssu2_only = ssu2_only;
    layout.edges = vec![(MOVED, Edge::Open)];
    let directory = place.directory.join(if ssu2_only { "moving-ssu2" } else { "moving" });
    let mut network = match Network::start(&layout, &place.binaries, &directory) {
        Ok(network) => network,
        Err(error) => {
            report.check::<String>(&format!("(moving) the network, {over}"), Err(error));
            return;
        }
    };
    let outlives = outlives(&network, &directory);
    report.check(&format!("(moving) a stream outlives the address, {over}"), outlives);
    report.check(&format!("(moving) the new address is published, {over}"), published(&network));
    let running = network.ensure_running().map(|()| "yes");
    report.check(&format!("(moving) every router still runs, {over}"), running);
}

/// Replaces the address in the middle of a stream.
fn outlives(network: &Network, logs: &Path) -> Result<String> {
    let (moved, other) = (network.router(MOVED)?, network.router(OTHER)?);
    let (_server, lines, _) = probe(other.namespace(), logs, other.index())?;
    let destination = lines.expect("DESTINATION", READY_WITHIN)?;
    let load = (BYTES, BYTES_PER_SECOND);
    let (_client, lines) = rebound(moved, &destination, load, &logs.join("stream.log"))?;
    lines.expect("RUNNING", READY_WITHIN)?;
    thread::sleep(BEFORE);
    moved.namespace().replace_address("eth0", &address(moved.index(), false), MOVED_TO)?;
    let measured = lines.expect("REBOUND", DONE_WITHIN)?;
    let (longest, at) = measured.split_once(' ').context("two numbers")?;
    let pause = format!("nothing came back for {longest} s, {at} s after the beginning");
    ensure!(longest.parse::<f64>()? <= RESUMES_WITHIN.as_secs_f64(), "{pause}");
    let (bytes, before) = (BYTES / 1_000_000, BEFORE.as_secs());
    Ok(format!("{bytes} MB each way, SHA-256 equal; {pause}; the change was after {before} s"))
}

/// Waits until the RouterInfo has the new address.
fn published(network: &Network) -> Result<&'static str> {
    let moved = network.router(MOVED)?;
    until(PUBLISHED_WITHIN, || Ok(moved.publishes(MOVED_TO))).context("its RouterInfo does not have it")?;
    Ok("yes")
}
