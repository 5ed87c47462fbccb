//! The files that describe tunnels: `tunnels.toml` of ours, `tunnels.conf` and
//! `tunnels.d/` of i2pd; and whether they have changed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::config::TunnelConfig;
use super::files::{Described, TunnelsFile};
use super::i2pd;
use super::table::Origin;
use crate::address_book::{Stamp, stamp};

/// What tells one version of the files from another.
type Stamps = Vec<(PathBuf, Stamp)>;

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
    /// Files that cannot be read now: what they said before stands.
    pub(super) unreadable: Vec<Origin>,
}

impl Files {
    pub(super) const fn new(ours: Option<TunnelsFile>, i2pd: Option<(PathBuf, PathBuf)>) -> Self {
        Self { ours, i2pd, known: Mutex::new(Vec::new()) }
    }

    /// Reads all of them.
    pub(super) fn read(&self) -> Found {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = self.stamps();
        let mut found = Found::default();
        let ours = self.ours.iter().map(|file| (Origin::File, file.read()));
        let of_i2pd = self.of_i2pd().into_iter().map(|path| {
            let described = i2pd::read(&path);
            (Origin::I2pd(path), described)
        });
        for (origin, described) in ours.chain(of_i2pd) {
            let Described { tunnels, problems, warnings, unreadable } = described;
            found.tunnels.extend(tunnels.into_iter().map(|config| (config, origin.clone())));
            found.problems.extend(problems.into_iter().chain(warnings));
            found.unreadable.extend(unreadable.then_some(origin));
        }
        found
    }

    /// Whether they are others than those that were read.
    pub(super) fn have_changed(&self) -> bool {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) != self.stamps()
    }

    fn stamps(&self) -> Stamps {
        let ours = self.ours.iter().map(|file| file.path().to_owned());
        ours.chain(self.of_i2pd()).map(|path| (path.clone(), stamp(&path))).collect()
    }

    /// i2pd's files, in the order of their names.
    fn of_i2pd(&self) -> Vec<PathBuf> {
        self.i2pd.as_ref().map(|(conf, dir)| i2pd::paths(conf, dir)).unwrap_or_default()
    }
}
