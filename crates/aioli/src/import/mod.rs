//! `aioli import`: moving in from i2pd or Java I2P.
//!
//! Everything is read and checked before anything is written. What is written
//! is whole files, each renamed into place, the identity last: an import that
//! is cut off is repeated, and never half a router.

mod addresses;
mod destinations;
mod identity;
mod properties;
mod routers;
mod source;
mod tunnels;

use std::fmt;
use std::path::PathBuf;

use aioli_node::{DataDir, DiskError};
use thiserror::Error;

pub use self::source::Kind;
use self::source::Source;

/// What to import.
#[derive(Clone, Debug)]
pub struct Options {
    /// The other router's directory.
    pub from: PathBuf,
    /// Ours.
    pub data_dir: PathBuf,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The parts wanted; none means all.
    pub parts: Vec<Part>,
}

/// A part of a router's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The router's own keys.
    Identity,
    /// Keys of destinations.
    Destinations,
    /// Other routers.
    NetDb,
    /// Names.
    Addresses,
    /// Client and server tunnels.
    Tunnels,
}

/// Why nothing was imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// There is nothing to read.
    #[error("cannot read {path}: {error}. Give the data directory of the other router with --from")]
    Read {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It belongs to no router that we know.
    #[error(
        "{0} is no directory of i2pd or Java I2P: it has none of router.keys, router.keys.dat, ntcp2.keys, \
         tunnels.conf, router.config, i2ptunnel.config. They are often /var/lib/i2pd or ~/.i2pd, \
         /var/lib/i2p/i2p-config or ~/.i2p"
    )]
    Unknown(PathBuf),
    /// Source and target are one.
    #[error("{0} is the directory to import into: give the other router's with --from")]
    Same(PathBuf),
    /// Our directory cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// This was taken, or would be.
    Took(String),
    /// This was not, and why.
    Left(String),
    /// This the user should know.
    Note(String),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match self {
            Self::Took(text) => ("took", text),
            Self::Left(text) => ("left", text),
            Self::Note(text) => ("note", text),
        };
        // Names in there are of other programs' files: nothing in them may steer a terminal.
        let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        write!(f, "{word}  {text}")
    }
}

/// All lines so far.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Line>);

impl Report {
    fn took(&mut self, text: impl Into<String>) {
        self.0.push(Line::Took(text.into()));
    }

    fn left(&mut self, text: impl Into<String>) {
        self.0.push(Line::Left(text.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.0.push(Line::Note(text.into()));
    }
}

/// A file to be written into our directory.
pub(crate) struct NewFile {
    name: PathBuf,
    bytes: zeroize::Zeroizing<Vec<u8>>,
    mode: u32,
}

impl NewFile {
    fn new(name: impl Into<PathBuf>, bytes: Vec<u8>, mode: u32) -> Self {
        Self { name: name.into(), bytes: bytes.into(), mode }
    }
}

/// Imports, and says what it took and what it left.
///
/// # Errors
/// If the other directory cannot be read or recognised, or ours cannot be written.
pub fn run(options: &Options) -> Result<Vec<Line>, ImportError> {
    let source = Source::open(&options.from)?;
    if std::fs::canonicalize(&options.data_dir).is_ok_and(|ours| ours == source.root()) {
        return Err(ImportError::Same(options.data_dir.clone()));
    }
    let mut report = Report::default();
    report.note(format!("{} is a directory of {}", options.from.display(), source.kind()));
    if let Some(sign) = source.running() {
        report.note(format!(
            "{} seems to be running ({sign}): stop it for good before this router starts",
            source.kind()
        ));
    }
    // Opened first: the lock, the version and the rights are checked before anything else.
    let target = if options.dry_run { None } else { Some(DataDir::open(&options.data_dir)?) };
    let wants = |part| options.parts.is_empty() || options.parts.contains(&part);
    let ours = options.data_dir.as_path();
    let mut files = Vec::new();
    if wants(Part::NetDb) {
        routers::collect(&source, &mut files, &mut report);
    }
    let mut keys = destinations::Keys::default();
    if wants(Part::Destinations) {
        keys = destinations::collect(&source, ours, &mut files, &mut report);
    }
    if wants(Part::Addresses) {
        addresses::collect(&source, ours, &mut files, &mut report);
    }
    if wants(Part::Tunnels) {
        tunnels::collect(&source, ours, &keys, &mut files, &mut report);
    }
    let identity = wants(Part::Identity)
        .then(|| identity::collect(&source, ours, target.as_ref(), &mut report))
        .flatten();
    if let Some(target) = &target {
        for file in &files {
            target.write_file(&file.name, &file.bytes, file.mode)?;
        }
        if let Some(identity) = &identity {
            target.store_identity(identity)?;
        }
    } else {
        report.note("nothing was changed: this was a dry run");
    }
    Ok(report.0)
}
