//! End to end: ratchet messages and streaming packets.

use std::cell::RefCell;
use std::hint::black_box;

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Rng};
use aioli_destination::ratchet::{Limits, Sessions};
use aioli_wire::garlic::{Clove, CloveDelivery};
use aioli_wire::i2np::MessageType;
use divan::Bencher;
use divan::counter::BytesCount;

fn main() {
    divan::main();
}

/// A streaming packet with its headers.
const PAYLOAD: usize = 1_850;

struct Two {
    alice: Sessions,
    bob: Sessions,
    rng: Rng,
}

impl Two {
    fn new() -> Self {
        let mut rng = Rng::from_seed([1; 32]);
        let mut sessions = || {
            let key = PrivateKey::generate(&mut rng);
            Sessions::new(key, Limits::default(), &mut rng)
        };
        let (alice, bob) = (sessions(), sessions());
        Self { alice, bob, rng }
    }

    fn established() -> Self {
        let mut two = Self::new();
        two.alice_speaks();
        two.bob_speaks();
        two.alice_speaks();
        two
    }

    fn alice_speaks(&mut self) {
        let Self { alice, bob, rng } = self;
        pass(alice, bob, rng);
    }

    fn bob_speaks(&mut self) {
        let Self { alice, bob, rng } = self;
        pass(bob, alice, rng);
    }
}

/// Seals one packet at `from` and opens it at `to`.
fn pass(from: &mut Sessions, to: &mut Sessions, rng: &mut Rng) {
    let now = aioli_bench::now();
    let mut cx = Cx { now, rng };
    let clove = Clove {
        delivery: CloveDelivery::Destination([2; 32]),
        kind: MessageType::Data.code(),
        id: 1,
        expires: now.wall,
        body: &[7; PAYLOAD],
    };
    let mut sealed = from.seal(&to.public_key(), &[clove], &mut cx).unwrap_or_default();
    assert!(to.open(&mut sealed, &mut cx).is_ok(), "opened");
    while to.poll_output().is_some() {}
}

/// An Existing Session message: sealed, found by its tag, opened.
#[divan::bench]
fn existing_session(bencher: Bencher<'_, '_>) {
    let two = RefCell::new(Two::established());
    // Both ways, so that tag sets are renewed as in a conversation.
    bencher.counter(BytesCount::new(2 * PAYLOAD)).bench_local(|| {
        two.borrow_mut().alice_speaks();
        two.borrow_mut().bob_speaks();
    });
}

/// ChaCha20-Poly1305 over two such messages, both ends.
#[divan::bench]
fn existing_session_floor(bencher: Bencher<'_, '_>) {
    let key = ChaChaKey::new(&[7; 32]);
    let mut message = vec![1_u8; PAYLOAD + 40];
    bencher.counter(BytesCount::new(2 * PAYLOAD)).bench_local(|| {
        for _ in 0..2 {
            let tag = key.seal_slice(1, &[], &mut message);
            message.extend_from_slice(&tag);
            black_box(key.open_in_place(1, &[], &mut message).is_ok());
            message.truncate(PAYLOAD + 40);
        }
    });
}

/// New Session and its reply, both ends.
#[divan::bench]
fn new_session_and_reply(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(Two::new).bench_refs(|two| {
        two.alice_speaks();
        two.bob_speaks();
    });
}

/// Ephemeral keys that Elligator2 can hide (every second one) and four key agreements at each end.
#[divan::bench]
fn new_session_and_reply_floor(bencher: Bencher<'_, '_>) {
    let mut rng = Rng::from_seed([1; 32]);
    let peer = PrivateKey::generate(&mut rng);
    let public = peer.public();
    bencher.bench_local(|| {
        for _ in 0..4 {
            black_box(PrivateKey::generate(&mut rng).public());
        }
        for _ in 0..8 {
            black_box(peer.diffie_hellman(&public).is_ok());
        }
    });
}

/// The signature of a SYN.
#[divan::bench]
fn sign_syn(bencher: Bencher<'_, '_>) {
    let key = SigningKey::generate(&mut Rng::from_seed([1; 32]));
    bencher.bench_local(|| black_box(key.sign(black_box(&[7; PAYLOAD]))));
}
