//! Who may open streams to a server: lists of destinations in the description
//! and in files, which are read again when they have changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aioli_node::read_bounded;
use aioli_wire::{Destination, DestinationHash, base32};
use tokio::time::Instant;

use super::config::{ConfigError, TunnelConfig};
use crate::address_book::{Stamp, stamp};
use crate::resolve::Naming;

/// No file of a list is larger: 64 bytes a line, or a hundred times fewer whole destinations.
const MAX_FILE: u64 = 16 << 20;
/// Destinations of a list at most.
const MAX_ENTRIES: usize = 100_000;
/// Files are looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What an entry may be.
const WANTED: &str = "give a b32 name, a name that ends with .i2p, or base64";

/// One list: what the description names, and a file.
#[derive(Debug)]
struct List {
    named: Vec<String>,
    file: Option<PathBuf>,
    read: Option<Stamp>,
    /// Entries that are hashes, and names of destinations with what they stand for.
    known: BTreeSet<DestinationHash>,
    names: Vec<String>,
    resolved: BTreeSet<DestinationHash>,
}

/// The lists of a server.
#[derive(Debug)]
pub(super) struct Access {
    naming: Arc<Naming>,
    lists: Mutex<Lists>,
}

#[derive(Debug)]
struct Lists {
    /// Whether only those of `allow` may come.
    only: bool,
    allow: List,
    deny: List,
    looked: Option<Instant>,
}

impl Access {
    /// The lists of a description. A file that cannot be read now is an error; one that cannot be read later leaves
    /// the list as it was.
    pub(super) fn new(
        config: &TunnelConfig,
        dir: Option<&Path>,
        naming: Arc<Naming>,
    ) -> Result<Self, ConfigError> {
        let only = !config.allow.is_empty() || config.allow_file.is_some();
        let mut lists = Lists {
            only,
            allow: List::new(&config.allow, config.allow_file.as_ref(), dir),
            deny: List::new(&config.deny, config.deny_file.as_ref(), dir),
            looked: None,
        };
        let both = [("allow", "allow_file", &mut lists.allow), ("deny", "deny_file", &mut lists.deny)];
        for (key, file_key, list) in both {
            if let Some(entry) = list.named.iter().find(|entry| !is_entry(entry)) {
                return Err(ConfigError { key, reason: format!("{entry:?} is no destination: {WANTED}") });
            }
            list.refresh(&naming).map_err(|reason| ConfigError { key: file_key, reason })?;
        }
        Ok(Self { naming, lists: Mutex::new(lists) })
    }

    /// Whether a peer may come in.
    pub(super) fn admits(&self, peer: &DestinationHash) -> bool {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            lists.looked = Some(Instant::now());
            let Lists { allow, deny, .. } = &mut *lists;
            for list in [allow, deny] {
                if let Err(why) = list.refresh(&self.naming) {
                    tracing::warn!("{why}; the list stays as it was");
                }
            }
        }
        (!lists.only || lists.allow.has(peer)) && !lists.deny.has(peer)
    }
}

impl List {
    fn new(named: &[String], file: Option<&String>, dir: Option<&Path>) -> Self {
        let file = file.map(|file| dir.map_or_else(|| PathBuf::from(file), |dir| dir.join(file)));
        Self {
            named: named.to_vec(),
            file,
            read: None,
            known: BTreeSet::new(),
            names: Vec::new(),
            resolved: BTreeSet::new(),
        }
    }

    /// Reads the file if it has changed, and looks names up anew. If it cannot be read, all stays as it was.
    fn refresh(&mut self, naming: &Naming) -> Result<(), String> {
        let now = self.file.as_deref().and_then(stamp);
        if self.read != Some(now) || (self.file.is_some() && now.is_none()) {
            let of_file = self.file.as_deref().map(read).transpose()?.unwrap_or_default();
            self.read = Some(now);
            (self.known, self.names) = (BTreeSet::new(), Vec::new());
            for entry in self.named.iter().chain(&of_file) {
                match hash_of(entry) {
                    Some(hash) => drop(self.known.insert(hash)),
                    None => self.names.push(entry.clone()),
                }
            }
        }
        // A name may have come into the address book, or mean something else by now.
        let by_name = self.names.iter().filter_map(|name| Some(naming.resolve(name).ok()?.hash()));
        self.resolved = by_name.collect();
        Ok(())
    }

    fn has(&self, peer: &DestinationHash) -> bool {
        self.known.contains(peer) || self.resolved.contains(peer)
    }
}

/// The entries of a file, one a line; `#` begins a comment.
fn read(path: &Path) -> Result<Vec<String>, String> {
    let name = path.display();
    let bytes =
        read_bounded(path, MAX_FILE).map_err(|error| format!("cannot read the list {name}: {error}"))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut entries = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        if !is_entry(entry) {
            return Err(format!("{name}, line {}: no destination: {WANTED}", at + 1));
        }
        if entries.len() >= MAX_ENTRIES {
            return Err(format!("{name} has more than {MAX_ENTRIES} destinations"));
        }
        entries.push(hash_of(entry).map_or_else(|| entry.to_owned(), |hash| base32::host_name(&hash)));
    }
    Ok(entries)
}

fn is_entry(text: &str) -> bool {
    hash_of(text).is_some()
        || crate::names::i2p_host(text).is_some_and(|name| !name.ends_with(base32::SUFFIX))
}

/// The hash that a text is, however it is written.
fn hash_of(text: &str) -> Option<DestinationHash> {
    let bare = || format!("{text}{}", base32::SUFFIX);
    base32::parse_host_name(text)
        .or_else(|| (text.len() == 52).then(|| base32::parse_host_name(&bare())).flatten())
        .or_else(|| DestinationHash::from_base64(text))
        .or_else(|| Destination::from_base64(text).map(|destination| destination.hash()))
}

#[cfg(test)]
mod tests {
    use super::super::config::Kind;
    use super::*;
    use crate::address_book::AddressBook;

    fn naming() -> Arc<Naming> {
        Arc::new(Naming::new(Arc::new(AddressBook::in_memory())))
    }

    #[test]
    fn lists_let_in_and_keep_out() {
        let [a, b] = [1, 2].map(|n| DestinationHash::new([n; 32]));
        let mut config = TunnelConfig::new("x", Kind::Server);
        let access = |config: &TunnelConfig| Access::new(config, None, naming()).unwrap();
        assert!(access(&config).admits(&a));
        config.allow = vec![base32::host_name(&a)];
        assert!(access(&config).admits(&a) && !access(&config).admits(&b));
        config.deny = vec![a.to_base64()];
        assert!(!access(&config).admits(&a));
        config.allow.clear();
        assert!(!access(&config).admits(&a) && access(&config).admits(&b));
        config.deny = vec!["example.com".to_owned()];
        assert_eq!(Access::new(&config, None, naming()).unwrap_err().key, "deny");
    }

    #[test]
    fn names_are_looked_up_when_they_are_known() {
        let naming = naming();
        let a = DestinationHash::new([1; 32]);
        let mut config = TunnelConfig::new("x", Kind::Server);
        config.allow = vec!["friend.i2p".to_owned()];
        let access = Access::new(&config, None, Arc::clone(&naming)).unwrap();
        assert!(!access.admits(&a), "whoever is not known is not let in");
        naming.confirm("friend.i2p", aioli_router::client::Target::Hash(a));
        let access = Access::new(&config, None, naming).unwrap();
        assert!(access.admits(&a));
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("friends.txt");
        let [a, b] = [1, 2].map(|n| DestinationHash::new([n; 32]));
        std::fs::write(&path, format!("# friends\n{}\n\n", base32::host_name(&a))).unwrap();
        let mut config = TunnelConfig::new("x", Kind::Server);
        config.allow_file = Some("friends.txt".to_owned());
        let access = Access::new(&config, Some(dir.path()), naming()).unwrap();
        assert!(access.admits(&a) && !access.admits(&b));
        std::fs::write(&path, format!("{} # both\n{}\n", base32::host_name(&a), b.to_base64())).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(access.admits(&b));
        std::fs::write(&path, "nonsense\n").unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(access.admits(&b), "a damaged file changes nothing");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(access.admits(&b) && !access.admits(&DestinationHash::new([3; 32])));
        assert_eq!(Access::new(&config, Some(dir.path()), naming()).unwrap_err().key, "allow_file");
    }
}
