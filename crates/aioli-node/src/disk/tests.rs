//! The data directory against kills, damage and strangers' files.

use std::os::unix::fs::PermissionsExt;

use aioli_core::Rng;
use tempfile::TempDir;

use super::*;

fn open() -> (TempDir, DataDir) {
    let root = TempDir::new().unwrap();
    let data = DataDir::open(&root.path().join("deep/data")).unwrap();
    (root, data)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn identity() -> Identity {
    Identity::generate(&mut Rng::from_seed([7; 32]))
}

#[test]
fn an_identity_comes_back_and_only_its_owner_may_read_it() {
    let (_root, data) = open();
    assert!(data.load_identity().unwrap().is_none());
    // A kill may have left this behind, readable by all.
    let left = data.keys_path().with_extension("tmp");
    fs::write(&left, b"half").unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
    data.store_identity(&identity()).unwrap();
    assert_eq!((mode(&data.keys_path()), mode(&data.root)), (0o600, 0o700));
    assert!(!left.exists());
    let loaded = data.load_identity().unwrap().unwrap();
    assert_eq!(loaded.hash(), identity().hash());
    assert_eq!(loaded.ntcp2_iv, identity().ntcp2_iv);
    assert_eq!(loaded.ntcp2_static.to_secret().as_bytes(), identity().ntcp2_static.to_secret().as_bytes());
}

#[test]
fn every_damage_of_the_identity_is_an_error_and_changes_nothing() {
    let (_root, data) = open();
    data.store_identity(&identity()).unwrap();
    let good = fs::read_to_string(data.keys_path()).unwrap();
    let mut damaged: Vec<String> =
        (0..good.trim_end().len()).step_by(7).map(|n| good.get(..n).unwrap().to_owned()).collect();
    damaged.push(good.replace("\"version\": 1", "\"version\": 2"));
    damaged.push(good.replace("ntcp2_iv", "ntcp2_vi"));
    damaged.push(good.replacen("\": \"", "\": \"!", 1));
    damaged.push(good.clone() + &" ".repeat(100_000));
    for text in damaged {
        assert_ne!(text, good);
        fs::write(data.keys_path(), &text).unwrap();
        let Err(error) = data.load_identity() else { panic!("accepted: {text}") };
        let error = error.to_string();
        assert!(error.contains("router.keys.json") && error.lines().count() == 1, "{error}");
        assert_eq!(fs::read_to_string(data.keys_path()).unwrap(), text);
    }
}

#[test]
fn a_port_is_remembered_and_a_damaged_state_file_forgets_it() {
    let (_root, data) = open();
    assert_eq!(data.load_port(), None);
    data.store_port(12_345).unwrap();
    assert_eq!(data.load_port(), Some(12_345));
    for text in [&b""[..], b"{", b"{\"port\":0}", b"{\"port\":70000}", &[b' '; 100_000]] {
        fs::write(data.root.join("router.state.json"), text).unwrap();
        assert_eq!(data.load_port(), None);
    }
}

#[test]
fn netdb_entries_come_and_go_and_foreign_files_are_left_alone() {
    let (_root, data) = open();
    assert_eq!(data.load_netdb(), (vec![], 0));
    let (one, two) = (RouterHash::new([1; 32]), RouterHash::new([2; 32]));
    data.store_router_info(&one, b"one").unwrap();
    data.store_router_info(&two, b"two").unwrap();
    data.store_router_info(&one, b"newer").unwrap();
    let shard = data.netdb_file(&one).parent().unwrap().to_owned();
    fs::write(shard.join("notes.txt"), b"mine").unwrap();
    fs::write(shard.join("routerInfo-x.tmp"), b"half").unwrap();
    fs::write(shard.join("routerInfo-big.dat"), vec![0; 20_000]).unwrap();
    fs::create_dir(shard.join("routerInfo-dir.dat")).unwrap();
    assert_eq!(data.load_netdb(), (vec![b"newer".to_vec(), b"two".to_vec()], 2));
    data.remove_router_info(&two).unwrap();
    data.remove_router_info(&two).unwrap();
    assert_eq!(data.load_netdb(), (vec![b"newer".to_vec()], 2));
    assert!(shard.join("notes.txt").exists());
}

#[test]
fn a_directory_that_cannot_be_used_says_which() {
    let (root, _) = open();
    let file = root.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = DataDir::open(&file.join("below")).unwrap_err().to_string();
    assert!(error.contains("data directory") && error.contains("below"), "{error}");
}

#[test]
fn guards_come_back_and_only_their_owner_may_read_them() {
    let (_root, data) = open();
    assert_eq!(data.load_guards(), None);
    data.store_guards("aioli guards 1\n").unwrap();
    assert_eq!(data.load_guards().as_deref(), Some("aioli guards 1\n"));
    let path = data.root.join("router.guards");
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, vec![b' '; 2 << 20]).unwrap();
    assert_eq!(data.load_guards().as_deref(), Some(""), "too large: as if damaged");
    fs::write(&path, [0xff; 9]).unwrap();
    assert!(data.load_guards().is_some());
}
