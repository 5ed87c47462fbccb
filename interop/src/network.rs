//! A private network of routers: namespaces, links, two starts and the seeding between them.
//!
//! ```text
//!   hub: br0 ─┬─ eth0 in r1: 198.18.1.2/15      or, with delay, a forwarder
//!             ├─ eth0 in r2: 198.18.2.2/15      in the place of the bridge
//!             ├─ wan0 in g3: 198.18.3.2/15, and eth0 in r3 behind it, where there is a gateway
//!             ├─ …
//!             └─ eth0 in h200: 198.18.200.2/15  a host that is no router, where one was added
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net::namespace::{Namespace, Namespaces};
use crate::net::nat::{self, Edge, Gateway};
use crate::net::process::Process;
use crate::net::{delay, until};
use crate::router::{self, Binaries, Kind, Router};

/// How long a first start may take to write its RouterInfo.
const FIRST_START: Duration = Duration::from_secs(30);

/// Between two starts. Routers of i2pd that dial each other at the same moment
/// over SSU2 both wait five seconds before they use NTCP2.
const STAGGER: Duration = Duration::from_millis(400);

/// What a network consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Each router's kind and whether it is a floodfill; the first is router 1.
    pub routers: Vec<(Kind, bool)>,
    /// One-way delay of every link; none puts them all on one bridge.
    pub delay: Option<Duration>,
    /// The router of ours that has a bandwidth limit, and how many KB/s.
    pub limit: Option<(usize, u32)>,
    /// Ours speak SSU2 alone.
    pub ssu2_only: bool,
    /// Ours speak IPv6 alone, and i2pd's both families.
    pub ipv6: bool,
    /// The largest packet that reaches each router of ours; what is larger is lost without a word.
    pub mtu: Option<u16>,
    /// Routers of ours that must find out whether others reach them, and what is in the way.
    pub edges: Vec<(usize, Edge)>,
    /// Pairs of routers that do not know each other at first.
    pub strangers: Vec<(usize, usize)>,
    /// Routers of ours that know nobody, are known to nobody, and are not started with the others.
    pub fresh: Vec<usize>,
}

impl Layout {
    /// `aioli` routers of ours, then `i2pd` of i2pd's; up to three floodfills, of both kinds where there are both.
    pub fn mixed(aioli: usize, i2pd: usize) -> Self {
        let mut routers = vec![(Kind::Aioli, false); aioli];
        routers.extend(vec![(Kind::I2pd, false); i2pd]);
        let total = routers.len();
        // The last ones, so that applications live on routers that are not floodfills.
        for (at, (_, floodfill)) in routers.iter_mut().enumerate() {
            let from_end = total - at;
            *floodfill = if i2pd == 0 || aioli == 0 || aioli < 3 {
                from_end <= 3
            } else {
                from_end <= 2 || at + 1 == aioli
            };
        }
        Self {
            routers,
            delay: None,
            limit: None,
            ssu2_only: false,
            ipv6: false,
            mtu: None,
            edges: Vec::new(),
            strangers: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// The same with one router of ours left out of the seeding and the start.
    pub fn with_fresh(mut self, router: usize) -> Self {
        self.fresh.push(router);
        self
    }

    /// The same with a bandwidth limit in KB/s for one router of ours.
    pub fn with_limit(mut self, router: usize, kbytes: u32) -> Self {
        self.limit = Some((router, kbytes));
        self
    }

    /// The same with a delay on every link.
    pub fn with_delay(mut self, delay: Option<Duration>) -> Self {
        self.delay = delay;
        self
    }
}

/// A running network. Dropping it stops everything; fields are dropped in this order.
#[derive(Debug)]
pub struct Network {
    routers: Vec<Router>,
    _forwarder: Option<Process>,
    hub: Option<Namespace>,
    namespaces: Namespaces,
    directory: PathBuf,
    binaries: Binaries,
}

impl Network {
    /// Makes the network below `directory` and starts it, seeded: every router knows every other.
    pub fn start(layout: &Layout, binaries: &Binaries, directory: &Path) -> Result<Self> {
        empty(directory)?;
        let mut namespaces = Namespaces::new()?;
        let mut routers = Vec::new();
        for (index, (kind, floodfill)) in (1..).zip(&layout.routers) {
            let namespace = namespaces.add(&format!("r{index}"))?;
            let limit =
                layout.limit.filter(|(router, _)| *router == usize::from(index)).map(|(_, kbytes)| kbytes);
            let fresh = layout.fresh.contains(&usize::from(index));
            let edge = layout.edges.iter().find(|(at, _)| *at == usize::from(index)).map(|(_, edge)| *edge);
            let gateway = match edge {
                Some(Edge::Behind(nat)) => Some(Gateway::new(&mut namespaces, index, nat, &namespace)?),
                Some(edge @ (Edge::Filtered | Edge::NothingInbound)) => {
                    nat::filter_inbound(&namespace, edge == Edge::NothingInbound)?;
                    None
                }
                Some(Edge::Open) | None => None,
            };
            let router = Router::new(index, *kind, *floodfill, namespace, directory)?;
            let router = router.with_limit(limit).with_fresh(fresh).with_edge(edge, gateway);
            let ssu2_only = layout.ssu2_only && *kind == Kind::Aioli;
            routers.push(router.with_transport(ssu2_only, layout.ipv6));
        }
        let (hub, forwarder) = match layout.delay {
            None => (Some(bridge(&mut namespaces, &routers, layout)?), None),
            Some(delay) => {
                let targets = routers.iter().map(|r| (r.index(), r.namespace().clone())).collect::<Vec<_>>();
                (None, Some(delay::connect(&mut namespaces, &targets, delay, directory)?))
            }
        };
        let mut network = Self {
            routers,
            _forwarder: forwarder,
            hub,
            namespaces,
            directory: directory.to_owned(),
            binaries: binaries.clone(),
        };
        network.seed(&layout.strangers)?;
        // Those that must find out how they stand do so in a network that is there.
        for has_edge in [false, true] {
            for router in network.routers.iter_mut().filter(|r| !r.is_fresh() && r.has_edge() == has_edge) {
                router.start(&network.binaries, "run")?;
                thread::sleep(STAGGER);
            }
        }
        Ok(network)
    }

    /// Its routers, the first is router 1.
    pub fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// One router, by its number from 1.
    pub fn router(&self, index: usize) -> Result<&Router> {
        self.routers.get(index.wrapping_sub(1)).with_context(|| format!("no router {index}"))
    }

    /// One router, to be started and stopped.
    pub fn router_mut(&mut self, index: usize) -> Result<&mut Router> {
        self.routers.get_mut(index.wrapping_sub(1)).with_context(|| format!("no router {index}"))
    }

    /// A host at 198.18.`index`.2 that is no router: for a server that routers ask.
    pub fn add_host(&mut self, index: u8) -> Result<Namespace> {
        let hub = self.hub.clone().context("a network with delay takes no further hosts")?;
        let namespace = self.namespaces.add(&format!("h{index}"))?;
        plug(&hub, index, &namespace, "eth0", false)?;
        Ok(namespace)
    }

    /// Where the cables of all routers end, that of router `i` as `port<i>`. None: there is a forwarder instead.
    pub const fn hub(&self) -> Option<&Namespace> {
        self.hub.as_ref()
    }

    /// Where data directories and logs are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Fails if a router has ended: none may, whatever the others do. A fresh one need not have begun.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.routers.iter_mut().filter(|r| !r.is_fresh()).try_for_each(Router::ensure_running)
    }

    /// Starts routers of `kind` again that have ended by themselves; says which and why.
    pub fn revive(&mut self, kind: Kind) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for router in self.routers.iter_mut().filter(|r| r.kind() == kind) {
            if let Err(error) = router.ensure_running() {
                ended.push(format!("{error:#}").lines().next().unwrap_or_default().to_owned());
                router.start(&self.binaries, "again")?;
            }
        }
        Ok(ended)
    }

    /// Fails if a router of `kind` has ended.
    pub fn ensure_kind_running(&mut self, kind: Kind) -> Result<()> {
        self.routers.iter_mut().filter(|r| r.kind() == kind).try_for_each(Router::ensure_running)
    }

    /// Stops all routers. Returns those that had to be killed.
    pub fn stop(&mut self) -> Vec<u8> {
        let mut killed = Vec::new();
        for router in &mut self.routers {
            if !router.stop() {
                killed.push(router.index());
            }
        }
        killed
    }

    /// Starts each router until it has written its RouterInfo, and gives that to all others.
    fn seed(&mut self, strangers: &[(usize, usize)]) -> Result<()> {
        for router in self.routers.iter_mut().filter(|r| !r.is_fresh()) {
            router.start(&self.binaries, "first")?;
        }
        until(FIRST_START, || {
            self.ensure_running()?;
            Ok(self.routers.iter().all(|r| r.is_fresh() || r.router_info().is_some()))
        })
        .context("a router wrote no router.info")?;
        // i2pd writes it before it has added its addresses, and again after.
        thread::sleep(Duration::from_secs(2));
        self.stop();
        let seeded = || self.routers.iter().filter(|r| !r.is_fresh());
        for router in seeded() {
            let info = router.router_info().context("a router removed its router.info")?;
            let strange = |a: &Router, b: &Router| strangers.contains(&(a.index().into(), b.index().into()));
            let others = seeded().filter(|other| other.index() != router.index());
            for other in others.filter(|other| !strange(router, other) && !strange(other, router)) {
                other.seed(&info)?;
            }
        }
        Ok(())
    }
}

/// Makes an empty directory, whatever was there.
pub fn empty(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("emptying {}", directory.display()))?;
    }
    Ok(fs::create_dir_all(directory)?)
}

/// A bridge in a namespace of its own, and a cable from it to each router or its gateway.
fn bridge(namespaces: &mut Namespaces, routers: &[Router], layout: &Layout) -> Result<Namespace> {
    let hub = namespaces.add("hub")?;
    hub.ip(&["link", "add", "br0", "type", "bridge"])?;
    hub.ip(&["link", "set", "br0", "up"])?;
    for router in routers {
        let index = router.index();
        match router.gateway() {
            Some(gateway) => plug(&hub, index, gateway.namespace(), "wan0", layout.ipv6)?,
            None => plug(&hub, index, router.namespace(), "eth0", layout.ipv6)?,
        }
        if layout.ipv6 && router.kind() == Kind::I2pd {
            router.namespace().set_up("eth0", &format!("{}/15", router::address(index, false)))?;
        }
        if let Some(mtu) = layout.mtu.filter(|_| router.kind() == Kind::Aioli) {
            // Of this end alone: the router believes that its packets may be larger.
            hub.ip(&["link", "set", &format!("port{index}"), "mtu", &mtu.to_string()])?;
        }
    }
    Ok(hub)
}

/// A cable from the bridge into a namespace, where the end gets the address of router `index`.
fn plug(hub: &Namespace, index: u8, namespace: &Namespace, end: &str, ipv6: bool) -> Result<()> {
    let port = format!("port{index}");
    hub.cable(&port, namespace, end)?;
    hub.ip(&["link", "set", &port, "master", "br0", "up"])?;
    let length = if ipv6 { 48 } else { 15 };
    namespace.set_up(end, &format!("{}/{length}", router::address(index, ipv6)))
}
