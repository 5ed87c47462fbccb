//! The settings of `i2p-router`: one table, four sources.
//!
//! Command line, then environment, then file, then default. Every value
//! remembers where it came from, so that an error and `--print-config` can
//! say so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aioli_apps::console;
use aioli_apps::names::i2p_host;
use aioli_apps::tunnels::{TunnelConfig, from_toml};
use aioli_core::Duration;
use aioli_router::{Bandwidth, FloodfillRole, Limits, Profile};
use aioli_wire::RouterHash;
use aioli_wire::ssu2::{MAX_MTU, MIN_MTU};
use clap::{Arg, ArgAction, ArgMatches, Command};
use thiserror::Error;

use crate::setup;

/// One setting: its names and its default.
struct Setting {
    key: &'static str,
    env: &'static str,
    default: &'static str,
    value: &'static str,
    help: &'static str,
}

/// The least bandwidth limit: with less, a tunnel message waits longer than its sender does.
pub(crate) const LEAST_KBPS: u64 = Bandwidth::LEAST_KBPS;
pub(crate) const MOST_KBPS: u64 = Bandwidth::MOST_KBPS;

/// What most systems ask. Each name is many servers, drawn anew at each question.
const TIME_SERVERS: &str = "0.pool.ntp.org,1.pool.ntp.org,2.pool.ntp.org,3.pool.ntp.org";
/// No tunnel lasts longer, in seconds.
const MOST_GRACE: u64 = 660;

/// The configuration file in the data directory.
const CONFIG_FILE: &str = "router.toml";

/// The value name of a setting that is on or off.
const SWITCH: &str = "";

const fn setting(
    key: &'static str,
    env: &'static str,
    default: &'static str,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, env, default, value, help }
}

const SETTINGS: &[Setting] = &[
    setting("host", "I2P_LISTEN_HOST", "0.0.0.0", "IP", "Address to listen on for other routers"),
    setting(
        "port",
        "I2P_LISTEN_PORT",
        "9700",
        "PORT",
        "TCP and UDP port for other routers; 0 draws a random one once and keeps it",
    ),
    setting("data-dir", "I2P_DATA_DIR", "~/.aioli", "DIR", "Where the identity and the state are kept"),
    setting("log-level", "I2P_LOG_LEVEL", "info", "LEVEL", "error, warn, info, debug or trace"),
    setting("net-id", "I2P_NET_ID", "2", "ID", "Network to join; 2 is the public one"),
    setting("external-host", "I2P_EXTERNAL_HOST", "", "IP", "Address to publish when it differs from --host"),
    setting(
        "no-port-mapping",
        "I2P_NO_PORT_MAPPING",
        "false",
        SWITCH,
        "Do not ask gateways to let other routers in; in a private network they are asked only when this is false",
    ),
    setting(
        "private-network",
        "I2P_PRIVATE_NETWORK",
        "false",
        SWITCH,
        "Allow private and loopback addresses; no reseeding, no rule of one hop per /16",
    ),
    setting(
        "reseed",
        "I2P_RESEED",
        "auto",
        "WHEN",
        "How to find first peers: auto, now, never, or a file i2pseeds.su3, a zip archive or a netDb directory",
    ),
    setting(
        "reseed-proxy",
        "I2P_RESEED_PROXY",
        "",
        "URL",
        "Proxy for reseeding: http://HOST:PORT or socks5://HOST:PORT",
    ),
    setting(
        "reseed-config",
        "I2P_RESEED_CONFIG",
        "",
        "FILE",
        "Reseed servers and signers to use instead of the public ones",
    ),
    setting(
        "ntp",
        "I2P_NTP_SERVERS",
        TIME_SERVERS,
        "SERVERS",
        "Time servers, HOST or HOST:PORT with commas between them, or never; in a private network only when given",
    ),
    setting("hidden", "I2P_HIDDEN", "false", SWITCH, "Publish no address and relay nothing for others"),
    setting(
        "explicit-peers",
        "I2P_EXPLICIT_PEERS",
        "",
        "HASHES",
        "Only these routers next to this one in its tunnels, with commas between; for finding faults",
    ),
    setting(
        "floodfill",
        "I2P_FLOODFILL",
        "false",
        "WHETHER",
        "Serve the network database to others: true (also without a value), false, or auto, by the rules",
    ),
    setting(
        "blocklist",
        "I2P_BLOCKLIST",
        "",
        "FILE",
        "Addresses and routers to have nothing to do with, one a line, as in Java I2P's blocklist.txt",
    ),
    setting(
        "profile",
        "I2P_PROFILE",
        "home",
        "PROFILE",
        "Size of machine and connection: tiny, home or server; sets all limits",
    ),
    setting(
        "max-connections",
        "I2P_MAX_CONNECTIONS",
        "",
        "N",
        "Connections to routers at most, instead of the profile's, 16 to 60000",
    ),
    setting(
        "max-transit-tunnels",
        "I2P_MAX_TRANSIT_TUNNELS",
        "",
        "N",
        "Others' tunnels through this router at most, instead of the profile's, 0 to 100000",
    ),
    setting("no-ntcp2", "I2P_NO_NTCP2", "false", SWITCH, "Do not speak NTCP2, the transport over TCP"),
    setting("no-ssu2", "I2P_NO_SSU2", "false", SWITCH, "Do not speak SSU2, the transport over UDP"),
    setting(
        "mtu",
        "I2P_MTU",
        "1500",
        "BYTES",
        "The largest IP packet of SSU2 that the way to the Internet takes, 1280 to 1500",
    ),
    setting("sam", "I2P_SAM", "127.0.0.1:7656", "HOST:PORT", "Where SAM listens for applications"),
    setting("no-sam", "I2P_NO_SAM", "false", SWITCH, "Do not offer SAM"),
    setting(
        "http-proxy",
        "I2P_HTTP_PROXY",
        "127.0.0.1:4444",
        "HOST:PORT",
        "Where the HTTP proxy listens for browsers",
    ),
    setting("no-http-proxy", "I2P_NO_HTTP_PROXY", "false", SWITCH, "Do not offer the HTTP proxy"),
    setting(
        "socks-proxy",
        "I2P_SOCKS_PROXY",
        "127.0.0.1:4447",
        "HOST:PORT",
        "Where the SOCKS proxy listens for other programs",
    ),
    setting("no-socks-proxy", "I2P_NO_SOCKS_PROXY", "false", SWITCH, "Do not offer the SOCKS proxy"),
    setting(
        "console",
        "I2P_CONSOLE",
        "127.0.0.1:7657",
        "HOST:PORT",
        "Where the console listens for browsers; any address but loopback needs `aioli console-password` first",
    ),
    setting("no-console", "I2P_NO_CONSOLE", "false", SWITCH, "Do not offer the console"),
    setting(
        "outproxy",
        "I2P_OUTPROXY",
        "",
        "HOSTS",
        "Hosts in I2P, with commas between, that open pages of the ordinary web for the HTTP proxy",
    ),
    setting(
        "no-subscriptions",
        "I2P_NO_SUBSCRIPTIONS",
        "false",
        SWITCH,
        "Do not fetch others' address books through the HTTP proxy",
    ),
    setting(
        "tunnels-conf",
        "I2P_TUNNELS_CONF",
        "",
        "FILE",
        "Tunnels as i2pd describes them; without it, tunnels.conf of the data directory if there is one",
    ),
    setting(
        "tunnels-dir",
        "I2P_TUNNELS_DIR",
        "",
        "DIR",
        "More of them, in files that end with .conf; without it, tunnels.d of the data directory",
    ),
    setting("no-tunnels", "I2P_NO_TUNNELS", "false", SWITCH, "Run no client and server tunnels"),
    setting("tunnel-length", "I2P_TUNNEL_LENGTH", "3", "HOPS", "Hops in each tunnel, 0 to 8"),
    setting(
        "inbound-tunnels",
        "I2P_INBOUND_TUNNEL_COUNT",
        "3",
        "N",
        "Inbound tunnels of the router and the default of sessions, 1 to 16",
    ),
    setting(
        "outbound-tunnels",
        "I2P_OUTBOUND_TUNNEL_COUNT",
        "3",
        "N",
        "Outbound tunnels of the router and the default of sessions, 1 to 16",
    ),
    setting(
        "tunnel-lifetime",
        "I2P_TUNNEL_LIFETIME",
        "600",
        "SECONDS",
        "Accepted for compatibility; the network fixes it at 600",
    ),
    setting(
        "bandwidth",
        "I2P_BANDWIDTH_LIMIT_KBPS",
        "0",
        "KBPS",
        "Limit in KB/s (1,024 bytes) for what is sent and for what is received; 0 for none",
    ),
    setting(
        "bandwidth-in",
        "I2P_BANDWIDTH_IN_KBPS",
        "",
        "KBPS",
        "Limit for what is received, instead of --bandwidth",
    ),
    setting(
        "bandwidth-out",
        "I2P_BANDWIDTH_OUT_KBPS",
        "",
        "KBPS",
        "Limit for what is sent, instead of --bandwidth",
    ),
    setting(
        "transit-share",
        "I2P_TRANSIT_SHARE",
        "80",
        "PERCENT",
        "Of the limits, what others' tunnels may use at most, 0 to 100",
    ),
    setting(
        "handshake-timeout",
        "I2P_HANDSHAKE_TIMEOUT",
        "10",
        "SECONDS",
        "Until a handshake with a router must be done",
    ),
    setting(
        "idle-timeout",
        "I2P_IDLE_TIMEOUT",
        "300",
        "SECONDS",
        "Until a silent connection to a router is closed",
    ),
    setting(
        "grace",
        "I2P_GRACE",
        "660",
        "SECONDS",
        "After Ctrl-C (SIGINT), how long others' tunnels are waited for, 0 to 660; SIGTERM stops at once",
    ),
    setting(
        "stats-file",
        "I2P_STATS_FILE",
        "",
        "FILE",
        "Write the counters there as JSON every five seconds",
    ),
];

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    CommandLine,
    /// An environment variable.
    Environment,
    /// The configuration file.
    File,
    /// The default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "command line",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// What is wrong with the settings, in a line that says what to change.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The command line cannot be parsed, or asks for help.
    #[error("{}; --help lists the options", first_line(.0))]
    CommandLine(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {error}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {path} is wrong: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A value is not allowed.
    #[error("{key} = \"{value}\" (from the {source_name}) is not possible: {reason}")]
    Value {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// Where it came from.
        source_name: Source,
        /// What would be possible.
        reason: String,
    },
}

/// How to find first peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reseed {
    /// From servers, whenever too few routers are known; not in a private network without servers of its own.
    Auto,
    /// From servers at the start, and then as `Auto`.
    Now,
    /// Not at all.
    Never,
    /// From a file or a directory at the start, and then as `Auto`.
    From(PathBuf),
}

/// Where something listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address and the port.
    pub address: SocketAddr,
    /// The user has named it: without it, the router does not start.
    pub insisted: bool,
}

/// Where client and server tunnels are described, besides `tunnels.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelSettings {
    /// In the configuration file.
    pub configured: Vec<TunnelConfig>,
    /// In a file of i2pd's, if the user has named one.
    pub conf: Option<PathBuf>,
    /// In a directory of i2pd's.
    pub dir: Option<PathBuf>,
}

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on.
    pub host: IpAddr,
    /// TCP and UDP port; 0 draws one.
    pub port: u16,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Log level.
    pub log_level: tracing::Level,
    /// Network id.
    pub net_id: u8,
    /// Address to publish.
    pub external_host: Option<IpAddr>,
    /// Whether gateways are asked to let other routers in.
    pub port_mapping: bool,
    /// Private addresses allowed.
    pub private_network: bool,
    /// How to find first peers.
    pub reseed: Reseed,
    /// Proxy for that.
    pub reseed_proxy: Option<String>,
    /// Servers and signers for that, if not the public ones.
    pub reseed_config: Option<PathBuf>,
    /// Time servers to ask, if any.
    pub time_servers: Option<Vec<String>>,
    /// Publish nothing.
    pub hidden: bool,
    /// Whom alone to have next to us in tunnels, if there are any.
    pub explicit_peers: BTreeSet<RouterHash>,
    /// Whether to be a floodfill.
    pub floodfill: FloodfillRole,
    /// Addresses and routers to have nothing to do with.
    pub blocklist: Option<PathBuf>,
    /// Size of machine and connection.
    pub profile: Profile,
    /// Its limits, and what is set besides.
    pub limits: Limits,
    /// Whether NTCP2 is spoken.
    pub ntcp2: bool,
    /// Whether SSU2 is spoken.
    pub ssu2: bool,
    /// The largest IP packet of SSU2.
    pub mtu: u16,
    /// SAM, unless switched off.
    pub sam: Option<SocketAddr>,
    /// The HTTP proxy, unless switched off.
    pub http_proxy: Option<Listen>,
    /// The SOCKS proxy, unless switched off.
    pub socks_proxy: Option<Listen>,
    /// The console, unless switched off.
    pub console: Option<Listen>,
    /// Hosts in I2P that open pages of the ordinary web.
    pub outproxies: Vec<String>,
    /// Whether others' address books are fetched.
    pub subscriptions: bool,
    /// Client and server tunnels, unless switched off.
    pub tunnels: Option<TunnelSettings>,
    /// Hops in each tunnel.
    pub tunnel_length: u8,
    /// Inbound tunnels.
    pub inbound_tunnels: u8,
    /// Outbound tunnels.
    pub outbound_tunnels: u8,
    /// Limits on what is sent and received.
    pub bandwidth: Bandwidth,
    /// Handshake timeout.
    pub handshake_timeout: Duration,
    /// Idle timeout.
    pub idle_timeout: Duration,
    /// How long others' tunnels are waited for after SIGINT.
    pub grace: Duration,
    /// Where counters go.
    pub stats_file: Option<PathBuf>,
    /// Whether only to print the configuration.
    pub print_config: bool,
    table: Vec<(&'static str, String, Source)>,
}

impl Settings {
    /// Reads the four sources.
    pub fn resolve(
        args: impl IntoIterator<Item = String>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let matches = command().try_get_matches_from(args)?;
        let file = config_file(&matches, &env).map(|path| read_file(&path)).transpose()?.unwrap_or_default();
        let FileValues { values: file, tunnels } = file;
        let mut values = Values::default();
        for s in SETTINGS {
            let on_command_line = if s.value == SWITCH {
                matches.get_flag(s.key).then(|| "true".to_owned())
            } else {
                matches.get_one::<String>(s.key).cloned()
            };
            let (value, source) = if let Some(v) = on_command_line {
                (v, Source::CommandLine)
            } else if let Some(v) = env(s.env).filter(|v| !v.is_empty()) {
                (v, Source::Environment)
            } else if let Some(v) = file.get(s.key) {
                (v.clone(), Source::File)
            } else {
                (s.default.to_owned(), Source::Default)
            };
            values.0.push((s.key, value, source));
        }
        let mut settings = values.check(matches.get_flag("print-config"), &env)?;
        if let Some(of_settings) = &mut settings.tunnels {
            of_settings.configured = tunnels;
        }
        Ok(settings)
    }

    /// Every address of the family that is not listened on; none if one address alone is. SSU2 dials from it.
    pub fn other_family(&self) -> Option<IpAddr> {
        match self.host {
            IpAddr::V4(ip) if ip.is_unspecified() => Some(Ipv6Addr::UNSPECIFIED.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => Some(Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }

    /// Each setting for the console, which can change some of them while the router runs.
    pub fn rows(&self) -> Vec<console::model::Setting> {
        let row = |((key, value, source), s): (&(&str, String, Source), &Setting)| console::model::Setting {
            name: (*key).to_owned(),
            value: value.clone(),
            source: source.to_string(),
            help: s.help.to_owned(),
            live: matches!(*key, "bandwidth" | "bandwidth-in" | "bandwidth-out"),
        };
        // The table is in the order of the settings.
        self.table.iter().zip(SETTINGS).map(row).collect()
    }

    /// What `--setup` on this command line asks for.
    pub fn setup(
        args: impl IntoIterator<Item = String>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<setup::Request>, SettingsError> {
        let matches = command().try_get_matches_from(args)?;
        let Some(kind) = matches.get_one::<String>("setup") else { return Ok(None) };
        let named = named_config_file(&matches, &env);
        Ok(Some(setup::Request {
            kind: setup::Kind::named(kind),
            usual: named.is_none(),
            file: named.unwrap_or_else(|| usual_config_file(&matches, &env)),
        }))
    }

    /// One line per setting: name, value, where it came from; then the limits that follow from them.
    pub fn describe(&self) -> String {
        let settings =
            self.table.iter().map(|(key, value, source)| format!("{key:<20} {value:<24} {source}\n"));
        let profile = format!("profile {}", self.profile);
        let limits = limit_names(&self.limits);
        let limits = limits.iter().map(|(name, value)| format!("{name:<20} {value:<24} {profile}\n"));
        settings.chain(limits).collect()
    }
}

#[derive(Default)]
struct Values(Vec<(&'static str, String, Source)>);

impl Values {
    fn check(
        self,
        print_config: bool,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, SettingsError> {
        let timeout =
            |key| self.number::<u32>(key, 1, 3_600, "seconds").map(|s| Duration::from_secs(u64::from(s)));
        self.number::<u32>("tunnel-lifetime", 600, 600, "seconds: every router of the network counts on 600, and another value would make yours stand out")?;
        let stats_file = self.text("stats-file");
        Ok(Settings {
            host: self.parse("host", "an IP address, as 0.0.0.0 or ::")?,
            port: self.number("port", 0, u16::MAX, "")?,
            data_dir: expand_home(&self.text("data-dir"), env),
            log_level: self.parse("log-level", "error, warn, info, debug or trace")?,
            net_id: self.number("net-id", 0, u8::MAX, "")?,
            external_host: match self.text("external-host").as_str() {
                "" => None,
                _ => Some(self.parse("external-host", "an IP address")?),
            },
            port_mapping: self.port_mapping()?,
            private_network: self.switch("private-network")?,
            reseed: self.reseed(env)?,
            reseed_proxy: self.proxy()?,
            reseed_config: self.path("reseed-config", env),
            time_servers: self.time_servers()?,
            hidden: self.hidden()?,
            explicit_peers: self.explicit_peers()?,
            floodfill: self.floodfill()?,
            blocklist: self.path("blocklist", env),
            profile: self.profile()?,
            limits: self.limits()?,
            ntcp2: !self.switch("no-ntcp2")?,
            ssu2: self.ssu2()?,
            mtu: self.number("mtu", MIN_MTU, MAX_MTU, "bytes")?,
            sam: self.listen("sam", "no-sam", "127.0.0.1:7656")?.map(|listen| listen.address),
            http_proxy: self.listen("http-proxy", "no-http-proxy", "127.0.0.1:4444")?,
            socks_proxy: self.listen("socks-proxy", "no-socks-proxy", "127.0.0.1:4447")?,
            console: self.listen("console", "no-console", "127.0.0.1:7657")?,
            outproxies: self.outproxies()?,
            subscriptions: !self.switch("no-subscriptions")?,
            tunnels: self.tunnels(env)?,
            tunnel_length: self.number("tunnel-length", 0, 8, "hops")?,
            inbound_tunnels: self.number("inbound-tunnels", 1, 16, "tunnels")?,
            outbound_tunnels: self.number("outbound-tunnels", 1, 16, "tunnels")?,
            bandwidth: self.bandwidth()?,
            handshake_timeout: timeout("handshake-timeout")?,
            idle_timeout: timeout("idle-timeout")?,
            grace: Duration::from_secs(self.number("grace", 0, MOST_GRACE, "seconds")?),
            stats_file: (!stats_file.is_empty()).then(|| expand_home(&stats_file, env)),
            print_config,
            table: self.0,
        })
    }

    fn ssu2(&self) -> Result<bool, SettingsError> {
        let off = self.switch("no-ssu2")?;
        if off && self.switch("no-ntcp2")? {
            return Err(
                self.wrong("no-ssu2", "with no-ntcp2 there is no way to other routers: leave out one".into())
            );
        }
        Ok(!off)
    }

    fn listen(&self, key: &str, off: &str, example: &str) -> Result<Option<Listen>, SettingsError> {
        if self.switch(off)? {
            return Ok(None);
        }
        let insisted = self.get(key).2 != Source::Default;
        let address = self.parse(key, &format!("an address and a port, as {example}"))?;
        Ok(Some(Listen { address, insisted }))
    }

    fn tunnels(
        &self,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<Option<TunnelSettings>, SettingsError> {
        if self.switch("no-tunnels")? {
            return Ok(None);
        }
        let (conf, dir) = (self.path("tunnels-conf", env), self.path("tunnels-dir", env));
        Ok(Some(TunnelSettings { configured: Vec::new(), conf, dir }))
    }

    fn outproxies(&self) -> Result<Vec<String>, SettingsError> {
        let text = self.text("outproxy");
        let hosts: Vec<_> = text.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
        match hosts.iter().find(|host| i2p_host(host).is_none()) {
            None => Ok(hosts.into_iter().map(str::to_owned).collect()),
            Some(host) => Err(self.wrong("outproxy", format!("{host:?} does not end with .i2p"))),
        }
    }

    fn profile(&self) -> Result<Profile, SettingsError> {
        self.parse("profile", "tiny, home or server")
    }

    /// Those of the profile, but for what is set by itself.
    fn limits(&self) -> Result<Limits, SettingsError> {
        let mut limits = self.profile()?.limits();
        if !self.text("max-connections").is_empty() {
            limits.connections = self.number("max-connections", 16, 60_000, "connections")?;
        }
        if !self.text("max-transit-tunnels").is_empty() {
            limits.transit_tunnels = self.number("max-transit-tunnels", 0, 100_000, "tunnels")?;
        }
        Ok(limits)
    }

    fn reseed(&self, env: &impl Fn(&str) -> Option<String>) -> Result<Reseed, SettingsError> {
        match self.text("reseed").as_str() {
            "auto" => Ok(Reseed::Auto),
            "now" => Ok(Reseed::Now),
            "never" => Ok(Reseed::Never),
            path => match expand_home(path, env) {
                path if path.exists() => Ok(Reseed::From(path)),
                _ => Err(self.wrong(
                    "reseed",
                    "give auto, now, never, or a file i2pseeds.su3, a zip archive or a netDb directory that exists"
                        .to_owned(),
                )),
            },
        }
    }

    /// In a private network only when given: most of them have no gateway to ask.
    fn port_mapping(&self) -> Result<bool, SettingsError> {
        let by_default = self.get("no-port-mapping").2 == Source::Default;
        Ok(!(self.switch("no-port-mapping")? || by_default && self.switch("private-network")?))
    }

    fn hidden(&self) -> Result<bool, SettingsError> {
        let hidden = self.switch("hidden")?;
        if hidden && (self.floodfill()? != FloodfillRole::Never || !self.text("external-host").is_empty()) {
            return Err(self.wrong("hidden", "leave out floodfill and external-host, which show it".into()));
        }
        Ok(hidden)
    }

    fn explicit_peers(&self) -> Result<BTreeSet<RouterHash>, SettingsError> {
        let text = self.text("explicit-peers");
        let wrong = |name| {
            self.wrong("explicit-peers", format!("{name:?} is no router hash, 44 characters of I2P base64"))
        };
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(|name| RouterHash::from_base64(name).ok_or_else(|| wrong(name))).collect()
    }

    fn floodfill(&self) -> Result<FloodfillRole, SettingsError> {
        if self.text("floodfill").trim().eq_ignore_ascii_case("auto") {
            return Ok(FloodfillRole::Auto);
        }
        let wrong = || self.wrong("floodfill", "give true, false or auto".into());
        self.switch("floodfill").map(FloodfillRole::from).map_err(|_| wrong())
    }

    fn proxy(&self) -> Result<Option<String>, SettingsError> {
        let url = self.text("reseed-proxy");
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("socks5://"));
        match host.and_then(|h| h.trim_end_matches('/').rsplit_once(':')) {
            _ if url.is_empty() => Ok(None),
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Some(url)),
            _ => Err(self.wrong("reseed-proxy", "give http://HOST:PORT or socks5://HOST:PORT".to_owned())),
        }
    }

    fn time_servers(&self) -> Result<Option<Vec<String>>, SettingsError> {
        let (_, text, source) = self.get("ntp");
        if text == "never" || (source == Source::Default && self.switch("private-network")?) {
            return Ok(None);
        }
        let servers: Vec<_> = text.split(',').map(|server| server.trim().to_owned()).collect();
        let possible = |server: &String| {
            let address = server.parse::<IpAddr>().is_ok() || server.parse::<SocketAddr>().is_ok();
            let (host, port) = server.rsplit_once(':').unwrap_or((server, "123"));
            let good = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            address || (!host.is_empty() && host.chars().all(good) && port.parse::<u16>().is_ok())
        };
        if servers.iter().all(possible) {
            Ok(Some(servers))
        } else {
            Err(self.wrong(
                "ntp",
                "give HOST or HOST:PORT, several with commas between them, or never".to_owned(),
            ))
        }
    }

    fn path(&self, key: &str, env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let text = self.text(key);
        (!text.is_empty()).then(|| expand_home(&text, env))
    }

    fn bandwidth(&self) -> Result<Bandwidth, SettingsError> {
        let limit = |key: &str| match self.number::<u64>(key, 0, MOST_KBPS, "KB/s, 0 for no limit")? {
            0 => Ok(None),
            kbps if kbps < LEAST_KBPS => {
                Err(self.wrong(key, format!("give at least {LEAST_KBPS} KB/s: tunnels fail with less")))
            }
            kbps => Ok(Some(kbps * 1024)),
        };
        let both = limit("bandwidth")?;
        let one = |key: &str| if self.text(key).is_empty() { Ok(both) } else { limit(key) };
        Ok(Bandwidth {
            inbound: one("bandwidth-in")?,
            outbound: one("bandwidth-out")?,
            transit_percent: self.number("transit-share", 0, 100, "percent")?,
        })
    }

    fn get(&self, key: &str) -> (&'static str, &str, Source) {
        let found = self.0.iter().find(|(k, _, _)| *k == key);
        let (key, value, source) = found.expect("every key asked for is in SETTINGS");
        (key, value, *source)
    }

    fn text(&self, key: &str) -> String {
        self.get(key).1.to_owned()
    }

    fn wrong(&self, key: &str, reason: String) -> SettingsError {
        let (key, value, source_name) = self.get(key);
        SettingsError::Value { key, value: value.to_owned(), source_name, reason }
    }

    fn parse<T: FromStr>(&self, key: &str, expected: &str) -> Result<T, SettingsError> {
        self.get(key).1.trim().parse().map_err(|_| self.wrong(key, format!("give {expected}")))
    }

    fn number<T>(&self, key: &str, min: T, max: T, unit: &str) -> Result<T, SettingsError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let range =
            if min == max { format!("give {min} {unit}") } else { format!("give {min} to {max} {unit}") };
        match self.get(key).1.trim().parse::<T>() {
            Ok(n) if n >= min && n <= max => Ok(n),
            _ => Err(self.wrong(key, range.trim_end().to_owned())),
        }
    }

    fn switch(&self, key: &str) -> Result<bool, SettingsError> {
        match self.get(key).1.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.wrong(key, "give true or false".into())),
        }
    }
}

/// Each setting's name, its environment variable, and what stands for its value in the help; nothing for a switch.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    SETTINGS.iter().map(|s| (s.key, s.env, s.value))
}

/// The command line of `i2p-router`.
pub fn command() -> Command {
    let mut command = Command::new("i2p-router")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An I2P router. Every option can also be an environment variable or a line in the file.")
        .after_help(
            "SIGINT (Ctrl-C) waits for others' tunnels first, see --grace; SIGTERM stops within three seconds. Each \
             further signal goes on to the next: goodbyes, then the end at once.\n\n\
             Exit status: 0 stopped cleanly, 1 cannot start or go on, 2 a setting is not possible, 130 or 143 ended \
             at once by a further SIGINT or SIGTERM.",
        )
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("TOML file with any of these settings; without this, router.toml of the data directory if it is there [env: I2P_CONFIG]"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Show every value and where it came from, then exit"),
        )
        .arg(
            Arg::new("setup")
                .long("setup")
                .value_name("FOR")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("ask")
                .value_parser(["ask", "auto", "paranoid", "performance"])
                .hide_possible_values(true)
                .help("Ask three questions and write the configuration file; with =auto, =paranoid or =performance ask none"),
        );
    for s in SETTINGS {
        let default = if s.value == SWITCH || s.default.is_empty() {
            String::new()
        } else {
            format!(", default: {}", s.default)
        };
        let arg = Arg::new(s.key).long(s.key).help(format!("{} [env: {}{default}]", s.help, s.env));
        command = command.arg(if s.value == SWITCH {
            arg.action(ArgAction::SetTrue)
        } else {
            arg.value_name(s.value).action(ArgAction::Set)
        });
        let without_value = match s.key {
            "reseed" => Some("now"),
            "floodfill" => Some("true"),
            _ => None,
        };
        if let Some(value) = without_value {
            command = command.mut_arg(s.key, |arg| arg.num_args(0..=1).default_missing_value(value));
        }
    }
    command
}

/// What is wrong with a command line, without the usage that clap adds.
pub fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// The configuration file that the command line or the environment names.
fn named_config_file(matches: &ArgMatches, env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = matches.get_one::<String>("config").cloned().or_else(|| env("I2P_CONFIG"));
    named.filter(|path| !path.is_empty()).map(|path| expand_home(&path, env))
}

/// The one of the data directory, which is read without being named.
fn usual_config_file(matches: &ArgMatches, env: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let Some(setting) = SETTINGS.iter().find(|s| s.key == "data-dir") else { return PathBuf::new() };
    let given = matches.get_one::<String>(setting.key).cloned().or_else(|| env(setting.env));
    let directory = given.filter(|path| !path.is_empty()).unwrap_or_else(|| setting.default.to_owned());
    expand_home(&directory, env).join(CONFIG_FILE)
}

/// The configuration file to read, if there is one.
fn config_file(matches: &ArgMatches, env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    named_config_file(matches, env)
        .or_else(|| Some(usual_config_file(matches, env)).filter(|path| path.exists()))
}

/// The configuration file that these arguments and this environment lead to, if there is one.
pub fn config_file_of(
    args: impl IntoIterator<Item = String>,
    env: &impl Fn(&str) -> Option<String>,
) -> Option<PathBuf> {
    config_file(&command().try_get_matches_from(args).ok()?, env)
}

/// The line, from 1, on which this byte of a text is.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// What a configuration file says.
#[derive(Default)]
struct FileValues {
    values: BTreeMap<String, String>,
    tunnels: Vec<TunnelConfig>,
}

fn read_file(path: &Path) -> Result<FileValues, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError::ReadFile { path: path.to_owned(), error })?;
    let wrong = |reason: String| SettingsError::File { path: path.to_owned(), reason };
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let at = e.span().map_or(0, |span| span.start);
        let line = line_at(&text, at);
        wrong(format!("line {line}: {}", e.message()))
    })?;
    let (mut values, mut tunnels) = (BTreeMap::new(), Vec::new());
    for (key, value) in table {
        if key == "tunnels" {
            let described = from_toml(value, "[[tunnels]]");
            if let Some(problem) = described.problems.into_iter().chain(described.warnings).next() {
                return Err(wrong(problem));
            }
            tunnels = described.tunnels;
            continue;
        }
        let key = key.replace('_', "-");
        if !SETTINGS.iter().any(|s| s.key == key) {
            let known: Vec<_> = SETTINGS.iter().map(|s| s.key).collect();
            return Err(wrong(format!("it has no setting \"{key}\"; it may have: {}", known.join(", "))));
        }
        let value = file_value(value).map_err(|kind| wrong(format!("{key} cannot be a {kind}")))?;
        values.insert(key, value);
    }
    Ok(FileValues { values, tunnels })
}

/// A value of the file as it would stand on the command line, or what it is instead.
fn file_value(value: toml::Value) -> Result<String, &'static str> {
    match value {
        toml::Value::String(s) => Ok(s),
        toml::Value::Integer(n) => Ok(n.to_string()),
        toml::Value::Boolean(b) => Ok(b.to_string()),
        other @ (toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_)) => Err(other.type_str()),
    }
}

/// The limits that a user may want to know, by name.
fn limit_names(limits: &Limits) -> Vec<(&'static str, String)> {
    let kernel = limits.socket_buffer.map_or_else(|| "chosen by the system".to_owned(), |n| n.to_string());
    let rows: [(&str, &dyn fmt::Display); 12] = [
        ("= connections", &limits.connections),
        ("= dials-per-minute", &limits.dials_per_minute),
        ("= accepts-per-minute", &limits.accepts_per_minute),
        ("= handshakes", &limits.handshakes),
        ("= transit-tunnels", &limits.transit_tunnels),
        ("= known-routers", &limits.routers),
        ("= lease-sets", &limits.lease_sets),
        ("= queue-bytes", &limits.queue_bytes),
        ("= socket-buffer", &kernel),
        ("= destinations", &limits.sessions),
        ("= streams", &limits.streams),
        ("= sam-connections", &limits.sam_connections),
    ];
    rows.into_iter().map(|(name, value)| (name, value.to_string())).collect()
}

/// A path in which `~/` stands for the home directory.
pub fn expand_home(path: &str, env: &impl Fn(&str) -> Option<String>) -> PathBuf {
    match (path.strip_prefix("~/"), env("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

pub mod file;
#[cfg(test)]
mod tests;
