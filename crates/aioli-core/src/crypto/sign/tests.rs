//! Vectors that others published, and properties, for `sign`.

use super::*;

// (type, public key, signature over "sample"). ECDSA: RFC 6979, A.2.5 to A.2.7,
// with the curve's own hash. DSA: I2P's group has no published vectors; private
// key 0102..14 and k = 1111222233334444555566667777888899990000, calculated
// from FIPS 186 and verified by OpenSSL.
const SIGNED: [(SigType, &str, &str); 4] = [
    (
        SigType::EcdsaP256,
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
         7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
         f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    ),
    (
        SigType::EcdsaP384,
        "ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13\
         8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720",
        "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46\
         99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8",
    ),
    (
        SigType::EcdsaP521,
        "01894550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd371123d46e45db6b5d5370a7f20fb633155d\
         38ffa16d2bd761dcac474b9a2f5023a400493101c962cd4d2fddf782285e64584139c2f91b47f87ff82354d6630f746a28a0\
         db25741b5b34a828008b22acc23f924faafbd4d33f81ea66956dfeaa2bfdfcf5",
        "00c328fafcbd79dd77850370c46325d987cb525569fb63c5d3bc53950e6d4c5f174e25a1ee9017b5d450606add152b534931\
         d7d4e8455cc91f9b15bf05ec36e377fa00617cce7cf5064806c467f678d3b4080d6f1cc50af26ca209417308281b68af2826\
         23eaa63e5b5c0723d8b8c37ff0777b1a20f8ccb1dccc43997f1ee0e44da4a67a",
    ),
    (
        SigType::DsaSha1,
        "1ae2f76ecdd437bd0f874b59ab45df66c350043ff95d8738b5276c27c34e80a47c91e57a7273707ee30616bce3fd99f2\
         df8c5abc5e03f764af00a81cb57ccc2bc8c74a0eff06c68032c7facb0ff58f5f38f43e6e374ca5be6886769e56a5ac76\
         718de49073c32841421f0595cc0e4d11c43d2d0ff07528cd8708f77cfe9a628f",
        "323c03961c9466e86ea97d68b401612b0573ce4090e09d18f9be23c2a63cbee646f99e72f81c75ab",
    ),
];

#[test]
fn verifies_what_others_signed_and_nothing_else() {
    for (kind, public, signature) in SIGNED {
        let (public, signature) = (hex::decode(public).unwrap(), hex::decode(signature).unwrap());
        assert_eq!(verify(kind, &public, b"sample", &signature), Ok(()), "{kind:?}");
        assert_eq!(verify(kind, &public, b"sampl3", &signature), Err(BadSignature));
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut bad = signature.clone();
            bad[at] ^= 1;
            assert_eq!(verify(kind, &public, b"sample", &bad), Err(BadSignature));
        }
        for bad in [&public[1..], &vec![0; public.len()], &vec![0xff; public.len()]] {
            assert_eq!(verify(kind, bad, b"sample", &signature), Err(BadSignature));
        }
        for bad in [&signature[1..], &vec![0; signature.len()], &vec![0xff; signature.len()]] {
            assert_eq!(verify(kind, &public, b"sample", bad), Err(BadSignature));
        }
    }
}

#[test]
fn types_without_a_use_on_the_network_verify_nothing() {
    for kind in [SigType::Rsa2048, SigType::Rsa3072, SigType::Rsa4096, SigType::Ed25519ph] {
        let (public, signature) = (vec![1; kind.public_len()], vec![1; kind.signature_len()]);
        assert_eq!(verify(kind, &public, b"", &signature), Err(BadSignature));
    }
}

#[test]
fn codes_and_types_are_one_to_one() {
    let known: Vec<u16> = (0..=u16::MAX).filter(|code| SigType::from_code(*code).is_some()).collect();
    assert_eq!(known, [0, 1, 2, 3, 4, 5, 6, 7, 8, 11]);
    for code in known {
        assert_eq!(SigType::from_code(code).unwrap().code(), code);
    }
}
