//! The address book: `hosts.txt` and its like, merged into ours, first come
//! first kept.
//!
//! ```text
//! i2pd   hosts.txt; addressbook/addresses.csv and local.csv: name,base32 and
//!        addressbook/bX/<base32>.b32: the destination itself
//! Java   privatehosts.txt, userhosts.txt, hosts.txt; hostsdb.blockfile is not read
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aioli_apps::names::HostName;
use aioli_wire::{Destination, Wire};

use super::source::{Kind, Source, is_absent};
use super::{NewFile, Report};

/// No address book is larger.
const MAX_BOOK: u64 = 32 << 20;
/// No destination is larger.
const MAX_DESTINATION: u64 = 4 * 1024;
/// Names kept at most.
const MAX_NAMES: usize = 100_000;

/// Adds the names that we do not have.
pub(super) fn collect(source: &Source, ours: &Path, files: &mut Vec<NewFile>, report: &mut Report) {
    let mut book = match Book::open(ours) {
        Ok(book) => book,
        Err(error) => return report.left(format!("address book: our hosts.txt cannot be read: {error}")),
    };
    let mut unknown = 0;
    let texts: &[&str] = match source.kind() {
        Kind::I2pd => &["hosts.txt"],
        Kind::Java => &["privatehosts.txt", "userhosts.txt", "hosts.txt"],
    };
    if source.kind() == Kind::I2pd {
        for name in ["addressbook/local.csv", "addressbook/addresses.csv"] {
            if let Some(text) = text_of(source, name, report) {
                for line in text.lines().filter(|l| !l.trim().is_empty()) {
                    match csv(source, line) {
                        Some((name, Some(base64))) => book.add(name, &base64),
                        Some((_, None)) => unknown += 1,
                        None => book.bad += 1,
                    }
                }
            }
        }
    }
    for name in texts {
        if let Some(text) = text_of(source, name, report) {
            for (name, base64) in text.lines().filter_map(pair) {
                book.add(name, base64);
            }
        }
    }
    let Book { text, added, bad, .. } = book;
    if added > 0 {
        files.push(NewFile::new("hosts.txt", text.into_bytes(), 0o644));
        report.took(format!("address book: {added} names, into hosts.txt"));
    } else {
        report.left("address book: there is no name that is not here already");
    }
    if bad > 0 {
        report.left(format!("address book: {bad} lines that are no name and destination"));
    }
    if unknown > 0 {
        report.left(format!(
            "address book: {unknown} names of which only the hash is known, not the destination"
        ));
    }
    if source.kind() == Kind::Java && source.has("hostsdb.blockfile") {
        report.left(
            "hostsdb.blockfile: export the address book on its page of the router console and import again",
        );
    }
}

fn text_of(source: &Source, name: &str, report: &mut Report) -> Option<String> {
    match source.read(name, MAX_BOOK) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if is_absent(&error) => None,
        Err(error) => {
            report.left(format!("{name}: {error}"));
            None
        }
    }
}

/// Our own book, to be added to.
struct Book {
    /// The file: what was there stays as it was.
    text: String,
    names: BTreeSet<String>,
    added: usize,
    /// Lines that are no name and destination.
    bad: usize,
}

impl Book {
    fn open(ours: &Path) -> std::io::Result<Self> {
        let mut text = match fs::read_to_string(ours.join("hosts.txt")) {
            Err(error) if is_absent(&error) => String::new(),
            other => other?,
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let names = text.lines().filter_map(pair).map(|(name, _)| name.to_ascii_lowercase()).collect();
        Ok(Self { text, names, added: 0, bad: 0 })
    }

    /// Adds a name unless it is there.
    fn add(&mut self, name: &str, base64: &str) {
        let name = name.to_ascii_lowercase();
        if self.names.contains(&name) {
            return;
        }
        let right = HostName::parse(&name).is_ok() && Destination::from_base64(base64).is_some();
        if right && self.names.len() < MAX_NAMES {
            self.text.push_str(&format!("{name}={base64}\n"));
            self.names.insert(name);
            self.added += 1;
        } else {
            self.bad += 1;
        }
    }
}

/// A line of a `hosts.txt`: name, destination, and what Java says of it after `#!`.
fn pair(line: &str) -> Option<(&str, &str)> {
    let line = line.split('#').next().unwrap_or_default().trim();
    line.split_once('=').filter(|_| !line.starts_with(';')).map(|(name, rest)| (name.trim(), rest.trim()))
}

/// A line of i2pd's book, with the destination if it is kept beside it. None if it is no such line.
fn csv<'a>(source: &Source, line: &'a str) -> Option<(&'a str, Option<String>)> {
    let (name, hash) = line.split_once(',')?;
    let hash = hash.trim();
    let first = hash
        .chars()
        .next()
        .filter(|_| hash.len() == 52 && hash.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let file = format!("addressbook/b{first}/{hash}.b32");
    let destination = source.read(file, MAX_DESTINATION).ok().and_then(|b| Destination::from_bytes(&b).ok());
    let right = destination.filter(|d| aioli_wire::base32::encode(d.hash().as_bytes()) == hash);
    Some((name.trim(), right.map(|d| d.to_base64())))
}
