//! The console: what the router does, for people and programs, over HTTP on this computer.
//!
//! ```text
//!  browser ─► pages, drawn by the server: readable without JavaScript; live.js keeps them fresh
//!  programs ─► /api/v1/… JSON     Prometheus ─► /metrics     supervisors ─► /health
//!                │ guard: Host, password, origin and token of changes
//!                └─► Observer: looks at the router once a second, however many look
//! ```
//!
//! It has a thread of its own, so that neither the router nor the proxies wait for it, and it sees the router through
//! the embedding API alone. A connection carries one request and lasts half a minute at most.

mod api;
pub mod format;
mod guard;
mod history;
mod journal;
mod metrics;
pub mod model;
mod observe;
mod pages;
pub mod password;
mod plot;
mod routes;
mod server;
mod words;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use aioli_node::embed::Client;
use tokio::sync::oneshot;

use crate::address_book::AddressBook;
use crate::tunnels::Tunnels;
use guard::Guard;
pub use journal::Journal;
use model::{Service, Setting};
use observe::Observer;
use password::Password;
use routes::Site;

/// What the console shows and how it is reached.
#[derive(Debug)]
pub struct ConsoleConfig {
    /// Where it listens; see [`aioli_node::bind`].
    pub listener: TcpListener,
    /// The password, which is needed on any address but loopback.
    pub password: Option<Password>,
    /// What the program has noted of the router.
    pub journal: Arc<Journal>,
    /// The address book, if there is one.
    pub book: Option<Arc<AddressBook>>,
    /// Client and server tunnels, if there can be any.
    pub tunnels: Option<Tunnels>,
    /// The program's settings.
    pub settings: Vec<Setting>,
    /// What programs and browsers connect to.
    pub services: Vec<Service>,
}

/// A running console. Dropping it ends it.
#[derive(Debug)]
pub struct Console {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Console {
    /// Starts it over a router.
    ///
    /// # Errors
    /// If the listener cannot be used; and without a password on an address that others may reach.
    pub fn start(config: ConsoleConfig, client: Client) -> io::Result<Self> {
        let ConsoleConfig { listener, password, journal, book, tunnels, settings, services } = config;
        let address = listener.local_addr()?;
        if password.is_none() && !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("the console on {address} needs a password: set one with `aioli console-password`"),
            ));
        }
        let site = Arc::new(Site {
            guard: Guard::new(address, password),
            observer: Observer::new(client, journal, services),
            book,
            tunnels,
            settings,
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("console".into()).spawn(move || {
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::error!("the console cannot listen: {error}"),
                };
                tokio::select! {
                    () = site.observer.keep() => {}
                    () = server::serve(Arc::clone(&site), listener) => {}
                    // An error means that the handle is gone: stop as well.
                    _ = stopped => {}
                }
            });
            // A password that is being checked is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), address })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the console panicked; please report the message above");
        }
    }
}
