//! Vectors that others published, and properties, for `noise`.

use super::*;
use crate::crypto::x25519::{PrivateKey, PublicKey};

fn unhex(s: &str) -> Vec<u8> {
    hex::decode(s).unwrap()
}

fn key(s: &str) -> PrivateKey {
    PrivateKey::from_bytes(unhex(s).try_into().unwrap())
}

// i2pd, libi2pd/Crypto.cpp; N as in PROTOCOL 19. The last 4 bytes and first 4 of each.
#[test]
fn protocol_names_give_the_known_hashes() {
    for (name, ck, h) in [
        (NTCP2, "72e842c5..28d32f71", "49ff483f..57dd3d1e"),
        (SSU2, "b1372281..270d8132", "dc85e6af..b35ebc33"),
        (IK_RATCHET, "4caf11ef..e6ee40c", "9ccf852c..ae183b5c"),
        (N, "4e6f6973..35360000", "694d5244..9ed21554"),
    ] {
        let state = SymmetricState::new(name);
        for (got, want) in [(*state.ck.as_bytes(), ck), (state.h, h)] {
            let (start, end) = want.split_once("..").unwrap();
            let got = hex::encode(got);
            if name != N || want == h {
                assert!(got.starts_with(start) && got.ends_with(end), "{got} is not {want}");
            }
        }
    }
    let n = SymmetricState::new(N);
    assert_eq!(n.ck.as_bytes()[..31], *N);
    assert_eq!(n.ck.as_bytes()[31], 0);
}

struct Script {
    name: &'static [u8],
    /// Per message: sender is the initiator, tokens, ciphertext of the vector.
    messages: [(&'static [&'static str], &'static str); 3],
    handshake_hash: &'static str,
}

// The keys of all cacophony vectors, with prologue "John Galt".
const INIT_STATIC: &str = "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
const INIT_EPHEMERAL: &str = "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
const RESP_STATIC: &str = "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
const RESP_EPHEMERAL: &str = "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
const PAYLOADS: [&[u8]; 3] = [b"Ludwig von Mises", b"Murray Rothbard", b"F. A. Hayek"];

// cacophony vectors (snow, tests/vectors/cacophony.txt).
const SCRIPTS: [Script; 3] = [
    Script {
        name: b"Noise_XK_25519_ChaChaPoly_SHA256",
        messages: [
            (
                &["e", "es"],
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
                 a3785af283c991bab613473804356ef6931f83acf64f99c274b93570857cfc5e",
            ),
            (
                &["e", "ee"],
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843\
                 3a4534805fa9fe4eb8343ace6609160c767ad9b832e8eea1d9b7a2111818dd",
            ),
            (
                &["s", "se"],
                "5d8e67b9c1b8e36f5dc674bc5cd2ce243fb5d1710fa57de0370da7cc979015398eaad94603b05498ba9a613d2fd923dc\
                 aa6fd4288dfd8d70f419bf737efb4cd37f5da37ebb728849318c82",
            ),
        ],
        handshake_hash: "cefffc5d1074126cc980ebfe902587ff36ba61dc77d4447ebe0f96dc22ae59d7",
    },
    Script {
        name: b"Noise_IK_25519_ChaChaPoly_SHA256",
        messages: [
            (
                &["e", "es", "s", "ss"],
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944718da798efbcd91528520204f904b9bd\
                 6c7413dccdc214d951e15253e39987f18146e8cd0873654207148333479d4d16c289f0294b29960a72f48e0b7bba2e89\
                 083169825e59642148d492020664ccf7",
            ),
            (
                &["e", "ee", "se"],
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843\
                 5361e70b2ed446e6c9ec387d1d6b3b840f194e373979d241b203c4acafccf5",
            ),
            (&["split"], "050e9f3c8fac16b68dbce8f8c4bfbf6617c897f9ada4aa29aa19c8"),
        ],
        handshake_hash: "0b0f68fb0c27e03ce9b97565995ed4838cc0581b762ef72b062f6a546419fad7",
    },
    Script {
        name: b"Noise_N_25519_ChaChaPoly_SHA256",
        messages: [
            (
                &["e", "es"],
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944\
                 30db5925e72ccdb0333fb13bd1f920cc34627b8fe30f81383a15d67a9ba306ca",
            ),
            (&["split"], "b9546f9f6bc43ff1ab776874425ddd59a45f6294633df65c8e55ee14cbc175"),
            (&[], ""),
        ],
        handshake_hash: "6497ab83a10e5d03b42e6f770738f62f91584b0b589380fddff642b141af56b6",
    },
];

/// Runs one side's view of the pattern and gives what it would send.
fn speak(state: &mut SymmetricState, tokens: &[&str], from_initiator: bool, payload: &[u8]) -> Vec<u8> {
    let dh = |a: &str, b: &PublicKey| key(a).diffie_hellman(b).unwrap();
    let mut out = Vec::new();
    for token in tokens {
        let (e, s) =
            if from_initiator { (INIT_EPHEMERAL, INIT_STATIC) } else { (RESP_EPHEMERAL, RESP_STATIC) };
        match *token {
            "e" => {
                state.mix_hash(&key(e).public().0);
                out.extend(key(e).public().0);
            }
            "s" => {
                let mut sealed = key(s).public().0.to_vec();
                state.encrypt_and_hash(&mut sealed);
                out.extend(sealed);
            }
            "es" => state.mix_key(&dh(INIT_EPHEMERAL, &key(RESP_STATIC).public())),
            "ee" => state.mix_key(&dh(INIT_EPHEMERAL, &key(RESP_EPHEMERAL).public())),
            "se" => state.mix_key(&dh(INIT_STATIC, &key(RESP_EPHEMERAL).public())),
            "ss" => state.mix_key(&dh(INIT_STATIC, &key(RESP_STATIC).public())),
            other => panic!("{other}"),
        }
    }
    let mut sealed = payload.to_vec();
    state.encrypt_and_hash(&mut sealed);
    out.extend(sealed);
    out
}

#[test]
fn patterns_give_the_vectors_of_other_implementations() {
    for script in SCRIPTS {
        let mut state = SymmetricState::with_prologue(script.name, b"John Galt");
        state.mix_hash(&key(RESP_STATIC).public().0);
        for (i, (tokens, want)) in script.messages.into_iter().enumerate() {
            if tokens == ["split"] {
                let (ab, ba) = state.split();
                // One-way patterns go on with the initiator's key.
                let from_initiator = i == 2 || script.name == N;
                let key = ChaChaKey::new(if from_initiator { &ab } else { &ba }.as_bytes());
                let mut data = PAYLOADS[i].to_vec();
                key.seal_in_place(0, b"", &mut data);
                assert_eq!(hex::encode(data), want);
            } else if !tokens.is_empty() {
                assert_eq!(hex::encode(speak(&mut state, tokens, i != 1, PAYLOADS[i])), want);
            }
            if i == script.messages.iter().filter(|m| m.0.len() > 1).count() - 1 {
                assert_eq!(hex::encode(state.h()), script.handshake_hash);
            }
        }
    }
}

#[test]
fn a_failed_open_leaves_the_state_as_it_was() {
    let mut a = SymmetricState::new(NTCP2);
    a.mix_key(&Secret::new([1; 32]));
    let mut b = a.clone();
    let mut sealed = b"text".to_vec();
    a.encrypt_and_hash(&mut sealed);
    let mut altered = sealed.clone();
    altered[2] ^= 1;
    assert_eq!(b.decrypt_and_hash(&mut altered), Err(AeadError));
    assert_eq!(b.decrypt_and_hash(&mut []), Err(AeadError));
    assert_eq!(b.decrypt_and_hash(&mut sealed), Ok(4));
    assert_eq!(&sealed[..4], b"text");
    assert_eq!(a.h(), b.h());
}

// Calculated independently (PROTOCOL 19, "NTCP2 data phase").
#[test]
fn data_phase_keys() {
    let state = SymmetricState {
        ck: Secret::new(std::array::from_fn(|i| i as u8)),
        h: std::array::from_fn(|i| i as u8 + 32),
        key: None,
        n: 0,
    };
    let phase = data_phase(&state);
    let (sip_ab, sip_ba) = sip_keys(&state.ck, &state.h);
    for (got, want) in [
        (&phase.key_ab, "1d7e0d6f1d9da2d68dabed53b5f88345f3fd01cb75411fbe5aa4293bd8f430d6"),
        (&phase.key_ba, "3ed9b8035bbf370b8cfef7ff15007de45488e18660c84e3d996e8e6c658fa7f8"),
        (&sip_ab, "5feab5b6e9c9875ce8b4ee9c401871a728c68ef2944d8a3be72144b4e82b20d5"),
        (&sip_ba, "6b0e743628b1dcca9dda582750877d4964a399e35dea79629c6ab7de4079e306"),
    ] {
        assert_eq!(hex::encode(got.as_bytes()), want);
    }
    assert_eq!(phase.mask_ab.clone().next(), LengthMask::from_half(&sip_ab).next());
}
