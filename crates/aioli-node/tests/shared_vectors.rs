//! Bundles of the public network that are not part of this repository:
//! `AIOLI_VECTORS` names a directory with `su3/`; without it this says so and
//! checks nothing. See `cargo xtask vectors`.

use std::path::Path;

use aioli_core::Date;
use aioli_node::reseed::{BundleError, Trust, read};
use aioli_wire::su3::Su3;

const NET_ID: u8 = 2;

#[test]
#[allow(clippy::print_stderr, reason = "a test that checked nothing must not look like one that did")]
fn real_bundles_open_with_the_signers_that_we_ship() {
    let Some(vectors) = std::env::var_os("AIOLI_VECTORS") else {
        eprintln!("AIOLI_VECTORS is not set: nothing was checked against real bundles");
        return;
    };
    let (trust, directory) = (Trust::public(), tempfile::tempdir().unwrap());
    let mut opened = 0;
    for file in std::fs::read_dir(Path::new(&vectors).join("su3")).unwrap().flatten() {
        if file.path().extension().is_none_or(|e| e != "su3") {
            continue;
        }
        let mut bytes = std::fs::read(file.path()).unwrap();
        let date = Date::from_secs(Su3::decode(&bytes).unwrap().date().unwrap());
        let bundle = read(&file.path(), &trust, NET_ID, date).unwrap();
        let (routers, skipped) = (bundle.routers.len(), bundle.skipped.count());
        assert!(routers > 50 && skipped == 0, "{:?}: {routers} routers, {}", file.path(), bundle.skipped);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let altered = directory.path().join("altered.su3");
        std::fs::write(&altered, bytes).unwrap();
        let altered = read(&altered, &trust, NET_ID, date).unwrap_err();
        assert!(matches!(altered, BundleError::Signature(_)), "{altered}");
        opened += 1;
    }
    assert_eq!(opened, 2);
}
