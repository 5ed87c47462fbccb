//! Cryptography checked against values that others computed. The files are not
//! part of this repository: `AIOLI_VECTORS` names a directory with `ntcp2/`;
//! without it this says so and checks nothing. See `cargo xtask vectors`.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::aes::CbcKey;
use aioli_core::crypto::hash::{hkdf, sha256};
use aioli_core::crypto::noise::SymmetricState;
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};

const NTCP2: &[u8] = b"Noise_XKaesobfse+hs2+hs3_25519_ChaChaPoly_SHA256";

fn key(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap()
}

/// What the primitive named `kind` makes of the first values must be the others. Whether it was checked.
fn check(id: &str, kind: &str, values: &[Vec<u8>]) -> bool {
    match (kind, values) {
        ("x25519-public", [private, public]) => {
            assert_eq!(PrivateKey::from_bytes(key(private)).public().as_bytes(), &key(public), "{id}");
        }
        ("x25519-shared", [private, public, shared]) => {
            let peer = PublicKey(key(public));
            let secret = PrivateKey::from_bytes(key(private)).diffie_hellman(&peer).unwrap();
            assert_eq!(secret.as_bytes(), &key(shared), "{id}");
        }
        ("sha256", [data, hash]) => assert_eq!(sha256(data).as_slice(), hash, "{id}"),
        ("aead", [secret, nonce, ad, plain, sealed]) => {
            assert_eq!(nonce[..4], [0; 4], "{id}");
            let counter = u64::from_le_bytes(nonce[4..].try_into().unwrap());
            let mut buf = plain.clone();
            ChaChaKey::new(&key(secret)).seal_in_place(counter, ad, &mut buf);
            assert_eq!(&buf, sealed, "{id}");
        }
        ("aes", [secret, iv, first, first_out, second, second_out]) => {
            let aes = CbcKey::new(&key(secret));
            let mut iv = iv.as_slice().try_into().unwrap();
            for (plain, sealed) in [(first, first_out), (second, second_out)] {
                let mut buf = plain.clone();
                iv = aes.encrypt(&iv, &mut buf);
                assert_eq!(&buf, sealed, "{id}");
            }
        }
        ("transcript", [remote, hash]) if id == "transcript-initial-hash" => {
            let mut state = SymmetricState::new(NTCP2);
            state.mix_hash(remote);
            assert_eq!(state.h().as_slice(), hash, "{id}");
        }
        ("split", [ck, h, ab, ba, sip_ab, sip_ba]) => {
            let keys = hkdf::<64>(ck, &[], &[]);
            assert_eq!(keys.as_bytes().as_slice(), [&ab[..], ba].concat(), "{id}");
            let ask = hkdf::<32>(ck, &[], b"ask");
            let sip = hkdf::<32>(ask.as_bytes(), &[&h[..], b"siphash"].concat(), &[]);
            let sip = hkdf::<64>(sip.as_bytes(), &[], &[]);
            assert_eq!(sip.as_bytes().as_slice(), [&sip_ab[..], sip_ba].concat(), "{id}");
        }
        // The others give no keys to compute them from.
        ("transcript", _) => return false,
        _ => panic!("{id}: a kind of vector that is not known"),
    }
    true
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that checked nothing must not look like one that did")]
fn ntcp2_primitives() {
    let Some(dir) = std::env::var_os("AIOLI_VECTORS").map(std::path::PathBuf::from) else {
        eprintln!("AIOLI_VECTORS is not set: nothing was checked against the shared vectors");
        return;
    };
    let text = std::fs::read_to_string(dir.join("ntcp2/vectors.tsv")).unwrap();
    let mut checked = 0;
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let mut fields = line.split_whitespace();
        let (id, kind) = (fields.next().unwrap(), fields.next().unwrap());
        let values: Vec<_> = fields.map(|hex| hex::decode(hex).unwrap()).collect();
        checked += u32::from(check(id, kind, &values));
    }
    assert_eq!(checked, 8);
}
