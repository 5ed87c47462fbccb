//! The other router's directory: which kind it is, and bounded reading from it.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::ImportError;

/// Entries of one directory that are looked at.
const MAX_ENTRIES: usize = 50_000;
/// Java I2P touches `router.ping` every minute.
const PING: Duration = Duration::from_secs(3 * 60);

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// i2pd.
    I2pd,
    /// Java I2P, or I2P+.
    Java,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I2pd => "i2pd",
            Self::Java => "Java I2P",
        })
    }
}

/// An open directory.
pub(super) struct Source {
    root: PathBuf,
    kind: Kind,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let root =
            fs::canonicalize(path).map_err(|error| ImportError::Read { path: path.to_owned(), error })?;
        fs::read_dir(&root).map_err(|error| ImportError::Read { path: path.to_owned(), error })?;
        let has = |names: &[&str]| names.iter().any(|n| root.join(n).exists());
        let java =
            ["router.keys.dat", "router.config", "i2ptunnel.config", "i2ptunnel.config.d", "clients.config"];
        let i2pd = ["ntcp2.keys", "ssu2.keys", "tunnels.conf", "tunnels.d", "i2pd.conf", "router.keys"];
        let kind = if has(&java) {
            Kind::Java
        } else if has(&i2pd) {
            Kind::I2pd
        } else {
            return Err(ImportError::Unknown(path.to_owned()));
        };
        Ok(Self { root, kind })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    /// A sign that the router runs, if there is one.
    pub(super) fn running(&self) -> Option<String> {
        match self.kind {
            Kind::I2pd => {
                let text = String::from_utf8(self.read("i2pd.pid", 64).ok()?.to_vec()).ok()?;
                let pid: u32 = text.trim().parse().ok()?;
                Path::new(&format!("/proc/{pid}")).exists().then(|| format!("process {pid}"))
            }
            Kind::Java => {
                let touched = fs::metadata(self.root.join("router.ping")).ok()?.modified().ok()?;
                touched.elapsed().is_ok_and(|age| age < PING).then(|| "router.ping is fresh".to_owned())
            }
        }
    }

    /// The bytes of a regular file of at most `max` bytes inside the directory.
    ///
    /// # Errors
    /// `NotFound`; or if it is larger, no regular file, or leads out of the directory.
    pub(super) fn read(&self, name: impl AsRef<Path>, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = fs::canonicalize(self.root.join(name))?;
        if !path.starts_with(&self.root) {
            return Err(wrong(format!("it leads out of the directory, to {}", path.display())));
        }
        read(&path, max)
    }

    /// The same for a settings file, which a package may keep in `/etc` behind a link.
    pub(super) fn read_settings(&self, name: impl AsRef<Path>, max: u64) -> io::Result<String> {
        let bytes = read(&fs::canonicalize(self.root.join(name))?, max)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| wrong("it is no UTF-8 text".to_owned()))
    }

    /// The names in a directory that end so, in order, as paths for [`Self::read`].
    pub(super) fn list(&self, dir: impl AsRef<Path>, ending: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.root.join(&dir)) else { return Vec::new() };
        let names = entries.take(MAX_ENTRIES).filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut found: Vec<_> = names.filter(|n| n.ends_with(ending)).map(|n| dir.as_ref().join(n)).collect();
        found.sort();
        found
    }

    /// Whether the directory has it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }
}

fn read(path: &Path, max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Looked at before it is opened: opening a pipe would wait.
    if !fs::metadata(path)?.is_file() {
        return Err(wrong("it is no regular file".to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(wrong(format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Whether an error only says that there is no such file.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
