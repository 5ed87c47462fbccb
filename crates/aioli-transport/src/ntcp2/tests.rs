//! Both roles against each other and against transcripts that others made.

use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::siphash::LengthMask;
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Date, Duration, Instant, Now, Rng};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::{Mapping, RouterAddress, RouterHash, RouterIdentity};

use super::Local;
use super::data_phase::{DataPhase, LENGTH, Opener, Sealer};
use super::initiator::{Remote, session_request};
use super::responder::AwaitSessionRequest;
use crate::Limits;
use crate::handshake::{PeerMisbehaved, skew};
use crate::replay::ReplayCache;

const WALL: Date = Date::from_secs(1_780_000_000);

fn now() -> Now {
    Now { mono: Instant::from_micros(5_000_000), wall: WALL }
}

fn local(rng: &mut Rng) -> Arc<Local> {
    let signing = SigningKey::generate(rng);
    let identity =
        RouterIdentity::create(&PrivateKey::generate(rng).public(), &signing.public(), &rng.bytes());
    let static_key = PrivateKey::generate(rng);
    let router_info = Arc::new(RouterInfo::create(
        RouterInfoParts {
            identity,
            published: WALL,
            addresses: vec![RouterAddress::ntcp2(14, &static_key.public(), None).unwrap()],
            options: Mapping::from_pairs([("netId", "99"), ("router.version", "0.9.67")]).unwrap(),
        },
        &signing,
    ));
    Arc::new(Local { hash: router_info.hash(), static_key, iv: rng.bytes(), net_id: 99, router_info })
}

/// Facts from i2pr, tests/fixtures/ntcp2/crypto/vectors.tsv, recomputed in
/// Python: static keys 42.. and 24.., ephemeral keys 13.. and 31.., payloads
/// "request", "created" and "confirmed", paddings aabbcc and 01020304.
#[test]
fn the_transcript_of_another_implementation() {
    let key = |byte| PrivateKey::from_bytes([byte; 32]);
    let (bob, alice, x, y) = (key(0x42), key(0x24), key(0x13), key(0x31));
    let mut noise = SymmetricState::new(noise::NTCP2);
    noise.mix_hash(&bob.public().0);
    assert_eq!(hex::encode(noise.h()), "43ab63a0463dc12bba0b16260336747c4787bf793ccb4b26812a43f8d77f4038");
    let seal = |noise: &mut SymmetricState, plain: &[u8]| {
        let mut buf = plain.to_vec();
        noise.encrypt_and_hash(&mut buf);
        hex::encode(buf)
    };
    noise.mix_hash(&x.public().0);
    noise.mix_key(&x.diffie_hellman(&bob.public()).unwrap());
    assert_eq!(seal(&mut noise, b"request"), "6d0ee2b45cdf89a3e09e91c811d8ea109165d8f1dac6ef");
    noise.mix_hash(&[0xaa, 0xbb, 0xcc]);
    noise.mix_hash(&y.public().0);
    noise.mix_key(&y.diffie_hellman(&x.public()).unwrap());
    assert_eq!(seal(&mut noise, b"created"), "18f21584daea6fc67b18b7610c9fd3b9e81e2a28fbe295");
    noise.mix_hash(&[1, 2, 3, 4]);
    assert_eq!(hex::encode(noise.h()), "119cc89d745ec475eb363dc62caca65c42968d4e69a70f7500e967dbf3f7532b");
    assert_eq!(
        seal(&mut noise, &alice.public().0),
        "ddaba46a0e8ae2d24505305220cabce006a64b2e38d70b7de8b77e5a0e9d0ca80fec7114dadadb3a1342e32c844d24ba"
    );
    noise.mix_key(&alice.diffie_hellman(&y.public()).unwrap());
    assert_eq!(seal(&mut noise, b"confirmed"), "b508c95c9d24b2c3c52257cb60e9bdcbde2ba54e198285e96c");
    assert_eq!(hex::encode(noise.h()), "094bb4c6088abecb4c6e6af3c5b5dbf344481a3595e744738bcb76f6ba602cf0");
    let keys = noise.split();
    assert_eq!(
        hex::encode(keys.0.as_bytes()),
        "c6b4e99690c00e4a4fcaba7711fb3d639b0a18806116216ef7b7997a07477c3d"
    );
    assert_eq!(
        hex::encode(keys.1.as_bytes()),
        "6d8c32534c0dd48330ca086af4a71746e4a950b2ba78228393296637e6d9e431"
    );
}

/// Message 1 as a Python script on pyca/cryptography wrote it: Bob's static key
/// 42.., hash 77.., IV 000102..0f, X of the private key 13.., network 99,
/// padding 3, message 3 part 2 of 1000 bytes, time 1780000000.
#[test]
fn message_1_of_an_independent_alice() {
    let mut rng = Rng::from_seed([9; 32]);
    let mut us = Arc::into_inner(local(&mut rng)).unwrap();
    us.hash = RouterHash::new([0x77; 32]);
    us.static_key = PrivateKey::from_bytes([0x42; 32]);
    us.iv = std::array::from_fn(|i| i as u8);
    let mut message = hex::decode(concat!(
        "4dcedbb7085752e55a9471e30e44149dec9bc77d273f822c84b71827321864ec",
        "7c6993c23a44fd57b14c5e8a67721676089ccd94577280c01edf6204fd1acad4"
    ))
    .unwrap();
    let mut replay = ReplayCache::new(10);
    let bob = AwaitSessionRequest { local: Arc::new(us) };
    let cx = Cx { now: now(), rng: &mut rng };
    let next = bob.on_session_request(&mut message, &mut replay, &Limits::default(), &cx).unwrap();
    assert_eq!((next.padding(), next.skewed()), (3, None));
}

/// Two frames from Alice as a Python script (pyca/cryptography, its own
/// SipHash) wrote them, under the keys that ck = 00..1f, h = 20..3f give.
#[test]
fn frames_of_an_independent_alice() {
    let bytes = |text: &str| -> [u8; 32] { hex::decode(text).unwrap().try_into().unwrap() };
    let key = bytes("1d7e0d6f1d9da2d68dabed53b5f88345f3fd01cb75411fbe5aa4293bd8f430d6");
    let sip = bytes("5feab5b6e9c9875ce8b4ee9c401871a728c68ef2944d8a3be72144b4e82b20d5").into();
    let frames = hex::decode(concat!(
        "3456103833130bfc79055351d462514e2e40dea71d435f8a89",
        "e8ffb31fb0dad995965c747d6f3adf83d83dbaef071896"
    ))
    .unwrap();
    let plain = [hex::decode("00000400000009").unwrap(), hex::decode("fe0002ffff").unwrap()];
    let mut sealer = Sealer::new(&key, LengthMask::from_half(&sip));
    let mut sealed = Vec::new();
    for frame in &plain {
        let start = sealed.len();
        sealed.extend_from_slice(&[0; LENGTH]);
        sealed.extend_from_slice(frame);
        sealer.seal(&mut sealed, start);
    }
    assert_eq!(sealed, frames);
    for cut in 1..frames.len() {
        let mut opener = Opener::new(&key, LengthMask::from_half(&sip));
        let mut seen = Vec::new();
        for piece in frames.clone().chunks_mut(cut) {
            opener
                .receive(piece, |frame| {
                    seen.push(frame.to_vec());
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(seen, plain, "pieces of {cut}");
    }
}

fn handshake(seed: u8, travel: Duration) -> Result<(DataPhase, DataPhase), PeerMisbehaved> {
    let mut rng = Rng::from_seed([seed; 32]);
    let (alice, bob) = (local(&mut rng), local(&mut rng));
    let limits = Limits::default();
    let mut replay = ReplayCache::new(10);
    let mut now = now();
    let remote = Remote { hash: bob.hash, static_key: bob.static_key.public(), iv: bob.iv };
    let (mut m1, a) = session_request(&alice, &remote, &mut Cx { now, rng: &mut rng })?;
    now = Now { mono: now.mono + travel, wall: now.wall + travel };
    let mut cx = Cx { now, rng: &mut rng };
    let b = AwaitSessionRequest { local: bob };
    let (m, padding) = m1.split_at_mut(super::MESSAGE_LEN);
    let b = b.on_session_request(m, &mut replay, &limits, &cx)?;
    assert_eq!(b.padding(), padding.len());
    let (mut m2, b) = b.on_padding(padding, &mut cx)?;
    cx.now = Now { mono: now.mono + travel, wall: now.wall + travel };
    let (m, padding) = m2.split_at_mut(super::MESSAGE_LEN);
    let a = a.on_session_created(m, &limits, &mut None, &cx)?;
    assert_eq!(a.padding(), padding.len());
    let (mut m3, a) = a.on_padding(padding)?;
    assert_eq!(m3.len(), b.len());
    let confirmed = b.on_session_confirmed(&mut m3, &limits, &cx)?;
    let seen = confirmed.alice?;
    assert_eq!(seen.router_info.bytes(), alice.router_info.bytes());
    Ok((a, confirmed.data_phase))
}

#[test]
fn both_roles_agree_whatever_the_padding() {
    for seed in 0..40 {
        let (mut a, mut b) = handshake(seed, Duration::from_millis(80)).unwrap();
        for (from, to) in [(&mut a.sealer, &mut b.opener), (&mut b.sealer, &mut a.opener)] {
            for i in 0..3u8 {
                let mut out = vec![0; LENGTH];
                out.extend_from_slice(&[i; 50]);
                from.seal(&mut out, 0);
                let mut seen = Vec::new();
                to.receive(&mut out, |frame| {
                    seen = frame.to_vec();
                    Ok(())
                })
                .unwrap();
                assert_eq!(seen, [i; 50]);
            }
            assert_eq!(to.frames(), 3);
        }
    }
}

#[test]
fn a_slow_way_is_not_a_wrong_clock() {
    assert!(handshake(1, Duration::from_secs(50)).is_ok());
    let at = |secs| Date::from_secs(secs);
    assert_eq!(skew(at(1_000), Duration::ZERO, at(1_061)), -61);
    assert_eq!(skew(at(1_000), Duration::from_secs(30), at(1_061)), -31);
    assert_eq!(skew(at(u64::from(u32::MAX)), Duration::ZERO, at(0)), i64::from(u32::MAX));
}

#[test]
fn keys_of_small_order_and_with_the_top_bit_are_refused() {
    let mut rng = Rng::from_seed([3; 32]);
    let (alice, bob) = (local(&mut rng), local(&mut rng));
    let remote = Remote { hash: bob.hash, static_key: PublicKey([0; 32]), iv: bob.iv };
    let mut cx = Cx { now: now(), rng: &mut rng };
    assert_eq!(session_request(&alice, &remote, &mut cx).unwrap_err(), PeerMisbehaved::WeakKey);
    let mut replay = ReplayCache::new(10);
    for (key, why) in [([0; 32], PeerMisbehaved::WeakKey), ([0x80; 32], PeerMisbehaved::KeyTopBit)] {
        let mut m = super::Obfuscation::new(&bob.hash, bob.iv).hide(&PublicKey(key)).to_vec();
        m.resize(super::MESSAGE_LEN, 7);
        let state = AwaitSessionRequest { local: Arc::clone(&bob) };
        let result = state.on_session_request(&mut m, &mut replay, &Limits::default(), &cx);
        assert_eq!(result.unwrap_err(), why);
    }
    assert!(replay.is_empty(), "only authentic keys take room");
}
