//! The address book: names of sites, in three lists of the data directory
//! (`naming#hosts-txt-naming-service`).
//!
//! ```text
//! privatehosts.txt   yours alone: looked up first, never exported
//! userhosts.txt      yours: those that you added or confirmed
//! hosts.txt          everybody's: from subscriptions and imports
//! hosts.lock         locked by whoever changes a list, or the subscriptions
//! ```
//!
//! A list is written whole to a temporary file and renamed. Another program may
//! change it meanwhile (`aioli address add`): a look-up notices.

pub mod book;
pub mod feed;
pub mod subscribe;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aioli_core::Date;
use aioli_node::{Clock, read_bounded, write_atomic};
use aioli_wire::Destination;
use thiserror::Error;

pub use book::{Book, Outcome};

use crate::names::HostName;

/// No list is larger, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// Files are looked at for changes by others no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// `privatehosts.txt`.
    Private,
    /// `userhosts.txt`.
    User,
    /// `hosts.txt`.
    Hosts,
}

impl List {
    /// In the order of look-ups.
    pub const ALL: [Self; 3] = [Self::Private, Self::User, Self::Hosts];

    /// Its file.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Private => "privatehosts.txt",
            Self::User => "userhosts.txt",
            Self::Hosts => "hosts.txt",
        }
    }
}

/// Why a list cannot be read or written.
#[derive(Debug, Error)]
#[error("cannot use the address book {}: {error}. Check that it belongs to you and that the disk is not full", path.display())]
pub struct BookError {
    path: PathBuf,
    error: io::Error,
}

/// The lists of a data directory.
#[derive(Debug)]
pub struct AddressBook {
    /// None keeps it in memory alone.
    dir: Option<PathBuf>,
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    books: BTreeMap<List, (Stamp, Book)>,
    looked: Option<Instant>,
}

/// Tells whether a file is still the one that was read.
pub(crate) type Stamp = Option<(SystemTime, u64)>;

impl AddressBook {
    /// Opens the lists of a directory; those that are not there are empty.
    pub fn open(dir: &Path) -> Result<Self, BookError> {
        let book = Self { dir: Some(dir.to_owned()), lists: Mutex::default() };
        book.refresh(&mut book.lock())?;
        Ok(book)
    }

    /// Empty lists that end with the program.
    pub fn in_memory() -> Self {
        let books = List::ALL.map(|list| (list, (None, Book::default()))).into();
        Self { dir: None, lists: Mutex::new(Lists { books, looked: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lists, with what others have changed in the files.
    fn fresh(&self) -> MutexGuard<'_, Lists> {
        let mut lists = self.lock();
        if lists.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
            && let Err(error) = self.refresh(&mut lists)
        {
            tracing::warn!("{error}; going on with what was read before");
        }
        lists
    }

    /// The destination of a name in lower case, and which list has it.
    pub fn lookup(&self, name: &str) -> Option<(Destination, List)> {
        let lists = self.fresh();
        List::ALL.into_iter().find_map(|list| Some((lists.books.get(&list)?.1.get(name)?, list)))
    }

    /// How many names a list has.
    pub fn len(&self, list: List) -> usize {
        self.lock().books.get(&list).map_or(0, |(_, book)| book.len())
    }

    /// Gives a list to look at.
    pub fn with<T>(&self, list: List, look: impl FnOnce(&Book) -> T) -> T {
        match self.fresh().books.get(&list) {
            Some((_, book)) => look(book),
            None => look(&Book::default()),
        }
    }

    /// Changes a list and writes it if `change` says so. Others' changes are read first, and wait meanwhile.
    pub fn change(
        &self,
        list: List,
        change: impl FnOnce(&mut Book, &[&Book]) -> bool,
    ) -> Result<(), BookError> {
        let _held = self.dir.as_deref().map(hold).transpose()?;
        let mut lists = self.lock();
        self.refresh(&mut lists)?;
        let Some((_, mut book)) = lists.books.remove(&list) else { return Ok(()) };
        let others: Vec<&Book> = lists.books.values().map(|(_, book)| book).collect();
        let path = self.dir.as_ref().map(|dir| dir.join(list.file()));
        let mut result = Ok(());
        if change(&mut book, &others)
            && let Some(path) = &path
        {
            let mode = if list == List::Hosts { 0o644 } else { 0o600 };
            result = write_atomic(path, book.to_text().as_bytes(), mode)
                .map_err(|error| BookError { path: path.clone(), error });
        }
        // A list that could not be written is read again, so that memory and disk agree.
        let stamp =
            if result.is_ok() { path.as_deref().and_then(stamp) } else { Some((UNIX_EPOCH, u64::MAX)) };
        lists.books.insert(list, (stamp, book));
        result
    }

    /// Adds a name that the user gives or confirms, in place of any other of that list.
    pub fn set(&self, list: List, name: &HostName, destination: &Destination) -> Result<Outcome, BookError> {
        let mut outcome = Outcome::Known;
        self.change(list, |book, _| {
            if book.get(name.as_str()).as_ref() != Some(destination) {
                outcome = book.set(name, destination);
            }
            outcome == Outcome::Changed
        })?;
        Ok(outcome)
    }

    /// Forgets a name of the user's own lists. Whether it was there.
    pub fn forget(&self, name: &str) -> Result<bool, BookError> {
        let mut removed = false;
        for list in [List::Private, List::User] {
            self.change(list, |names, _| {
                let was_there = names.remove(name);
                removed |= was_there;
                was_there
            })?;
        }
        Ok(removed)
    }

    /// Reads the files that have changed.
    fn refresh(&self, lists: &mut Lists) -> Result<(), BookError> {
        lists.looked = Some(Instant::now());
        let Some(dir) = &self.dir else { return Ok(()) };
        for list in List::ALL {
            let path = dir.join(list.file());
            let stamp = stamp(&path);
            if lists.books.get(&list).is_some_and(|(read, _)| *read == stamp) {
                continue;
            }
            let text = match read_bounded(&path, MAX_FILE) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                read => read.map_err(|error| BookError { path: path.clone(), error })?,
            };
            let (book, bad) = Book::read(&String::from_utf8_lossy(&text), now());
            if bad > 0 {
                tracing::warn!(
                    "{}: {bad} lines that are no name and destination are left out",
                    path.display()
                );
            }
            lists.books.insert(list, (stamp, book));
        }
        Ok(())
    }
}

/// Waits until no other program changes a file of the address book, and keeps them off until it is dropped.
fn hold(dir: &Path) -> Result<File, BookError> {
    let path = dir.join("hosts.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    file.and_then(|file| file.lock().map(|()| file)).map_err(|error| BookError { path, error })
}

/// What the wall clock shows.
pub(crate) fn now() -> Date {
    Clock::start().now().wall
}

/// What tells one version of a file from another; none of a file that is not there.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

#[cfg(test)]
mod tests;
