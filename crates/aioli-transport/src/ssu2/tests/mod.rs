//! Endpoints under virtual time, joined by links that lose, repeat, delay,
//! reorder, shape and cut off.

mod flood;
mod handshake;
mod hostile;
mod introduce;
mod link;
mod migration;
mod nat;
mod peer;
mod peer_test;
mod refresh;
mod relay;
mod transfer;

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Date, Duration, Rng};
use aioli_wire::i2np::{Message, MessageType};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::ssu2::Ssu2Parts;
use aioli_wire::verified::Verified;
use aioli_wire::{Mapping, RouterHash, RouterIdentity};

use super::{Config, IntroKey, Remote};

pub(super) const START: Date = Date::from_secs(1_780_000_000);

pub(super) fn addr(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    SocketAddr::from(([198, 18, high, low], 9_000 + n))
}

/// The keys of a test router.
pub(super) struct Keys {
    pub(super) static_key: PrivateKey,
    pub(super) intro_key: IntroKey,
    pub(super) signing: SigningKey,
    identity: RouterIdentity,
    pub(super) addr: SocketAddr,
}

impl Keys {
    pub(super) fn new(n: u16, rng: &mut Rng) -> Self {
        let signing = SigningKey::generate(rng);
        let encryption = PrivateKey::generate(rng);
        let identity = RouterIdentity::create(&encryption.public(), &signing.public(), &rng.bytes());
        let intro_key = IntroKey(rng.bytes());
        Self { static_key: PrivateKey::generate(rng), intro_key, signing, identity, addr: addr(n) }
    }

    pub(super) fn router_info(&self, change: impl FnOnce(&mut RouterInfoParts)) -> Arc<Verified<RouterInfo>> {
        let address = Ssu2Parts {
            cost: 8,
            static_key: &self.static_key.public(),
            intro_key: &self.intro_key.0,
            host: Some(self.addr),
            caps: "BC4",
            mtu: 1_500,
            introducers: &[],
        };
        let options =
            Mapping::from_pairs([("caps", "LR"), ("netId", "99"), ("router.version", "0.9.67")]).unwrap();
        let mut parts = RouterInfoParts {
            identity: self.identity.clone(),
            published: START - Duration::from_secs(60),
            addresses: vec![address.address().unwrap()],
            options,
        };
        change(&mut parts);
        Arc::new(RouterInfo::create(parts, &self.signing))
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(self.static_key.clone(), self.intro_key);
        config.net_id = 99;
        config.private_network = true;
        config.signing = Some(self.signing.clone());
        config
    }

    pub(super) fn remote(&self, hash: RouterHash) -> Remote {
        Remote {
            hash,
            static_key: self.static_key.public(),
            intro_key: self.intro_key,
            address: self.addr,
            mtu: 1_500,
        }
    }
}

/// A message of `len` bytes, all made from its number.
pub(super) fn message(id: u32, len: usize, now: Date) -> Message {
    let body = (0..len).map(|i| (id as usize * 31 + i) as u8).collect();
    Message { kind: MessageType::Data, id: id.into(), expires: now + Duration::from_secs(60), body }
}
