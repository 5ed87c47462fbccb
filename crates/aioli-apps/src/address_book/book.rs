//! Names in memory: one of the lists of an address book.

use std::collections::BTreeMap;
use std::fmt::Write;

use aioli_core::Date;
use aioli_wire::{Destination, Wire, base64};

use super::feed::{self, Action, LineError, Record};
use crate::names::HostName;

/// Names of a list at most.
pub const MAX_NAMES: usize = 250_000;
/// Destinations of a name besides the first.
const MAX_FURTHER: usize = 3;

/// What is known of a name. The bytes of destinations are kept rather than their values: there may be many.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    destination: Box<[u8]>,
    /// Further destinations, which [`Action::AddDestination`] has brought.
    further: Vec<Box<[u8]>>,
    /// What stands after `#!`.
    options: Option<Box<str>>,
}

/// Names and their destinations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    names: BTreeMap<Box<str>, Entry>,
}

/// What came of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The book has changed.
    Changed,
    /// It was so already.
    Known,
    /// The name belongs to another destination; first come, first kept.
    Taken,
    /// What the command builds on is not there, now at least.
    Unfounded,
    /// The book is full.
    Full,
}

impl Book {
    /// Reads a list. Lines that are no name are counted and left out.
    pub fn read(text: &str, now: Date) -> (Self, usize) {
        let (mut book, mut bad) = (Self::default(), 0);
        for line in text.lines() {
            match own_line(line, now) {
                Ok(Some((name, destination, options))) => book.load(&name, &destination, options),
                Ok(None) => {}
                Err(_) => bad += 1,
            }
        }
        (book, bad)
    }

    fn load(&mut self, name: &HostName, destination: &Destination, options: Option<Box<str>>) {
        if let Some(entry) = self.names.get_mut(name.as_str()) {
            entry.add_further(destination);
        } else if self.names.len() < MAX_NAMES {
            self.insert(name, destination, options);
        }
    }

    /// The list as a `hosts.txt`.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.names.len() * 550);
        for (name, entry) in &self.names {
            let options = entry.options.as_ref().map_or(String::new(), |o| format!("#!{o}"));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}={}{options}", base64::encode(&entry.destination));
            for further in &entry.further {
                let _ = writeln!(text, "{name}={}", base64::encode(further));
            }
        }
        text
    }

    /// The destination of a name in lower case.
    pub fn get(&self, name: &str) -> Option<Destination> {
        Destination::from_bytes(&self.names.get(name)?.destination).ok()
    }

    /// Names and their destinations, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Destination)> {
        self.names
            .iter()
            .filter_map(|(name, entry)| Some((&**name, Destination::from_bytes(&entry.destination).ok()?)))
    }

    /// Names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A name in lower case is forgotten. False: it was not there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.names.remove(name).is_some()
    }

    /// A user's own word: replaces what was there.
    pub fn set(&mut self, name: &HostName, destination: &Destination) -> Outcome {
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(name.as_str()) {
            return Outcome::Full;
        }
        self.insert(name, destination, None);
        Outcome::Changed
    }

    fn insert(&mut self, name: &HostName, destination: &Destination, options: Option<Box<str>>) {
        let entry = Entry { destination: destination.bytes().into(), further: Vec::new(), options };
        self.names.insert(name.as_str().into(), entry);
    }

    /// Follows a record of a feed. `elsewhere` says whether another list of ours has the name.
    pub fn apply(&mut self, record: &Record, elsewhere: impl Fn(&str) -> bool) -> Outcome {
        let Record { action, name, destination, options } = record;
        let owner = |book: &Self, name: &HostName, owner: &Destination| {
            book.names.get(name.as_str()).map(|e| *e.destination == *owner.bytes())
        };
        match action {
            Action::Add => self.add(record, elsewhere),
            Action::AddName { old_name } => match owner(self, old_name, destination) {
                Some(true) => self.add(record, elsewhere),
                Some(false) => Outcome::Taken,
                None => Outcome::Unfounded,
            },
            Action::ChangeName { old_name } => match owner(self, old_name, destination) {
                Some(true) => {
                    let outcome = self.add(record, elsewhere);
                    if outcome == Outcome::Changed {
                        self.names.remove(old_name.as_str());
                    }
                    outcome
                }
                Some(false) => Outcome::Taken,
                None => Outcome::Unfounded,
            },
            Action::AddSubdomain { old_name, old } => match owner(self, old_name, old) {
                Some(true) => self.add(record, elsewhere),
                Some(false) => Outcome::Taken,
                None => Outcome::Unfounded,
            },
            Action::ChangeDestination { old } | Action::AddDestination { old } => {
                let Some(entry) = self.names.get_mut(name.as_str()) else {
                    return self.add(record, elsewhere);
                };
                if *entry.destination == *destination.bytes() {
                    Outcome::Known
                } else if *entry.destination != *old.bytes() {
                    Outcome::Taken
                } else if matches!(action, Action::AddDestination { .. }) {
                    let before = entry.further.len();
                    entry.add_further(destination);
                    if entry.further.len() > before { Outcome::Changed } else { Outcome::Known }
                } else {
                    self.insert(name, destination, options.clone());
                    Outcome::Changed
                }
            }
            Action::Update => match owner(self, name, destination) {
                Some(true) => self.update(name, options.clone()),
                Some(false) => Outcome::Taken,
                None => Outcome::Unfounded,
            },
            Action::Remove => match owner(self, name, destination) {
                Some(true) => {
                    self.names.remove(name.as_str());
                    Outcome::Changed
                }
                Some(false) => Outcome::Taken,
                None => Outcome::Known,
            },
            Action::RemoveAll => {
                let before = self.names.len();
                self.names.retain(|_, entry| *entry.destination != *destination.bytes());
                if self.names.len() < before { Outcome::Changed } else { Outcome::Known }
            }
        }
    }

    fn add(&mut self, record: &Record, elsewhere: impl Fn(&str) -> bool) -> Outcome {
        let Record { name, destination, options, .. } = record;
        if let Some(entry) = self.names.get(name.as_str()) {
            let same = *entry.destination == *destination.bytes();
            return if same { Outcome::Known } else { Outcome::Taken };
        }
        if elsewhere(name.as_str()) {
            return Outcome::Taken;
        }
        if self.names.len() >= MAX_NAMES {
            return Outcome::Full;
        }
        self.insert(name, destination, options.clone());
        Outcome::Changed
    }

    fn update(&mut self, name: &HostName, options: Option<Box<str>>) -> Outcome {
        match self.names.get_mut(name.as_str()) {
            Some(entry) if entry.options != options => {
                entry.options = options;
                Outcome::Changed
            }
            _ => Outcome::Known,
        }
    }
}

impl Entry {
    fn add_further(&mut self, destination: &Destination) {
        let known = *self.destination == *destination.bytes()
            || self.further.iter().any(|f| **f == *destination.bytes());
        if !known && self.further.len() < MAX_FURTHER {
            self.further.push(destination.bytes().into());
        }
    }
}

type OwnLine = (HostName, Destination, Option<Box<str>>);

/// A line of our own list: what is in it was verified when it came.
fn own_line(line: &str, now: Date) -> Result<Option<OwnLine>, LineError> {
    let Some((plain, options)) = line.split_once("#!") else {
        return Ok(feed::parse(line, now)?.map(|r| (r.name, r.destination, None)));
    };
    let Some(record) = feed::parse(plain, now)? else { return Ok(None) };
    Ok(Some((record.name, record.destination, Some(options.trim().into()))))
}

#[cfg(test)]
mod tests;
