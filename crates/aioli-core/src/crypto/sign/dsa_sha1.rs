//! DSA with SHA-1 over I2P's fixed group: identities from before 2014.

use std::sync::OnceLock;

use dsa::signature::hazmat::PrehashVerifier;
use dsa::{BoxedUint, Components, Signature, VerifyingKey};

use super::BadSignature;
use crate::crypto::hash;

const P: &str = "9c05b2aa960d9b97b8931963c9cc9e8c3026e9b8ed92fad0a69cc886d5bf8015fcadae31a0ad18fa\
                 b3f01b00a358de237655c4964afaa2b337e96ad316b9fb1cc564b5aec5b69a9ff6c3e4548707fef8\
                 503d91dd8602e867e6d35d2235c1869ce2479c3b9d5401de04e0727fb33d6511285d4cf29538d9e3\
                 b6051f5b22cc1c93";
const Q: &str = "00000000a5dfc28fef4ca1e286744cd8eed9d29d684046b7";
const G: &str = "0c1f4d27d40093b429e962d7223824e0bbc47e7c832a39236fc683af84889581075ff9082ed32353\
                 d4374d7301cda1d23c431f4698599dda02451824ff369752593647cc3ddc197de985e43d136cdcfc\
                 6bd5409cd2f450821142a5e6f8eb1c3ab5d0484b8129fcf17bce4f7f33321c3cb3dbb14a905e7b2b\
                 3e93be4708cbcc82";

/// Sizes are the caller's to check: 128 bytes of key, 40 of signature.
pub(super) fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let number = |bytes: &[u8], bits| BoxedUint::from_be_slice(bytes, bits).map_err(|_| BadSignature);
    let (r, s) = signature.split_at(signature.len() / 2);
    let signature = Signature::from_components(number(r, 160)?, number(s, 160)?).ok_or(BadSignature)?;
    let y = number(public, 1024)?;
    let key = VerifyingKey::from_components(group().clone(), y).map_err(|_| BadSignature)?;
    key.verify_prehash(&hash::sha1(message), &signature).map_err(|_| BadSignature)
}

pub(super) fn group() -> &'static Components {
    static GROUP: OnceLock<Components> = OnceLock::new();
    GROUP.get_or_init(|| {
        let number = |hex, bits| {
            BoxedUint::from_be_hex(hex, bits).into_option().expect("the constants above are hexadecimal")
        };
        let (p, q, g) = (number(P, 1024), number(Q, 192), number(G, 1024));
        Components::from_components(p, q, g).expect("the constants above are a DSA group")
    })
}
