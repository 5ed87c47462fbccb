//! Gateways: a namespace between a router's and the bridge, which translates,
//! filters, or runs a real `miniupnpd`.
//!
//! ```text
//!   router: eth0 169.254.<n>.2 ─── lan0 169.254.<n>.1  gateway  wan0 198.18.<n>.2/15 ─── bridge
//! ```
//!
//! Inside, addresses are link-local: in a private network a router publishes
//! any other that it finds, and here it must find out what it has outside.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::namespace::{Namespace, Namespaces};
use super::process::{Process, run};
use super::until;

/// Where Debian has it.
const MINIUPNPD: &str = "/usr/sbin/miniupnpd";
/// Until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// How a gateway treats what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Translates, and keeps the port where it is free; lets answers in alone.
    KeepingPorts,
    /// Translates to another port for every peer; lets answers in alone.
    RandomPorts,
    /// Translates as [`Nat::KeepingPorts`]; no UDP at all.
    NoUdp,
}

impl Nat {
    const fn masquerade(self) -> &'static str {
        match self {
            Self::KeepingPorts | Self::NoUdp => "masquerade",
            Self::RandomPorts => "masquerade fully-random",
        }
    }

    /// The rules of a gateway. Those of `miniupnpd` go into its chains.
    fn rules(self) -> String {
        let udp = if self == Self::NoUdp { "meta l4proto udp drop" } else { "" };
        let masquerade = self.masquerade();
        format!(
            "table inet filter {{\n\
             chain input {{\ntype filter hook input priority 0; policy accept;\n\
             iifname wan0 ct state new drop\n}}\n\
             chain forward {{\ntype filter hook forward priority 0; policy drop;\n\
             {udp}\nct state established,related accept\niifname lan0 accept\njump mapped\n}}\n\
             chain mapped {{\n}}\n}}\n\
             table inet nat {{\n\
             chain prerouting {{\ntype nat hook prerouting priority -100; policy accept;\njump to_mapped\n}}\n\
             chain postrouting {{\ntype nat hook postrouting priority 100; policy accept;\n\
             jump from_mapped\noifname wan0 {masquerade}\n}}\n\
             chain to_mapped {{\n}}\nchain from_mapped {{\n}}\n}}\n"
        )
    }
}

/// What stands between a router and those that want to connect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Nothing, but it must find out its address.
    Open,
    /// It has an address of its own, and lets answers in alone.
    Filtered,
    /// It has an address of its own, and lets answers in over TCP alone.
    NothingInbound,
    /// A gateway.
    Behind(Nat),
}

/// How a gateway can be asked to map a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// PCP (and NAT-PMP).
    Pcp,
    /// NAT-PMP alone, by one that does not answer PCP.
    NatPmp,
    /// UPnP alone.
    Upnp,
}

impl Mapping {
    /// Its name, as our router says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

/// A gateway and the network behind it.
#[derive(Clone, Debug)]
pub struct Gateway {
    namespace: Namespace,
    index: u8,
}

impl Gateway {
    /// Puts `inside` behind a gateway whose outer side is a free end: [`Gateway::namespace`]'s `wan0` is for the
    /// caller to make and plug.
    pub fn new(namespaces: &mut Namespaces, index: u8, nat: Nat, inside: &Namespace) -> Result<Self> {
        let gateway = Self { namespace: namespaces.add(&format!("g{index}"))?, index };
        let namespace = &gateway.namespace;
        namespace.cable("lan0", inside, "eth0")?;
        namespace.set_up("lan0", &format!("{}/24", gateway.inner()))?;
        inside.set_up("eth0", &format!("169.254.{index}.2/24"))?;
        inside.ip(&["route", "add", "default", "via", &gateway.inner()])?;
        run(namespace.command(Path::new("sysctl")).args(["-qw", "net.ipv4.ip_forward=1"]))?;
        namespace.nft(&nat.rules())?;
        Ok(gateway)
    }

    /// Where it lives.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address on the side of the router.
    pub fn inner(&self) -> String {
        format!("169.254.{}.1", self.index)
    }

    /// Starts `miniupnpd`, which says that `external` is its address. It serves no private one, and the range of this
    /// network counts as private.
    pub fn start_miniupnpd(&self, mapping: Mapping, external: &str, directory: &Path) -> Result<Process> {
        if mapping == Mapping::NatPmp {
            // The first byte is the version.
            let drop = "insert rule inet filter input udp dport 5351 @th,64,8 2 drop\n";
            self.namespace.nft(drop)?;
        }
        let yes = |is: bool| if is { "yes" } else { "no" };
        let lan = format!("169.254.{}.0/24", self.index);
        let configuration = format!(
            "ext_ifname=wan0\next_ip={external}\nlistening_ip=lan0\nenable_natpmp={}\nenable_upnp={}\n\
             upnp_table_name=filter\nupnp_nat_table_name=nat\nupnp_forward_chain=mapped\n\
             upnp_nat_chain=to_mapped\nupnp_nat_postrouting_chain=from_mapped\nsecure_mode=yes\n\
             uuid=5f3e5a3c-3d3a-4f3a-9f3a-5f3e5a3c3d3a\n\
             allow 1024-65535 {lan} 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
            yes(mapping != Mapping::Upnp),
            yes(mapping == Mapping::Upnp),
        );
        let file = directory.join("miniupnpd.conf");
        fs::write(&file, configuration)?;
        let mut command = self.namespace.command(Path::new(MINIUPNPD));
        command.arg("-d").arg("-f").arg(&file).arg("-P").arg(directory.join("miniupnpd.pid"));
        let mut process = Process::start(command, "miniupnpd", &directory.join("miniupnpd.log"))?;
        until(LISTENS_WITHIN, || {
            process.ensure_running()?;
            Ok(fs::read_to_string(process.log())?.to_lowercase().contains("listening"))
        })
        .context("miniupnpd does not listen")?;
        Ok(process)
    }

    /// The rules that `miniupnpd` has added.
    pub fn mapped(&self) -> Result<Vec<String>> {
        let mut rules = Vec::new();
        for (table, chain) in [("filter", "mapped"), ("nat", "to_mapped")] {
            let listed = self.namespace.nft(&format!("list chain inet {table} {chain}\n"))?;
            rules.extend(
                listed.lines().filter(|line| line.contains("dport")).map(|line| line.trim().to_owned()),
            );
        }
        Ok(rules)
    }
}

/// Drops what nobody inside asked for, at a router that has an address of its own; with `no_udp` over UDP even that.
pub fn filter_inbound(namespace: &Namespace, no_udp: bool) -> Result<()> {
    let udp = if no_udp { "meta l4proto udp drop\n" } else { "" };
    let rules = format!(
        "table inet filter {{\nchain input {{\ntype filter hook input priority 0; policy drop;\n\
         iifname lo accept\n{udp}ct state established,related accept\n}}\n}}\n"
    );
    namespace.nft(&rules).map(drop)
}

/// Fails if a program is missing that gateways need.
pub fn ensure_installed() -> Result<()> {
    for (program, packages) in [("/usr/sbin/nft", "nftables"), (MINIUPNPD, "miniupnpd-nftables miniupnpd")] {
        ensure!(Path::new(program).exists(), "{program} is missing: apt-get install {packages}");
    }
    Ok(())
}

impl Namespace {
    /// Runs commands of nftables inside and returns what they print.
    pub fn nft(&self, commands: &str) -> Result<String> {
        let mut command = self.command(Path::new("nft"));
        command
            .args(["-f", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("running `nft` (package nftables)")?;
        child.stdin.take().context("nft reads its standard input")?.write_all(commands.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Refuses a namespace whose way out ends anywhere but in a gateway without one.
    pub fn ensure_isolated_behind(&self, gateway: &Gateway) -> Result<()> {
        self.check_routes(&["169.254."], Some(&format!("via {}", gateway.inner())))?;
        gateway.namespace.check_routes(&["169.254.", "45.66.77."], None)
    }
}
