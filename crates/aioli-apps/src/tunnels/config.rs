//! What one tunnel is: as a file, the console or `i2p-tunnel` says it, and what
//! that comes to once it is checked.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aioli_router::client::{SessionOptions, StreamConfig, TunnelOptions};
use aioli_wire::base32;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::keys;
use crate::names::i2p_host;

/// Letters of a tunnel's name at most.
const MAX_NAME: usize = 64;
/// Targets and destinations of a tunnel at most.
const MAX_ENDS: usize = 64;
/// Entries of an access list in the description itself; a file takes more.
const MAX_LISTED: usize = 1_000;
/// Minutes of idleness that can be waited for: a week.
const MOST_MINUTES: u32 = 7 * 24 * 60;

/// What a tunnel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Local connections to a destination, as they are.
    Client,
    /// Local IRC programs to a server in I2P, without what tells who they are.
    IrcClient,
    /// The HTTP proxy, with the destination of client tunnels or one of its own.
    #[serde(alias = "connect-proxy")]
    HttpProxy,
    /// The SOCKS proxy, the same.
    Socks,
    /// Streams from I2P to a local program, as they are.
    Server,
    /// Requests from I2P to a local web server, with who asks.
    HttpServer,
    /// The same, and an HTTP proxy of the same destination.
    HttpBidir,
    /// Streams from I2P to a local IRC server, with who they are.
    IrcServer,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Client,
        Self::IrcClient,
        Self::HttpProxy,
        Self::Socks,
        Self::Server,
        Self::HttpServer,
        Self::HttpBidir,
        Self::IrcServer,
    ];

    /// As it stands in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::IrcClient => "irc-client",
            Self::HttpProxy => "http-proxy",
            Self::Socks => "socks",
            Self::Server => "server",
            Self::HttpServer => "http-server",
            Self::HttpBidir => "http-bidir",
            Self::IrcServer => "irc-server",
        }
    }

    /// Whether it listens on this computer.
    pub const fn listens(self) -> bool {
        matches!(self, Self::Client | Self::IrcClient | Self::HttpProxy | Self::Socks | Self::HttpBidir)
    }

    /// Whether others in I2P reach it.
    pub const fn hosts(self) -> bool {
        matches!(self, Self::Server | Self::HttpServer | Self::HttpBidir | Self::IrcServer)
    }

    /// Whether it connects to destinations that the description names.
    pub const fn dials(self) -> bool {
        matches!(self, Self::Client | Self::IrcClient)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is written to files and shown nowhere else.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// What stands for it where it is shown. A change that has this keeps what was there.
    pub const MASK: &'static str = "********";

    /// A secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(zeroize::Zeroizing::new(text.into()))
    }

    /// The word itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MASK)
    }
}

/// How many streams others may open to a server. 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Streams of all at once.
    pub connections: u32,
    /// Streams of one peer at once.
    pub peer_connections: u32,
    /// Streams that one peer opens in a minute.
    pub peer_minute: u32,
    /// In an hour.
    pub peer_hour: u32,
    /// In a day.
    pub peer_day: u32,
    /// Streams that all open in a minute.
    pub minute: u32,
    /// In an hour.
    pub hour: u32,
    /// In a day.
    pub day: u32,
    /// Of an HTTP server: requests with POST or PUT of one peer in five minutes.
    pub peer_posts: u32,
    /// Of all peers in five minutes.
    pub posts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            peer_connections: 64,
            peer_minute: 0,
            peer_hour: 0,
            peer_day: 0,
            minute: 0,
            hour: 0,
            day: 0,
            peer_posts: 0,
            posts: 0,
        }
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One tunnel, as it is described. See `docs/tunnels.md` for what each setting means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TunnelConfig {
    /// Its name; no two have the same.
    pub name: String,
    /// What it does.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Whether it starts with the router.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// Where local programs connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Of a client: whom to reach, `NAME.i2p`, a b32 name or a base64 destination, each with or without `:PORT`.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub destination: Vec<String>,
    /// Of a client without keys: it has its destination in common with others of the same options.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub shared: bool,
    /// The key file in `destinations/`. A server without it has one of its own name, a client a destination that ends
    /// with the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<String>,
    /// Of a server: where local programs listen, `IP:PORT`; the first that takes the connection gets it.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<String>,
    /// Of a server: other targets for streams to a certain port of ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub target_for_port: BTreeMap<String, String>,
    /// Of a server that has its keys in common with others: the port of ours that is its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub port: u16,
    /// Of an HTTP server: the host that requests are told to be for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Of an HTTP server: whether requests say who asks, as `X-I2P-DestHash`, `-DestB32` and `-DestB64`.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub i2p_headers: bool,
    /// Of an HTTP server: whether requests that say that they come through a proxy are refused.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub refuse_inproxies: bool,
    /// Of a server on 127.0.0.1: connections come from an address of 127.0.0.0/8 of each peer's own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unique_local: bool,
    /// Of an IRC server: the password of its WEBIRC block. Without one, USER says who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webirc_password: Option<Secret>,
    /// Of an HTTP proxy: hosts in I2P that open pages of the ordinary web.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub outproxy: Vec<String>,
    /// Of a server: only these destinations.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Of a server: none of these.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// The same in a file, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_file: Option<String>,
    /// The same in a file, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deny_file: Option<String>,
    /// How much others may open.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Of a client: connections at once.
    #[serde(default = "client_connections", skip_serializing_if = "is_client_connections")]
    pub max_connections: u32,
    /// Minutes after which a connection in which nothing moves is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    /// Of a client: tunnels are built when the first connection comes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delay_open: bool,
    /// Of a client: minutes without a connection after which its tunnels are given up until the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_idle: Option<u32>,
    /// Minutes without a connection after which it keeps fewer tunnels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_idle: Option<u32>,
    /// How many each way then.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub reduce_to: u8,
    /// Options of tunnels and streams, named as in I2CP: `inbound.length`, `i2p.streaming.maxWindowSize`.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// The directory of the file that describes it, where another router's keys may lie.
    #[serde(skip)]
    pub(super) beside: Option<PathBuf>,
}

const fn yes() -> bool {
    true
}

const fn one() -> u8 {
    1
}

const fn client_connections() -> u32 {
    1_024
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_zero(value: &u16) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_one(value: &u8) -> bool {
    *value == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
const fn is_client_connections(value: &u32) -> bool {
    *value == client_connections()
}

/// `"a"` or `["a", "b"]`.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, or a list of texts")]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(text) => vec![text],
        Either::Many(texts) => texts,
    })
}

/// Values of options may be written as numbers and truths.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text, a number, true or false")]
    enum Value {
        Text(String),
        Number(i64),
        Truth(bool),
    }
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let text = |value| match value {
        Value::Text(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Truth(truth) => truth.to_string(),
    };
    Ok(values.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// A setting of a tunnel that is not possible.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {reason}")]
pub struct ConfigError {
    /// Which one.
    pub key: &'static str,
    /// What would be possible.
    pub reason: String,
}

fn wrong(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError { key, reason: reason.into() }
}

/// Whom a client reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// A host name, or a base64 destination.
    pub(super) host: String,
    pub(super) port: u16,
}

/// What a tunnel does, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Client(ClientPlan),
    Server(ServerPlan),
}

/// A tunnel that listens on this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientPlan {
    pub(super) listen: SocketAddr,
    pub(super) service: ClientService,
    pub(super) max_connections: usize,
    pub(super) idle: Duration,
}

/// What it does with connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientService {
    Plain(Vec<Remote>),
    Irc(Vec<Remote>),
    HttpProxy,
    Socks,
}

/// A tunnel that others reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerPlan {
    pub(super) service: ServerService,
    pub(super) targets: Vec<SocketAddr>,
    pub(super) target_for_port: BTreeMap<u16, SocketAddr>,
    pub(super) port: u16,
    pub(super) unique_local: bool,
    pub(super) limits: Limits,
    pub(super) idle: Duration,
    /// Of an HTTP server in both directions.
    pub(super) proxy: Option<ClientPlan>,
}

/// What it does with streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerService {
    Plain,
    Http { host_name: Option<String>, i2p_headers: bool, refuse_inproxies: bool },
    Irc { webirc_password: Option<Secret> },
}

/// A connection in which nothing moves: programs as SSH are left alone as long as TCP leaves them.
const IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// One that carries a request of the web.
const IDLE_HTTP: Duration = Duration::from_secs(5 * 60);

impl TunnelConfig {
    /// A tunnel of which nothing is said but this.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            enabled: true,
            listen: None,
            destination: Vec::new(),
            shared: true,
            keys: None,
            target: Vec::new(),
            target_for_port: BTreeMap::new(),
            port: 0,
            host_name: None,
            i2p_headers: true,
            refuse_inproxies: true,
            unique_local: false,
            webirc_password: None,
            outproxy: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            allow_file: None,
            deny_file: None,
            limits: Limits::default(),
            max_connections: client_connections(),
            idle_timeout: None,
            delay_open: false,
            close_idle: None,
            reduce_idle: None,
            reduce_to: one(),
            options: BTreeMap::new(),
            beside: None,
        }
    }

    /// The same without its secrets, to be shown.
    #[must_use]
    pub fn masked(&self) -> Self {
        let webirc_password = self.webirc_password.as_ref().map(|_| Secret::new(Secret::MASK));
        Self { webirc_password, ..self.clone() }
    }

    /// Secrets that are masked are those of `before`.
    pub(super) fn unmask(&mut self, before: &Self) {
        if self.webirc_password.as_ref().is_some_and(|secret| secret.expose() == Secret::MASK) {
            self.webirc_password.clone_from(&before.webirc_password);
        }
    }

    /// The file of its keys in `destinations/`, if it has one.
    fn key_file(&self) -> Option<String> {
        let named = self.keys.clone().or_else(|| self.kind.hosts().then(|| plain_name(&self.name)))?;
        Some(if named.ends_with(".dat") { named } else { format!("{named}.dat") })
    }

    /// Where its keys are or will be, if it has any.
    pub(super) fn key_path(&self, data_dir: &Path) -> Option<PathBuf> {
        Some(keys::locate(data_dir, &self.key_file()?, self.beside.as_deref()))
    }

    /// The b32 name of its destination, if its keys are there.
    pub fn known_b32(&self, data_dir: &Path) -> Option<String> {
        let path = self.key_path(data_dir)?;
        let keys = path.exists().then(|| keys::load_or_make(&path).ok()).flatten()?;
        Some(base32::host_name(&keys.destination.hash()))
    }

    /// The same, with keys made if they are missing. None if it has none of its own.
    pub fn own_b32(&self, data_dir: &Path) -> io::Result<Option<String>> {
        let Some(path) = self.key_path(data_dir) else { return Ok(None) };
        let keys = keys::load_or_make(&path).map_err(io::Error::other)?;
        Ok(Some(base32::host_name(&keys.destination.hash())))
    }

    /// Whether every setting is possible.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.plan()?;
        self.session(Defaults::default()).map(drop)
    }

    /// What the settings come to.
    pub(super) fn plan(&self) -> Result<Plan, ConfigError> {
        let bad = |c: char| c.is_control() || c == '"';
        if self.name.is_empty() || self.name.chars().count() > MAX_NAME || self.name.contains(bad) {
            return Err(wrong("name", format!("give 1 to {MAX_NAME} letters, without quotes")));
        }
        self.misplaced()?;
        if let Some(file) = &self.keys
            && (file.is_empty()
                || file.starts_with('.')
                || plain_name(file) != file.strip_prefix("destinations/").unwrap_or(file))
        {
            return Err(wrong(
                "keys",
                "give the name of a file in destinations/: letters, digits, \"-\", \"_\" and \".\"",
            ));
        }
        for (key, minutes) in [
            ("idle_timeout", self.idle_timeout),
            ("close_idle", self.close_idle),
            ("reduce_idle", self.reduce_idle),
        ] {
            if minutes.is_some_and(|m| m == 0 || m > MOST_MINUTES) {
                return Err(wrong(key, format!("give 1 to {MOST_MINUTES} minutes")));
            }
        }
        if self.reduce_to == 0 || self.reduce_to > 16 {
            return Err(wrong("reduce_to", "give 1 to 16 tunnels"));
        }
        if self.kind.hosts() {
            self.server_plan().map(Plan::Server)
        } else {
            self.client_plan().map(Plan::Client)
        }
    }

    /// Settings that mean nothing for this kind.
    fn misplaced(&self) -> Result<(), ConfigError> {
        let kind = self.kind;
        let (hosts, http) = (kind.hosts(), matches!(kind, Kind::HttpServer | Kind::HttpBidir));
        let lists = !(self.allow.is_empty() && self.deny.is_empty());
        let files = self.allow_file.is_some() || self.deny_file.is_some();
        for (key, given, fits) in [
            ("listen", self.listen.is_some(), kind.listens()),
            ("destination", !self.destination.is_empty(), kind.dials()),
            ("target", !self.target.is_empty(), hosts),
            ("target_for_port", !self.target_for_port.is_empty(), hosts),
            ("port", self.port != 0, hosts),
            ("host_name", self.host_name.is_some(), http),
            ("unique_local", self.unique_local, hosts),
            ("webirc_password", self.webirc_password.is_some(), kind == Kind::IrcServer),
            ("outproxy", !self.outproxy.is_empty(), matches!(kind, Kind::HttpProxy | Kind::HttpBidir)),
            ("allow and deny", lists, hosts),
            ("allow_file and deny_file", files, hosts),
            ("limits", !self.limits.is_default(), hosts),
            ("delay_open", self.delay_open, !hosts),
            ("close_idle", self.close_idle.is_some(), !hosts),
        ] {
            if given && !fits {
                return Err(wrong(key, format!("a tunnel of type {kind} has no such setting: leave it out")));
            }
        }
        Ok(())
    }

    fn client_plan(&self) -> Result<ClientPlan, ConfigError> {
        let listen =
            self.listen.ok_or_else(|| wrong("listen", "give an address and a port, as 127.0.0.1:6668"))?;
        if self.max_connections == 0 || self.max_connections > 65_536 {
            return Err(wrong("max_connections", "give 1 to 65536"));
        }
        if let Some(host) = self.outproxy.iter().find(|host| i2p_host(host).is_none()) {
            return Err(wrong("outproxy", format!("{host:?} does not end with .i2p")));
        }
        let service = match self.kind {
            Kind::Client => ClientService::Plain(self.remotes()?),
            Kind::IrcClient => ClientService::Irc(self.remotes()?),
            Kind::Socks => ClientService::Socks,
            Kind::HttpProxy | Kind::HttpBidir | Kind::Server | Kind::HttpServer | Kind::IrcServer => {
                ClientService::HttpProxy
            }
        };
        Ok(ClientPlan {
            listen,
            service,
            max_connections: self.max_connections as usize,
            idle: self.idle(IDLE),
        })
    }

    fn remotes(&self) -> Result<Vec<Remote>, ConfigError> {
        if self.destination.is_empty() || self.destination.len() > MAX_ENDS {
            return Err(wrong("destination", format!("give 1 to {MAX_ENDS} of NAME.i2p or NAME.i2p:PORT")));
        }
        self.destination.iter().map(|text| remote(text).map_err(|why| wrong("destination", why))).collect()
    }

    fn server_plan(&self) -> Result<ServerPlan, ConfigError> {
        if self.target.is_empty() || self.target.len() > MAX_ENDS {
            return Err(wrong("target", format!("give 1 to {MAX_ENDS} of IP:PORT, as 127.0.0.1:8080")));
        }
        let targets = self.target.iter().map(|text| target(text).map_err(|why| wrong("target", why)));
        let targets = targets.collect::<Result<_, _>>()?;
        if self.target_for_port.len() > MAX_ENDS {
            return Err(wrong("target_for_port", format!("give {MAX_ENDS} at most")));
        }
        let by_port = self.target_for_port.iter().map(|(port, text)| {
            let port =
                port.parse::<u16>().map_err(|_| wrong("target_for_port", format!("{port:?} is no port")))?;
            Ok((port, target(text).map_err(|why| wrong("target_for_port", why))?))
        });
        let target_for_port = by_port.collect::<Result<_, _>>()?;
        if self.allow.len().max(self.deny.len()) > MAX_LISTED {
            return Err(wrong(
                "allow and deny",
                format!("give {MAX_LISTED} at most here, more in allow_file or deny_file"),
            ));
        }
        if let Some(host) = &self.host_name
            && (host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b)))
        {
            return Err(wrong("host_name", format!("{host:?} is no host")));
        }
        let service = match self.kind {
            Kind::HttpServer | Kind::HttpBidir => ServerService::Http {
                host_name: self.host_name.clone(),
                i2p_headers: self.i2p_headers,
                refuse_inproxies: self.refuse_inproxies,
            },
            Kind::IrcServer => ServerService::Irc { webirc_password: self.webirc_password()? },
            Kind::Server | Kind::Client | Kind::IrcClient | Kind::HttpProxy | Kind::Socks => {
                ServerService::Plain
            }
        };
        let http = matches!(service, ServerService::Http { .. });
        Ok(ServerPlan {
            service,
            targets,
            target_for_port,
            port: self.port,
            unique_local: self.unique_local,
            limits: self.limits,
            idle: self.idle(if http { IDLE_HTTP } else { IDLE }),
            proxy: if self.kind == Kind::HttpBidir { Some(self.client_plan()?) } else { None },
        })
    }

    fn webirc_password(&self) -> Result<Option<Secret>, ConfigError> {
        let possible = |secret: &Secret| {
            !secret.expose().is_empty() && secret.expose().bytes().all(|b| b.is_ascii_graphic())
        };
        match &self.webirc_password {
            Some(secret) if !possible(secret) => Err(wrong("webirc_password", "give letters without spaces")),
            secret => Ok(secret.clone()),
        }
    }

    fn idle(&self, usual: Duration) -> Duration {
        self.idle_timeout.map_or(usual, |minutes| Duration::from_secs(u64::from(minutes) * 60))
    }

    /// The session's options, with what the description leaves open.
    pub(super) fn session(&self, defaults: Defaults) -> Result<SessionOptions, ConfigError> {
        let streams = self.options.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        Ok(SessionOptions {
            keys: None,
            inbound: self.side("inbound", defaults.inbound)?,
            outbound: self.side("outbound", defaults.outbound)?,
            publish: self.kind.hosts(),
            streaming: StreamConfig::default().with(streams),
        })
    }

    fn side(&self, side: &str, default: TunnelOptions) -> Result<TunnelOptions, ConfigError> {
        let option = |key: &str| self.options.get(key).map(|text| text.trim());
        default.with(side, option).map_err(|why| wrong("options", why))
    }

    /// Options that this router makes nothing of.
    pub fn unused_options(&self) -> Vec<&str> {
        const SIDES: [&str; 5] = ["length", "lengthVariance", "quantity", "backupQuantity", "bandwidth"];
        const STREAMS: [&str; 10] = [
            "maxWindowSize",
            "initialWindowSize",
            "maxMessageSize",
            "connectDelay",
            "connectTimeout",
            "inactivityTimeout",
            "inactivityAction",
            "initialAckDelay",
            "maxResends",
            "answerPings",
        ];
        let used = |key: &str| {
            let side = key.strip_prefix("inbound.").or_else(|| key.strip_prefix("outbound."));
            side.is_some_and(|rest| SIDES.contains(&rest) || rest == "nickname")
                || key.strip_prefix("i2p.streaming.").is_some_and(|rest| STREAMS.contains(&rest))
        };
        self.options.keys().map(String::as_str).filter(|key| !used(key)).collect()
    }
}

/// Tunnels of a destination whose description names no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Towards us.
    pub inbound: TunnelOptions,
    /// Away from us.
    pub outbound: TunnelOptions,
}

impl Default for Defaults {
    fn default() -> Self {
        let tunnels = TunnelOptions { length: 3, variance: 0, quantity: 3, backup: 0, kbps: 0 };
        Self { inbound: tunnels, outbound: tunnels }
    }
}

/// The harmless letters of a name, as that of a file.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix("destinations/").unwrap_or(name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let plain: String = name.chars().take(MAX_NAME).map(plain).collect();
    if plain.starts_with('.') { format!("_{plain}") } else { plain }
}

/// `HOST` or `HOST:PORT`.
fn remote(text: &str) -> Result<Remote, String> {
    let (host, port) = match text.rsplit_once(':') {
        None => (text, 0),
        Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} is no port"))?),
    };
    let base64 = host.len() >= 516 && aioli_wire::Destination::from_base64(host).is_some();
    if base64 || i2p_host(host).is_some() {
        return Ok(Remote { host: host.to_owned(), port });
    }
    let shown: String = host.chars().take(MAX_NAME).collect();
    Err(format!("{shown:?} is neither a name that ends with .i2p nor a destination in base64"))
}

/// `IP:PORT`. Names of this computer's world are not looked up.
fn target(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| format!("{text:?} is no IP:PORT, as 127.0.0.1:8080"))?;
    Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}
