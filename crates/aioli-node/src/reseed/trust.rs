//! Whom to ask and whose signature counts: `data/reseed.toml`, or a file of the same form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aioli_core::Date;
use aioli_core::crypto::rsa::{RSA_4096_LEN, Rsa4096};
use data_encoding::{BASE64, HEXLOWER};
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use thiserror::Error;

use super::fetch::Patience;

/// The servers and signers of the public network.
const PUBLIC: &str = include_str!("../../data/reseed.toml");
/// A file of trust is not larger.
const MAX_FILE: u64 = 1 << 20;
/// Seconds that a file may let a server take at most.
const MAX_TIMEOUT: u64 = 600;

/// The file cannot be used.
#[derive(Debug, Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("cannot read the reseed configuration {path}: {error}")]
    Read {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("the reseed configuration {path} is wrong: {reason}")]
    Wrong {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whom to ask and whose signature counts.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Addresses below which `i2pseeds.su3` lies.
    pub servers: Vec<Url>,
    /// How long each may take.
    pub patience: Patience,
    pub(super) signers: BTreeMap<String, Signer>,
    pub(super) pinned: Vec<Pinned>,
    /// Certificates that may vouch for servers besides those of the web's public-key infrastructure.
    pub(super) authorities: Vec<CertificateDer<'static>>,
}

/// One who signs bundles of RouterInfos.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    pub(super) key: Rsa4096,
    pub(super) valid: Days,
}

/// A server's own certificate, known by its hash.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    pub(super) host: String,
    pub(super) sha256: [u8; 32],
    pub(super) valid: Days,
}

/// From the first to the last day, both as `yyyymmdd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    first: [u8; 8],
    last: [u8; 8],
}

impl Days {
    /// Whether the day of `date` is one of them.
    pub(super) fn include(&self, date: Date) -> bool {
        (self.first..=self.last).contains(&date.utc_day())
    }

    fn parse(first: &str, last: &str) -> Result<Self, String> {
        let days = Self { first: day(first)?, last: day(last)? };
        if days.first > days.last { Err(format!("{first} is after {last}")) } else { Ok(days) }
    }
}

fn day(text: &str) -> Result<[u8; 8], String> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
    match <[u8; 8]>::try_from(digits) {
        Ok(digits) if text.len() == 10 => Ok(digits),
        Ok(_) | Err(_) => Err(format!("\"{text}\" is no date: write it as 2031-01-23")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    servers: Vec<String>,
    timeout: Option<u64>,
    #[serde(default)]
    signer: Vec<SignerEntry>,
    #[serde(default)]
    pinned: Vec<PinnedEntry>,
    #[serde(default)]
    authority: Vec<AuthorityEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerEntry {
    id: String,
    not_before: String,
    not_after: String,
    modulus: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinnedEntry {
    host: String,
    not_before: String,
    not_after: String,
    sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityEntry {
    certificate: String,
}

impl Trust {
    /// That of the public network.
    pub fn public() -> Self {
        Self::parse(PUBLIC).expect("a test parses the file that is part of the program")
    }

    /// That which a file tells.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let text = crate::disk::read_bounded(path, MAX_FILE)
            .and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other))
            .map_err(|error| TrustError::Read { path: path.to_owned(), error })?;
        Self::parse(&text).map_err(|reason| TrustError::Wrong { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let servers = file.servers.iter().map(|url| server(url)).collect::<Result<_, _>>()?;
        let signers = file.signer.into_iter().map(SignerEntry::check).collect::<Result<_, _>>()?;
        let pinned = file.pinned.into_iter().map(PinnedEntry::check).collect::<Result<_, _>>()?;
        let authority = |entry: AuthorityEntry| {
            CertificateDer::from_pem_slice(entry.certificate.as_bytes())
                .map_err(|e| format!("an authority's certificate: {e}"))
        };
        let authorities = file.authority.into_iter().map(authority).collect::<Result<_, _>>()?;
        let patience = file.timeout.map_or_else(|| Ok(Patience::default()), patience)?;
        Ok(Self { servers, patience, signers, pinned, authorities })
    }
}

/// How long a file lets servers take, in seconds.
fn patience(seconds: u64) -> Result<Patience, String> {
    let usual = Patience::default();
    match seconds {
        1..=MAX_TIMEOUT => {
            let whole = Duration::from_secs(seconds);
            Ok(Patience { connect: usual.connect.min(whole), whole })
        }
        _ => Err(format!("timeout = {seconds}: give 1 to {MAX_TIMEOUT} seconds")),
    }
}

fn server(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.path().ends_with('/') => Ok(url),
        Ok(_) => Err(format!("server \"{text}\": it must begin with https:// and end with /")),
        Err(e) => Err(format!("server \"{text}\": {e}")),
    }
}

impl SignerEntry {
    fn check(self) -> Result<(String, Signer), String> {
        let wrong = |reason: String| format!("signer \"{}\": {reason}", self.id);
        let base64: String = self.modulus.split_whitespace().collect();
        let modulus = BASE64.decode(base64.as_bytes()).map_err(|e| wrong(format!("modulus: {e}")))?;
        let modulus = <[u8; RSA_4096_LEN]>::try_from(modulus)
            .map_err(|m| wrong(format!("the modulus has {} bytes instead of {RSA_4096_LEN}", m.len())))?;
        let key = Rsa4096::from_modulus(&modulus)
            .map_err(|_| wrong("this is no modulus of 4,096 bits".to_owned()))?;
        let valid = Days::parse(&self.not_before, &self.not_after).map_err(wrong)?;
        Ok((self.id, Signer { key, valid }))
    }
}

impl PinnedEntry {
    fn check(self) -> Result<Pinned, String> {
        let wrong = |reason: String| format!("pinned \"{}\": {reason}", self.host);
        let hash = HEXLOWER.decode(self.sha256.as_bytes()).map_err(|e| wrong(format!("sha256: {e}")))?;
        let sha256 = hash.try_into().map_err(|_| wrong("sha256 has not 32 bytes".to_owned()))?;
        let valid = Days::parse(&self.not_before, &self.not_after).map_err(wrong)?;
        Ok(Pinned { host: self.host, sha256, valid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_public_network_is_complete() {
        let trust = Trust::public();
        assert!(trust.servers.len() >= 15, "{}", trust.servers.len());
        assert!(trust.signers.len() >= 16, "{}", trust.signers.len());
        assert_eq!(trust.pinned.len(), 1);
        let now = Date::from_secs(1_795_000_000);
        assert!(trust.signers.values().filter(|s| s.valid.include(now)).count() >= 14);
        assert!(!trust.signers["hottuna@mail.i2p"].valid.include(now), "it ended on 2026-11-09");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let signer = |change: &str| {
            let modulus = BASE64.encode(&[0xc1; 512]);
            format!("servers = []\n[[signer]]\nid = \"a@b\"\nnot_before = \"2020-01-01\"\nnot_after = \"2030-01-01\"\nmodulus = \"{modulus}\"\n")
                .replace("2030-01-01", change)
        };
        assert!(Trust::parse(&signer("2030-01-01")).is_ok());
        for (text, expected) in [
            (signer("soon"), "signer \"a@b\": \"soon\" is no date"),
            (signer("2019-01-01"), "2020-01-01 is after 2019-01-01"),
            (signer("2030-01-01").replace("wcHB", "!cHB"), "signer \"a@b\": modulus"),
            (signer("2030-01-01").replacen("wcHB", "", 1), "the modulus has 509 bytes"),
            ("servers = [\"http://a/\"]".to_owned(), "must begin with https://"),
            ("servers = [\"https://a/b\"]".to_owned(), "end with /"),
            ("servers = []\ntimeout = 0".to_owned(), "timeout = 0: give 1 to 600 seconds"),
            ("server = []".to_owned(), "unknown field `server`"),
            ("servers = []\n[[authority]]\ncertificate = \"x\"".to_owned(), "an authority's certificate"),
        ] {
            let error = Trust::parse(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
