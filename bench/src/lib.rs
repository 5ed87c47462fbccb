//! What the benches share: two transports with a pipe between them, two SSU2
//! endpoints with datagrams between them, and a hop that was asked to take part
//! in a tunnel. See `README.md`.

mod datagrams;
mod hop;
mod pair;
pub mod peers;

pub use datagrams::{Datagrams, Victim};
pub use hop::Hop;
pub use pair::{Over, Pair};

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Date, Instant, Now, Rng};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::{Mapping, RouterAddress, RouterIdentity, Verified};

/// The time at which everything here happens.
pub fn now() -> Now {
    Now { mono: Instant::from_micros(1_000_000_000), wall: Date::from_secs(1_780_000_020) }
}

/// Where end `n` of a pair listens.
fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, n], 9_000))
}

/// What a router with this address publishes.
fn published(address: Option<RouterAddress>, rng: &mut Rng) -> Arc<Verified<RouterInfo>> {
    let (signing, encryption) = (SigningKey::generate(rng), PrivateKey::generate(rng).public());
    let options = [("caps", "LR"), ("netId", "99"), ("router.version", "0.9.67")];
    let parts = RouterInfoParts {
        identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
        published: now().wall,
        addresses: address.into_iter().collect(),
        options: Mapping::from_pairs(options).unwrap_or_default(),
    };
    Arc::new(RouterInfo::create(parts, &signing))
}
