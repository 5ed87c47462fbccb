//! One router of twelve holds to a bandwidth limit, while its own
//! stream and those that it relays for others want far more: what it sends and
//! receives, second by second, and how long each stream stood still.

use aioli_core::{Duration, Instant};
use aioli_router::Bandwidth;

use crate::oracle::Violation;
use crate::pipe::LinkModel;
use crate::scenario::{Scenario, scenario};
use crate::world::World;

/// The router that has the limit.
const LIMITED: usize = 1;
/// The far end of its own streams has tunnels without hops: in a network this small they would lead back through it.
const FAR: usize = 2;
/// Who sends to whom: the first two are the limited router's own streams.
const STREAMS: [(usize, usize); 6] = [(LIMITED, FAR), (FAR, LIMITED), (3, 4), (5, 6), (7, 8), (9, 10)];
const OWN_STREAMS: usize = 2;
/// Until everyone has tunnels and is published.
const SETTLE: Duration = Duration::from_secs(90);
/// More than fits in the time.
const BYTES: u64 = 1 << 40;

/// What the limited router did in one second, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Payload of TCP that came.
    pub received: u64,
    /// Payload of TCP that went.
    pub sent: u64,
    /// Of that, relayed for others.
    pub relayed: u64,
    /// What arrived of each stream at its end.
    pub arrived: [u64; STREAMS.len()],
}

/// The limit of `aioli-sim --scenario limited`, each way.
pub const LIMIT: u64 = 256 * 1024;
/// And its links: nothing of them is in the way of the limit.
pub const LIMITED_LINK: LinkModel = LinkModel {
    delay: Duration::from_millis(2),
    jitter: Duration::from_micros(200),
    loss_permille: 0,
    rate: Some(2_000_000),
};

/// Seconds in a row over which an own stream must have had its least.
const PATIENCE: usize = 3;
/// And this part of the limit.
const LEAST_PART: u64 = 50;

/// What of the demands on a limit did not hold: 5 % over ten seconds and twice in one, each way; no own stream that
/// starves for seconds.
pub fn broken(table: &[Second], limit: u64) -> Option<String> {
    let sent: Vec<u64> = table.iter().map(|s| s.sent).collect();
    let received: Vec<u64> = table.iter().map(|s| s.received).collect();
    for (what, bytes) in [("sent", sent), ("received", received)] {
        let ten = bytes.windows(10).map(|ten| ten.iter().sum::<u64>()).max().unwrap_or(0);
        let one = bytes.iter().copied().max().unwrap_or(0);
        if ten > limit * 10 * 105 / 100 || one > limit * 2 {
            return Some(format!("{what}: {ten} bytes in ten seconds, {one} in one"));
        }
    }
    for stream in 0..OWN_STREAMS {
        for (at, seconds) in table.windows(PATIENCE).enumerate() {
            let had: u64 = seconds.iter().map(|s| s.arrived[stream]).sum();
            if had < limit * PATIENCE as u64 / LEAST_PART {
                return Some(format!("own stream {stream} had {had} bytes in {PATIENCE} s from {at} s on"));
            }
        }
    }
    None
}

/// A network in which one router has a limit of so many bytes a second each way, for so many seconds of load.
pub fn limited(limit: u64, link: LinkModel, seconds: u64, seed: u64) -> Result<Vec<Second>, Violation> {
    let mut world = World::new(&quiet_network(link, seconds), seed);
    world.hosts[LIMITED].config.bandwidth =
        Bandwidth { inbound: Some(limit), outbound: Some(limit), ..Bandwidth::default() };
    world.hosts[FAR].session = Some(0);
    world.run_until(Instant::ZERO + SETTLE, &mut |_, _| {})?;
    for (from, to) in STREAMS {
        world.transfer(from, to, BYTES, false)?;
    }
    let mut table = Vec::new();
    let mut before = world.carried();
    for second in 1..=seconds {
        world.run_until(Instant::ZERO + SETTLE + Duration::from_secs(second), &mut |_, _| {})?;
        let now = world.carried();
        let arrived = std::array::from_fn(|i| now.arrived[i] - before.arrived[i]);
        table.push(Second {
            received: now.received - before.received,
            sent: now.sent - before.sent,
            relayed: now.relayed - before.relayed,
            arrived,
        });
        before = now;
    }
    Ok(table)
}

/// The small network without any transfer of its own.
fn quiet_network(link: LinkModel, seconds: u64) -> Scenario {
    let Some(small) = scenario("small").cloned() else { unreachable!("there is a small network") };
    let duration = SETTLE + Duration::from_secs(seconds + 1);
    let quiet = Duration::ZERO;
    Scenario { routers: 12, floodfills: 3, link, duration, transfer_every: duration, quiet, ..small }
}

impl World {
    /// The limited router's counters, and all that has arrived of the streams.
    fn carried(&self) -> Second {
        let up = |host: usize| self.hosts[host].up.as_ref();
        let stats = up(LIMITED).map(|up| up.router.stats()).unwrap_or_default();
        Second {
            received: stats.bytes_in,
            sent: stats.bytes_out,
            relayed: stats.transit_bytes,
            arrived: STREAMS.map(|(_, to)| up(to).map_or(0, |up| up.app.received())),
        }
    }
}
