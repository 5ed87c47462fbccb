//! LeaseSet2s that other routers made and published, taken from the tests of
//! the emissary project (`emissary-core/src/primitives/lease_set.rs`): bytes
//! and signatures that this code had no part in.

use aioli_core::crypto::sign::SigType;
use aioli_wire::{LeaseSet, LeaseSetFlags, LeaseSetType, Verified, VerifyError};

/// Ed25519; three leases.
const ED25519: &str = "\
    d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f8\
    6deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562\
    aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f6\
    0f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b729\
    3a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6\
    bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4\
    b4dac25d83f86deac4f60f7e5bc6bb0b36c573e6d69bc562aaa1b7293a67d8c4b4dac25d83f86deac4f60f7e5bc6bb0b36c5\
    73e640e79b028f7a3089f74fe5dc28d43543c1c4cc152d6de3ed1d111fbd11bdc3280500040007000066d877400258000000\
    000200040020673969243506bccfed644fd04149b4768fa2ca0867a2dc0c5f9c43443e53706d0000010077bb3df39f9fc6b2\
    415194134e695cafbeaa883e132d17f6e4d2d7a18195a039898d908da3f7227805a13c6b226ba62898fcf6cdbb338134615f\
    bc4eb0c6fe0413c5d74a493787102b449f8d4eea3f768e721460082612d39f6ba0ec210399644d759143ad8c457b1ffdacf0\
    4a6e9438e5d05145af7a59fc2b1dc164e821963069e64c7d728758de15b738cb3a33bb3940c4ee3e232be2d1a04dabfc517d\
    690328d86b01d1df75ed36975a854c20d9a7d6562ae2de7e2d858a1c4d251cc84a03f0bc0c2f30313d9a1f4a4ee5853efaf9\
    43b4af9c3c94e3a87f6b763fdc12f2a95e703a07c445f3cecd5936aea26adfc3985a9b62df7a15f8b576d050299ae83a03f9\
    00bbb60b803d105049bed83989a6d523c3244f3876a1312505ae945e72f207f0b18a7a66d87998f900bbb60b803d105049be\
    d83989a6d523c3244f3876a1312505ae945e72f207fe4d890966d87998f900bbb60b803d105049bed83989a6d523c3244f38\
    76a1312505ae945e72f207ef25f22066d8799855839ba1b53e72cbd047d22bccf0b55e92fa76ea4f9ec93aa7bb23b145d7f1\
    3c9ac679c2c78e3dc48e8b5557d2f453918fe99a0c3c828cc5aa5d7ccb8e2ed60b\
";

/// ECDSA on P-256; three leases.
const P256: &str = "\
    2f3eea1e73877f06c703ebf1334c5a0ed7e2ab8f2ab1166b6e66ea8f6d14dbf908cbba75f3e8afc67c9dcb4960a8f2a099d1\
    7673e6bd53c52986de6e0542ffe773e05b3edcbb2c3fbae5ac601c26ea945486936b0d31219cbf239e1b382589acddc8e367\
    66d917c1e6027d40d95e8c99f7e38f49647ad9c474f1111b06a18ee3ab7c71dea455631edbc60a1f6e6d429e10476b1f181b\
    307862d5775c2e835064038d56c52ed0b0431d536ade4ea574bfbb135e0b2d205d1cb86765c867ad8d744bc8594d027e7162\
    989ea697e6961912baf121f54082bf5ac46ea5c2fd04cc78780ffe05b92aac441962ee917d61ea3e2d93db7cd4a7195d34a5\
    c30d9d7fbf40c49f3e04caa4e1e8157bf43b57486e0733cdd9648beab80f547a945e5abad1b50e30bab237229617755a74f5\
    4cddcd59a69ce0abc8499c3881a734e9956b0307859ed1f5d7b160efc082032e5627423c76a2e561ad43f36f41fba04d9345\
    627c88882b2363998b17bffd082b6f146d6774adf2afbf6d4a7bf1c97a2348f2be9205000400010000678ea4ab0258000000\
    000200040020ba6d45ba9adf8aa234ee7129633eb0a22e66bfd1b1c72a7e1ba9775f0c7a9a3b00000100691fa02be620ef2e\
    c03075048b807d3663b07a922b441f113ee4054a6793cd74e482caace5e2fefa4cdbc9837c278d4e3923dafc8fa74124e286\
    c0045eb72b5341627b278fb18ec84b958fba1752f89e1a37096dbbe12851009a82ab046bee7736e0749fdf39d6d536bcfd28\
    dca7e897ec15e1ed4b84966d2c86bc71e79722aa60e5ba3995942f0315b1b5a01dd2e1a721848e8fb2089e03df9c9541c722\
    478b9013407be8ef44a6e897462013b9881747b953b7111a8fe0794336f93aca956691b08861aed4f68da82dd0c6e9e9a4a1\
    25994abe8b16cd650f296d3eba29b0636f97ae32b4303f58a6e59f0b836ee36a1dfdab993e2a8fa088f73c7fa4dd2b4e0348\
    2effa4d26d4428c64f4684fc2d80696055f9c1d60ad930f394ae57a5e122255aa89c76678ea7030a5be99d251990e2e63fb9\
    172a25ad4d3d038750babb7d1fae1a62140ff4c1464f0bcbaa678ea6d60d9123c66d5c54cfa4c0a09e4120e598259fe10df1\
    474f79525ff1702f45ba4dac5f5e1e678ea5e6a5742b014251285602eeb543ffcaec5a885c187d86f9543d495314e835e53e\
    8f15cc18c8e2e8e20d7732a5a3f3ade9c65534fbc759dc15d1259e3bc33a281346\
";

/// Ed25519, signed by a transient key.
const OFFLINE: &str = "\
    18a6a927c92851c063fe3990cc7b136310e0dada5f5a3d318d04f377c0617c2f5cdce4b97f03c135a8e017e78e0fa7828c54\
    ea4e5a2b961ec79ddf245e3d6a6e55065d3fad0e847dfd857c7665e5e757099fd3154d1ac4a915922555db514cfdb793e8e9\
    76b6e3b56bd2c267dbb4782a828ff10563d46b87e9d0776fac133db39a982ddd90ed7cbe44247d95947513035e4d1df00763\
    074134f3ae27393fc9f45a67776a50139ba8153e8fd03aad411da3b05bdff4c13ad5aa8bbca3cf5a9920767e33e99926f8d2\
    4e703cf636ff128bb8658bde04f5282131846c76353e92739b2afc626a09fce0523070ea5ea71b86fe4157743e4d7ec1f4bf\
    a52b8b7bac1375d60fb3f0e8ff2a558177f63508ab83a234cc0f9cd633cb637898331076c7473b72d4561fc3129a4ecbd000\
    984a070e38c9c6dd811416c6c5f769642a44364c2f9997985323420b3012a9338e94dcdda677bc72e7ac9f73435c8a4d9ea1\
    04e8e7b9426e58389ca4ad7fd5c7f705153dd0cc31a42238f194506c8d427262416305000400070000679118920257000167\
    d372b1000772f5a921861afceec68bb2a289f4f8db869eb1a9246fc2923e408483cd3c8d774b62e5e85bc202a770c88cbb52\
    9f8e68e73341bac70d6efa7db86024146a7f46542efdd108be58ba7a980d2703eed3dd589fcb74bdbade78edc1fcfb7a37c6\
    0600000100040020fa2d8fa9e967faffbefb331065e0b687fe571703aea3d0e9a4355949fedfa602026e1b70aa68cb17feac\
    19a73a414cf5a02076a707afcaadf839bf2697f2c99b8a6889596467911ae90688edcdb5fc4d78b8bba2080c9ebcd4c841f5\
    84a1dc53673614b00f149f57e3f20483e96791199dade00b4a1155e21d677c0f71f23afef02d288bc179d3be5225c71f676f\
    6e972ccc91cc863d512def622bff8f48bae653b3ac313f94d7dbaf39afd47a29cf140b\
";

/// DSA-SHA1, NULL certificate.
const DSA: &str = "\
    1210d73ec22d1e2ec37f1f3fff48873f392388ad79ebcc2a1227c0453afe9e02339f055a0667849d21d77cb900fbb17f36ba\
    b0f79c902e56698dae8dd43c9036d2573f1f836f76a95ee2b0b2e4cd48681999eda41475cf87b3c2b1fcc0470c67e1ddbe37\
    1ef95780520a042bd204630dafcbfc99adc4f454a595f637206f0f4c39312683ffdb7846e0914368150e95140dc4e1da3926\
    d9b5fe47dbd120784264b6ac1f10d1eeb242f7edfcb8cb10eb2c1de2e95041822cd24075b04a1f757532a72aa985053dc48c\
    73edace0cca269fdd1e726927a4a9687ed4ac337e61f3a402f18505b93d93ebb7346979ef5636d3975017f9775c7bd529fe8\
    d4bdfc9bed561d0989bc10daa2d53f2dd8fd3b5589f7efa6e9cd18eadf9d5ad3e7ed5cde558d1f1f204da958dd1faf539ac3\
    77c073dc084d33a29692d66af0b8871e1254c4891e6d766c89df9fda0fd0811472c311bb92c2252ac08c127d3be9fd372fea\
    1624896b020e4c75077eaa583506cd4886b47c613f23358ad7d5b19d9663eb243a6200000067c3150d025700000000010004\
    0020145b3daea021d1a30096089a1de8aeebc0607b03d5104f54f69e2fdccd1fc42f022edb742dc11f2267536605fe774910\
    b22dd5087f180719576106519f34056f6ff9acf0cc67c31764bd5a1560d8ab76960827be3a64d874b4a6b8f99b0783364e39\
    eb50f68a3a5ebc0c219b7d67c315ab6ee9773ebddfe50a0c3104559531002bbabae9d80c1114d5fc6c2a817b2997b69c6fee\
    c1b8db235e\
";

/// Decodes and verifies, and sees that a change anywhere is noticed.
fn accept(hex: &str) -> Verified<LeaseSet> {
    let bytes = hex::decode(hex).expect("a constant in hex");
    for at in (0..bytes.len()).step_by(11) {
        let mut forged = bytes.clone();
        forged[at] ^= 0x10;
        if let Ok(forged) = LeaseSet::decode(LeaseSetType::V2, &forged) {
            assert!(forged.verify().is_err(), "byte {at}");
        }
    }
    let set = LeaseSet::decode(LeaseSetType::V2, &bytes).expect("well-formed");
    let set = set.verify().expect("signed by its owner");
    assert_eq!(set.bytes(), bytes);
    set
}

fn sig_type(set: &LeaseSet) -> SigType {
    set.destination().expect("not encrypted").sig_type()
}

#[test]
fn ed25519() {
    let set = accept(ED25519);
    assert_eq!(sig_type(&set), SigType::Ed25519);
    assert_eq!(set.leases().len(), 3);
    let v2 = set.as_v2().unwrap();
    assert_eq!(v2.keys.iter().map(|(kind, key)| (*kind, key.len())).collect::<Vec<_>>(), [(4, 32), (0, 256)]);
    assert_eq!(v2.published.as_secs(), 0x66d8_7740);
    assert_eq!(v2.expires.as_secs(), 0x66d8_7740 + 600);
    assert_eq!(v2.leases[0].end.as_secs(), 0x66d8_7998);
    assert_eq!(v2.leases[0].tunnel.get(), 0xf0b1_8a7a);
}

#[test]
fn ecdsa_p256() {
    let set = accept(P256);
    assert_eq!(sig_type(&set), SigType::EcdsaP256);
    assert_eq!(set.leases().len(), 3);
}

#[test]
fn dsa_sha1() {
    let set = accept(DSA);
    assert_eq!(sig_type(&set), SigType::DsaSha1);
    assert_eq!(set.leases().len(), 2);
}

#[test]
fn transient_key() {
    let set = accept(OFFLINE);
    assert!(set.flags().contains(LeaseSetFlags::OFFLINE));
    let offline = set.offline().unwrap();
    assert_eq!(offline.transient_type, SigType::Ed25519);
    assert_eq!(offline.expires.as_secs(), 0x67d3_72b1);
    assert_eq!(offline.verify_for(set.destination().unwrap()), Ok(()));

    // The signature of the long-term key stands right before the empty properties.
    let mut bytes = set.bytes().to_vec();
    let end_of_offline = 391 + 8 + 4 + 2 + 32 + 64;
    bytes[end_of_offline - 1] ^= 1;
    let forged = LeaseSet::decode(LeaseSetType::V2, &bytes).unwrap();
    assert_eq!(forged.verify().unwrap_err(), VerifyError::TransientKey);
}
