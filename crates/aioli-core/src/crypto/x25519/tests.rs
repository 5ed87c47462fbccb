//! Vectors that others published, and properties, for `x25519`.

use super::*;

fn bytes(s: &str) -> [u8; 32] {
    hex::decode(s).unwrap().try_into().unwrap()
}

// RFC 7748, 6.1.
#[test]
fn alice_and_bob_agree() {
    let alice =
        PrivateKey::from_bytes(bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob =
        PrivateKey::from_bytes(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let (a, b) = (alice.public(), bob.public());
    assert_eq!(a.0, bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(b.0, bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
    let shared = alice.diffie_hellman(&b).unwrap();
    assert_eq!(*shared.as_bytes(), bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"));
    assert_eq!(bob.diffie_hellman(&a).unwrap(), shared);
}

// RFC 7748, 5.2, first two vectors; the second has the top bit of u set.
#[test]
fn any_point_and_any_scalar() {
    for (scalar, u, want) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        let shared = PrivateKey::from_bytes(bytes(scalar)).diffie_hellman(&PublicKey(bytes(u))).unwrap();
        assert_eq!(*shared.as_bytes(), bytes(want));
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    let key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
    let mut one = [0; 32];
    one[0] = 1;
    for weak in [
        [0; 32],
        one,
        bytes("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        bytes("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
        bytes("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
    ] {
        assert_eq!(key.diffie_hellman(&PublicKey(weak)).unwrap_err(), WeakKey);
    }
}

#[test]
fn a_stored_key_is_the_same_key() {
    let key = PrivateKey::generate(&mut Rng::from_seed([2; 32]));
    assert_eq!(PrivateKey::from_bytes(*key.to_secret().as_bytes()).public(), key.public());
    assert!(!format!("{key:?}").contains(&hex::encode(&key.to_secret().as_bytes()[..4])));
}
