//! One router at a time uses a data directory.
//!
//! The lock is the system's advisory lock on an open file, so that it ends
//! with the process however that ends. What the file says is for people.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aioli_core::Date;

use crate::clock;

/// The file that is locked.
pub(super) const FILE: &str = "aioli.lock";
/// Whoever looks who holds the lock holds it as well, for less than this.
const GLANCE: Duration = Duration::from_millis(20);
/// So often is it tried again.
const GLANCES: u32 = 3;
/// What it says is never longer.
const MAX_BYTES: u64 = 256;

/// Whoever holds the lock, as far as the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(String);

impl Holder {
    /// Its process, if the file says so.
    pub fn process(&self) -> Option<u32> {
        self.0.strip_prefix("process ")?.split(' ').next()?.parse().ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no lock.
pub(super) enum Refused {
    /// Another has it.
    Held(Holder),
    /// The file cannot be opened.
    Io(io::Error),
}

/// Takes the lock of a directory. It lasts as long as the file is open.
pub(super) fn take(root: &Path) -> Result<File, Refused> {
    take_after(root, || thread::sleep(GLANCE))
}

/// The same with what is done between two tries.
fn take_after(root: &Path, mut wait: impl FnMut()) -> Result<File, Refused> {
    let path = root.join(FILE);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(Refused::Io)?;
    let mut tries = 0;
    let locked = loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if tries < GLANCES => wait(),
            locked => break locked,
        }
        tries += 1;
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Refused::Held(holder(&mut file))),
        // Some network file systems have no locks. Better a router that runs there than none.
        Err(TryLockError::Error(error)) => tracing::warn!(
            "cannot lock {} ({error}): make sure that no second router uses this directory",
            path.display()
        ),
    }
    let line = format!("process {} since {}\n", std::process::id(), utc(clock::system_wall()));
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(line.as_bytes()));
    written.map_err(Refused::Io)?;
    Ok(file)
}

/// Whom the file names.
pub(super) fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    let read = file.take(MAX_BYTES).read_to_string(&mut text);
    let line = text.lines().next().filter(|line| line.starts_with("process ")).map(str::to_owned);
    Holder(line.filter(|_| read.is_ok()).unwrap_or_else(|| "a process that does not say its number".into()))
}

/// A date as people read it.
fn utc(date: Date) -> String {
    let day = String::from_utf8_lossy(&date.utc_day()).into_owned();
    let (year, month_and_day) = day.split_at(4);
    let (month, day) = month_and_day.split_at(2);
    let seconds = date.as_secs() % 86_400;
    format!("{year}-{month}-{day} {:02}:{:02} UTC", seconds / 3_600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_keeps_no_router_out() {
        let directory = tempfile::tempdir().unwrap();
        drop(take(directory.path()));
        let looking = File::open(directory.path().join(FILE)).unwrap();
        looking.lock_shared().unwrap();
        assert!(take_after(directory.path(), || looking.unlock().unwrap()).is_ok());
        looking.lock_shared().unwrap();
        assert!(matches!(take_after(directory.path(), || {}), Err(Refused::Held(_))));
    }

    #[test]
    fn dates_are_readable() {
        assert_eq!(utc(Date::from_secs(1_782_514_800)), "2026-06-26 23:00 UTC");
    }
}
