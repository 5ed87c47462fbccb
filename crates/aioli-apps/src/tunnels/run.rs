//! Running tunnels: what one holds, and the destinations that they have in common.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};

use aioli_node::entropy;
use aioli_router::client::{SessionOptions, StreamConfig, TunnelOptions};
use aioli_wire::Destination;
use aioli_wire::keyfile::DestinationKeys;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::access::Access;
use super::client::Client;
use super::config::{ClientPlan, ClientService, Plan, ServerPlan, TunnelConfig};
use super::idle::Idle;
use super::limits::Turnstile;
use super::server::{Host, Server};
use super::stats::{Counters, TunnelStats};
use super::table::{State, TunnelsConfig};
use super::{idle, keys};
use crate::http::{HttpOptions, HttpProxy};
use crate::listen::{Gate, Outlet};
use crate::socks::SocksProxy;

/// Destinations that several tunnels may have in common, as long as one of them runs.
#[derive(Default)]
pub(super) struct Homes {
    by_keys: BTreeMap<PathBuf, WithKeys>,
    shared: Vec<(Character, Weak<Outlet>)>,
    /// Ports of tunnels that have just ended.
    parked: Vec<Listening>,
}

/// What makes destinations differ, besides their keys.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Character {
    tunnels: (TunnelOptions, TunnelOptions),
    streaming: StreamConfig,
    publish: bool,
    rest: Idle,
}

impl Character {
    pub(super) fn of(config: &TunnelConfig, world: &TunnelsConfig) -> Option<Self> {
        let options = config.session(world.defaults).ok()?;
        Some(Self {
            tunnels: (options.inbound, options.outbound),
            streaming: options.streaming,
            publish: options.publish,
            rest: Idle::new(config),
        })
    }
}

/// A destination with keys of a file.
struct WithKeys {
    outlet: Weak<Outlet>,
    host: Weak<Host>,
    held: Weak<()>,
}

/// A tunnel that runs. Dropping it ends it and its connections.
pub(super) struct Running {
    tasks: Tasks,
    home: Home,
    listener: Option<Listening>,
    front: Option<Front>,
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
pub(super) struct Home {
    outlet: Arc<Outlet>,
    host: Option<Arc<Host>>,
    /// As long as a tunnel has this, others may have the same. Tasks that are about to end have none.
    _held: Arc<()>,
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
        // First of all: with a list that cannot be read nothing is made, however often it is tried.
        let lists = || Access::new(config, world.data_dir.as_deref(), Arc::clone(&world.naming));
        let access = config.kind.hosts().then(lists).transpose().map_err(|error| error.to_string())?;
        let client = match &plan {
            Plan::Client(plan) => Some(plan),
            Plan::Server(plan) => plan.proxy.as_ref(),
        };
        let listener = client.map(|plan| homes.listen(plan.listen)).transpose()?;
        let home = homes.home(config, world, runtime)?;
        let mut tasks = Tasks(Vec::new());
        let front = client.map(|plan| Front::new(plan, config, Arc::clone(&home.outlet), counters, world));
        if let (Some(front), Some(listener)) = (&front, &listener) {
            let socket = listener.socket.try_clone().map_err(|error| format!("cannot listen: {error}"))?;
            tasks.0.push(runtime.spawn(front.clone().serve(socket)).abort_handle());
        }
        if let (Plan::Server(plan), Some(access)) = (plan, access) {
            tasks.0.push(serve_streams(plan, access, &home, counters, runtime)?);
        } else if !config.delay_open {
            tasks.0.push(runtime.spawn(idle::open(Arc::downgrade(&home.outlet))).abort_handle());
        }
        let rests = config.delay_open || config.close_idle.is_some();
        Ok(Self { tasks, home, listener, front, rests })
    }

    /// Ends it. The destination and the port are there for whoever follows, until what is returned and
    /// [`Homes::release`] are done with.
    pub(super) fn stop(self, homes: &mut Homes) -> Home {
        let Self { tasks, home, listener, .. } = self;
        homes.parked.extend(listener);
        drop(tasks);
        home
    }

    /// Adds what it has counted to what outlasts it.
    pub(super) fn add_to(&self, stats: &mut TunnelStats) {
        if let Some(front) = &self.front {
            front.add_to(stats);
        }
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
        self.by_keys.retain(|_, known| known.held.strong_count() > 0);
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
        let character = Character::of(config, world).ok_or("its options are not possible")?;
        // In memory alone, every destination is new.
        if let Some(path) = world.data_dir.as_deref().and_then(|dir| config.key_path(dir)) {
            return self.with_keys(path, &character, world, runtime);
        }
        let held = Arc::new(());
        if !config.shared || config.kind.hosts() {
            let outlet = new_outlet(world, &character, None, runtime);
            let host = config.kind.hosts().then(|| Host::new(Arc::clone(&outlet), runtime));
            return Ok(Home { outlet, host, _held: held });
        }
        let found = self.shared.iter().find(|(other, _)| *other == character);
        let outlet = found.and_then(|(_, outlet)| outlet.upgrade()).unwrap_or_else(|| {
            let outlet = new_outlet(world, &character, None, runtime);
            self.shared.push((character, Arc::downgrade(&outlet)));
            outlet
        });
        Ok(Home { outlet, host: None, _held: held })
    }

    /// The destination with keys of a file, which several tunnels may have in common.
    fn with_keys(
        &mut self,
        path: PathBuf,
        character: &Character,
        world: &TunnelsConfig,
        runtime: &Handle,
    ) -> Result<Home, String> {
        let known = self.by_keys.get(&path).and_then(|known| Some((known, known.held.upgrade()?)));
        let found =
            known.and_then(|(known, held)| Some((known.outlet.upgrade()?, known.host.upgrade(), held)));
        let (outlet, host, held) = match found {
            Some((outlet, ..)) if character.publish && !outlet.options().publish => {
                return Err(format!(
                    "a client tunnel has the keys {} already, as a destination that others cannot find: stop it first",
                    path.display()
                ));
            }
            Some(found) => found,
            None => {
                let keys = keys::load_or_make(&path).map_err(|error| error.to_string())?;
                (new_outlet(world, character, Some(keys), runtime), None, Arc::new(()))
            }
        };
        let host = host.or_else(|| character.publish.then(|| Host::new(Arc::clone(&outlet), runtime)));
        let known = WithKeys {
            outlet: Arc::downgrade(&outlet),
            host: host.as_ref().map(Arc::downgrade).unwrap_or_default(),
            held: Arc::downgrade(&held),
        };
        self.by_keys.insert(path, known);
        Ok(Home { outlet, host: host.filter(|_| character.publish), _held: held })
    }
}

fn new_outlet(
    world: &TunnelsConfig,
    character: &Character,
    keys: Option<DestinationKeys>,
    runtime: &Handle,
) -> Arc<Outlet> {
    let Character { tunnels: (inbound, outbound), streaming, publish, rest } = character.clone();
    let options = SessionOptions { keys, inbound, outbound, publish, streaming };
    let outlet = Outlet::new(world.way.clone(), options);
    if !rest.is_none() {
        // It ends with the destination.
        runtime.spawn(idle::keep(Arc::downgrade(&outlet), rest));
    }
    outlet
}

/// What takes local connections.
#[derive(Clone)]
enum Front {
    Client(Arc<Client>),
    Http(Arc<HttpProxy>),
    Socks(Arc<SocksProxy>),
}

impl Front {
    fn new(
        plan: &ClientPlan,
        config: &TunnelConfig,
        outlet: Arc<Outlet>,
        counters: &Arc<Counters>,
        world: &TunnelsConfig,
    ) -> Self {
        let (naming, max_connections) = (Arc::clone(&world.naming), plan.max_connections);
        let (irc, remotes) = match &plan.service {
            ClientService::Plain(remotes) => (false, remotes.clone()),
            ClientService::Irc(remotes) => (true, remotes.clone()),
            ClientService::HttpProxy => {
                let outproxies = config.outproxy.clone();
                let options = HttpOptions { outproxies, max_connections, ..HttpOptions::default() };
                return Self::Http(HttpProxy::new(naming, outlet, options, entropy()));
            }
            ClientService::Socks => return Self::Socks(SocksProxy::new(naming, outlet, max_connections)),
        };
        let (gate, turn, counters) = (Gate::new(max_connections), AtomicUsize::new(0), Arc::clone(counters));
        Self::Client(Arc::new(Client { outlet, naming, remotes, irc, idle: plan.idle, gate, counters, turn }))
    }

    /// Serves connections until dropped.
    async fn serve(self, socket: std::net::TcpListener) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!("cannot listen: {error}"),
        };
        match self {
            Self::Client(client) => client.serve(listener).await,
            Self::Http(proxy) => proxy.serve(listener).await,
            Self::Socks(proxy) => proxy.serve(listener).await,
        }
    }

    /// Adds what it has counted by itself since it was started.
    fn add_to(&self, stats: &mut TunnelStats) {
        let of_proxy = match self {
            Self::Client(client) => {
                stats.refused_limits += client.gate.stats().1;
                return;
            }
            Self::Http(proxy) => proxy.stats(),
            Self::Socks(proxy) => proxy.stats(),
        };
        stats.connections += of_proxy.connections;
        stats.opened += of_proxy.requests;
        stats.refused_limits += of_proxy.refused_connections;
        stats.refused_requests += of_proxy.bad_requests + of_proxy.outside;
    }
}

/// Serves streams from peers.
fn serve_streams(
    plan: ServerPlan,
    access: Access,
    home: &Home,
    counters: &Arc<Counters>,
    runtime: &Handle,
) -> Result<AbortHandle, String> {
    let host = home.host.as_ref().ok_or("it has no destination")?;
    let attached = host.attach(plan.port);
    let (turnstile, turn) = (Turnstile::new(plan.limits), AtomicUsize::new(0));
    let server = Server { plan, access, turnstile, counters: Arc::clone(counters), turn };
    Ok(runtime.spawn(Arc::new(server).serve(attached)).abort_handle())
}
