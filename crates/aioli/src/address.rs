//! `aioli address`: the address book from the command line, beside a running
//! router or without one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aioli_apps::address_book::subscribe::{self, Report};
use aioli_apps::address_book::{AddressBook, List, Outcome, feed};
use aioli_apps::names::{HostName, i2p_host};
use aioli_node::make_private_dir;
use aioli_wire::base32;
use anyhow::{Context, Result, bail, ensure};
use clap::{Subcommand, ValueEnum};

use crate::terminal::say;

/// What to do with the address book.
#[derive(Clone, Debug, Subcommand)]
pub enum Task {
    /// Add a name of your own, or give it another destination.
    Add {
        /// The name, ending with .i2p.
        name: String,
        /// The destination, in base64.
        destination: String,
        /// A private name: looked up first and never exported.
        #[arg(long)]
        private: bool,
    },
    /// Say what a name stands for.
    Lookup {
        /// The name.
        name: String,
    },
    /// Forget a name of your own.
    Remove {
        /// The name.
        name: String,
    },
    /// Names and their base32 addresses, in order.
    List {
        /// Only this list.
        #[arg(long, value_enum)]
        list: Option<ListName>,
    },
    /// Subscribe to a URL, or fetch all subscriptions now through the HTTP proxy.
    Subscribe {
        /// The URL, http://NAME.i2p/...; without one, all are fetched.
        url: Option<String>,
        /// The HTTP proxy of the router.
        #[arg(long, default_value = "127.0.0.1:4444")]
        proxy: SocketAddr,
    },
    /// Write all names but the private ones as a hosts.txt.
    Export {
        /// Where to; without it, to the standard output.
        file: Option<PathBuf>,
    },
}

/// A list as it is named on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListName {
    /// privatehosts.txt
    Private,
    /// userhosts.txt
    User,
    /// hosts.txt
    Hosts,
}

impl From<ListName> for List {
    fn from(name: ListName) -> Self {
        match name {
            ListName::Private => Self::Private,
            ListName::User => Self::User,
            ListName::Hosts => Self::Hosts,
        }
    }
}

/// Does it, in the address book of a data directory.
pub fn run(task: &Task, dir: &Path) -> Result<()> {
    // As the router makes it.
    let made = make_private_dir(dir);
    made.with_context(|| format!("cannot make {}", dir.display()))?;
    let book = AddressBook::open(dir)?;
    match task {
        Task::Add { name, destination, private } => {
            let host = HostName::parse(name).with_context(|| format!("\"{name}\" cannot be a name"))?;
            let list = if *private { List::Private } else { List::User };
            match book.set(list, &host, &feed::destination(destination)?)? {
                Outcome::Full => bail!("{} is full", list.file()),
                Outcome::Known => say(format!("{host} is in {} already", list.file())),
                Outcome::Changed | Outcome::Taken | Outcome::Unfounded => {
                    say(format!("{host} added to {}", list.file()));
                }
            }
        }
        Task::Lookup { name } => {
            let found = i2p_host(name).and_then(|host| book.lookup(&host));
            let Some((destination, list)) = found else { bail!("{name} is not in the address book") };
            say(format!("{} ({})", base32::host_name(&destination.hash()), list.file()));
            say(destination.to_base64());
        }
        Task::Remove { name } => {
            let host = i2p_host(name).with_context(|| format!("\"{name}\" is no name"))?;
            ensure!(book.forget(&host)?, "{host} is in none of your own lists");
            say(format!("{host} removed"));
        }
        Task::List { list } => {
            for list in List::ALL.into_iter().filter(|l| list.is_none_or(|only| List::from(only) == *l)) {
                book.with(list, |names| {
                    for (name, destination) in names.iter() {
                        let b32 = base32::host_name(&destination.hash());
                        say(format!("{name}  {b32}  {}", list.file()));
                    }
                });
            }
        }
        Task::Subscribe { url: Some(url), .. } => {
            let new = subscribe::add(dir, url)?;
            say(format!("{} {url}", if new { "subscribed to" } else { "already subscribed to" }));
        }
        Task::Subscribe { url: None, proxy } => fetch(&book, dir, *proxy)?,
        Task::Export { file } => {
            let text = exported(&book);
            match file {
                Some(path) => aioli_node::write_atomic(path, text.as_bytes(), 0o644)
                    .with_context(|| format!("cannot write {}", path.display()))?,
                None => say(text.trim_end()),
            }
        }
    }
    Ok(())
}

/// All names but the private ones; the user's own win.
fn exported(book: &AddressBook) -> String {
    let own = book.with(List::User, |names| names.to_text());
    let common = book.with(List::Hosts, |hosts| book_lines_without(&hosts.to_text(), &own));
    own + &common
}

/// The lines of `text` whose names do not occur in `own`.
fn book_lines_without(text: &str, own: &str) -> String {
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let taken: std::collections::BTreeSet<_> = own.lines().map(name).collect();
    text.lines().filter(|line| !taken.contains(&name(line))).map(|line| format!("{line}\n")).collect()
}

fn fetch(book: &AddressBook, dir: &Path, proxy: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tell = |url: &str, result: Result<Report, subscribe::FetchError>| match result {
        Ok(report) => say(format!("{url}: {report}")),
        Err(error) => say(error.to_string()),
    };
    let good = runtime.block_on(subscribe::fetch_all(book, dir, proxy, tell))?;
    ensure!(good, "not every subscription could be fetched");
    Ok(())
}
