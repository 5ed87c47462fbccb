//! Whether one router can reach another: over which transports and address families one dials and the other listens.

use std::net::SocketAddr;

use aioli_wire::RouterInfo;
use aioli_wire::ip::is_public;

use crate::config::Config;

/// A set of pairs of transport and address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways(u8);

const NTCP2: u8 = 0b01;
const SSU2: u8 = 0b01_00;
const BOTH_FAMILIES: u8 = 0b11;

impl Ways {
    fn of(transport: u8, ipv4: bool, ipv6: bool) -> Self {
        Self((transport * u8::from(ipv4)) | ((transport << 1) * u8::from(ipv6)))
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two have one in common.
    pub(crate) const fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The same over either family.
    pub(crate) const fn over_any_family(self) -> Self {
        Self(self.0 | (self.0 & 0b01_01) << 1 | (self.0 & 0b10_10) >> 1)
    }

    /// Whether all of the other are among these.
    pub(crate) const fn cover(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether there is none.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How a router gets to others, and others to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// It can dial these.
    pub(crate) dials: Ways,
    /// It listens here, where everybody can see it.
    pub(crate) listens: Ways,
    /// It is introduced here to those who ask.
    pub(crate) introduced: Ways,
}

impl Reach {
    /// What a router says of itself.
    pub(crate) fn of(info: &RouterInfo, private_network: bool) -> Self {
        let open = |host: SocketAddr| private_network || is_public(host.ip());
        let (mut reach, mut introduced) = (Self::default(), Ways::default());
        let mut add = |transport, ipv4, ipv6, listens: Option<SocketAddr>| {
            reach.dials = reach.dials.and(Ways::of(transport, ipv4, ipv6));
            if let Some(host) = listens.filter(|host| open(*host)) {
                reach.listens = reach.listens.and(Ways::of(transport, host.is_ipv4(), host.is_ipv6()));
            }
        };
        for a in info.ntcp2() {
            add(NTCP2, a.ipv4, a.ipv6, a.published().map(|(host, _)| host));
        }
        for a in info.ssu2() {
            add(SSU2, a.ipv4, a.ipv6, a.host);
            if a.host.is_none() && !a.introducers.is_empty() {
                introduced = introduced.and(Ways::of(SSU2, a.ipv4, a.ipv6));
            }
        }
        Self { introduced, ..reach }
    }

    /// What we ourselves are set up for. Which families the network has is only known by trying.
    pub(crate) fn ours(config: &Config) -> Self {
        let mut reach = Self::default();
        for (transport, on) in [(NTCP2, config.ntcp2), (SSU2, config.ssu2)] {
            if !on {
                continue;
            }
            reach.dials = reach.dials.and(Ways(transport * BOTH_FAMILIES));
            for address in config.published.iter().filter(|_| !config.hidden) {
                reach.listens = reach.listens.and(Ways::of(transport, address.is_ipv4(), address.is_ipv6()));
            }
        }
        reach
    }

    /// Over which transports others get to it.
    pub(crate) const fn reached_over(&self) -> Ways {
        self.listens.and(self.introduced).over_any_family()
    }

    /// Over which transports it gets to others.
    pub(crate) const fn gets_over(&self) -> Ways {
        self.dials.over_any_family()
    }

    /// Whether it can dial the other.
    pub(crate) const fn gets_to(&self, other: &Self) -> bool {
        self.dials.meet(other.listens) || self.dials.meet(other.introduced)
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::{Date, Instant, Now, Rng};

    use super::*;
    use crate::{Identity, create_router_info};

    fn reach(published: &[&str], ntcp2: bool, ssu2: bool) -> Reach {
        let published = published.iter().map(|a| a.parse().unwrap()).collect();
        let config = Config { published, ntcp2, ssu2, ..Config::default() };
        let identity = Identity::generate(&mut Rng::from_seed([1; 32]));
        let now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_780_000_000) };
        Reach::of(&create_router_info(&config, &identity, now), false)
    }

    #[test]
    fn a_router_gets_to_whom_it_shares_a_transport_and_a_family_with() {
        let (v4, v6) = ("5.1.2.3:9000", "[2a00::5]:9000");
        let all = reach(&[v4, v6], true, true);
        let ssu2_v4 = reach(&[v4], false, true);
        let ntcp2_v6 = reach(&[v6], true, false);
        let ntcp2_v4 = reach(&[v4], true, false);
        assert!(all.gets_to(&ssu2_v4) && ssu2_v4.gets_to(&all) && all.gets_to(&ntcp2_v6));
        assert!(!ssu2_v4.gets_to(&ntcp2_v6) && !ntcp2_v6.gets_to(&ssu2_v4), "neither transport nor family");
        assert!(!ssu2_v4.gets_to(&ntcp2_v4) && !ntcp2_v6.gets_to(&ntcp2_v4));
        let nowhere = reach(&[], true, true);
        assert!(nowhere.listens.is_empty() && nowhere.gets_to(&ssu2_v4) && !all.gets_to(&nowhere));
        assert!(!nowhere.gets_to(&ntcp2_v6), "it says IPv4 alone");
        assert!(reach(&["10.1.2.3:9000"], true, true).listens.is_empty(), "nobody sees it there");
    }
}
