//! What an SSU2 address of a RouterInfo says (`ssu2#published-router-info`).

use std::net::SocketAddr;

use aioli_core::Date;
use aioli_core::crypto::x25519;

use super::{MAX_MTU, MIN_MTU};
use crate::base64;
use crate::ids::RouterHash;
use crate::mapping::{Mapping, MappingFull};
use crate::router_address::RouterAddress;

/// The most introducers of one address.
pub const MAX_INTRODUCERS: usize = 3;

/// Who introduces others to a router that cannot be reached directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introducer {
    /// Who.
    pub router: RouterHash,
    /// The router's name there; not zero.
    pub tag: u32,
    /// Until when.
    pub expires: Option<Date>,
}

/// What an SSU2 address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssu2Address {
    /// Where it listens; none if it cannot be reached directly.
    pub host: Option<SocketAddr>,
    /// Its static key.
    pub static_key: x25519::PublicKey,
    /// What hides the headers of packets to it.
    pub intro_key: [u8; 32],
    /// The largest IP packet that it takes.
    pub mtu: u16,
    /// Lower is better.
    pub cost: u8,
    /// Speaks IPv4.
    pub ipv4: bool,
    /// Speaks IPv6.
    pub ipv6: bool,
    /// Takes part in peer tests.
    pub peer_test: bool,
    /// Is willing to introduce others.
    pub introduces: bool,
    /// Who introduces others to it.
    pub introducers: Vec<Introducer>,
}

/// What goes into an SSU2 address of our own.
#[derive(Clone, Debug)]
pub struct Ssu2Parts<'a> {
    /// Lower is better.
    pub cost: u8,
    /// Our static key.
    pub static_key: &'a x25519::PublicKey,
    /// What hides the headers of packets to us.
    pub intro_key: &'a [u8; 32],
    /// Where we listen; none if we cannot be reached directly.
    pub host: Option<SocketAddr>,
    /// `B`, `C`, `4` and `6` as they apply.
    pub caps: &'a str,
    /// Said unless it is the usual one.
    pub mtu: u16,
    /// Who introduces others to us; not published beside a host.
    pub introducers: &'a [Introducer],
}

impl Ssu2Parts<'_> {
    /// The address.
    ///
    /// # Errors
    /// [`MappingFull`] if it does not fit, which bounded parts always do.
    pub fn address(&self) -> Result<RouterAddress, MappingFull> {
        let (s, i) = (base64::encode(&self.static_key.0), base64::encode(self.intro_key));
        let mut options = Mapping::from_pairs([("s", s.as_str()), ("i", i.as_str()), ("v", "2")])?;
        if !self.caps.is_empty() {
            options.set("caps", self.caps)?;
        }
        if self.mtu != MAX_MTU {
            options.set("mtu", &self.mtu.to_string())?;
        }
        match self.host {
            Some(host) => {
                options.set("host", &host.ip().to_string())?;
                options.set("port", &host.port().to_string())?;
            }
            None => {
                for (n, introducer) in self.introducers.iter().take(MAX_INTRODUCERS).enumerate() {
                    options.set(&format!("ih{n}"), &introducer.router.to_base64())?;
                    options.set(&format!("itag{n}"), &introducer.tag.to_string())?;
                    if let Some(expires) = introducer.expires {
                        options.set(&format!("iexp{n}"), &expires.as_secs().to_string())?;
                    }
                }
            }
        }
        Ok(RouterAddress { cost: self.cost, style: "SSU2".to_owned(), options })
    }
}

impl Ssu2Address {
    /// What the address says; none if it is no SSU2 address or is malformed.
    pub fn parse(address: &RouterAddress) -> Option<Self> {
        let options = &address.options;
        if address.style != "SSU2" && address.style != "SSU" {
            return None;
        }
        if !options.get("v")?.split(',').any(|v| v.trim() == "2") {
            return None;
        }
        let static_key = key(options.get("s")?)?;
        if static_key[31] & 0x80 != 0 {
            return None;
        }
        let host = address.endpoint();
        let caps = options.get("caps").unwrap_or("");
        let mtu = options.get("mtu").and_then(|m| m.parse().ok()).unwrap_or(MAX_MTU);
        let has = |c: char| caps.contains(c);
        Some(Self {
            host,
            static_key: x25519::PublicKey(static_key),
            intro_key: key(options.get("i")?)?,
            mtu: mtu.clamp(MIN_MTU, MAX_MTU),
            cost: address.cost,
            ipv4: has('4') || host.is_some_and(|h| h.is_ipv4()),
            ipv6: has('6') || host.is_some_and(|h| h.is_ipv6()),
            peer_test: has('B'),
            introduces: has('C'),
            introducers: (0..MAX_INTRODUCERS).filter_map(|n| introducer(options, n)).collect(),
        })
    }
}

fn introducer(options: &Mapping, n: usize) -> Option<Introducer> {
    let router = RouterHash::from_base64(options.get(&format!("ih{n}"))?)?;
    let tag = options.get(&format!("itag{n}"))?.parse().ok().filter(|tag| *tag != 0)?;
    let expires = options.get(&format!("iexp{n}")).and_then(|s| s.parse().ok()).map(Date::from_secs);
    Some(Introducer { router, tag, expires })
}

fn key(text: &str) -> Option<[u8; 32]> {
    if text.len() != 44 {
        return None;
    }
    base64::decode(text)?.try_into().ok()
}
