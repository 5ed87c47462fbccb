//! What there is to see of a running router.

use std::rc::Rc;

use aioli_client::SamStats;
use aioli_router::{Details, Overview};

use super::EmbedStats;
use crate::driver::Shared;
use crate::udp::UdpStats;

/// A router, its SAM, its sockets and its programs in the same process.
#[derive(Clone, Debug)]
pub struct View {
    /// The router at a glance.
    pub router: Overview,
    /// What its tables hold, if that was asked for.
    pub details: Option<Details>,
    /// Counters of SAM.
    pub sam: SamStats,
    /// Those of the UDP sockets.
    pub udp: UdpStats,
    /// Those of programs in the same process.
    pub embed: EmbedStats,
}

impl View {
    pub(super) fn of(shared: &Rc<Shared>, entries: Option<usize>) -> Self {
        let udp = shared.udp_stats();
        shared.with_machines(|m, now| Self {
            router: m.router.overview(now),
            details: entries.map(|most| m.router.details(most, now)),
            sam: m.sam.stats(),
            udp,
            embed: m.embed.stats(),
        })
    }
}
