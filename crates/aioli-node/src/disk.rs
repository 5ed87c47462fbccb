//! The data directory.
//!
//! ```text
//! router.keys.json      the identity, mode 0600, written once
//! router.info           our signed RouterInfo
//! router.state.json     the port that was drawn
//! peers.json            what was learned of other routers, mode 0600
//! netDb/rX/routerInfo-<base64 hash>.dat
//! aioli.version         which layout this is
//! aioli.lock            locked by whoever uses the directory
//! ```
//!
//! Everything is written to a temporary file and renamed: a kill at any moment
//! leaves the old file or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aioli_core::crypto::{Secret, ed25519, x25519};
use aioli_router::Identity;
use aioli_wire::{RouterHash, base64};
use serde::{Deserialize, Serialize};
use thiserror::Error;

mod inspect;
mod layout;
mod lock;
mod peers;

pub use inspect::Inspection;
pub use lock::Holder;

/// No RouterInfo file is larger; see `aioli_wire::router_info`.
const MAX_ROUTER_INFO_FILE: u64 = 16 * 1024;
/// No state file of ours is larger.
const MAX_STATE_FILE: u64 = 64 * 1024;
/// Nor is the list of guards.
const MAX_GUARDS_FILE: u64 = 1 << 20;
/// The padding of an identity that does not repeat 32 bytes: one made by an older router of another kind.
const WHOLE_PADDING: usize = 320;
/// Files of `netDb/` read at most.
const MAX_NETDB_FILES: usize = 50_000;

/// Why the data directory cannot be used, with what to do about it.
#[derive(Debug, Error)]
pub enum DiskError {
    /// It cannot be made, read or written.
    #[error(
        "cannot use {what} {path}: {error}. Check that it exists, that it belongs to you and that the disk is not full"
    )]
    Io {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The identity is damaged. It is never overwritten.
    #[error(
        "the identity file {path} is damaged ({reason}). It was left as it is: restore it from a backup, \
         or move it away to start as a new router"
    )]
    Identity {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another router uses it.
    #[error(
        "the data directory {path} is in use by another router ({holder}). Stop that one first, or give this one \
         a directory of its own with --data-dir"
    )]
    InUse {
        /// Where it is.
        path: PathBuf,
        /// Who uses it.
        holder: Holder,
    },
    /// A newer program has written it.
    #[error(
        "the data directory {path} was written by a newer program ({program}, layout {layout}; this one knows \
         layout {ours}). It was left as it is: use the newer program, or another directory with --data-dir"
    )]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// Which program wrote it.
        program: String,
        /// Its layout.
        layout: u32,
        /// The newest that this program knows.
        ours: u32,
    },
    /// It does not say which version it has.
    #[error(
        "the version file {path} is damaged ({reason}). It was left as it is: delete it if no newer program has \
         used this directory"
    )]
    VersionFile {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// An open data directory, locked for as long as this or a clone of it lives.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
    /// Held, never read.
    _lock: Arc<File>,
}

/// `router.keys.json`. All values are in the I2P base64 alphabet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    version: u32,
    signing_seed: String,
    encryption_key: String,
    ntcp2_static_key: String,
    ntcp2_iv: String,
    identity_padding: String,
}

/// `router.state.json`: what may be lost without harm.
#[derive(Default, Serialize, Deserialize)]
struct StateFile {
    port: Option<u16>,
}

/// The port that an earlier start drew, in this data directory.
fn drawn_port(root: &Path) -> Option<u16> {
    let path = root.join("router.state.json");
    let bytes = match read_bounded(&path, MAX_STATE_FILE) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => Vec::new(),
    };
    match serde_json::from_slice::<StateFile>(&bytes) {
        Ok(state) => state.port.filter(|port| *port != 0),
        Err(error) => {
            tracing::warn!("{} is damaged ({error}): a new port is drawn", path.display());
            None
        }
    }
}

/// Makes a directory, with those above it, that nobody else may look into.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl DataDir {
    /// Opens the directory, making it (mode 0700) if need be, locks it, brings it up to this
    /// program's layout and proves that it can be written.
    pub fn open(root: &Path) -> Result<Self, DiskError> {
        let io = |error| DiskError::Io { what: "the data directory", path: root.to_owned(), error };
        make_private_dir(root).map_err(io)?;
        let lock = lock::take(root).map_err(|refused| match refused {
            lock::Refused::Held(holder) => DiskError::InUse { path: root.to_owned(), holder },
            lock::Refused::Io(error) => {
                DiskError::Io { what: "the lock file", path: root.join(lock::FILE), error }
            }
        })?;
        layout::settle(root)?;
        let probe = root.join(".writable");
        write_atomic(&probe, b"", 0o600).map_err(io)?;
        fs::remove_file(&probe).map_err(io)?;
        Ok(Self { root: root.to_owned(), _lock: Arc::new(lock) })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file of the directory, whole or not at all.
    pub fn write_file(&self, name: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
        let path = self.root.join(name);
        let made = path.parent().map_or(Ok(()), make_private_dir);
        made.and_then(|()| write_atomic(&path, bytes, mode)).map_err(|error| DiskError::Io {
            what: "the file",
            path,
            error,
        })
    }

    /// Where the identity lives.
    pub fn keys_path(&self) -> PathBuf {
        self.root.join("router.keys.json")
    }

    /// Where our RouterInfo lives.
    pub fn router_info_path(&self) -> PathBuf {
        self.root.join("router.info")
    }

    /// The identity, or none if this is a new router. A damaged file is an error and stays as it is.
    pub fn load_identity(&self) -> Result<Option<Identity>, DiskError> {
        read_identity(&self.keys_path())
    }

    /// Writes a new identity, mode 0600.
    pub fn store_identity(&self, identity: &Identity) -> Result<(), DiskError> {
        let file = KeysFile {
            version: 1,
            signing_seed: base64::encode(identity.signing.seed().as_bytes()),
            encryption_key: base64::encode(identity.encryption.to_secret().as_bytes()),
            ntcp2_static_key: base64::encode(identity.ntcp2_static.to_secret().as_bytes()),
            ntcp2_iv: base64::encode(&identity.ntcp2_iv),
            identity_padding: base64::encode(&identity.padding),
        };
        let path = self.keys_path();
        let text = serde_json::to_vec_pretty(&file).unwrap_or_default();
        write_atomic(&path, &text, 0o600).map_err(|error| DiskError::Io {
            what: "the identity file",
            path,
            error,
        })
    }

    /// The port that an earlier start drew.
    pub fn load_port(&self) -> Option<u16> {
        drawn_port(&self.root)
    }

    /// Remembers the port that was drawn.
    pub fn store_port(&self, port: u16) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(&StateFile { port: Some(port) })?;
        write_atomic(&self.root.join("router.state.json"), &text, 0o600)
    }

    /// The RouterInfos of `netDb/`, unverified. Files that cannot be read are counted, not fatal.
    pub fn load_netdb(&self) -> (Vec<Vec<u8>>, usize) {
        let mut found = Vec::new();
        let unreadable = self.each_router_info(|bytes| found.push(bytes));
        (found, unreadable)
    }

    /// Gives the RouterInfos of `netDb/` one by one, unverified, in the order of their names, so that no
    /// more than one is in memory twice. Says how many files could not be read.
    pub fn each_router_info(&self, mut take: impl FnMut(Vec<u8>)) -> usize {
        let Ok(shards) = fs::read_dir(self.root.join("netDb")) else { return 0 };
        let mut shards: Vec<_> = shards.flatten().map(|dir| dir.path()).collect();
        shards.sort_unstable();
        let (mut left, mut unreadable) = (MAX_NETDB_FILES, 0);
        for shard in shards {
            let Ok(files) = fs::read_dir(&shard) else { continue };
            let mut names: Vec<_> = files.flatten().map(|file| file.file_name()).take(left).collect();
            left -= names.len();
            names.retain(|n| n.to_str().is_some_and(|n| n.starts_with("routerInfo-")));
            names.sort_unstable();
            for name in names {
                let extension = name.to_str().and_then(|n| n.rsplit_once('.')).map(|(_, end)| end);
                if extension == Some("tmp") {
                    // A kill has left it. If it stays, it does no harm.
                    let _ = fs::remove_file(shard.join(&name));
                }
                if extension != Some("dat") {
                    continue;
                }
                match read_bounded(&shard.join(name), MAX_ROUTER_INFO_FILE) {
                    Ok(bytes) => take(bytes),
                    Err(_) => unreadable += 1,
                }
            }
        }
        unreadable
    }

    /// Stores a RouterInfo in `netDb/`.
    pub fn store_router_info(&self, hash: &RouterHash, bytes: &[u8]) -> io::Result<()> {
        let path = self.netdb_file(hash);
        if let Some(shard) = path.parent() {
            fs::create_dir_all(shard)?;
        }
        // No flush to the disk: after a power cut an old or a missing entry is looked up again.
        replace(&path, bytes, 0o644, false)
    }

    /// Removes a RouterInfo from `netDb/`.
    pub fn remove_router_info(&self, hash: &RouterHash) -> io::Result<()> {
        match fs::remove_file(self.netdb_file(hash)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Stores our own RouterInfo.
    pub fn store_own_router_info(&self, bytes: &[u8]) -> io::Result<()> {
        write_atomic(&self.router_info_path(), bytes, 0o644)
    }

    /// Who stood next to us in our tunnels.
    pub fn load_guards(&self) -> Option<String> {
        let bytes = match read_bounded(&self.root.join("router.guards"), MAX_GUARDS_FILE) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            other => other.unwrap_or_default(),
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Remembers them, mode 0600: they are what someone who looks for us would like to know.
    pub fn store_guards(&self, text: &str) -> io::Result<()> {
        write_atomic(&self.root.join("router.guards"), text.as_bytes(), 0o600)
    }

    fn netdb_file(&self, hash: &RouterHash) -> PathBuf {
        let name = hash.to_base64();
        let shard: String = name.chars().take(1).collect();
        self.root.join("netDb").join(format!("r{shard}")).join(format!("routerInfo-{name}.dat"))
    }
}

/// The identity in this file, if it is there.
fn read_identity(path: &Path) -> Result<Option<Identity>, DiskError> {
    let path = path.to_owned();
    let text = match read_bounded(&path, MAX_STATE_FILE) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::Io { what: "the identity file", path, error }),
    };
    let damaged = |reason: String| DiskError::Identity { path: path.clone(), reason };
    let file: KeysFile = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if file.version != 1 {
        return Err(damaged(format!("version {} is newer than this program", file.version)));
    }
    let key = |name: &str, text: &str| {
        field::<32>(text).ok_or_else(|| damaged(format!("{name} is not 32 bytes of base64")))
    };
    Ok(Some(Identity {
        signing: ed25519::SigningKey::from_seed(Secret::new(key("signing_seed", &file.signing_seed)?)),
        encryption: x25519::PrivateKey::from_bytes(key("encryption_key", &file.encryption_key)?),
        ntcp2_static: x25519::PrivateKey::from_bytes(key("ntcp2_static_key", &file.ntcp2_static_key)?),
        ntcp2_iv: field::<16>(&file.ntcp2_iv)
            .ok_or_else(|| damaged("ntcp2_iv is not 16 bytes of base64".into()))?,
        padding: base64::decode(&file.identity_padding)
            .filter(|p| p.len() == 32 || p.len() == WHOLE_PADDING)
            .ok_or_else(|| damaged("identity_padding is not 32 or 320 bytes of base64".into()))?,
    }))
}

/// `N` bytes of I2P base64.
fn field<const N: usize>(text: &str) -> Option<[u8; N]> {
    base64::decode(text)?.try_into().ok()
}

/// Reads a file that must not be larger than `max`.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

/// Writes a file whole or not at all, on the disk when this returns.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(path, bytes, mode, true)
}

/// Writes a temporary file beside `path` and renames it.
fn replace(path: &Path, bytes: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // One that a kill has left behind may have another mode.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    match path.parent() {
        // The new name is on the disk only when its directory is.
        Some(directory) if sync => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
