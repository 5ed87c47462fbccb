//! A bundle of RouterInfos: a signed SU3 file, a zip archive or a directory
//! becomes verified RouterInfos. Everything has a bound before it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read};
use std::path::Path;

use aioli_core::{Date, Duration};
use aioli_wire::su3::{CONTENT_RESEED, FILE_ZIP, RSA_SHA512_4096, Su3};
use aioli_wire::{RouterHash, RouterInfo};
use thiserror::Error;

use super::trust::Trust;

/// No bundle from a server is larger: what Java I2P takes.
pub(super) const MAX_BUNDLE: u64 = 1 << 20;
/// No local file is larger.
const MAX_LOCAL: u64 = 64 << 20;
/// Entries of an archive.
const MAX_ENTRIES: usize = 10_000;
/// A RouterInfo as a file.
const MAX_ENTRY: u64 = 16 << 10;
/// Of all entries together.
const MAX_INFLATED: u64 = 32 << 20;
/// Older bundles from servers are refused: most of their routers are gone.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bundles are dated by clocks that may be ahead of ours.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Why a bundle cannot be used.
#[derive(Debug, Error)]
pub enum BundleError {
    /// It is not SU3.
    #[error("it is no SU3 file ({0})")]
    Su3(#[from] aioli_wire::DecodeError),
    /// It is signed otherwise, or is something else.
    #[error(
        "it is no reseed bundle signed with RSA-4096 (signature type {0}, file type {1}, content type {2})"
    )]
    Kind(u16, u8, u8),
    /// Nobody that we know signed it.
    #[error("its signer \"{0}\" is not known")]
    UnknownSigner(String),
    /// The signer's certificate is not valid today.
    #[error("the key of its signer \"{0}\" is not valid today; is the clock of this computer right?")]
    NotValid(String),
    /// The signature is wrong.
    #[error("its signature is not that of \"{0}\": it was altered, or somebody else made it")]
    Signature(String),
    /// It is too old, or dated ahead.
    #[error("it is dated {0}; is the clock of this computer right?")]
    Date(String),
    /// It is no archive.
    #[error("its archive cannot be read ({0})")]
    Zip(#[from] zip::result::ZipError),
    /// It has more or larger entries than any bundle has.
    #[error("its archive has {0}: refused")]
    TooLarge(&'static str),
    /// It cannot be read.
    #[error("it cannot be read ({0})")]
    Io(#[from] std::io::Error),
    /// It has no RouterInfo that could be used.
    #[error("none of its {entries} entries is a RouterInfo that can be used{}", in_parentheses(.skipped))]
    Empty {
        /// How many it has.
        entries: usize,
        /// What they are.
        skipped: Skipped,
    },
}

fn in_parentheses(skipped: &Skipped) -> String {
    if skipped.count() == 0 { String::new() } else { format!(" ({skipped})") }
}

/// Entries of a bundle that are not used, by what is wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// RouterInfos that cannot be read, or whose signature is wrong.
    pub damaged: usize,
    /// RouterInfos of another router than the name says.
    pub misnamed: usize,
    /// RouterInfos of another network.
    pub foreign: usize,
    /// Something else.
    pub other: usize,
}

impl Skipped {
    /// All of them.
    pub const fn count(&self) -> usize {
        self.damaged + self.misnamed + self.foreign + self.other
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.damaged, "damaged"),
            (self.misnamed, "under a wrong name"),
            (self.foreign, "of another network"),
            (self.other, "no RouterInfos"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Of whom a bundle may be, and what its entries must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checks<'a> {
    pub(super) trust: &'a Trust,
    pub(super) net_id: u8,
    pub(super) now: Date,
}

/// What a bundle held.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// Verified RouterInfos by hash, as they came.
    pub routers: BTreeMap<RouterHash, Vec<u8>>,
    /// Entries that are not used.
    pub skipped: Skipped,
}

/// Opens a signed bundle. `check_age`: it comes from a server and must be recent.
pub(super) fn open_su3(bytes: &[u8], checks: Checks<'_>, check_age: bool) -> Result<Bundle, BundleError> {
    let Checks { trust, now, .. } = checks;
    let su3 = Su3::decode(bytes)?;
    if (su3.signature_type, su3.file_type, su3.content_type) != (RSA_SHA512_4096, FILE_ZIP, CONTENT_RESEED) {
        return Err(BundleError::Kind(su3.signature_type, su3.file_type, su3.content_type));
    }
    let name = || su3.signer.escape_default().to_string();
    let signer = trust.signers.get(su3.signer).ok_or_else(|| BundleError::UnknownSigner(name()))?;
    if !signer.valid.include(now) {
        return Err(BundleError::NotValid(name()));
    }
    signer.key.verify(su3.signed, su3.signature).map_err(|_| BundleError::Signature(name()))?;
    if check_age {
        let date = su3.date().map(Date::from_secs);
        let recent = date.is_some_and(|date| now.since(date) <= MAX_AGE && date.since(now) <= MAX_AHEAD);
        if !recent {
            let day = date.map(|d| String::from_utf8_lossy(&d.utc_day()).into_owned());
            return Err(BundleError::Date(day.unwrap_or_else(|| su3.version.escape_default().to_string())));
        }
    }
    open_zip(su3.content, checks.net_id)
}

/// Opens an archive; whoever gives it vouches for it.
pub(super) fn open_zip(bytes: &[u8], net_id: u8) -> Result<Bundle, BundleError> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))?;
    if archive.len() > MAX_ENTRIES {
        return Err(BundleError::TooLarge("too many entries"));
    }
    let mut bundle = Bundle::default();
    let mut inflated = 0;
    for i in 0..archive.len() {
        let entry = archive.by_index(i)?;
        let Some(hash) = entry_hash(entry.name()) else {
            bundle.skipped.other += 1;
            continue;
        };
        let mut bytes = Vec::new();
        // What the archive says of its size may be a lie: what is read counts.
        let read = entry.take(MAX_ENTRY + 1).read_to_end(&mut bytes);
        inflated += bytes.len() as u64;
        if bytes.len() as u64 > MAX_ENTRY || inflated > MAX_INFLATED {
            return Err(BundleError::TooLarge("entries larger than any RouterInfo"));
        }
        match read {
            Ok(_) => bundle.add(Some(hash), bytes, net_id),
            Err(_) => bundle.skipped.damaged += 1,
        }
    }
    bundle.or_empty(archive.len())
}

/// What a user gives: a bundle, an archive, or a directory of RouterInfos such as another router's `netDb`.
pub(super) fn open_path(path: &Path, checks: Checks<'_>) -> Result<Bundle, BundleError> {
    if path.is_dir() {
        return open_directory(path, checks.net_id);
    }
    let bytes = crate::disk::read_bounded(path, MAX_LOCAL)?;
    if bytes.starts_with(b"I2Psu3") {
        open_su3(&bytes, checks, false)
    } else {
        open_zip(&bytes, checks.net_id)
    }
}

fn open_directory(path: &Path, net_id: u8) -> Result<Bundle, BundleError> {
    let mut bundle = Bundle::default();
    let mut directories = vec![(path.to_owned(), 0)];
    let mut seen = 0;
    while let Some((directory, depth)) = directories.pop() {
        for entry in std::fs::read_dir(directory)?.flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(BundleError::TooLarge("too many entries"));
            }
            let is_info = entry.file_name().to_str().and_then(entry_hash);
            if entry.file_type()?.is_dir() {
                // A netDb has its files one level below.
                if depth == 0 {
                    directories.push((entry.path(), 1));
                }
            } else if is_info.is_some() || entry.path().extension().is_some_and(|e| e == "dat" || e == "info")
            {
                match crate::disk::read_bounded(&entry.path(), MAX_ENTRY) {
                    Ok(bytes) => bundle.add(is_info, bytes, net_id),
                    Err(_) => bundle.skipped.damaged += 1,
                }
            }
        }
    }
    bundle.or_empty(seen)
}

/// The hash in `routerInfo-<44 characters>.dat`, at the top of an archive.
fn entry_hash(name: &str) -> Option<RouterHash> {
    RouterHash::from_base64(name.strip_prefix("routerInfo-")?.strip_suffix(".dat")?)
}

impl Bundle {
    /// Takes a RouterInfo if it is whole, signed, that which its name says, and of this network.
    fn add(&mut self, named: Option<RouterHash>, bytes: Vec<u8>, net_id: u8) {
        let Some(info) = RouterInfo::decode_unverified(&bytes).ok().and_then(|info| info.verify().ok())
        else {
            self.skipped.damaged += 1;
            return;
        };
        let hash = info.hash();
        if named.is_some_and(|named| named != hash) {
            self.skipped.misnamed += 1;
        } else if info.net_id() != Some(net_id) {
            self.skipped.foreign += 1;
        } else {
            self.routers.insert(hash, bytes);
        }
    }

    fn or_empty(self, entries: usize) -> Result<Self, BundleError> {
        let skipped = self.skipped;
        if self.routers.is_empty() { Err(BundleError::Empty { entries, skipped }) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests;
