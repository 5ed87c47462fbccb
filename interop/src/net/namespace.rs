//! Network namespaces without a way out, and their removal whatever happens.
//!
//! A namespace's name says who owns it, `aioli.<pid>.<start time>.<network>.<name>`,
//! so that a later run can tell a leftover of a killed run from a network in use.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::guard::Guard;

/// What the names of all our namespaces begin with.
const FAMILY: &str = "aioli.";

/// How many networks this process has made: each gets a prefix of its own.
static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// The namespaces of one network. Dropping it removes them with everything in them.
#[derive(Debug)]
pub struct Namespaces {
    prefix: String,
    made: Vec<Namespace>,
    /// Does the same if this process is killed.
    _guard: Guard,
}

impl Namespaces {
    /// An empty set, after removing what killed runs left behind.
    pub fn new() -> Result<Self> {
        sweep_dead()?;
        let network = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}{network}.", own_prefix()?);
        Ok(Self { _guard: Guard::start(&prefix)?, prefix, made: Vec::new() })
    }

    /// Makes a namespace with its loopback device up.
    pub fn add(&mut self, name: &str) -> Result<Namespace> {
        let ns = Namespace { name: format!("{}{name}", self.prefix) };
        ip(&["netns", "add", &ns.name]).context("making a network namespace (this needs root)")?;
        self.made.push(ns.clone());
        ns.ip(&["link", "set", "lo", "up"])?;
        Ok(ns)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for ns in &self.made {
            // Nothing can be done about a failure here; the guard and the next run try again.
            let _ = remove(&ns.name);
        }
    }
}

/// One namespace, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The name under which `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all)
    }

    /// Lays a cable from a new device of this namespace to a new one of another.
    pub fn cable(&self, device: &str, other: &Self, far: &str) -> Result<()> {
        self.ip(&["link", "add", device, "type", "veth", "peer", "name", far, "netns", &other.name]).map(drop)
    }

    /// Gives a device an address and switches it on.
    pub fn set_up(&self, device: &str, address: &str) -> Result<()> {
        let mut arguments = vec!["addr", "add", address, "dev", device];
        if address.contains(':') {
            // At once: there is nobody who could have it, too.
            arguments.push("nodad");
        }
        self.ip(&arguments)?;
        self.ip(&["link", "set", device, "up"]).map(drop)
    }

    /// Takes a device's address away in mid-run and gives it another, as a provider does at night. What a gateway had
    /// translated to the old one is cut off.
    pub fn replace_address(&self, device: &str, old: &str, new: &str) -> Result<()> {
        self.ip(&["addr", "del", &format!("{old}/15"), "dev", device])?;
        self.ip(&["addr", "add", &format!("{new}/15"), "dev", device]).map(drop)
    }

    /// A command that will run inside this namespace.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Refuses a namespace from which anything but the private network could be reached.
    ///
    /// Asked before every start of a router, because a router that finds the
    /// real network would join it.
    pub fn ensure_isolated(&self) -> Result<()> {
        self.check_routes(&[], None)
    }

    /// Refuses routes to anything but the private network and `also`; with `default` a default route that says so.
    pub(super) fn check_routes(&self, also: &[&str], default: Option<&str>) -> Result<()> {
        for family in ["-4", "-6"] {
            let routes = self.ip(&[family, "route", "show", "table", "all"])?;
            for route in routes.lines() {
                let target =
                    route.split_whitespace().find(|w| !matches!(*w, "local" | "broadcast" | "multicast"));
                let target = target.unwrap_or_default();
                let private = ["198.18.", "198.19.", "2001:2:", "127.", "::1", "fe80:", "ff00:"];
                let known = private.iter().chain(also).any(|p| target.starts_with(p));
                let to_gateway = target == "default" && default.is_some_and(|via| route.contains(via));
                ensure!(
                    known || to_gateway,
                    "{} has a route to {target}: not starting a router in it",
                    self.name
                );
            }
        }
        Ok(())
    }
}

/// Removes every namespace whose owner has died, with the processes in it.
pub fn sweep_dead() -> Result<()> {
    for name in list()? {
        let mut parts = name.split('.').skip(1);
        let (Some(pid), Some(start)) = (parts.next(), parts.next()) else { continue };
        if start_time(pid).as_deref() != Some(start) {
            remove(&name).with_context(|| format!("removing {name}, left by a run that was killed"))?;
        }
    }
    Ok(())
}

/// Removes every namespace of the network that `prefix` names.
pub fn sweep_prefix(prefix: &str) -> Result<()> {
    ensure!(prefix.starts_with(FAMILY), "not a prefix of ours: {prefix}");
    list()?.iter().filter(|name| name.starts_with(prefix)).try_for_each(|name| remove(name))
}

/// What the names of this process's namespaces begin with.
fn own_prefix() -> Result<String> {
    let pid = std::process::id().to_string();
    let start = start_time(&pid).context("reading this process's start time")?;
    Ok(format!("{FAMILY}{pid}.{start}."))
}

/// Our namespaces on this machine, of all runs.
fn list() -> Result<Vec<String>> {
    let listed = ip(&["netns", "list"])?;
    let names = listed.lines().filter_map(|l| l.split_whitespace().next());
    Ok(names.filter(|n| n.starts_with(FAMILY)).map(str::to_owned).collect())
}

/// Ends the processes inside a namespace of ours, then the namespace.
fn remove(name: &str) -> Result<()> {
    let Ok(pids) = ip(&["netns", "pids", name]) else {
        return Ok(()); // already gone
    };
    for pid in pids.lines().filter_map(|l| l.trim().parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if let Err(error) = ip(&["netns", "del", name])
        && list()?.iter().any(|n| n == name)
    {
        return Err(error);
    }
    Ok(())
}

/// When a process started, in clock ticks since boot: with its number, its name for good.
fn start_time(pid: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the program's name in parentheses, may hold spaces.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

/// Runs `ip` and returns what it printed.
fn ip(arguments: &[&str]) -> Result<String> {
    let run = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = run.context("running `ip` (package iproute2)")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
