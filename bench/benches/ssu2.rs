//! SSU2: handshakes, the data phase, and what it costs to refuse forged packets.

use std::hint::black_box;

use aioli_bench::{Datagrams, Over, Pair, Victim};
use aioli_core::Rng;
use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::chacha20;
use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

/// Tunnel messages carried at a time.
const MESSAGES: u32 = 64;

/// Both roles of one handshake, with TokenRequest and Retry. Its floor is that of NTCP2's.
#[divan::bench]
fn handshake_both_roles(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| Datagrams::new(1)).bench_refs(Datagrams::handshake);
}

/// Tunnel messages from one router to another: packed, sealed, opened, decoded, acknowledged.
#[divan::bench]
fn data_phase(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::connected(1, Over::Ssu2);
    bencher.counter(BytesCount::new(MESSAGES * 1037)).bench_local(|| pair.carry(MESSAGES));
}

/// The same by the megabyte: acknowledgements and timers spread over more.
#[divan::bench]
fn data_phase_bulk(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::connected(1, Over::Ssu2);
    bencher.counter(BytesCount::new(1_024_u32 * 1037)).bench_local(|| pair.carry(1_024));
}

/// ChaCha20-Poly1305 over as many bytes in full packets, and four masks for each.
#[divan::bench]
fn data_phase_floor(bencher: Bencher<'_, '_>) {
    let key = ChaChaKey::new(&[7; 32]);
    let mut packets = vec![vec![1_u8; 1_440]; (MESSAGES as usize * 1_040).div_ceil(1_440)];
    bencher.counter(BytesCount::new(MESSAGES * 1037)).bench_local(|| {
        for packet in &mut packets {
            let tag = key.seal_slice(1, &[0; 16], packet);
            packet.extend_from_slice(&tag);
            for n in 0..4 {
                black_box(chacha20::mask(&[n; 32], black_box(&[9; 12])));
            }
            black_box(key.open_in_place(1, &[0; 16], packet).is_ok());
            packet.truncate(1_440);
        }
    });
}

fn refuse(bencher: Bencher<'_, '_>, limited: bool, packet: impl Fn(&Victim) -> Vec<u8>, answers: usize) {
    let mut victim = Victim::new(limited);
    let packet = packet(&victim);
    let mut copy = packet.clone();
    assert_eq!(victim.take(&mut copy), answers);
    bencher.bench_local(|| {
        copy.copy_from_slice(&packet);
        victim.take(&mut copy)
    });
}

/// A TokenRequest, answered with a Retry.
#[divan::bench]
fn retry_to_token_request(bencher: Bencher<'_, '_>) {
    refuse(bencher, false, |v| v.token_request.clone(), 1);
}

/// A SessionRequest without a token, answered with a Retry.
#[divan::bench]
fn retry_to_no_token(bencher: Bencher<'_, '_>) {
    refuse(bencher, false, |v| v.no_token.clone(), 1);
}

/// A SessionRequest with a bad token, answered with a Retry.
#[divan::bench]
fn retry_to_bad_token(bencher: Bencher<'_, '_>) {
    refuse(bencher, false, |v| v.bad_token.clone(), 1);
}

/// The three beyond the limit on Retries.
#[divan::bench(args = ["token request", "no token", "bad token"])]
fn beyond_the_limit(bencher: Bencher<'_, '_>, kind: &str) {
    let packet = |v: &Victim| match kind {
        "token request" => v.token_request.clone(),
        "no token" => v.no_token.clone(),
        _ => v.bad_token.clone(),
    };
    refuse(bencher, true, packet, 0);
}

/// Garbage of each size.
#[divan::bench(args = [20, 40, 88, 500, 1_472])]
fn garbage(bencher: Bencher<'_, '_>, size: usize) {
    let garbage = move |_: &Victim| {
        let mut bytes = vec![0; size];
        Rng::from_seed([3; 32]).fill(&mut bytes);
        bytes
    };
    refuse(bencher, false, garbage, 0);
}
