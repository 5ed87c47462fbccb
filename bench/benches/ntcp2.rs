//! NTCP2: handshakes and the data phase.

use std::hint::black_box;

use aioli_bench::{Over, Pair};
use aioli_core::Rng;
use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::{self, SigType};
use aioli_core::crypto::x25519::PrivateKey;
use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

/// Tunnel messages carried at a time.
const MESSAGES: u32 = 64;

/// Both roles of one handshake, keys and RouterInfos at hand.
#[divan::bench]
fn handshake_both_roles(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| Pair::new(1, Over::Ntcp2)).bench_refs(Pair::handshake);
}

/// What the two roles need: each makes an ephemeral key and agrees on three
/// secrets; the responder verifies the initiator's RouterInfo.
#[divan::bench]
fn handshake_floor(bencher: Bencher<'_, '_>) {
    let mut rng = Rng::from_seed([1; 32]);
    let peer = PrivateKey::generate(&mut rng);
    let public = peer.public();
    let key = SigningKey::generate(&mut rng);
    let message = [7; 600];
    let (verifier, signature) = (key.public(), key.sign(&message));
    bencher.bench_local(|| {
        for _ in 0..2 {
            black_box(PrivateKey::generate(&mut rng).public());
        }
        for _ in 0..6 {
            black_box(peer.diffie_hellman(black_box(&public)).is_ok());
        }
        black_box(sign::verify(SigType::Ed25519, &verifier, &message, &signature).is_ok());
    });
}

/// Tunnel messages from one router to another: framed, sealed, opened, decoded.
#[divan::bench]
fn data_phase(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::connected(1, Over::Ntcp2);
    bencher.counter(BytesCount::new(MESSAGES * 1037)).bench_local(|| pair.carry(MESSAGES));
}

/// ChaCha20-Poly1305 over as many bytes, in frames of the same size, both ends.
#[divan::bench]
fn data_phase_floor(bencher: Bencher<'_, '_>) {
    let key = ChaChaKey::new(&[7; 32]);
    let mut frames = vec![vec![1_u8; 15 * 1040]; 4];
    bencher.counter(BytesCount::new(MESSAGES * 1037)).bench_local(|| {
        for frame in &mut frames {
            let tag = key.seal_slice(1, &[], frame);
            frame.extend_from_slice(&tag);
            black_box(key.open_in_place(1, &[], frame).is_ok());
            frame.truncate(15 * 1040);
        }
    });
}
