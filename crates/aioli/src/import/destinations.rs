//! Keys of destinations: the standard private-key files, wherever the other
//! router keeps them. They go to `destinations/<name>.dat`.
//!
//! i2pd's `destinations/` holds something else: temporary encryption keys of its
//! LeaseSets, which are made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::{DestinationHash, Wire, base32};

use super::source::{Kind, Source};
use super::{NewFile, Report, tunnels};

/// No key file is larger, with RSA keys and offline signatures.
const MAX_KEYS: u64 = 16 * 1024;
/// Key files taken at most.
const MAX_DESTINATIONS: usize = 1_000;
/// Characters of a name that are kept.
const MAX_NAME: usize = 64;

/// Where the key files that were named went, for the tunnels that use them.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<PathBuf, String>);

impl Keys {
    /// The file of ours that holds what the other router calls so.
    pub(super) fn of(&self, name: &str) -> Option<&String> {
        self.0.get(Path::new(name))
    }
}

/// Takes all key files that can be found.
pub(super) fn collect(source: &Source, ours: &Path, files: &mut Vec<NewFile>, report: &mut Report) -> Keys {
    let mut found = Keys::default();
    let mut seen: BTreeMap<DestinationHash, String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    let named = tunnels::key_files(source);
    let all = named.iter().cloned().chain(others(source));
    for path in all.take(MAX_DESTINATIONS) {
        if found.0.contains_key(&path) {
            continue;
        }
        let keys = match source.read(&path, MAX_KEYS).map(|bytes| DestinationKeys::from_bytes(&bytes)) {
            Ok(Ok(keys)) => keys,
            // Only what a tunnel names must be a key file; other `.dat` files may be anything.
            Ok(Err(error)) if named.contains(&path) => {
                report.left(format!("destination {}: no private keys ({error})", path.display()));
                continue;
            }
            Err(error) if named.contains(&path) && !super::source::is_absent(&error) => {
                report.left(format!("destination {}: {error}", path.display()));
                continue;
            }
            Ok(Err(_)) | Err(_) => continue,
        };
        let hash = keys.destination.hash();
        if let Some(name) = seen.get(&hash) {
            found.0.insert(path, name.clone());
            continue;
        }
        let bytes = keys.to_bytes();
        let name = free_name(&path, &hash, &bytes, ours, &mut names);
        let file = format!("destinations/{name}.dat");
        let host = base32::host_name(&hash);
        if ours.join(&file).exists() {
            report.left(format!("destination {host} of {}: it is here already, as {file}", path.display()));
        } else {
            report.took(format!("destination {host} of {}, as {file}", path.display()));
            files.push(NewFile::new(&file, bytes, 0o600));
        }
        if keys.signing_key().is_none() {
            report.note(format!(
                "{file} cannot be used by this router yet: its signature type is {}, and only Ed25519 signs here",
                keys.destination.sig_type().code()
            ));
        }
        seen.insert(hash, file.clone());
        found.0.insert(path, file);
    }
    if seen.is_empty() {
        report.left("destinations: there is none");
    }
    found
}

/// Where key files lie that no tunnel names.
fn others(source: &Source) -> Vec<PathBuf> {
    let dirs: &[&str] = match source.kind() {
        Kind::I2pd => &[""],
        Kind::Java => &["", "eepsite", "i2ptunnel-keyBackup"],
    };
    let is_other = |path: &PathBuf| path != Path::new("router.keys.dat");
    dirs.iter().flat_map(|dir| source.list(dir, ".dat")).filter(is_other).collect()
}

/// A name made of harmless characters, that of the file if it can be.
fn free_name(
    path: &Path,
    hash: &DestinationHash,
    bytes: &[u8],
    ours: &Path,
    names: &mut BTreeSet<String>,
) -> String {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '-' };
    let mut name: String = stem.chars().take(MAX_NAME).map(plain).collect();
    let taken_by_another = |name: &str| {
        fs::read(ours.join("destinations").join(format!("{name}.dat"))).is_ok_and(|there| there != bytes)
    };
    if name.is_empty() || names.contains(&name) || taken_by_another(&name) {
        name.extend(std::iter::once('-').chain(base32::host_name(hash).chars().take(16)));
    }
    names.insert(name.clone());
    name
}
