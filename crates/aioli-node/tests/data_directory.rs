//! The data directory from one program to the next: written by earlier
//! commits, by later programs, and used by two at once.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aioli_node::DataDir;
use aioli_router::StoredProfile;
use aioli_wire::RouterInfo;
use tempfile::TempDir;

/// What each earlier commit has left: its name, the router, the port, the known routers.
const WRITTEN: [(&str, &str, u16, usize); 2] = [
    ("data-9b77b9c", "kKKp4x-zUN6rQajF0wOCdzX3RJUQSiZx7~wVVv3HphE=", 26_816, 2),
    ("data-f25a491", "D6b52JZV-arwdFWw1sUm0s4iCYxdfuP8oCcqzsJ86XY=", 19_704, 1),
];

/// A copy of a fixture, as files by their paths.
fn copy(name: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let to = TempDir::new().unwrap();
    for (path, bytes) in files(&from) {
        let path = to.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    to
}

fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                found.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

fn refused(root: &Path) -> String {
    let error = DataDir::open(root).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn what_earlier_commits_wrote_is_read_and_nothing_of_it_changes() {
    for (name, router, port, known) in WRITTEN {
        let dir = copy(name);
        let before = files(dir.path());
        let inode = fs::metadata(dir.path().join("router.keys.json")).unwrap().ino();
        let data = DataDir::open(dir.path()).unwrap();
        let identity = data.load_identity().unwrap().unwrap();
        assert_eq!(identity.hash().to_base64(), router);
        assert_eq!(data.load_port(), Some(port));
        let (infos, unreadable) = data.load_netdb();
        assert_eq!((infos.len(), unreadable), (known, 0));
        for bytes in infos {
            RouterInfo::decode_unverified(&bytes).unwrap().verify().unwrap();
        }
        assert!(data.load_profiles().is_empty());
        let after = files(dir.path());
        for (path, bytes) in &before {
            assert_eq!(after.get(path), Some(bytes), "{}", path.display());
        }
        assert_eq!(fs::metadata(data.keys_path()).unwrap().ino(), inode, "the identity was rewritten");
        let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        assert_eq!(new, [Path::new("aioli.lock"), Path::new("aioli.version")]);
    }
}

#[test]
fn a_kill_in_the_middle_of_an_upgrade_costs_nothing() {
    let dir = copy(WRITTEN[0].0);
    // Half a version file that was to be renamed, and what kills of the older program left.
    for leftover in ["aioli.tmp", "router.keys.tmp", "router.state.tmp"] {
        fs::write(dir.path().join(leftover), b"{\"lay").unwrap();
    }
    let netdb = dir.path().join("netDb/rT/routerInfo-TwbwpVavprf7wyZenRR7hVP-160SSOu5Is85RjjA59M=.tmp");
    fs::write(&netdb, b"half").unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    assert_eq!(data.load_identity().unwrap().unwrap().hash().to_base64(), WRITTEN[0].1);
    assert_eq!(data.load_netdb().0.len(), 2);
    let left: Vec<_> =
        files(dir.path()).into_keys().filter(|path| path.extension().is_some_and(|e| e == "tmp")).collect();
    assert_eq!(left, [] as [&Path; 0]);
}

#[test]
fn a_newer_directory_is_refused_and_left_alone_unless_it_says_that_it_can_be_read() {
    let dir = copy(WRITTEN[0].0);
    let version = dir.path().join("aioli.version");
    fs::write(&version, br#"{"layout": 9, "readable_from": 7, "program": "aioli 4.2\n", "more": [1]}"#)
        .unwrap();
    let before = files(dir.path());
    let error = refused(dir.path());
    for part in ["newer program", "aioli 4.2", "layout 9", "--data-dir"] {
        assert!(error.contains(part), "{error}");
    }
    let mut after = files(dir.path());
    after.remove(Path::new("aioli.lock"));
    assert_eq!(after, before);
    // What is new there does not concern us, and stays.
    let text = br#"{"layout": 9, "readable_from": 1, "program": "aioli 4.2"}"#;
    fs::write(&version, text).unwrap();
    DataDir::open(dir.path()).unwrap();
    assert_eq!(fs::read(&version).unwrap(), text);
}

#[test]
fn a_damaged_version_file_is_an_error_that_says_what_to_do() {
    let dir = TempDir::new().unwrap();
    let version = dir.path().join("aioli.version");
    for damage in [&b""[..], b"{", b"\xff", b"{\"layout\": -1}", &[b' '; 100_000]] {
        fs::write(&version, damage).unwrap();
        let error = refused(dir.path());
        assert!(error.contains("aioli.version"), "{error}");
        assert_eq!(fs::read(&version).unwrap(), damage);
    }
    fs::remove_file(&version).unwrap();
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn a_directory_has_one_user_at_a_time_and_a_stale_lock_has_none() {
    let dir = TempDir::new().unwrap();
    // What a router that was killed leaves behind.
    fs::write(dir.path().join("aioli.lock"), b"process 1 since 2026-01-01 00:00 UTC\n").unwrap();
    let first = DataDir::open(dir.path()).unwrap();
    let error = refused(dir.path());
    assert!(error.contains(&format!("process {} since 20", std::process::id())), "{error}");
    let clone = first.clone();
    drop(first);
    refused(dir.path());
    drop(clone);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn what_was_learned_of_peers_comes_back_and_damage_costs_only_that() {
    let dir = TempDir::new().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let profile = |n: u8| StoredProfile {
        peer: aioli_wire::RouterHash::new([n; 32]),
        heard: aioli_core::Date::from_secs(1_782_514_800 + u64::from(n)),
        values: [("agreed".into(), u64::from(n)), ("some_day".into(), 7)].into(),
    };
    let profiles: Vec<_> = (1..=200).map(profile).collect();
    data.store_profiles(&profiles).unwrap();
    let file = dir.path().join("peers.json");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    let mut loaded = data.load_profiles();
    loaded.sort_by_key(|p| p.heard);
    assert_eq!(loaded, profiles);
    let good = fs::read_to_string(&file).unwrap();
    for damage in
        [String::new(), good.split_at(good.len() / 2).0.to_owned(), "[]".into(), "x".repeat(3 << 20)]
    {
        fs::write(&file, damage).unwrap();
        assert_eq!(data.load_profiles(), []);
    }
    // One strange entry is not the others' loss.
    fs::write(&file, good.replacen("AgICAgIC", "!", 1).replacen("\"heard\"", "\"seen\"", 1)).unwrap();
    assert_eq!(data.load_profiles().len(), 198);
}
