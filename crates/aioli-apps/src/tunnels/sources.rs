//! The files that describe tunnels: `tunnels.toml` of ours, `tunnels.conf` and
//! `tunnels.d/` of i2pd; and whether they have changed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::config::TunnelConfig;
use super::files::TunnelsFile;
use super::i2pd;
use super::table::Origin;

/// What tells one version of the files from another.
type Stamps = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Where descriptions are.
#[derive(Debug)]
pub(super) struct Files {
    ours: Option<TunnelsFile>,
    i2pd: Option<(PathBuf, PathBuf)>,
    known: Mutex<Stamps>,
}

/// What they say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tunnels: Vec<(TunnelConfig, Origin)>,
    pub(super) problems: Vec<String>,
}

impl Files {
    pub(super) const fn new(ours: Option<TunnelsFile>, i2pd: Option<(PathBuf, PathBuf)>) -> Self {
        Self { ours, i2pd, known: Mutex::new(Vec::new()) }
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Found {
        self.know();
        let mut found = Found::default();
        if let Some(file) = &self.ours {
            let described = file.read();
            found.tunnels.extend(described.tunnels.into_iter().map(|config| (config, Origin::File)));
            found.problems.extend(described.problems);
            found.problems.extend(described.warnings);
        }
        for path in self.of_i2pd() {
            let described = i2pd::read(&path);
            let tunnels = described.tunnels.into_iter();
            found.tunnels.extend(tunnels.map(|config| (config, Origin::I2pd(path.clone()))));
            found.problems.extend(described.problems);
            found.problems.extend(described.warnings);
        }
        found
    }

    /// Takes the files as they are now for known.
    pub(super) fn know(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = self.stamps();
    }

    /// Whether they are others than those that were read.
    pub(super) fn have_changed(&self) -> bool {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) != self.stamps()
    }

    fn stamps(&self) -> Stamps {
        let ours = self.ours.iter().map(|file| file.path().to_owned());
        let stamp =
            |path: &Path| std::fs::metadata(path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        ours.chain(self.of_i2pd()).map(|path| (path.clone(), stamp(&path))).collect()
    }

    /// i2pd's files, in the order of their names.
    fn of_i2pd(&self) -> Vec<PathBuf> {
        self.i2pd.as_ref().map(|(conf, dir)| i2pd::paths(conf, dir)).unwrap_or_default()
    }
}
