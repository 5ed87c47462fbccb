//! Running tunnels: what one holds, and the destinations that they have in common.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use aioli_node::entropy;
use aioli_router::client::{SessionOptions, StreamConfig, TunnelOptions};
use aioli_wire::Destination;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::access::Access;
use super::client::Client;
use super::config::{ClientPlan, ClientService, Plan, ServerPlan, TunnelConfig};
use super::idle::Idle;
use super::limits::Turnstile;
use super::server::{Host, Server};
use super::stats::Counters;
use super::table::{State, TunnelsConfig};
use super::{idle, keys};
use crate::http::{HttpOptions, HttpProxy};
use crate::listen::{Gate, Outlet};
use crate::socks::SocksProxy;

/// Destinations that several tunnels may have in common, as long as one of them runs.
#[derive(Default)]
pub(super) struct Homes {
    by_keys: BTreeMap<PathBuf, Weak<Outlet>>,
    hosts: BTreeMap<PathBuf, Weak<Host>>,
    shared: Vec<(Character, Weak<Outlet>)>,
    /// Ports of tunnels that have just ended.
    parked: Vec<Listening>,
}

/// What makes destinations of clients differ.
#[derive(Clone, PartialEq, Eq)]
struct Character {
    tunnels: (TunnelOptions, TunnelOptions),
    streaming: StreamConfig,
    rest: Idle,
}

/// A tunnel that runs. Dropping it ends it and its connections.
pub(super) struct Running {
    tasks: Tasks,
    home: Home,
    listener: Option<Listening>,
    /// Its tunnels are built for the first connection, or were given up.
    rests: bool,
}

/// Ends tasks when it is dropped.
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Where a tunnel listens.
struct Listening {
    /// As it is described.
    wanted: SocketAddr,
    /// With the port that was drawn.
    at: SocketAddr,
    /// Another handle of the same socket: whoever follows need not wait until the port is free.
    socket: std::net::TcpListener,
}

/// The destination of a tunnel, and what takes its streams.
#[derive(Clone)]
pub(super) struct Home {
    outlet: Arc<Outlet>,
    host: Option<Arc<Host>>,
}

impl Running {
    /// Starts a tunnel. An error is a line for people.
    pub(super) fn start(
        config: &TunnelConfig,
        counters: &Arc<Counters>,
        homes: &mut Homes,
        world: &TunnelsConfig,
        runtime: &Handle,
    ) -> Result<Self, String> {
        let plan = config.plan().map_err(|error| error.to_string())?;
        let client = match &plan {
            Plan::Client(plan) => Some(plan),
            Plan::Server(plan) => plan.proxy.as_ref(),
        };
        let listener = client.map(|plan| homes.listen(plan.listen)).transpose()?;
        let home = homes.home(config, world, runtime)?;
        let mut tasks = Tasks(Vec::new());
        if let (Some(plan), Some(listener)) = (client, &listener) {
            let socket = listener.socket.try_clone().map_err(|error| format!("cannot listen: {error}"))?;
            let serving = serve_client(socket, plan.clone(), config.clone(), home.clone(), counters, world);
            tasks.0.push(runtime.spawn(serving).abort_handle());
        }
        if let Plan::Server(plan) = plan {
            tasks.0.push(serve_streams(plan, config, &home, counters, world, runtime)?);
        } else if !config.delay_open {
            tasks.0.push(runtime.spawn(idle::open(Arc::downgrade(&home.outlet))).abort_handle());
        }
        let rests = config.delay_open || config.close_idle.is_some();
        Ok(Self { tasks, home, listener, rests })
    }

    /// Ends it. The destination and the port are there for whoever follows, until what is returned and
    /// [`Homes::release`] are done with.
    pub(super) fn stop(self, homes: &mut Homes) -> Home {
        let Self { tasks, home, listener, .. } = self;
        homes.parked.extend(listener);
        drop(tasks);
        home
    }

    pub(super) fn listening(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(|listener| listener.at)
    }

    pub(super) fn destination(&self) -> Option<Destination> {
        let keys = self.home.outlet.options().keys.as_ref().map(|keys| keys.destination.clone());
        keys.or_else(|| self.home.outlet.current().map(|session| session.destination().clone()))
    }

    /// What it is doing, in a word and in a sentence.
    pub(super) fn state(&self) -> (State, String) {
        let outlet = &self.home.outlet;
        if outlet.is_ready() {
            return (State::Ready, "it can be used".to_owned());
        }
        match (outlet.current(), outlet.failure()) {
            (None, Some(error)) => (State::Starting, format!("it has no destination yet: {error}")),
            (None, None) if self.rests => {
                (State::Idle, "its tunnels are built when the next connection comes".to_owned())
            }
            (Some(_) | None, _) => {
                (State::Starting, "it waits for the tunnels of its destination".to_owned())
            }
        }
    }
}

impl Homes {
    /// Forgets the ports of tunnels that have ended, and destinations that nobody has any more.
    pub(super) fn release(&mut self) {
        self.parked.clear();
        self.by_keys.retain(|_, outlet| outlet.strong_count() > 0);
        self.hosts.retain(|_, host| host.strong_count() > 0);
        self.shared.retain(|(_, outlet)| outlet.strong_count() > 0);
    }

    fn listen(&mut self, wanted: SocketAddr) -> Result<Listening, String> {
        if let Some(at) = self.parked.iter().position(|listening| listening.wanted == wanted) {
            return Ok(self.parked.swap_remove(at));
        }
        let socket =
            aioli_node::bind(wanted, "a tunnel", "its setting listen").map_err(|error| error.to_string())?;
        let at = socket.local_addr().map_err(|error| format!("cannot listen on {wanted}: {error}"))?;
        Ok(Listening { wanted, at, socket })
    }

    /// The destination that a description asks for: one that others have already, or a new one.
    fn home(
        &mut self,
        config: &TunnelConfig,
        world: &TunnelsConfig,
        runtime: &Handle,
    ) -> Result<Home, String> {
        let mut options = config.session(world.defaults).map_err(|error| error.to_string())?;
        let rest = Idle::new(config);
        let path = match (&world.data_dir, config.key_file()) {
            (Some(dir), Some(name)) => Some(keys::locate(dir, &name, config.beside.as_deref())),
            // In memory alone, every destination is new.
            _ => None,
        };
        let outlet = if let Some(path) = &path {
            match self.by_keys.get(path).and_then(Weak::upgrade) {
                Some(outlet) if outlet.options().publish || !options.publish => outlet,
                Some(_) => {
                    return Err(format!(
                        "a client tunnel has the keys {} already, as a destination that others cannot find: stop it first",
                        path.display()
                    ));
                }
                None => {
                    options.keys = Some(keys::load_or_make(path).map_err(|error| error.to_string())?);
                    let outlet = new_outlet(world, options, rest, runtime);
                    self.by_keys.insert(path.clone(), Arc::downgrade(&outlet));
                    outlet
                }
            }
        } else if config.shared && !config.kind.hosts() {
            let character = Character {
                tunnels: (options.inbound, options.outbound),
                streaming: options.streaming.clone(),
                rest,
            };
            let found = self.shared.iter().find(|(other, _)| *other == character);
            match found.and_then(|(_, outlet)| outlet.upgrade()) {
                Some(outlet) => outlet,
                None => {
                    let outlet = new_outlet(world, options, rest, runtime);
                    self.shared.push((character, Arc::downgrade(&outlet)));
                    outlet
                }
            }
        } else {
            new_outlet(world, options, rest, runtime)
        };
        let host = config.kind.hosts().then(|| self.host(path, &outlet, runtime));
        Ok(Home { outlet, host })
    }

    /// What takes the streams of a destination.
    fn host(&mut self, path: Option<PathBuf>, outlet: &Arc<Outlet>, runtime: &Handle) -> Arc<Host> {
        let found = path.as_ref().and_then(|path| self.hosts.get(path)?.upgrade());
        found.unwrap_or_else(|| {
            let host = Host::new(Arc::clone(outlet), runtime);
            if let Some(path) = path {
                self.hosts.insert(path, Arc::downgrade(&host));
            }
            host
        })
    }
}

fn new_outlet(world: &TunnelsConfig, options: SessionOptions, rest: Idle, runtime: &Handle) -> Arc<Outlet> {
    let outlet = Outlet::new(world.way.clone(), options);
    if !rest.is_none() {
        // It ends with the destination.
        runtime.spawn(idle::keep(Arc::downgrade(&outlet), rest));
    }
    outlet
}

/// Serves local connections until dropped.
fn serve_client(
    socket: std::net::TcpListener,
    plan: ClientPlan,
    config: TunnelConfig,
    home: Home,
    counters: &Arc<Counters>,
    world: &TunnelsConfig,
) -> impl Future<Output = ()> + Send + use<> {
    let (counters, naming, outlet) = (Arc::clone(counters), Arc::clone(&world.naming), home.outlet);
    let (gate, turn) = (Gate::new(plan.max_connections), AtomicUsize::new(0));
    async move {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("cannot listen: {error}"),
        };
        let (irc, remotes) = match plan.service {
            ClientService::Plain(remotes) => (false, remotes),
            ClientService::Irc(remotes) => (true, remotes),
            ClientService::HttpProxy => {
                let options = HttpOptions {
                    outproxies: config.outproxy,
                    max_connections: plan.max_connections,
                    ..HttpOptions::default()
                };
                return HttpProxy::new(naming, outlet, options, entropy()).serve(listener).await;
            }
            ClientService::Socks => {
                return SocksProxy::new(naming, outlet, plan.max_connections).serve(listener).await;
            }
        };
        Arc::new(Client { outlet, naming, remotes, irc, idle: plan.idle, gate, counters, turn })
            .serve(listener)
            .await;
    }
}

/// Serves streams from peers.
fn serve_streams(
    plan: ServerPlan,
    config: &TunnelConfig,
    home: &Home,
    counters: &Arc<Counters>,
    world: &TunnelsConfig,
    runtime: &Handle,
) -> Result<AbortHandle, String> {
    let access = Access::new(config, world.data_dir.as_deref(), Arc::clone(&world.naming));
    let access = access.map_err(|error| error.to_string())?;
    let host = home.host.as_ref().ok_or("it has no destination")?;
    let attached = host.attach(plan.port);
    let (turnstile, turn) = (Turnstile::new(plan.limits), AtomicUsize::new(0));
    let server = Server { plan, access, turnstile, counters: Arc::clone(counters), turn };
    Ok(runtime.spawn(Arc::new(server).serve(attached)).abort_handle())
}
