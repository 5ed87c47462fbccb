//! From host names to destinations, without asking anybody: the address book,
//! hashes, and what the user has confirmed since the start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aioli_router::client::Target;
use aioli_wire::b33::BlindedName;
use aioli_wire::base32;
use thiserror::Error;

use crate::address_book::AddressBook;
use crate::names::i2p_host;

/// Names confirmed for this session at most; then the first in order make room.
const MAX_CONFIRMED: usize = 1_000;

/// Why a host name leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unresolved {
    /// It is of another world.
    #[error("the name does not end with .i2p")]
    NotI2p,
    /// Nobody told us.
    #[error("the name is not in the address book")]
    Unknown,
    /// Letters are missing or wrong.
    #[error("the base32 address is damaged: it has 52 letters of a-z and 2-7 before .b32.i2p")]
    Damaged,
    /// The name of an encrypted LeaseSet.
    #[error("this is an address of an encrypted LeaseSet, which this router cannot look up yet")]
    Encrypted,
}

/// Finds destinations by name.
#[derive(Debug)]
pub struct Naming {
    book: Arc<AddressBook>,
    confirmed: Mutex<BTreeMap<String, Target>>,
}

impl Naming {
    /// Looks up in this address book.
    pub fn new(book: Arc<AddressBook>) -> Self {
        Self { book, confirmed: Mutex::default() }
    }

    /// The address book.
    pub const fn book(&self) -> &Arc<AddressBook> {
        &self.book
    }

    /// What a host of a request stands for.
    pub fn resolve(&self, host: &str) -> Result<Target, Unresolved> {
        let host = i2p_host(host).ok_or(Unresolved::NotI2p)?;
        if let Some(hash) = base32::parse_host_name(&host) {
            return Ok(Target::Hash(hash));
        }
        if host.ends_with(base32::SUFFIX) {
            let encrypted = BlindedName::parse(&host).is_some();
            return Err(if encrypted { Unresolved::Encrypted } else { Unresolved::Damaged });
        }
        let names = [Some(&*host), host.strip_prefix("www.")];
        let found = names.into_iter().flatten().find_map(|name| self.by_name(name));
        found.ok_or(Unresolved::Unknown)
    }

    fn by_name(&self, name: &str) -> Option<Target> {
        if let Some((destination, _)) = self.book.lookup(name) {
            return Some(Target::Destination(Box::new(destination)));
        }
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Lets a name stand for a destination until the end of the program.
    pub fn confirm(&self, name: &str, target: Target) {
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if confirmed.len() >= MAX_CONFIRMED {
            confirmed.pop_first();
        }
        confirmed.insert(name.to_owned(), target);
    }
}

#[cfg(test)]
mod tests {
    use aioli_wire::DestinationHash;

    use super::*;

    #[test]
    fn only_names_that_we_know_lead_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let naming = Naming::new(Arc::new(AddressBook::open(dir.path()).unwrap()));
        let hash = DestinationHash::new([9; 32]);
        naming.confirm("site.i2p", Target::Hash(hash));
        let b32 = base32::host_name(&hash);
        for host in ["site.i2p", "SITE.i2p.", "www.site.i2p", "site.i2p.alt", &b32, &b32.to_ascii_uppercase()]
        {
            assert_eq!(naming.resolve(host).unwrap().hash(), hash, "{host}");
        }
        let b33 = "6bab3cui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324.b32.i2p";
        for (host, why) in [
            ("localhost", Unresolved::NotI2p),
            ("127.0.0.1", Unresolved::NotI2p),
            ("example.com", Unresolved::NotI2p),
            ("other.i2p", Unresolved::Unknown),
            (b32.get(1..).unwrap(), Unresolved::Damaged),
            (b33, Unresolved::Encrypted),
        ] {
            assert_eq!(naming.resolve(host).map(|t| t.hash()), Err(why), "{host}");
        }
    }
}
