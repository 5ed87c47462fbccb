//! Being a hop: relaying and answering build requests.

use std::hint::black_box;

use aioli_bench::Hop;
use aioli_core::Rng;
use aioli_core::crypto::aes::TunnelLayer;
use aioli_core::crypto::{chacha20, noise_n, x25519};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

fn main() {
    divan::main();
}

/// Tunnel messages that one read from a socket brings.
const BATCH: usize = 64;

/// Relaying as a participant: found, checked for duplicates, one layer, passed on.
#[divan::bench]
fn relay(bencher: Bencher<'_, '_>) {
    let mut hop = Hop::new();
    let (tunnel, request) = hop.request();
    hop.build(request);
    let hop = std::cell::RefCell::new(hop);
    bencher
        .counter(BytesCount::new(BATCH * 1028))
        .with_inputs(|| hop.borrow_mut().data(tunnel, BATCH))
        .bench_local_values(|messages| assert_eq!(hop.borrow_mut().relay(messages), BATCH));
}

/// One layer of AES over as many messages.
#[divan::bench]
fn relay_floor(bencher: Bencher<'_, '_>) {
    let layer = TunnelLayer::new(&[1; 32], &[2; 32]);
    let mut messages = vec![[3_u8; 1024]; BATCH];
    bencher.counter(BytesCount::new(BATCH * 1028)).bench_local(|| {
        let mut all: Vec<&mut [u8]> = messages.iter_mut().map(|m| m.as_mut_slice()).collect();
        layer.encrypt_batch(&mut all);
    });
}

/// Answering a short build request among four records.
#[divan::bench]
fn build_request(bencher: Bencher<'_, '_>) {
    let hop = std::cell::RefCell::new(Hop::new());
    bencher
        .counter(ItemsCount::new(1_u8))
        .with_inputs(|| hop.borrow_mut().request().1)
        .bench_local_values(|message| hop.borrow_mut().build(message));
}

/// One key agreement, one record opened, three records masked.
#[divan::bench]
fn build_request_floor(bencher: Bencher<'_, '_>) {
    let mut rng = Rng::from_seed([1; 32]);
    let key = x25519::PrivateKey::generate(&mut rng);
    let sealed =
        noise_n::seal(&key.public(), &[1; 154], &mut rng).map(|(sealed, _)| sealed).unwrap_or_default();
    let mut others = [[0_u8; 218]; 3];
    bencher.counter(ItemsCount::new(1_u8)).bench_local(|| {
        let mut record = sealed.clone();
        black_box(noise_n::open(&key, &mut record).is_ok());
        for (i, other) in others.iter_mut().enumerate() {
            chacha20::xor(&[5; 32], &[i as u8; 12], other);
        }
    });
}
