//! What a router tells its user: state changes, never traffic.

use std::fmt;

/// A change of state worth a line on the terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first session with another router stands.
    FirstPeer,
    /// Exploratory tunnels stand both ways: lookups and sessions work.
    Ready {
        /// Inbound tunnels.
        inbound: usize,
        /// Outbound tunnels.
        outbound: usize,
    },
    /// No exploratory tunnel is left.
    TunnelsLost,
    /// Peers' clocks differ from ours by this many seconds.
    ClockSkew {
        /// Ours minus theirs.
        seconds: i64,
    },
    /// Nobody is known to connect to.
    NoRouters,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstPeer => write!(f, "connected to the first router"),
            Self::Ready { inbound, outbound } => {
                write!(f, "ready: {inbound} inbound and {outbound} outbound tunnels")
            }
            Self::TunnelsLost => write!(f, "all tunnels are lost; building new ones"),
            Self::ClockSkew { seconds } => write!(
                f,
                "other routers' clocks differ from this computer's by {} s: set its clock right, for they refuse \
                 more than 60 s",
                seconds.abs()
            ),
            Self::NoRouters => write!(
                f,
                "no other router is known: put RouterInfos into netDb/ of the data directory, or reseed"
            ),
        }
    }
}
