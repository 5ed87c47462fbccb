//! `netDb/`: other routers. Both kinds have our layout.

use std::path::Path;

use aioli_wire::{RouterInfo, Unverified, Verified};

use super::source::Source;
use super::{NewFile, Report};

/// Entries taken at most: more than any router keeps.
const MAX_ROUTERS: usize = 20_000;
/// No entry is larger.
const MAX_FILE: u64 = 16 * 1024;

/// Takes each entry that is what its name says and whose signature is right.
/// Whether it is outdated the router decides when it starts.
pub(super) fn collect(source: &Source, files: &mut Vec<NewFile>, report: &mut Report) {
    let shards = source.list("netDb", "");
    let names = shards.iter().flat_map(|shard| source.list(shard, ".dat")).filter(|path| is_entry(path));
    let (mut taken, mut bad) = (0, 0);
    for name in names.take(MAX_ROUTERS) {
        let info = source.read(&name, MAX_FILE).ok().and_then(|bytes| verified(&bytes));
        let expected = info.as_ref().map(|info| format!("routerInfo-{}.dat", info.hash().to_base64()));
        match info {
            Some(info) if expected.as_deref() == name.file_name().and_then(|n| n.to_str()) => {
                files.push(NewFile::new(name, info.bytes().to_vec(), 0o644));
                taken += 1;
            }
            _ => bad += 1,
        }
    }
    if taken > 0 {
        report.took(format!("netDb: {taken} other routers"));
    }
    if bad > 0 {
        report.left(format!("netDb: {bad} entries that are damaged, forged or not what their names say"));
    }
    if taken + bad == 0 {
        report.left("netDb: there is none");
    }
}

fn is_entry(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("routerInfo-"))
}

fn verified(bytes: &[u8]) -> Option<Verified<RouterInfo>> {
    RouterInfo::decode_unverified(bytes).ok().map(Unverified::verify)?.ok()
}
