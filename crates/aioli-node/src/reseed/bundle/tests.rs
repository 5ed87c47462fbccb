//! Archives and bundles, good and bad.

use std::io::Write;

use aioli_core::{Instant, Now, Rng};
use aioli_router::{Config, Identity, create_router_info};
use aioli_wire::su3::encode_unsigned;
use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

const NET_ID: u8 = 2;
const NOW: Date = Date::from_secs(1_782_514_800);

fn router_info(seed: u8) -> (String, Vec<u8>) {
    let identity = Identity::generate(&mut Rng::from_seed([seed; 32]));
    let info = create_router_info(&Config::default(), &identity, Now { mono: Instant::ZERO, wall: NOW });
    (format!("routerInfo-{}.dat", info.hash().to_base64()), info.bytes().to_vec())
}

fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn good_entries_are_taken_and_others_skipped() {
    let (good, other) = (router_info(1), router_info(2));
    let mut damaged = router_info(3);
    damaged.1[500] ^= 1;
    let entries = [
        good.clone(),
        (good.0.clone(), other.1),
        damaged,
        ("readme.txt".to_owned(), b"hello".to_vec()),
        (format!("deeper/{}", good.0), good.1.clone()),
    ];
    // The archive refuses two entries of one name, so the wrong name goes alone.
    let wrong_name = open_zip(&archive(&entries[1..2]), NET_ID);
    assert!(matches!(wrong_name, Err(BundleError::Empty { entries: 1, .. })), "{wrong_name:?}");
    let bundle = open_zip(&archive(&[&entries[..1], &entries[2..]].concat()), NET_ID).unwrap();
    let skipped = Skipped { damaged: 1, other: 2, ..Skipped::default() };
    assert_eq!((bundle.routers.len(), bundle.skipped), (1, skipped));
    assert_eq!(skipped.to_string(), "1 damaged, 2 no RouterInfos");
    assert_eq!(bundle.routers.values().next(), Some(&good.1));
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let bomb = vec![0; 40 << 20];
    let open_zip = |bytes: &[u8]| open_zip(bytes, NET_ID);
    let error = open_zip(&archive(&[(router_info(1).0, bomb)])).unwrap_err();
    assert!(matches!(error, BundleError::TooLarge(_)), "{error}");
    let many: Vec<_> = (0..=MAX_ENTRIES).map(|i| (format!("{i}"), Vec::new())).collect();
    assert!(matches!(open_zip(&archive(&many)), Err(BundleError::TooLarge(_))));
    assert!(matches!(open_zip(b"PK no archive"), Err(BundleError::Zip(_))));
    assert!(matches!(open_zip(&archive(&[])), Err(BundleError::Empty { entries: 0, .. })));
}

#[test]
fn what_a_file_claims_is_checked_in_turn() {
    let content = archive(&[router_info(1)]);
    let date = (NOW.as_secs() - 3_600).to_string();
    let file = |signer: &str| {
        let mut bytes = encode_unsigned(512, &date, signer, &content);
        bytes.extend_from_slice(&[7; 512]);
        bytes
    };
    let trust = Trust::public();
    let checks = Checks { trust: &trust, net_id: NET_ID, now: NOW };
    let open = |bytes: &[u8]| open_su3(bytes, checks, true).unwrap_err().to_string();
    assert!(open(b"I2Psu3").contains("no SU3 file"));
    assert!(open(&file("nobody@mail.i2p")).contains("\"nobody@mail.i2p\" is not known"));
    assert!(open(&file("orignal@mail.i2p")).contains("its signature is not that of"));
    let late = Date::from_secs(2_100_000_000);
    let error = open_su3(&file("orignal@mail.i2p"), Checks { now: late, ..checks }, true).unwrap_err();
    assert!(matches!(error, BundleError::NotValid(_)), "{error}");
    let mut other_kind = file("orignal@mail.i2p");
    other_kind[27] = 1;
    assert!(open(&other_kind).contains("content type 1"));
}

#[test]
fn a_directory_is_read_one_level_deep() {
    let directory = tempfile::tempdir().unwrap();
    let (name, bytes) = router_info(1);
    let shard = directory.path().join("rA");
    std::fs::create_dir_all(shard.join("too-deep")).unwrap();
    std::fs::write(shard.join(&name), &bytes).unwrap();
    std::fs::write(shard.join("too-deep").join(router_info(2).0), router_info(2).1).unwrap();
    std::fs::write(directory.path().join("router.info"), router_info(3).1).unwrap();
    std::fs::write(directory.path().join("notes.txt"), b"x").unwrap();
    let trust = Trust::public();
    let checks = Checks { trust: &trust, net_id: NET_ID, now: NOW };
    let bundle = open_path(directory.path(), checks).unwrap();
    assert_eq!((bundle.routers.len(), bundle.skipped), (2, Skipped::default()));
    let foreign = open_path(directory.path(), Checks { net_id: 3, ..checks }).unwrap_err();
    assert!(foreign.to_string().ends_with("that can be used (2 of another network)"), "{foreign}");
    let missing = open_path(&directory.path().join("none.su3"), checks).unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
}
