//! Layouts of identities of every kind.

use aioli_core::crypto::hash::sha256;

use super::*;
use crate::destination::Destination;

/// A key area of ascending bytes, then a certificate.
fn with_certificate(cert: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..384u16).map(|i| (i % 251) as u8).collect();
    bytes.extend_from_slice(cert);
    bytes
}

#[test]
fn layout_of_a_router_identity() {
    let id = RouterIdentity::create(&x25519::PublicKey([0xaa; 32]), &[0xbb; 32], &[0xcc; 32]);
    let mut expected = vec![0xaa; 32];
    expected.extend([0xcc; 320]);
    expected.extend([0xbb; 32]);
    expected.extend([5, 0, 4, 0, 7, 0, 4]);
    assert_eq!(id.bytes(), expected);
    assert_eq!(id.hash().as_bytes(), &sha256(&expected));
    assert_eq!(RouterIdentity::from_bytes(&expected), Ok(id.clone()));
    assert_eq!((id.encryption_key().0, id.signing_key()), ([0xaa; 32], [0xbb; 32]));
}

#[test]
fn layout_of_destinations() {
    let seed: [u8; 32] = std::array::from_fn(|i| i as u8);
    for (destination, code) in [
        (Destination::create(&[0xbb; 32], &seed), 4),
        (Destination::create_with_elgamal_filler(&[0xbb; 32], &seed), 0),
    ] {
        let mut expected = seed.repeat(11);
        expected.extend([0xbb; 32]);
        expected.extend([5, 0, 4, 0, 7, 0, code]);
        assert_eq!(destination.bytes(), expected);
        assert_eq!(Destination::from_base64(&destination.to_base64()), Some(destination));
    }
}

#[test]
fn keys_of_every_type() {
    // Certificate, length of the signing key, and of the encryption key.
    let cases: [(&[u8], usize, usize); 7] = [
        (&[0, 0, 0], 128, 256),
        (&[5, 0, 4, 0, 0, 0, 0], 128, 256),
        (&[5, 0, 4, 0, 1, 0, 0], 64, 256),
        (&[5, 0, 4, 0, 2, 0, 4], 96, 32),
        (&[5, 0, 8, 0, 3, 0, 0, 9, 8, 7, 6], 132, 256),
        (&[5, 0, 4, 0, 11, 0, 4], 32, 32),
        (&[2, 0, 0], 128, 256),
    ];
    for (cert, signing, crypto) in cases {
        let bytes = with_certificate(cert);
        let id = KeysAndCert::from_bytes(&bytes).unwrap();
        assert_eq!(id.to_bytes(), bytes);
        let mut expected = bytes[384 - signing.min(128)..384].to_vec();
        if signing > 128 {
            expected.extend([9, 8, 7, 6]);
        }
        assert_eq!(&*id.signing_key(), expected);
        assert_eq!(id.crypto_key(), &bytes[..crypto]);
    }
}

#[test]
fn refused_certificates() {
    let cases: [&[u8]; 9] = [
        &[0, 0, 1, 0],
        &[5, 0, 3, 0, 7, 0],
        &[5, 0, 5, 0, 7, 0, 4, 0],
        &[5, 0, 7, 0, 3, 0, 0, 9, 8, 7],
        &[5, 0, 4, 0, 4, 0, 0],  // RSA
        &[5, 0, 4, 0, 8, 0, 0],  // Ed25519ph
        &[5, 0, 4, 0, 12, 0, 0], // unknown
        &[6, 0, 0],
        &[1, 4, 1, 0],
    ];
    for cert in cases {
        assert!(KeysAndCert::from_bytes(&with_certificate(cert)).is_err(), "{cert:?}");
    }
    for cert in [&[5, 0, 4, 0, 7, 0, 0][..], &[5, 0, 4, 0, 1, 0, 4], &[0, 0, 0], &[5, 0, 4, 0, 11, 0, 4]] {
        assert!(RouterIdentity::from_bytes(&with_certificate(cert)).is_err(), "{cert:?}");
    }
}

#[test]
fn certificates_round_trip() {
    for bytes in [&[0, 0, 0][..], &[5, 0, 4, 0, 7, 0, 4], &[5, 0, 6, 0, 3, 0, 0, 1, 2], &[3, 0, 2, 1, 2]] {
        assert_eq!(Certificate::from_bytes(bytes).unwrap().to_bytes(), bytes);
    }
}
