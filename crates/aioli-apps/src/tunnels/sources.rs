//! The files that describe tunnels: `tunnels.toml` of ours, `tunnels.conf` and
//! `tunnels.d/` of i2pd; and whether they have changed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::config::TunnelConfig;
use super::table::Origin;
use super::{files, i2pd};

/// Files of a directory that are looked at, at most.
const MAX_FILES: usize = 256;

/// What tells one version of the files from another.
type Stamps = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Where descriptions are.
#[derive(Debug)]
pub(super) struct Files {
    data_dir: Option<PathBuf>,
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
    pub(super) const fn new(data_dir: Option<PathBuf>, i2pd: Option<(PathBuf, PathBuf)>) -> Self {
        Self { data_dir, i2pd, known: Mutex::new(Vec::new()) }
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Found {
        self.know();
        let mut found = Found::default();
        if let Some(dir) = &self.data_dir {
            let described = files::read(&files::path(dir));
            found.tunnels.extend(described.tunnels.into_iter().map(|config| (config, Origin::File)));
            found.problems.extend(described.problems);
        }
        for path in self.of_i2pd() {
            let described = i2pd::read(&path);
            let tunnels = described.tunnels.into_iter();
            found.tunnels.extend(tunnels.map(|config| (config, Origin::I2pd(path.clone()))));
            found.problems.extend(described.problems);
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
        let ours = self.data_dir.iter().map(|dir| files::path(dir));
        let stamp =
            |path: &Path| std::fs::metadata(path).and_then(|meta| Ok((meta.modified()?, meta.len()))).ok();
        ours.chain(self.of_i2pd()).map(|path| (path.clone(), stamp(&path))).collect()
    }

    /// i2pd's files, in the order of their names.
    fn of_i2pd(&self) -> Vec<PathBuf> {
        let Some((conf, dir)) = &self.i2pd else { return Vec::new() };
        let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        let is_conf = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "conf");
        let mut more: Vec<_> = entries.map(|entry| entry.path()).filter(is_conf).take(MAX_FILES).collect();
        more.sort();
        std::iter::once(conf.clone()).filter(|path| path.exists()).chain(more).collect()
    }
}
