//! Vectors that others published, and properties, for `blinding`.

use super::*;
use crate::crypto::sign::verify;

fn bytes<const N: usize>(s: &str) -> [u8; N] {
    hex::decode(s).unwrap().try_into().unwrap()
}

fn destination() -> SigningKey {
    SigningKey::from_seed(Secret::new([1; 32]))
}

// PROTOCOL 19, "Blinding": calculated independently, the same as i2pd's.
#[test]
fn a_day_of_a_destination() {
    let public = destination().public();
    let alpha = Alpha::derive(SigType::Ed25519, &public, *b"20251015", b"").unwrap();
    let want = "fa4de8d7c7cf758f153ccd51e9c4bd36e0709aeeb792d5515a79b66bdf22af0c";
    assert_eq!(hex::encode(alpha.0.to_bytes()), want);
    let blinded = alpha.blind_public(&public).unwrap();
    assert_eq!(blinded, bytes("d581f97c36c718b4a8270ac8cb8a8ffe6cbe66a0983d587c9ce868c05262c637"));
    assert_eq!(RedDsaKey::from_ed25519(&destination()).blind(&alpha).public(), blinded);
    let want = "0f341c35e71ffe78d269bcb7e990eb13890ca42e21f470f6786ba173a98e9718";
    assert_eq!(hex::encode(store_key(&blinded)), want);

    for other in [
        Alpha::derive(SigType::RedDsa, &public, *b"20251015", b""),
        Alpha::derive(SigType::Ed25519, &public, *b"20251016", b""),
        Alpha::derive(SigType::Ed25519, &public, *b"20251015", b"secret"),
    ] {
        assert_ne!(other.unwrap().0, alpha.0);
    }
}

// CS=red25519, test vectors 1 and 2 (their signatures are of a form not in use).
#[test]
fn blinding_vectors() {
    for (seed, alpha, rsk, rvk) in [
        (
            1,
            "ae9ba9cbbc047c442448fca7c9f4e288a202ed520bfad0c784b792b7773cee08",
            "8bb85f3c7a494a08890d7d142109c1a3501d04565d80227e2079097800fbe107",
            "6fe128737b8e76fa66698a748b0dc0a89168dd8a0601c2b1c0b26835d323e9b3",
        ),
        (
            2,
            "98b615d9027e996cc2796c019d9c8beb46aa7d2b6eea2e5d98eb29eb1584c203",
            "9fcfaa734852ca40b3810ebef590e138516e8cb4f4b1b6f0730978de7f806402",
            "527e121090158419609e4a0d8de6f7d3271b353a8cd0b8172fe41468ea1e9177",
        ),
    ] {
        let key = SigningKey::from_seed(Secret::new([seed; 32]));
        let alpha = Alpha(Scalar::from_bytes_mod_order(bytes(alpha)));
        let red = RedDsaKey::from_ed25519(&key);
        assert_eq!(red.public(), key.public());
        let blinded = red.blind(&alpha);
        assert_eq!(*blinded.to_scalar().as_bytes(), bytes(rsk));
        assert_eq!(blinded.public(), bytes(rvk));
        assert_eq!(alpha.blind_public(&key.public()), Ok(bytes(rvk)));
    }
}

// i2pr, red25519-java-differential.json: made by Java's RedDSAEngine.
#[test]
fn java_signs_plain_ed25519() {
    let public: [u8; 32] = bytes("d581f97c36c718b4a8270ac8cb8a8ffe6cbe66a0983d587c9ce868c05262c637");
    let signature: [u8; 64] = bytes(
        "382ca99216ac4a695f42e437f1c4b2a42ebfcbc34dab5c78fc154950639ffafc\
         ec17f98daddbb523d5af0d27751f5269434bdec2db8372daee9bb2fae12ffa07",
    );
    let message = hex::decode("6932707220706c616e2033333120646966666572656e7469616c00").unwrap();
    assert_eq!(verify(SigType::RedDsa, &public, &message, &signature), Ok(()));
}

#[test]
fn signatures_verify_and_never_repeat() {
    let mut rng = Rng::from_seed([6; 32]);
    let alpha = Alpha::derive(SigType::Ed25519, &destination().public(), *b"20260101", b"s").unwrap();
    for key in [RedDsaKey::generate(&mut rng), RedDsaKey::from_ed25519(&destination()).blind(&alpha)] {
        let (a, b) = (key.sign(b"text", &mut rng), key.sign(b"text", &mut rng));
        assert_ne!(a, b);
        for signature in [a, b] {
            assert_eq!(verify(SigType::RedDsa, &key.public(), b"text", &signature), Ok(()));
            assert!(verify(SigType::RedDsa, &key.public(), b"test", &signature).is_err());
        }
        assert_eq!(RedDsaKey::from_scalar(&key.to_scalar()).public(), key.public());
    }
}

#[test]
fn other_keys_cannot_be_blinded() {
    for kind in [SigType::DsaSha1, SigType::EcdsaP256, SigType::Ed25519ph] {
        assert_eq!(Alpha::derive(kind, &[1; 32], *b"20260101", b"").unwrap_err(), CannotBlind);
    }
    let alpha = Alpha::derive(SigType::Ed25519, &[2; 32], *b"20260101", b"").unwrap();
    let mut not_a_point = [0; 32];
    not_a_point[0] = 2;
    assert_eq!(alpha.blind_public(&not_a_point), Err(CannotBlind));
}
