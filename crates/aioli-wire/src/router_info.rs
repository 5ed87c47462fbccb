//! What a router publishes about itself (`common-structures#routerinfo`).

use std::fmt;
use std::sync::Arc;

use aioli_core::Date;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::{self, SigType};

use crate::caps::Capabilities;
use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::identity::RouterIdentity;
use crate::ids::RouterHash;
use crate::mapping::Mapping;
use crate::router_address::{Ntcp2Address, RouterAddress};
use crate::ssu2::Ssu2Address;
use crate::verified::{Raw, Signed, Unverified, Verified, VerifyError};

/// The largest RouterInfo that is read, uncompressed.
pub const MAX_ROUTER_INFO_SIZE: usize = 4096;
/// The largest RouterInfo to publish: i2pd refuses larger ones.
pub const MAX_PUBLISHED_ROUTER_INFO_SIZE: usize = 3072;
/// The most addresses in a RouterInfo that is read.
pub const MAX_ADDRESSES: usize = 32;

const SIGNATURE: usize = 64;

/// What a router publishes about itself.
#[derive(Clone, PartialEq, Eq)]
pub struct RouterInfo {
    /// Who.
    pub identity: RouterIdentity,
    /// When.
    pub published: Date,
    /// Where.
    pub addresses: Vec<RouterAddress>,
    /// Version, network, capabilities and others.
    pub options: Mapping,
    raw: Raw,
}

/// What goes into a RouterInfo of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterInfoParts {
    /// Who.
    pub identity: RouterIdentity,
    /// When.
    pub published: Date,
    /// Where; at most [`MAX_ADDRESSES`] are used.
    pub addresses: Vec<RouterAddress>,
    /// Version, network, capabilities and others.
    pub options: Mapping,
}

impl RouterInfo {
    /// Signs one with the key of `parts.identity`.
    pub fn create(mut parts: RouterInfoParts, key: &SigningKey) -> Verified<Self> {
        parts.addresses.truncate(MAX_ADDRESSES);
        let mut w = Writer::with_capacity(1024);
        w.write(&parts.identity);
        w.date(parts.published);
        w.u8(parts.addresses.len() as u8);
        for address in &parts.addresses {
            w.write(address);
        }
        w.u8(0);
        w.write(&parts.options);
        let signature = key.sign(w.as_slice());
        w.bytes(&signature);
        let RouterInfoParts { identity, published, addresses, options } = parts;
        Verified::by_creation(Self { identity, published, addresses, options, raw: w.as_slice().into() })
    }

    /// Decodes one that fills `bytes`.
    pub fn decode_unverified(bytes: &[u8]) -> Result<Unverified<Self>, DecodeError> {
        if bytes.len() > MAX_ROUTER_INFO_SIZE {
            return Err(Reader::new(Self::SPEC, bytes).error(DecodeErrorKind::Limit("RouterInfo size")));
        }
        Self::from_bytes(bytes).map(Unverified::new)
    }

    /// How the router is named.
    pub const fn hash(&self) -> RouterHash {
        self.identity.hash()
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The exact bytes, shared.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        self.raw.share()
    }

    /// What the router can do.
    pub fn caps(&self) -> Capabilities {
        Capabilities::parse(self.options.get("caps").unwrap_or(""))
    }

    /// `router.version`, if it is three numbers.
    pub fn version(&self) -> Option<(u8, u8, u8)> {
        let mut numbers = self.options.get("router.version")?.split('.').map(str::parse);
        let version = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        numbers.next().is_none().then_some(version)
    }

    /// `netId`: 2 for the public network; none if absent or not a small number.
    pub fn net_id(&self) -> Option<u8> {
        self.options.get("netId")?.parse().ok()
    }

    /// `family`: routers of one operator.
    pub fn family(&self) -> Option<&str> {
        self.options.get("family")
    }

    /// Its NTCP2 addresses that are well-formed.
    pub fn ntcp2(&self) -> impl Iterator<Item = Ntcp2Address> {
        self.addresses.iter().filter_map(RouterAddress::as_ntcp2)
    }

    /// Its SSU2 addresses that are well-formed.
    pub fn ssu2(&self) -> impl Iterator<Item = Ssu2Address> {
        self.addresses.iter().filter_map(Ssu2Address::parse)
    }
}

impl Signed for RouterInfo {
    fn check(&self) -> Result<(), VerifyError> {
        let (signed, signature) = self.raw.split_signature(SIGNATURE);
        sign::verify(SigType::Ed25519, &self.identity.signing_key(), signed, signature)
            .map_err(|_| VerifyError::Signature)
    }
}

impl<'a> Wire<'a> for RouterInfo {
    const SPEC: &'static str = "common-structures#routerinfo";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        let mut identity: RouterIdentity = r.read()?;
        let published = r.date()?;
        let count = usize::from(r.u8()?);
        if count > MAX_ADDRESSES {
            return Err(r.error(DecodeErrorKind::Limit("addresses")));
        }
        let (mut addresses, mut ends) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            addresses.push(r.read::<RouterAddress>()?);
            ends.push(r.at() - start);
        }
        let peers = usize::from(r.u8()?);
        r.take(32 * peers)?; // unused since forever
        let mut options = r.read::<Mapping>()?;
        let end = r.at() - start;
        r.take(SIGNATURE)?;
        let raw = r.since(start);
        if raw.len() > MAX_ROUTER_INFO_SIZE {
            return Err(r.error(DecodeErrorKind::Limit("RouterInfo size")));
        }
        let raw = Raw::from(raw);
        // Thousands are in memory: each once, not once whole and once in parts.
        identity.share(raw.share());
        options.share(&raw.share(), end);
        for (address, end) in addresses.iter_mut().zip(ends) {
            address.options.share(&raw.share(), end);
        }
        Ok(Self { identity, published, addresses, options, raw })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.raw);
    }
}

impl fmt::Debug for RouterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterInfo")
            .field("hash", &self.hash())
            .field("published", &self.published)
            .field("addresses", &self.addresses)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
