//! What comes from other routers' databases: parsed and verified.

use std::hint::black_box;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::{self, SigType};
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Date, Duration, Rng};
use aioli_wire::lease_set::{Lease, LeaseSet, LeaseSet2, LeaseSet2Parts, LeaseSetFlags, LeaseSetType};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::{Destination, Mapping, RouterAddress, RouterHash, RouterIdentity, TunnelId};
use divan::Bencher;

fn main() {
    divan::main();
}

fn key() -> SigningKey {
    SigningKey::generate(&mut Rng::from_seed([1; 32]))
}

fn router_info() -> Vec<u8> {
    let mut rng = Rng::from_seed([2; 32]);
    let static_key = PrivateKey::generate(&mut rng);
    let at = ([198, 18, 0, 1], 9_000).into();
    let options = [("caps", "LR"), ("netId", "2"), ("router.version", "0.9.67")];
    let parts = RouterInfoParts {
        identity: RouterIdentity::create(&static_key.public(), &key().public(), &[7; 32]),
        published: aioli_bench::now().wall,
        addresses: RouterAddress::ntcp2(10, &static_key.public(), Some((at, [1; 16]))).into_iter().collect(),
        options: Mapping::from_pairs(options).unwrap_or_default(),
    };
    RouterInfo::create(parts, &key()).bytes().to_vec()
}

fn lease_set() -> Vec<u8> {
    let wall: Date = aioli_bench::now().wall;
    let lease = |n: u8| {
        let tunnel = TunnelId::new(u32::from(n)).expect("not zero");
        Lease { gateway: RouterHash::new([n; 32]), tunnel, end: wall + Duration::from_secs(500) }
    };
    let parts = LeaseSet2Parts {
        destination: Destination::create(&key().public(), &[0; 32]),
        published: wall,
        expires: wall + Duration::from_secs(600),
        flags: LeaseSetFlags::default(),
        offline: None,
        properties: Mapping::default(),
        keys: vec![(4, vec![7; 32])],
        leases: (1..=3).map(lease).collect(),
    };
    LeaseSet2::create(parts, &key()).bytes().to_vec()
}

/// A RouterInfo from its bytes to what may be stored.
#[divan::bench]
fn router_info_verified(bencher: Bencher<'_, '_>) {
    let bytes = router_info();
    bencher.bench_local(|| {
        let info = RouterInfo::decode_unverified(black_box(&bytes)).ok();
        assert!(info.is_some_and(|info| info.verify().is_ok()), "it verifies");
    });
}

/// A LeaseSet2 likewise.
#[divan::bench]
fn lease_set_verified(bencher: Bencher<'_, '_>) {
    let bytes = lease_set();
    bencher.bench_local(|| {
        let set = LeaseSet::decode(LeaseSetType::V2, black_box(&bytes)).ok();
        assert!(set.is_some_and(|set| set.verify().is_ok()), "it verifies");
    });
}

/// One Ed25519 signature over as many bytes.
#[divan::bench]
fn verified_floor(bencher: Bencher<'_, '_>) {
    let message = [7; 600];
    let (public, signature) = (key().public(), key().sign(&message));
    bencher.bench_local(|| {
        assert!(
            sign::verify(SigType::Ed25519, &public, black_box(&message), &signature).is_ok(),
            "it verifies"
        );
    });
}
