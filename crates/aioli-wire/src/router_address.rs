//! One way to reach a router (`common-structures#routeraddress`), and the
//! options of NTCP2 addresses (`ntcp2#published-addresses`).

use std::net::{IpAddr, SocketAddr};

use aioli_core::crypto::x25519;

use crate::base64;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::mapping::{Mapping, MappingFull, string, write_string};

/// One way to reach a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAddress {
    /// Lower is better.
    pub cost: u8,
    /// The transport: "NTCP2" or "SSU2".
    pub style: String,
    /// What the transport needs to know.
    pub options: Mapping,
}

impl RouterAddress {
    /// The address of an NTCP2 listener; without `published`, of a router that only dials.
    pub fn ntcp2(
        cost: u8,
        static_key: &x25519::PublicKey,
        published: Option<(SocketAddr, [u8; 16])>,
    ) -> Result<Self, MappingFull> {
        let mut options = Mapping::from_pairs([("s", base64::encode(&static_key.0).as_str()), ("v", "2")])?;
        match published {
            Some((endpoint, iv)) => {
                options.set("host", &endpoint.ip().to_string())?;
                options.set("port", &endpoint.port().to_string())?;
                options.set("i", &base64::encode(&iv))?;
            }
            None => options.set("caps", "4")?,
        }
        Ok(Self { cost, style: "NTCP2".to_owned(), options })
    }

    /// What it says as an NTCP2 address; none if it is none or is malformed.
    pub fn as_ntcp2(&self) -> Option<Ntcp2Address> {
        if self.style != "NTCP2" && self.style != "NTCP" {
            return None;
        }
        if !self.options.get("v")?.split(',').any(|v| v.trim() == "2") {
            return None;
        }
        let key: [u8; 32] = fixed_base64(self.options.get("s")?, 44)?;
        if key[31] & 0x80 != 0 {
            return None;
        }
        let iv = match self.options.get("i") {
            Some(text) => Some(fixed_base64(text, 24)?),
            None => None,
        };
        let host = self.endpoint();
        let caps = self.options.get("caps").unwrap_or("");
        Some(Ntcp2Address {
            host,
            static_key: x25519::PublicKey(key),
            iv,
            cost: self.cost,
            ipv4: caps.contains('4') || host.is_some_and(|h| h.is_ipv4()),
            ipv6: caps.contains('6') || host.is_some_and(|h| h.is_ipv6()),
        })
    }

    /// `host` and `port`, if they are a numeric address. Names are not looked up.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.options.get("host")?.parse().ok()?;
        let port: u16 = self.options.get("port")?.parse().ok()?;
        (port != 0).then(|| SocketAddr::new(ip, port))
    }
}

/// What an NTCP2 address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ntcp2Address {
    /// Where it listens; none if it only dials.
    pub host: Option<SocketAddr>,
    /// Its static key.
    pub static_key: x25519::PublicKey,
    /// What hides the ephemeral keys of handshakes with it.
    pub iv: Option<[u8; 16]>,
    /// Lower is better.
    pub cost: u8,
    /// Speaks IPv4.
    pub ipv4: bool,
    /// Speaks IPv6.
    pub ipv6: bool,
}

impl Ntcp2Address {
    /// All that one needs to dial it, if it can be dialled.
    pub fn published(&self) -> Option<(SocketAddr, [u8; 16])> {
        self.host.zip(self.iv)
    }
}

/// `N` bytes from Base64 text of exactly `chars` characters.
fn fixed_base64<const N: usize>(text: &str, chars: usize) -> Option<[u8; N]> {
    if text.len() != chars {
        return None;
    }
    base64::decode(text)?.try_into().ok()
}

impl<'a> Wire<'a> for RouterAddress {
    const SPEC: &'static str = "common-structures#routeraddress";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let cost = r.u8()?;
        r.u64()?; // expiration: always zero, and without meaning if not
        let style = string(r)?.to_owned();
        Ok(Self { cost, style, options: r.read()? })
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(self.cost);
        w.u64(0);
        write_string(w, &self.style);
        w.write(&self.options);
    }
}
