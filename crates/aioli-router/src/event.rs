//! What a router tells its user: state changes, never traffic.

use std::fmt;
use std::net::SocketAddr;

use aioli_core::Duration;

use crate::bans::{BanReason, Subject};
use crate::clock::ClockSource;
use crate::reachability::Told;

/// A change of state worth a line on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Other routers are known, and the first is dialled.
    Connecting {
        /// How many are known.
        known: usize,
    },
    /// The first session with another router stands.
    FirstPeer,
    /// The first exploratory tunnels are built: those that stand and those wanted.
    Building {
        /// Towards us.
        inbound: (usize, usize),
        /// Away from us.
        outbound: (usize, usize),
    },
    /// Exploratory tunnels stand both ways: lookups and sessions work.
    Ready {
        /// Inbound tunnels.
        inbound: usize,
        /// Outbound tunnels.
        outbound: usize,
    },
    /// No exploratory tunnel is left.
    TunnelsLost,
    /// The machine's clock is wrong and corrected for; with less than [`Event::CLOCK_IS_RIGHT_MS`], right again.
    ClockCorrected {
        /// True time minus the machine's, in milliseconds.
        offset_ms: i64,
        /// Who says so.
        source: ClockSource,
    },
    /// Peers refuse us because their clocks differ from ours, and too few agree on by how much.
    ClockSkew {
        /// Theirs minus the machine's, in milliseconds.
        offset_ms: i64,
    },
    /// Time servers and other routers say different things.
    ClocksDisagree {
        /// By how much the machine is behind according to servers, in milliseconds.
        servers_ms: i64,
        /// And according to routers.
        routers_ms: i64,
    },
    /// Somebody was banned; said once in a while only.
    Banned {
        /// Who.
        subject: Subject,
        /// Why.
        reason: BanReason,
        /// Bans of the moment.
        bans: usize,
    },
    /// By the rules we hold a part of the NetDB from now on, or no longer.
    Floodfill(bool),
    /// Nobody is known to connect to.
    NoRouters,
    /// The computer has slept.
    Resumed {
        /// For how long.
        gap: Duration,
    },
    /// The computer's clock was set.
    ClockSet {
        /// Forward by this many seconds, or back.
        seconds: i64,
    },
    /// Whether others reach us is known, or has changed.
    Reachability(Told),
    /// Our addresses are now these.
    Addresses(Vec<SocketAddr>),
}

impl Event {
    /// A clock that is wrong by less is right, for people.
    pub const CLOCK_IS_RIGHT_MS: i64 = 2_000;
}

/// A clock that is behind by so many milliseconds, as people say it.
struct Wrong(i64);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.0.unsigned_abs() + 500) / 1_000;
        let direction = if self.0 < 0 { "ahead" } else { "behind" };
        let (minute, hour, day, year) = (60, 3_600, 86_400, 31_556_952);
        match seconds {
            0..2 => f.write_str("right"),
            s if s < 3 * minute => write!(f, "{s} s {direction}"),
            s if s < 3 * hour => write!(f, "{s} s ({} min) {direction}", s / minute),
            s if s < 3 * day => write!(f, "{s} s ({} h) {direction}", s / hour),
            s if s < 3 * year => write!(f, "{s} s ({} days) {direction}", s / day),
            s => write!(f, "{s} s ({} years) {direction}", s / year),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { known } => write!(f, "connecting to other routers, of {known} known"),
            Self::Building { inbound, outbound } => write!(
                f,
                "building tunnels: {} of {} inbound, {} of {} outbound",
                inbound.0, inbound.1, outbound.0, outbound.1
            ),
            Self::Resumed { gap } => write!(
                f,
                "awake again after {}: connecting anew and building tunnels",
                if gap.as_secs() < 120 {
                    format!("{} s", gap.as_secs())
                } else {
                    format!("{} min", gap.as_secs() / 60)
                }
            ),
            Self::ClockSet { seconds } => write!(
                f,
                "the computer's clock was set {} by {} s; the router follows it",
                if *seconds < 0 { "back" } else { "forward" },
                seconds.abs()
            ),
            Self::Reachability(told) => told.fmt(f),
            Self::Addresses(addresses) => publishing(addresses, f),
            Self::FirstPeer => write!(f, "connected to the first router"),
            Self::Ready { inbound, outbound } => {
                write!(f, "ready: {inbound} inbound and {outbound} outbound tunnels")
            }
            Self::TunnelsLost => write!(f, "all tunnels are lost; building new ones"),
            Self::ClockCorrected { offset_ms, .. } if offset_ms.abs() < Self::CLOCK_IS_RIGHT_MS => {
                write!(f, "this machine's clock is right now")
            }
            Self::ClockCorrected { offset_ms, source } => write!(
                f,
                "this machine's clock is {} ({source}); the router corrects for it; set the clock",
                Wrong(*offset_ms)
            ),
            Self::ClockSkew { offset_ms } => write!(
                f,
                "other routers refuse this one: this machine's clock seems to be {}; the router asks more of them \
                 before it corrects for it; set the clock",
                Wrong(*offset_ms)
            ),
            Self::ClocksDisagree { servers_ms, routers_ms } => write!(
                f,
                "time servers say that this machine's clock is {}, other routers that it is {}; the router goes by \
                 several time servers that agree, else by the routers; check the clock, and the time servers (--ntp)",
                Wrong(*servers_ms),
                Wrong(*routers_ms)
            ),
            Self::Banned { subject, reason, bans } => {
                write!(f, "{subject} is banned: {reason}; bans in all: {bans}")
            }
            Self::Floodfill(true) => write!(f, "now a floodfill: serving the network database to others"),
            Self::Floodfill(false) => write!(f, "no longer a floodfill"),
            Self::NoRouters => write!(
                f,
                "no other router is known: put RouterInfos into netDb/ of the data directory, or reseed"
            ),
        }
    }
}

fn publishing(addresses: &[SocketAddr], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if addresses.is_empty() {
        return write!(f, "publishing no address any more: none is left that others can reach");
    }
    write!(f, "publishing {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_told_with_amount_and_direction() {
        for (offset_ms, source, expected) in [
            (
                73_200,
                ClockSource::TimeServers(3),
                "is 73 s behind (3 time servers agree); the router corrects",
            ),
            (-600_499, ClockSource::Routers(5), "is 600 s (10 min) ahead (5 other routers agree)"),
            (18_000_000, ClockSource::TimeServers(1), "is 18000 s (5 h) behind (one time server says so)"),
            (1_782_514_800_000, ClockSource::Routers(3), "is 1782514800 s (56 years) behind"),
            (300, ClockSource::TimeServers(4), "this machine's clock is right now"),
        ] {
            let line = Event::ClockCorrected { offset_ms, source }.to_string();
            assert!(line.contains(expected), "{line}");
        }
    }
}
