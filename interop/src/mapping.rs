//! A router of ours behind a gateway with a real `miniupnpd`: once for each
//! protocol, it must get its port mapped, be reached through it from outside,
//! publish what it got, and leave nothing behind.
//!
//! ```text
//!   r9: ours ─── gateway: miniupnpd, 45.66.77.88 ─── outside: 198.18.2.2
//! ```

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::net::namespace::{Namespace, Namespaces};
use crate::net::nat::{self, Gateway, Mapping, Nat};
use crate::net::process::{Process, tail};
use crate::net::until;
use crate::network;
use crate::report::Report;
use crate::router::{self, NET_ID, PORT};
use crate::scenario::Place;

/// The gateway's: `miniupnpd` serves no address that is not public, and there is no way out to the real one.
const EXTERNAL: &str = "45.66.77.88";
/// The number of the network behind the gateway.
const INDEX: u8 = 9;
/// From the router's start until its port is mapped: what a user waits for at most.
const MAPPED_WITHIN: Duration = Duration::from_secs(60);
/// Until a router ends that has been asked to: two seconds for gateways, three for last words.
const ENDS_WITHIN: Duration = Duration::from_secs(6);
/// Until a packet has arrived next door.
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);

/// Runs it; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    let begun = Instant::now();
    for mapping in [Mapping::Pcp, Mapping::NatPmp, Mapping::Upnp] {
        let name = mapping.name();
        let mut home = match Home::start(place, mapping) {
            Ok(home) => home,
            Err(error) => {
                report.check::<String>(&format!("(mapping) a gateway with {name}"), Err(error));
                continue;
            }
        };
        let mapped = report.check(&format!("(mapping) TCP and UDP mapped by {name}"), home.mapped(mapping));
        if mapped.is_some() {
            report.check(&format!("(mapping) reached from outside, {name}"), home.reached());
        }
        report.check(&format!("(mapping) nothing left after the end, {name}"), home.ended());
    }
    println!("mapping took {} s", begun.elapsed().as_secs());
}

/// A home with a gateway. Fields are dropped in this order.
struct Home {
    router: Process,
    _miniupnpd: Process,
    inside: Namespace,
    outside: Namespace,
    gateway: Gateway,
    started: Instant,
    _namespaces: Namespaces,
}

impl Home {
    fn start(place: &Place, mapping: Mapping) -> Result<Self> {
        nat::ensure_installed()?;
        let directory = place.directory.join(format!("mapping-{}", mapping.name()));
        network::empty(&directory)?;
        let mut namespaces = Namespaces::new()?;
        let (inside, outside) = (namespaces.add("home")?, namespaces.add("outside")?);
        let gateway = Gateway::new(&mut namespaces, INDEX, Nat::KeepingPorts, &inside)?;
        let wan = gateway.namespace();
        let address = router::address(INDEX, false);
        wan.cable("wan0", &outside, "eth0")?;
        wan.set_up("wan0", &format!("{address}/15"))?;
        wan.set_up("wan0", &format!("{EXTERNAL}/32"))?;
        outside.set_up("eth0", "198.18.2.2/15")?;
        outside.ip(&["route", "add", EXTERNAL, "via", &address])?;
        let count = format!("udp dport {PORT} counter");
        inside.nft(&format!(
            "table inet count {{\nchain input {{\ntype filter hook input priority 0; policy accept;\n{count}\n}}\n}}\n"
        ))?;
        let miniupnpd = gateway.start_miniupnpd(mapping, EXTERNAL, &directory)?;
        inside.ensure_isolated_behind(&gateway)?;
        let mut command = inside.command(&place.binaries.aioli);
        command.args(["--host", "0.0.0.0", "--port", PORT]);
        command.args(["--net-id", NET_ID, "--private-network", "--no-sam"]);
        // In a private network gateways are asked only when that is said.
        command.arg("--data-dir").arg(directory.join("data")).env("I2P_NO_PORT_MAPPING", "false");
        let router = Process::start(command, "the router", &directory.join("router.log"))?;
        let started = Instant::now();
        Ok(Self { router, _miniupnpd: miniupnpd, inside, outside, gateway, started, _namespaces: namespaces })
    }

    /// Waits until the router says that both are mapped and publishes the address; the gateway must have the rules.
    fn mapped(&mut self, mapping: Mapping) -> Result<String> {
        let line = |transport: &str| {
            format!("{EXTERNAL}:{PORT} ({transport}) leads to this router, by {}", mapping.name())
        };
        let expected = [line("TCP"), line("UDP"), format!("publishing {EXTERNAL}:{PORT}")];
        until(MAPPED_WITHIN, || {
            self.router.ensure_running()?;
            let log = fs::read_to_string(self.router.log()).unwrap_or_default();
            Ok(expected.iter().all(|line| log.contains(line)))
        })
        .with_context(|| format!("it did not say so:\n{}", tail(self.router.log())))?;
        let took = self.started.elapsed().as_secs_f64();
        let rules = self.gateway.mapped()?;
        ensure!(rules.len() == 4, "the gateway has these rules: {rules:#?}");
        Ok(format!("after {took:.1} s"))
    }

    /// A connection and a datagram from outside.
    fn reached(&self) -> Result<&'static str> {
        let connect = self.shell(&format!("exec 3<>/dev/tcp/{EXTERNAL}/{PORT}"));
        connect.context("no connection to the mapped TCP port")?;
        let before = self.datagrams()?;
        self.shell(&format!("echo hello >/dev/udp/{EXTERNAL}/{PORT}"))?;
        until(ARRIVES_WITHIN, || Ok(self.datagrams()? > before))
            .context("no datagram through the mapped UDP port")?;
        Ok("TCP and UDP")
    }

    /// Ends the router: in time, without a rule left, and without a way in.
    fn ended(&mut self) -> Result<String> {
        let asked = Instant::now();
        ensure!(self.router.stop(ENDS_WITHIN), "it had to be killed:\n{}", tail(self.router.log()));
        let took = asked.elapsed().as_secs_f64();
        let rules = self.gateway.mapped()?;
        ensure!(rules.is_empty(), "the gateway still has {rules:#?}");
        let before = self.datagrams()?;
        // What arrives through the gateway after this one would have arrived before it.
        self.shell(&format!("echo hello >/dev/udp/{EXTERNAL}/{PORT}"))?;
        ensure!(self.shell(&format!("exec 3<>/dev/tcp/{EXTERNAL}/{PORT}")).is_err(), "TCP still gets in");
        ensure!(self.datagrams()? == before, "UDP still gets in");
        Ok(format!("ended in {took:.1} s"))
    }

    /// Datagrams to our port that have reached the computer.
    fn datagrams(&self) -> Result<u64> {
        let listed = self.inside.nft("list chain inet count input\n")?;
        let packets = listed.split_once("packets ").and_then(|(_, rest)| rest.split_whitespace().next());
        packets.context("nft counts packets")?.parse().context("a number of packets")
    }

    /// A line of bash outside, two seconds at most.
    fn shell(&self, line: &str) -> Result<()> {
        let mut command = self.outside.command(Path::new("timeout"));
        let output = command.args(["2", "bash", "-c", line]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}
