//! UDP as the simulator sees it: datagrams that are delayed, lost and reordered, and vanish without a word where nobody
//! listens. A link's rate does not hold for them.

use std::net::SocketAddr;

use aioli_core::Duration;

use crate::oracle::Violation;
use crate::world::{Happening, World};

/// Datagrams asked of a router at a time.
const BATCH: usize = 16;

impl World {
    /// Sends all that a router has.
    pub(crate) fn send_datagrams(&mut self, host: usize) {
        let now = self.clock(host);
        let Some(from) = self.hosts[host].config.published.first().copied() else { return };
        let mut bytes = Vec::new();
        loop {
            let Some(up) = &mut self.hosts[host].up else { return };
            bytes.clear();
            let Some(transmit) = up.router.poll_datagrams(&mut bytes, BATCH, now) else { return };
            for datagram in bytes.chunks(transmit.segment.max(1)) {
                self.carry(host, from, transmit.to, datagram);
            }
        }
    }

    fn carry(&mut self, host: usize, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let link = self.scenario.link;
        let lost = self.rng.chance(link.loss_permille, 1_000);
        let delay = link.delay + self.rng.duration(Duration::ZERO, link.jitter);
        let Some(to) = self.by_address.get(&to).copied() else { return };
        if !lost && !self.is_split(host, to) {
            self.schedule(delay, Happening::Datagram { from, to, bytes: bytes.to_vec() });
        }
    }

    pub(crate) fn on_datagram(
        &mut self,
        from: SocketAddr,
        to: usize,
        mut bytes: Vec<u8>,
    ) -> Result<(), Violation> {
        if self.is_asleep(to) {
            return Ok(());
        }
        let now = self.clock(to);
        self.note(to, &bytes);
        let host = &mut self.hosts[to];
        let Some(up) = host.up.as_mut().filter(|_| host.config.ssu2) else { return Ok(()) };
        up.router.handle_datagram(from, &mut bytes, now);
        self.pump(to)
    }
}
