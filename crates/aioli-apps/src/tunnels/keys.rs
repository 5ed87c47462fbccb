//! The keys of tunnels' destinations: private-key files in `destinations/` of the
//! data directory, mode 0600, made when they are missing.

use std::io;
use std::path::{Path, PathBuf};

use aioli_core::Rng;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_node::{entropy, make_private_dir, read_bounded, write_atomic};
use aioli_wire::Wire;
use aioli_wire::keyfile::DestinationKeys;
use thiserror::Error;
use zeroize::Zeroizing;

/// No key file is larger, with RSA keys and offline signatures.
const MAX_KEYS: u64 = 16 * 1024;

/// Why a tunnel has no keys.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error("cannot use the key file {}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{} holds no private keys of a destination", .0.display())]
    Damaged(PathBuf),
    #[error("the keys in {} are not Ed25519, which alone signs here: name another file", .0.display())]
    Type(PathBuf),
}

/// Where a key file is: where it was named, beside the data of another router, or in `destinations/`.
pub(super) fn locate(data_dir: &Path, name: &str, beside: Option<&Path>) -> PathBuf {
    let bare = name.strip_prefix("destinations/").unwrap_or(name);
    let usual = data_dir.join("destinations").join(bare);
    let others = [beside.map(|dir| dir.join(name)), Some(data_dir.join(bare))];
    if usual.exists() {
        return usual;
    }
    others.into_iter().flatten().find(|path| path.is_file()).unwrap_or(usual)
}

/// The keys of a file; new ones if there is no file.
pub(super) fn load_or_make(path: &Path) -> Result<DestinationKeys, KeyError> {
    let failed = |error| KeyError::File { path: path.to_owned(), error };
    match read_bounded(path, MAX_KEYS).map(Zeroizing::new) {
        Ok(bytes) => {
            let keys = DestinationKeys::from_bytes(&bytes).map_err(|_| KeyError::Damaged(path.to_owned()))?;
            if keys.signing_key().is_some() { Ok(keys) } else { Err(KeyError::Type(path.to_owned())) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut rng = Rng::from_seed(entropy());
            let keys = DestinationKeys::create(&SigningKey::generate(&mut rng), &rng.bytes());
            if let Some(dir) = path.parent() {
                make_private_dir(dir).map_err(failed)?;
            }
            write_atomic(path, &Zeroizing::new(keys.to_bytes()), 0o600).map_err(failed)?;
            tracing::info!("a new destination, kept in {}: keep a copy", path.display());
            Ok(keys)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept_to_oneself() {
        let dir = tempfile::tempdir().unwrap();
        let path = locate(dir.path(), "site.dat", None);
        let made = load_or_make(&path).unwrap();
        assert_eq!(load_or_make(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"nonsense").unwrap();
        assert!(matches!(load_or_make(&path), Err(KeyError::Damaged(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"nonsense", "what is damaged is left as it is");
    }

    #[test]
    fn key_files_of_another_router_are_found() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(other.path().join("site.dat"), b"x").unwrap();
        assert_eq!(locate(dir.path(), "site.dat", Some(other.path())), other.path().join("site.dat"));
        let ours = dir.path().join("destinations/site.dat");
        std::fs::create_dir(dir.path().join("destinations")).unwrap();
        std::fs::write(&ours, b"x").unwrap();
        assert_eq!(locate(dir.path(), "site.dat", Some(other.path())), ours);
    }
}
