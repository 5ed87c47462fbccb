//! One router of the private network, ours or another's, run as a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::net::namespace::Namespace;
use crate::net::nat::{Edge, Gateway};
use crate::net::process::{Process, Usage};
use crate::router_info::netdb_path;

/// Apart from the real network, which is 2.
pub const NET_ID: &str = "77";
/// Every router has an address of its own, so all may use one port.
pub const PORT: &str = "12345";

/// Where i2pd looks for tunnels, in its directory.
const I2PD_TUNNELS: &str = "tunnels.d";

/// Whose router it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This project's `i2p-router`.
    Aioli,
    /// i2pd, as the system has it installed.
    I2pd,
}

impl Kind {
    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aioli => "aioli",
            Self::I2pd => "i2pd",
        }
    }
}

/// The programs to run.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Our `i2p-router`.
    pub aioli: PathBuf,
    /// The system's `i2pd`.
    pub i2pd: PathBuf,
}

/// One router: where it lives and, while it runs, its process.
#[derive(Debug)]
pub struct Router {
    index: u8,
    kind: Kind,
    floodfill: bool,
    namespace: Namespace,
    /// Where it keeps its data, and i2pd its configuration.
    data_dir: PathBuf,
    /// Where its logs and its statistics are.
    logs: PathBuf,
    /// In KB/s; ours only.
    limit: Option<u32>,
    /// Speaks SSU2 alone; ours only.
    ssu2_only: bool,
    /// IPv6 alone, instead of IPv4.
    ipv6: bool,
    /// What stands between it and the others, and the gateway if that is one.
    edge: Option<Edge>,
    gateway: Option<Gateway>,
    /// Neither seeded nor started with the others; ours only.
    fresh: bool,
    /// Where it reseeds; ours only.
    reseed_config: Option<PathBuf>,
    /// Who alone is next to it in its tunnels; ours only.
    explicit_peer: Option<String>,
    running: Option<(Process, Instant)>,
}

/// What a router of ours says about itself in its statistics file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Tunnels of others that pass through it.
    pub transit_tunnels: u64,
    /// Tunnel messages it has relayed for others.
    pub transit_messages: u64,
    /// Bytes it has relayed for others.
    pub transit_bytes: u64,
    /// Its own inbound tunnels.
    pub tunnels_in: u64,
    /// Its own outbound tunnels.
    pub tunnels_out: u64,
    /// Transport sessions.
    pub sessions: u64,
    /// Routers in its NetDB.
    pub known_routers: u64,
}

impl Router {
    /// Prepares a router and the directory of its logs.
    pub fn new(index: u8, kind: Kind, floodfill: bool, namespace: Namespace, base: &Path) -> Result<Self> {
        let logs = base.join(format!("r{index}"));
        fs::create_dir_all(&logs)?;
        // Ours makes its directory itself, and has it for itself.
        let data_dir = if kind == Kind::Aioli { logs.join("data") } else { logs.clone() };
        Ok(Self {
            index,
            kind,
            floodfill,
            namespace,
            data_dir,
            logs,
            limit: None,
            ssu2_only: false,
            ipv6: false,
            edge: None,
            gateway: None,
            fresh: false,
            reseed_config: None,
            explicit_peer: None,
            running: None,
        })
    }

    /// The same with SSU2 as the only transport, or IPv6 as the only family.
    pub fn with_transport(self, ssu2_only: bool, ipv6: bool) -> Self {
        Self { ssu2_only, ipv6, ..self }
    }

    /// The same behind something that keeps others out. It is not told its address.
    pub fn with_edge(self, edge: Option<Edge>, gateway: Option<Gateway>) -> Self {
        Self { edge, gateway, ..self }
    }

    /// Whether something may keep others out, which it must find out.
    pub const fn has_edge(&self) -> bool {
        self.edge.is_some()
    }

    /// The gateway that it is behind, if it is.
    pub const fn gateway(&self) -> Option<&Gateway> {
        self.gateway.as_ref()
    }

    /// The same with a bandwidth limit in KB/s.
    pub fn with_limit(self, limit: Option<u32>) -> Self {
        Self { limit, ..self }
    }

    /// The same, neither seeded nor started with the others.
    pub fn with_fresh(self, fresh: bool) -> Self {
        Self { fresh, ..self }
    }

    /// Reseeds as this file says from the next start on.
    pub fn reseed_from(&mut self, configuration: &Path) {
        self.reseed_config = Some(configuration.to_owned());
    }

    /// Builds all its tunnels over this router from the next start on.
    pub fn build_over(&mut self, router: &str) {
        self.explicit_peer = Some(router.to_owned());
    }

    /// Whether it is neither seeded nor started with the others.
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Its number in the network, from 1.
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// Whose router it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The namespace it runs in, where its SAM is.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// When it was started last.
    pub fn started(&self) -> Option<Instant> {
        self.running.as_ref().map(|(_, started)| *started)
    }

    /// Starts the program, if its namespace has no way out.
    pub fn start(&mut self, binaries: &Binaries, run: &str) -> Result<()> {
        match &self.gateway {
            Some(gateway) => self.namespace.ensure_isolated_behind(gateway)?,
            None => self.namespace.ensure_isolated()?,
        }
        let command = match self.kind {
            Kind::Aioli => self.aioli_command(&binaries.aioli),
            Kind::I2pd => {
                fs::write(self.data_dir.join("i2pd.conf"), self.i2pd_config())?;
                self.i2pd_command(&binaries.i2pd)
            }
        };
        let log = self.logs.join(format!("{run}.log"));
        let name = format!("router {} ({})", self.index, self.kind.name());
        self.running = Some((Process::start(command, &name, &log)?, Instant::now()));
        Ok(())
    }

    /// Stops the program; whether it ended when asked.
    pub fn stop(&mut self) -> bool {
        self.running.take().is_none_or(|(mut process, _)| process.stop(Duration::from_secs(5)))
    }

    /// Kills the program as a power cut would.
    pub fn kill(&mut self) {
        if let Some((process, _)) = self.running.take() {
            process.kill();
        }
    }

    /// Gives a router of i2pd's these tunnels, in its own words. It takes them up at once.
    pub fn give_tunnels(&self, tunnels: &str) -> Result<()> {
        ensure!(self.kind == Kind::I2pd, "ours follow their own file");
        let directory = self.data_dir.join(I2PD_TUNNELS);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("given.conf"), tunnels)?;
        let (process, _) =
            self.running.as_ref().with_context(|| format!("router {} is not running", self.index))?;
        process.hang_up();
        Ok(())
    }

    /// Fails if the program has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        let index = self.index;
        let (process, _) =
            self.running.as_mut().with_context(|| format!("router {index} was not started"))?;
        process.ensure_running()
    }

    /// Its memory and processor time.
    pub fn usage(&self) -> Result<Usage> {
        let (process, _) =
            self.running.as_ref().with_context(|| format!("router {} is not running", self.index))?;
        process.usage()
    }

    /// Where it keeps its data.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file with its signed RouterInfo.
    pub fn router_info_file(&self) -> PathBuf {
        self.data_dir.join("router.info")
    }

    /// What it has written to its log since the start named `run`.
    pub fn log(&self, run: &str) -> String {
        fs::read_to_string(self.logs.join(format!("{run}.log"))).unwrap_or_default()
    }

    /// Its signed RouterInfo, once it has written one.
    pub fn router_info(&self) -> Option<Vec<u8>> {
        let bytes = fs::read(self.router_info_file()).ok()?;
        (bytes.len() > 391).then_some(bytes)
    }

    /// Whether its RouterInfo has this text.
    pub fn publishes(&self, what: &str) -> bool {
        self.router_info().is_some_and(|info| info.windows(what.len()).any(|w| w == what.as_bytes()))
    }

    /// Puts another router's RouterInfo into its NetDB.
    pub fn seed(&self, router_info: &[u8]) -> Result<()> {
        let path = netdb_path(&self.data_dir, router_info)?;
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        Ok(fs::write(path, router_info)?)
    }

    /// What it says about itself; only ours does.
    pub fn counters(&self) -> Result<Counters> {
        let json = self.stats()?;
        let number = |key: &str| json.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default();
        Ok(Counters {
            transit_tunnels: number("transit_tunnels"),
            transit_messages: number("transit_messages"),
            transit_bytes: number("transit_bytes"),
            tunnels_in: number("tunnels_in"),
            tunnels_out: number("tunnels_out"),
            sessions: number("sessions"),
            known_routers: number("known_routers"),
        })
    }

    /// One of its counters, which must exist; only ours has any.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let number = self.stats()?.get(name).and_then(serde_json::Value::as_u64);
        number.with_context(|| format!("there is no counter {name}"))
    }

    fn stats(&self) -> Result<serde_json::Value> {
        ensure!(self.kind == Kind::Aioli, "only our routers write counters");
        let path = self.stats_file();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// When it wrote last what it says about itself.
    pub fn counted(&self) -> Result<SystemTime> {
        let path = self.stats_file();
        let modified = fs::metadata(&path).and_then(|file| file.modified());
        modified.with_context(|| format!("reading {}", path.display()))
    }

    fn address(&self) -> String {
        address(self.index, self.ipv6)
    }

    fn stats_file(&self) -> PathBuf {
        self.logs.join("stats.json")
    }

    fn aioli_command(&self, program: &Path) -> Command {
        let mut command = self.namespace.command(program);
        command.args(["--host", if self.ipv6 { "::" } else { "0.0.0.0" }, "--port", PORT]);
        if self.edge.is_none() {
            command.args(["--external-host", &self.address()]);
        }
        if self.ssu2_only {
            command.arg("--no-ntcp2");
        }
        command.arg("--data-dir").arg(&self.data_dir);
        command.args(["--net-id", NET_ID, "--private-network", "--sam", "127.0.0.1:7656"]);
        // A few routers bring what in the public network thousands do: no home's rate of new connections.
        command.args(["--profile", "server"]);
        if self.floodfill {
            command.arg("--floodfill");
        }
        if let Some(limit) = self.limit {
            command.arg("--bandwidth").arg(limit.to_string());
        }
        if let Some(router) = &self.explicit_peer {
            command.arg("--explicit-peers").arg(router);
        }
        if let Some(configuration) = &self.reseed_config {
            command.arg("--reseed-config").arg(configuration);
        }
        command.env("I2P_STATS_FILE", self.stats_file());
        command
    }

    fn i2pd_command(&self, program: &Path) -> Command {
        let mut command = self.namespace.command(program);
        command.arg("--datadir").arg(&self.data_dir).arg("--conf").arg(self.data_dir.join("i2pd.conf"));
        command.args(["--tunconf", "/dev/null", "--tunnelsdir"]).arg(self.data_dir.join(I2PD_TUNNELS));
        command.args(["--certsdir", "/usr/share/i2pd/certificates"]);
        command
    }

    /// What i2pd needs to stay among its own: its reserved list spares 198.18.0.0/15 alone.
    fn i2pd_config(&self) -> String {
        // Where ours have IPv6 alone, i2pd has both: it takes nobody for a floodfill who has no IPv4.
        let (address, ipv6, floodfill) = (address(self.index, false), self.ipv6, self.floodfill);
        let address6 = if ipv6 { format!("address6 = {}\n", self.address()) } else { String::new() };
        let level = std::env::var("I2PD_LOG_LEVEL").unwrap_or_else(|_| "warn".to_owned());
        format!(
            "log = stdout\nloglevel = {level}\nipv4 = true\nipv6 = {ipv6}\nnat = false\nnetid = {NET_ID}\n\
             host = {address}\naddress4 = {address}\n{address6}port = {PORT}\nbandwidth = X\nshare = 100\n\
             floodfill = {floodfill}\nreservedrange = false\n\
             [reseed]\nthreshold = 0\nurls = http://127.0.0.1:9/\n\
             [upnp]\nenabled = false\n[nettime]\nenabled = false\n\
             [ntcp2]\nenabled = true\npublished = true\n[ssu2]\nenabled = true\npublished = true\n\
             [sam]\nenabled = true\n[http]\nenabled = true\n\
             [httpproxy]\nenabled = false\n[socksproxy]\nenabled = false\n[bob]\nenabled = false\n\
             [i2cp]\nenabled = false\n"
        )
    }
}

/// The address of a router that has one of its own.
pub fn address(index: u8, ipv6: bool) -> String {
    if ipv6 { format!("2001:2:0:{index}::2") } else { format!("198.18.{index}.2") }
}
