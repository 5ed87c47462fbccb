//! The console of `i2p-router` and of `aioli testnet`: its port, its password and what it is shown.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use aioli_apps::Apps;
use aioli_apps::address_book::AddressBook;
use aioli_apps::console::model::{Service, Setting};
use aioli_apps::console::password::Password;
use aioli_apps::console::{Console, ConsoleConfig, Journal};
use aioli_apps::tunnels::Tunnels;
use aioli_node::embed::Client;
use aioli_node::make_private_dir;
use anyhow::{Context, Result, ensure};
use zeroize::Zeroizing;

use crate::services::taken;
use crate::settings::Listen;
use crate::terminal::say;

/// A port that was taken for the console before the router starts.
#[derive(Debug)]
pub struct ConsolePort {
    listener: TcpListener,
    password: Option<Password>,
}

impl ConsolePort {
    /// Takes the port. The usual one is done without if another program has it. `data_dir` has the password, if there
    /// is one; without one only this computer may see the console.
    pub fn bind(listen: Option<Listen>, data_dir: Option<&Path>) -> Result<Option<Self>> {
        let Some(Listen { address, .. }) = listen else { return Ok(None) };
        let password = data_dir.map(Password::load).transpose()?.flatten();
        ensure!(
            password.is_some() || address.ip().is_loopback(),
            "the console on {address} needs a password, because others can reach it: set one with `aioli \
             console-password`, or leave out --console"
        );
        let listener = taken(listen, "the console", "--console or --no-console")?;
        Ok(listener.map(|listener| Self { listener, password }))
    }

    /// Starts the console over a router.
    pub fn start(self, client: Client, shown: Shown) -> Result<Console> {
        let Self { listener, password } = self;
        let warning = if listener.local_addr().is_ok_and(|at| at.ip().is_loopback()) {
            ""
        } else {
            ". Others can reach it, and what is sent to it is not encrypted: the password neither"
        };
        let Shown { journal, book, tunnels, settings, services } = shown;
        let book = Some(book);
        let config = ConsoleConfig { listener, password, journal, book, tunnels, settings, services };
        let console = Console::start(config, client).context("cannot start the console")?;
        say(format!("console on http://{}/{warning}", console.address));
        Ok(console)
    }
}

/// What the console shows besides the router.
#[derive(Debug)]
pub struct Shown {
    /// What happened and was logged.
    pub journal: Arc<Journal>,
    /// The address book.
    pub book: Arc<AddressBook>,
    /// Client and server tunnels.
    pub tunnels: Option<Tunnels>,
    /// The settings.
    pub settings: Vec<Setting>,
    /// What programs connect to.
    pub services: Vec<Service>,
}

/// What programs and browsers connect to.
pub fn services(apps: Option<&Apps>, sam: Option<SocketAddr>) -> Vec<Service> {
    let http = apps.and_then(|apps| apps.http);
    let socks = apps.and_then(|apps| apps.socks);
    let all = [
        ("http-proxy", "HTTP proxy for browsers", http),
        ("socks-proxy", "SOCKS proxy for other programs", socks),
        ("sam", "SAM for applications", sam),
    ];
    let service = |(name, what, at): (&str, &str, Option<SocketAddr>)| {
        Some(Service { name: name.to_owned(), what: what.to_owned(), address: at?.to_string() })
    };
    all.into_iter().filter_map(service).collect()
}

/// Sets the password of a data directory, which is asked for or piped in.
pub fn set_password(data_dir: &Path) -> Result<()> {
    // As the router makes it.
    let made = make_private_dir(data_dir);
    made.with_context(|| format!("cannot make {}", data_dir.display()))?;
    let password = if std::io::stdin().is_terminal() {
        crate::terminal::ask_hidden("new password of the console: ")?
    } else {
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line).context("cannot read the password from the standard input")?;
        line
    };
    Password::store(data_dir, password.trim_end_matches(['\r', '\n']))?;
    say("the password is set; a router that runs must be started again");
    Ok(())
}
