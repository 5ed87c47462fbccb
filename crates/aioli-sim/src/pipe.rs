//! A TCP connection as the simulator sees it: an ordered pipe of bytes each
//! way, with delay, jitter, a rate, and loss that shows as a pause.
//!
//! Segments arrive in order. A lost one is sent again after a retransmission
//! timeout, and everything behind it waits: that is what loss does to TCP.

use std::collections::VecDeque;
use std::net::SocketAddr;

use aioli_core::{Duration, Instant, Rng};
use aioli_router::ConnId;

/// Bytes that may be under way before the sender must wait.
pub(crate) const WINDOW: usize = 256 * 1024;
/// What one segment carries, for counting losses.
const SEGMENT: usize = 1_448;

/// How every link of a network behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkModel {
    /// One way.
    pub delay: Duration,
    /// Added to the delay, evenly spread from zero to this.
    pub jitter: Duration,
    /// Segments lost, in thousandths.
    pub loss_permille: u64,
    /// Bytes per second of each connection, if limited. Datagrams know no rate.
    pub rate: Option<u64>,
}

/// One side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) host: usize,
    /// Which life of the host: it may have crashed since.
    pub(crate) life: u32,
    pub(crate) conn: ConnId,
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) under_way: usize,
    pub(crate) sender_waits: bool,
    /// What a partition keeps from arriving; [`None`] in it is the end of the connection.
    pub(crate) held: VecDeque<Option<Vec<u8>>>,
    /// What has arrived and the receiver does not read yet: it holds to its bandwidth.
    pub(crate) unread: VecDeque<u8>,
    /// The end of the connection comes after that.
    pub(crate) ends: bool,
    free_at: Instant,
    last_arrival: Instant,
}

/// A connection between two hosts; lane 0 goes from `ends[0]` to `ends[1]`.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub(crate) ends: [End; 2],
    pub(crate) lanes: [Lane; 2],
}

impl Pipe {
    pub(crate) fn new(dialler: End, listener: End) -> Self {
        Self { ends: [dialler, listener], lanes: [Lane::default(), Lane::default()] }
    }
}

impl Lane {
    /// When `bytes` sent now arrive.
    pub(crate) fn arrival(
        &mut self,
        bytes: usize,
        model: &LinkModel,
        now: Instant,
        rng: &mut Rng,
    ) -> Instant {
        let start = now.max(self.free_at);
        let transmission = model.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / rate.max(1))
        });
        self.free_at = start + transmission;
        let mut arrival = self.free_at + model.delay + rng.duration(Duration::ZERO, model.jitter);
        for _ in 0..bytes.div_ceil(SEGMENT) {
            if rng.chance(model.loss_permille, 1_000) {
                arrival += model.delay * 2 + Duration::from_millis(200);
            }
        }
        self.last_arrival = arrival.max(self.last_arrival);
        self.last_arrival
    }
}

/// The address of host `i` of a network with public rules: every one in a /16
/// of its own, as long as there are enough. Nothing is ever sent there.
pub(crate) fn public_address(host: usize) -> SocketAddr {
    spread(20, host)
}

/// The address of fake `i`: apart from those of the hosts.
pub(crate) fn fake_address(fake: usize) -> SocketAddr {
    spread(110, fake)
}

/// Numbers spread over the /16s of 50 /8s, from `first`.0.0.0 on.
fn spread(first: u8, number: usize) -> SocketAddr {
    const NETS: usize = 50 * 256;
    // A prime that shares no factor with the number of /16s: neighbours in number are none in address.
    let net = (number % NETS) * 7_919 % NETS;
    let part = |n: usize| u8::try_from(n % 256).unwrap_or(0);
    SocketAddr::from(([first + part(net / 256), part(net), part(number / NETS), 2], 9_700))
}

/// The address of host `i`: the benchmarking range, one host per /24.
pub(crate) fn address(host: usize) -> SocketAddr {
    let [_, _, b, c] = u32::try_from(host + 1).unwrap_or(u32::MAX).to_be_bytes();
    SocketAddr::from(([198, 18 + (b & 1), c, 2], 9_700))
}
