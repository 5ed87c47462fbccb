//! Whether there is room for others' tunnels, by how busy the router is
//! (proposal 162 has the letters and their shares).
//!
//! | letter | queues | behind by | tunnels | requests accepted |
//! |---|---|---|---|---|
//! | none | to 70 % | less | to 70 % | all |
//! | D | to 90 % | | to 90 % | half of them, if it is for the queues |
//! | E | more | 350 ms | more | half of them, if it is not for the tunnels |
//! | G | full | 500 ms | | none |
//!
//! Tunnels that fill up are only told of: their limit refuses by itself.

use aioli_core::Duration;
use aioli_wire::Congestion;

use crate::types::Acceptance;

const MEDIUM_PERCENT: u64 = 70;
const HIGH_PERCENT: u64 = 90;
const HIGH_LAG: Duration = Duration::from_millis(350);
const TOO_MUCH_LAG: Duration = Duration::from_millis(500);

/// How busy the router is, as its owner sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How full the queues to other routers are, in percent.
    pub queued_percent: u64,
    /// How late the router gets to do what is due.
    pub lag: Duration,
}

impl Load {
    pub(crate) fn congestion(&self) -> Congestion {
        let by_lag = match self.lag {
            lag if lag >= TOO_MUCH_LAG => Congestion::RejectingAll,
            lag if lag >= HIGH_LAG => Congestion::High,
            _ => Congestion::None,
        };
        let by_queue =
            if self.queued_percent >= 100 { Congestion::RejectingAll } else { by_share(self.queued_percent) };
        by_lag.max(by_queue)
    }

    /// What is accepted under this load.
    pub(crate) fn acceptance(&self) -> Acceptance {
        match self.congestion() {
            Congestion::None => Acceptance::All,
            Congestion::Medium | Congestion::High => Acceptance::Percent(50),
            Congestion::RejectingAll => Acceptance::None,
        }
    }
}

/// The letter for so much of the room taken.
pub(crate) const fn by_share(percent: u64) -> Congestion {
    if percent > HIGH_PERCENT {
        Congestion::High
    } else if percent > MEDIUM_PERCENT {
        Congestion::Medium
    } else {
        Congestion::None
    }
}
