//! Whether there is room for others' tunnels, by how busy the router is
//! (proposal 162 has the letters and their shares).
//!
//! | letter | queues | behind by | tunnels | bandwidth | requests accepted |
//! |---|---|---|---|---|---|
//! | none | to 70 % | less | to 70 % | to 70 % | all |
//! | D | to 90 % | | to 90 % | to 90 % | half of them, if it is for the queues |
//! | E | more | 350 ms | more | more | half of them, if it is for queues or lag |
//! | G | full | 500 ms | | | none |
//!
//! Tunnels that fill up are only told of: their limit refuses by itself. Of the
//! bandwidth that others may use: the more is used, the fewer requests are
//! accepted, from all of them at 70 % to one in twenty at the limit. A step
//! there would swing: what a tunnel carries shows only minutes later.

use aioli_core::Duration;
use aioli_wire::Congestion;

use crate::types::Acceptance;

const MEDIUM_PERCENT: u64 = 70;
const HIGH_PERCENT: u64 = 90;
/// Of the requests so many are accepted even when others use all they may.
const LEAST_PERCENT: u8 = 5;
const HIGH_LAG: Duration = Duration::from_millis(350);
const TOO_MUCH_LAG: Duration = Duration::from_millis(500);

/// How busy the router is, as its owner sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How full the queues to other routers are, in percent.
    pub queued_percent: u64,
    /// How late the router gets to do what is due.
    pub lag: Duration,
    /// Of the bandwidth that others may use, how much they use, in percent.
    pub transit_percent: u64,
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

    /// The letter for the bandwidth that others use.
    pub(crate) const fn bandwidth_letter(&self) -> Congestion {
        by_share(self.transit_percent)
    }

    /// What is accepted under this load.
    pub(crate) fn acceptance(&self) -> Acceptance {
        let others = match self.congestion() {
            Congestion::None => 100,
            Congestion::Medium | Congestion::High => 50,
            Congestion::RejectingAll => return Acceptance::None,
        };
        match self.by_bandwidth().min(others) {
            100 => Acceptance::All,
            percent => Acceptance::Percent(percent),
        }
    }

    fn by_bandwidth(&self) -> u8 {
        let over = self.transit_percent.clamp(MEDIUM_PERCENT, 100) - MEDIUM_PERCENT;
        100 - (over * u64::from(100 - LEAST_PERCENT) / (100 - MEDIUM_PERCENT)) as u8
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
