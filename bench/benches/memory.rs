//! What the RouterInfos of a NetDB take of memory: see the column of the most allocated at a time.

use std::hint::black_box;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Rng};
use aioli_netdb::{Config, Limits, NetDb};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::{Mapping, RouterAddress, RouterIdentity};
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOC: AllocProfiler<std::alloc::System> = AllocProfiler::system();

fn main() {
    divan::main();
}

const ROUTERS: usize = 5_000;

/// A RouterInfo as most are: NTCP2 and SSU2, over IPv4 and IPv6.
fn router_info(rng: &mut Rng) -> Vec<u8> {
    let static_key = PrivateKey::generate(rng).public();
    let signing = SigningKey::generate(rng);
    let ntcp2 = |at: std::net::SocketAddr| RouterAddress::ntcp2(10, &static_key, Some((at, [1; 16]))).ok();
    let v4 = ntcp2(([9, 9, 9, 9], 12_345).into());
    let v6 = ntcp2(([0x2a01, 0x4f8, 0x1234, 0x5678, 0, 0, 0, 2], 12_345).into());
    let ssu2 = |address: &RouterAddress| {
        let mut address = address.clone();
        "SSU2".clone_into(&mut address.style);
        for (key, value) in [("caps", "BC"), ("mtu", "1500"), ("i", &*"I".repeat(44))] {
            address.options.set(key, value).ok()?;
        }
        Some(address)
    };
    let ntcp2: Vec<RouterAddress> = [v4, v6].into_iter().flatten().collect();
    let addresses = ntcp2.iter().filter_map(ssu2).chain(ntcp2.iter().cloned()).collect();
    let options = [("caps", "PfR"), ("netId", "2"), ("router.version", "0.9.67")];
    let parts = RouterInfoParts {
        identity: RouterIdentity::create(&static_key, &signing.public(), &rng.bytes()),
        published: aioli_bench::now().wall,
        addresses,
        options: Mapping::from_pairs(options).unwrap_or_default(),
    };
    RouterInfo::create(parts, &signing).bytes().to_vec()
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn netdb_of_5000_routers(bencher: Bencher<'_, '_>) {
    let mut rng = Rng::from_seed([3; 32]);
    let infos: Vec<Vec<u8>> = (0..ROUTERS).map(|_| router_info(&mut rng)).collect();
    let bytes: usize = infos.iter().map(Vec::len).sum();
    assert!(bytes / ROUTERS > 900, "as large as most");
    bencher.bench_local(|| {
        let config = Config {
            our_hash: [1; 32].into(),
            net_id: 2,
            floodfill: false,
            private_network: false,
            limits: Limits::default(),
        };
        let mut db = NetDb::new(config, rng.fork());
        let now = aioli_bench::now();
        for info in &infos {
            let _ = db.load(black_box(info), &mut Cx { now, rng: &mut rng });
        }
        assert_eq!(db.router_count(), ROUTERS);
        db
    });
}
