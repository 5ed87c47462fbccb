//! A look at a data directory that changes nothing in it, also while a router uses it.

use std::fs::{File, TryLockError};
use std::path::Path;

use aioli_wire::{RouterHash, RouterInfo};

use super::{
    DiskError, Holder, MAX_NETDB_FILES, MAX_ROUTER_INFO_FILE, layout, lock, read_bounded, read_identity,
};

/// What a data directory has.
#[derive(Debug)]
pub struct Inspection {
    /// Who uses it at the moment.
    pub holder: Option<Holder>,
    /// Whether this program can use its layout.
    pub layout: Result<(), DiskError>,
    /// Whose it is; none before the first start.
    pub identity: Result<Option<RouterHash>, DiskError>,
    /// The port that an earlier start drew.
    pub port: Option<u16>,
    /// The capabilities that its router has published last.
    pub caps: Option<String>,
    /// Other routers in `netDb/`.
    pub known_routers: usize,
}

impl Inspection {
    /// Looks at a directory that exists.
    pub fn of(root: &Path) -> Self {
        let info = read_bounded(&root.join("router.info"), MAX_ROUTER_INFO_FILE).ok();
        Self {
            holder: holder(root),
            layout: layout::find(root).map(drop),
            identity: read_identity(&root.join("router.keys.json")).map(|found| found.map(|i| i.hash())),
            port: super::drawn_port(root),
            caps: info.and_then(|bytes| published_caps(&bytes)),
            known_routers: count(root),
        }
    }
}

fn published_caps(bytes: &[u8]) -> Option<String> {
    let info = RouterInfo::decode_unverified(bytes).ok()?.verify().ok()?;
    Some(info.caps().to_string())
}

/// Whoever holds the lock. It is free again as soon as this returns; a router that starts meanwhile tries again.
fn holder(root: &Path) -> Option<Holder> {
    let mut file = File::open(root.join(lock::FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(lock::holder(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn count(root: &Path) -> usize {
    let Ok(shards) = std::fs::read_dir(root.join("netDb")) else { return 0 };
    let files = shards.flatten().filter_map(|shard| std::fs::read_dir(shard.path()).ok());
    files.flat_map(Iterator::flatten).take(MAX_NETDB_FILES).count()
}
