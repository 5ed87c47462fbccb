//! The password of the console: how it is kept (scrypt, RFC 7914), checked and guessed at.
//!
//! The file holds `scrypt LOG2N R P SALT KEY`, the last two in base64, and never the password.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aioli_core::crypto::Secret;
use aioli_core::crypto::hash::hmac_sha256;
use aioli_node::{entropy, read_bounded, write_atomic};
use aioli_wire::base64;
use thiserror::Error;

/// The file of a data directory.
pub const FILE: &str = "console.password";
/// Characters of a password at least.
pub const LEAST: usize = 8;
/// Bytes of one at most.
const MOST: usize = 256;
/// 2 to this many, block size, parallelism: 32 MB and about a tenth of a second for each attempt.
const COST: (u8, u32, u32) = (15, 8, 1);
/// Dearer files are not ours.
const MOST_LOG2: u8 = 18;

/// A host may be wrong so often at once, and then once in this time.
const TRIES: u32 = 5;
const TRY_EVERY: Duration = Duration::from_secs(10);
/// The same for all hosts together.
const TRIES_OF_ALL: u32 = 30;
const TRY_OF_ALL_EVERY: Duration = Duration::from_secs(2);
/// Hosts remembered.
const MOST_HOSTS: usize = 256;

/// Why a password cannot be used.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// It is too easy to guess.
    #[error("the password must have {LEAST} characters at least and {MOST} bytes at most")]
    Length,
    /// The file cannot be used.
    #[error("cannot use the password file {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("the password file {} is damaged: set a password anew with `aioli console-password`", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

/// What a password is checked against.
#[derive(Debug)]
pub struct Password {
    cost: (u8, u32, u32),
    salt: [u8; 16],
    key: Secret<32>,
    /// The password that was right last, hashed with a key of this process: scrypt is not for every request.
    fast_key: [u8; 32],
    right: Mutex<Option<Secret<32>>>,
}

fn derive(password: &[u8], salt: &[u8], (log2, r, p): (u8, u32, u32)) -> Option<Secret<32>> {
    let params = scrypt::Params::new(log2, r, p).ok()?;
    let mut key = Secret::new([0; 32]);
    scrypt::scrypt(password, salt, &params, key.as_mut_bytes()).ok()?;
    Some(key)
}

impl Password {
    /// Keeps a password in a data directory.
    pub fn store(dir: &Path, password: &str) -> Result<(), PasswordError> {
        if password.chars().count() < LEAST || password.len() > MOST {
            return Err(PasswordError::Length);
        }
        let salt: [u8; 32] = entropy();
        let salt = salt.first_chunk::<16>().copied().unwrap_or_default();
        let path = dir.join(FILE);
        let key = derive(password.as_bytes(), &salt, COST).ok_or(PasswordError::Length)?;
        let (log2, r, p) = COST;
        let line =
            format!("scrypt {log2} {r} {p} {} {}\n", base64::encode(&salt), base64::encode(key.as_bytes()));
        write_atomic(&path, line.as_bytes(), 0o600).map_err(|error| PasswordError::File { path, error })
    }

    /// The password of a data directory, if there is one.
    pub fn load(dir: &Path) -> Result<Option<Self>, PasswordError> {
        let path = dir.join(FILE);
        let text = match read_bounded(&path, 4_096) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| PasswordError::File { path: path.clone(), error })?,
        };
        let text = String::from_utf8_lossy(&text);
        Self::parse(&text).map(Some).ok_or(PasswordError::Damaged { path })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        if words.next() != Some("scrypt") {
            return None;
        }
        let cost = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let salt = base64::decode(words.next()?)?.try_into().ok()?;
        let key = Secret::new(base64::decode(words.next()?)?.try_into().ok()?);
        let (log2, r, p) = cost;
        let affordable = (10..=MOST_LOG2).contains(&log2) && r <= 8 && p <= 2;
        (affordable && words.next().is_none()).then(|| Self {
            cost,
            salt,
            key,
            fast_key: entropy(),
            right: Mutex::new(None),
        })
    }

    /// Whether this is the password that was right last: cheap.
    pub(crate) fn is_known(&self, password: &[u8]) -> bool {
        let hashed = Secret::new(hmac_sha256(&self.fast_key, &[password]));
        self.right.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&hashed)
    }

    /// Whether this is the password: takes a tenth of a second.
    pub(crate) fn is(&self, password: &[u8]) -> bool {
        let right =
            password.len() <= MOST && derive(password, &self.salt, self.cost).as_ref() == Some(&self.key);
        if right {
            let hashed = Secret::new(hmac_sha256(&self.fast_key, &[password]));
            *self.right.lock().unwrap_or_else(PoisonError::into_inner) = Some(hashed);
        }
        right
    }
}

/// How often somebody may still be wrong.
#[derive(Clone, Copy, Debug)]
struct Tries {
    left: u32,
    at: Instant,
}

impl Tries {
    const fn new(left: u32, at: Instant) -> Self {
        Self { left, at }
    }

    fn refill(&mut self, most: u32, every: Duration, now: Instant) {
        let gained = now.duration_since(self.at).as_millis() / every.as_millis().max(1);
        if gained > 0 {
            self.left = self.left.saturating_add(u32::try_from(gained).unwrap_or(u32::MAX)).min(most);
            self.at = now;
        }
    }
}

/// Counts wrong passwords, by host and in all.
#[derive(Debug)]
pub(crate) struct Throttle {
    hosts: BTreeMap<IpAddr, Tries>,
    /// Hosts that have been right.
    right: BTreeSet<IpAddr>,
    all: Tries,
}

impl Throttle {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { hosts: BTreeMap::new(), right: BTreeSet::new(), all: Tries::new(TRIES_OF_ALL, now) }
    }

    /// Takes one try. False: there is none now.
    pub(crate) fn try_once(&mut self, host: IpAddr, now: Instant) -> bool {
        self.all.refill(TRIES_OF_ALL, TRY_OF_ALL_EVERY, now);
        if self.hosts.len() >= MOST_HOSTS && !self.hosts.contains_key(&host) {
            let oldest = self.hosts.iter().min_by_key(|(_, tries)| tries.at).map(|(host, _)| *host);
            oldest.map(|host| self.hosts.remove(&host));
        }
        let tries = self.hosts.entry(host).or_insert_with(|| Tries::new(TRIES, now));
        tries.refill(TRIES, TRY_EVERY, now);
        if tries.left == 0 || self.all.left == 0 {
            return false;
        }
        tries.left -= 1;
        self.all.left -= 1;
        true
    }

    /// Whether the host has been right before: only then is it told without a try whether it is again.
    pub(crate) fn has_been_right(&self, host: IpAddr) -> bool {
        self.right.contains(&host)
    }

    /// The host was right: its tries are its own again.
    pub(crate) fn was_right(&mut self, host: IpAddr) {
        self.hosts.remove(&host);
        if self.right.len() >= MOST_HOSTS {
            self.right.pop_first();
        }
        self.right.insert(host);
        self.all.left = (self.all.left + 1).min(TRIES_OF_ALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_a_hash_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Password::load(dir.path()).unwrap().is_none());
        assert!(matches!(Password::store(dir.path(), "short"), Err(PasswordError::Length)));
        Password::store(dir.path(), "correct horse").unwrap();
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert!(text.starts_with("scrypt 15 8 1 ") && !text.contains("correct"), "{text}");
        let password = Password::load(dir.path()).unwrap().unwrap();
        assert!(!password.is(b"wrong horse") && !password.is_known(b"correct horse"));
        assert!(password.is(b"correct horse") && password.is_known(b"correct horse"));
        assert!(!password.is_known(b"wrong horse"));
    }

    #[test]
    fn damaged_and_dear_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "scrypt", "scrypt 30 8 1 AAAA AAAA", "argon2 1 2 3", "scrypt 15 8 1 ! !"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            assert!(matches!(Password::load(dir.path()), Err(PasswordError::Damaged { .. })), "{text}");
        }
    }

    #[test]
    fn guessing_is_slowed_by_host_and_in_all() {
        let begun = Instant::now();
        let mut throttle = Throttle::new(begun);
        let host = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert!((0..TRIES).all(|_| throttle.try_once(host(1), begun)));
        assert!(!throttle.try_once(host(1), begun));
        assert!(throttle.try_once(host(1), begun + TRY_EVERY));
        assert!(!throttle.try_once(host(1), begun + TRY_EVERY));
        let tries = (2..=255).filter(|n| throttle.try_once(host(*n), begun + TRY_EVERY)).count();
        assert!(tries as u32 <= TRIES_OF_ALL, "{tries}");
        throttle.was_right(host(1));
        assert!(throttle.try_once(host(1), begun + TRY_EVERY));
    }
}
