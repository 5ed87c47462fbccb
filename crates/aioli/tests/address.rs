//! `aioli address`, as people use it.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test that meets the unexpected should fail there"
)]

use std::path::Path;
use std::process::Command;

use aioli_wire::{Destination, base32};

/// What it prints, or its complaint.
fn address(dir: &Path, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aioli"));
    let output = command.env_clear().arg("address").args(args).arg("--data-dir").arg(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn names_are_added_found_listed_exported_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let [a, b, c] = [1, 2, 3].map(|n| Destination::create(&[n; 32], &[n; 32]));
    let b32 = |d: &Destination| base32::host_name(&d.hash());
    std::fs::write(dir.join("hosts.txt"), format!("mine.i2p={0}\ntheirs.i2p={0}\n", c.to_base64())).unwrap();
    address(dir, &["add", "Mine.i2p", &a.to_base64()]).unwrap();
    address(dir, &["add", "secret.i2p", &b.to_base64(), "--private"]).unwrap();
    let found = address(dir, &["lookup", "mine.i2p"]).unwrap();
    assert_eq!(found, format!("{} (userhosts.txt)\n{}\n", b32(&a), a.to_base64()));
    let list = address(dir, &["list"]).unwrap();
    assert_eq!(list.lines().count(), 4, "{list}");
    assert_eq!(
        address(dir, &["list", "--list", "private"]).unwrap(),
        format!("secret.i2p  {}  privatehosts.txt\n", b32(&b))
    );
    let expected = format!("mine.i2p={}\ntheirs.i2p={}\n", a.to_base64(), c.to_base64());
    assert_eq!(address(dir, &["export"]).unwrap(), expected);
    let file = dir.join("exported.txt");
    address(dir, &["export", file.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), expected);
    address(dir, &["remove", "mine.i2p"]).unwrap();
    assert!(address(dir, &["lookup", "mine.i2p"]).unwrap().contains("(hosts.txt)"));
    assert!(address(dir, &["subscribe", "http://a.i2p/hosts.txt"]).unwrap().starts_with("subscribed"));
}

#[test]
fn nonsense_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let a = Destination::create(&[1; 32], &[1; 32]).to_base64();
    for (args, expected) in [
        (&["add", "a.com", &a][..], "names of I2P end with .i2p"),
        (&["add", "a.i2p", "AAAA"], "no destination"),
        (&["lookup", "nobody.i2p"], "nobody.i2p is not in the address book"),
        (&["remove", "nobody.i2p"], "nobody.i2p is in none of your own lists"),
        (&["subscribe", "http://example.com/"], "no address in I2P"),
        (&["subscribe", "--proxy", "127.0.0.1:1"], "not every subscription could be fetched"),
    ] {
        let error = address(dir.path(), args).unwrap_err();
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    }
}
