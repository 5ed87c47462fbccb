//! Client and server tunnels: i2pd's `tunnels.conf` and `tunnels.d/`, Java's
//! `i2ptunnel.config` and `i2ptunnel.config.d/`, into `tunnels.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::destinations::Keys;
use super::source::{Kind, Source, is_absent};
use super::{NewFile, Report, properties};

/// No settings file of tunnels is larger.
const MAX_CONFIG: u64 = 1 << 20;
/// Tunnels taken at most.
const MAX_TUNNELS: usize = 1_000;
/// Options that mean the same in every router begin so.
const OPTIONS: [&str; 4] = ["inbound.", "outbound.", "i2cp.", "i2p.streaming."];
/// Those of the other router's own connection, not of the tunnel.
const NOT_OPTIONS: [&str; 3] = ["i2cp.tcp.host", "i2cp.tcp.port", "i2cp.password"];

/// What a tunnel of the other router says.
type Settings = BTreeMap<String, String>;

/// `tunnels.toml`.
#[derive(Serialize)]
struct TunnelsFile {
    tunnel: Vec<Tunnel>,
}

/// One tunnel, either way.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Tunnel {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    enabled: bool,
    /// Of a client: where applications connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    /// Of a client: whom to reach, `name` or `name:port`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destination: Vec<String>,
    /// Of a server: where the application listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Of a web server: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_name: Option<String>,
    /// The destination's keys; new ones at each start if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: Settings,
}

/// Takes all tunnels, unless we have some.
pub(super) fn collect(
    source: &Source,
    ours: &Path,
    keys: &Keys,
    files: &mut Vec<NewFile>,
    report: &mut Report,
) {
    let found = read(source, Some(report));
    if found.is_empty() {
        return report.left("tunnels: there is none");
    }
    if ours.join("tunnels.toml").exists() {
        return report.left(format!(
            "tunnels: {} of them, because there is a tunnels.toml already; move it away to import them",
            found.len()
        ));
    }
    let mut tunnels = Vec::new();
    for (name, settings) in found.iter().take(MAX_TUNNELS) {
        let made = match source.kind() {
            Kind::I2pd => from_i2pd(name, settings, keys),
            Kind::Java => from_java(name, settings, keys),
        };
        match made {
            Ok(tunnel) => {
                report.took(format!("tunnel \"{}\" ({})", tunnel.name, tunnel.kind));
                if let Some(file) = key_file(source.kind(), settings).filter(|f| keys.of(f).is_none()) {
                    report
                        .note(format!("tunnel \"{name}\": its keys {file} were not taken; it gets new ones"));
                }
                tunnels.push(tunnel);
            }
            Err(why) => report.left(format!("tunnel \"{name}\": {why}")),
        }
    }
    if tunnels.is_empty() {
        return;
    }
    let head = "# Made by `aioli import`. No program of this version reads it yet: see docs/moving.md.\n\n";
    let text = toml::to_string(&TunnelsFile { tunnel: tunnels }).unwrap_or_default();
    files.push(NewFile::new("tunnels.toml", format!("{head}{text}").into_bytes(), 0o600));
    report.note(
        "tunnels.toml is kept for a later version: this one has no client or server tunnels of its own yet",
    );
}

/// The key files that tunnels name, as paths for [`Source::read`].
pub(super) fn key_files(source: &Source) -> Vec<PathBuf> {
    let tunnels = read(source, None);
    tunnels.iter().filter_map(|(_, of)| key_file(source.kind(), of)).map(PathBuf::from).collect()
}

fn key_file(kind: Kind, settings: &Settings) -> Option<&String> {
    let name = settings.get(if kind == Kind::I2pd { "keys" } else { "privKeyFile" })?;
    let none = name.is_empty() || name.starts_with("transient") || name == "shareddest";
    (!none).then_some(name)
}

/// All tunnels of all files, with their names.
fn read(source: &Source, mut report: Option<&mut Report>) -> Vec<(String, Settings)> {
    let (first, dir, ending) = match source.kind() {
        Kind::I2pd => ("tunnels.conf", "tunnels.d", ".conf"),
        Kind::Java => ("i2ptunnel.config", "i2ptunnel.config.d", ".config"),
    };
    let mut found = Vec::new();
    for file in std::iter::once(PathBuf::from(first)).chain(source.list(dir, ending)) {
        match source.read_settings(&file, MAX_CONFIG) {
            Ok(text) if source.kind() == Kind::I2pd => found.extend(properties::sections(&text)),
            Ok(text) => found.extend(java(&properties::parse(&text))),
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                if let Some(report) = &mut report {
                    report.left(format!("{}: {error}", file.display()));
                }
            }
        }
    }
    found
}

/// The tunnels of a file of Java's: numbered, or a single one without number.
fn java(all: &Settings) -> Vec<(String, Settings)> {
    let mut by_number: BTreeMap<u32, Settings> = BTreeMap::new();
    for (key, value) in all {
        let numbered = key.strip_prefix("tunnel.").and_then(|rest| rest.split_once('.'));
        let (number, key) = match numbered.and_then(|(n, key)| Some((n.parse().ok()?, key))) {
            Some((number, key)) => (number, key),
            None => (0, key.as_str()),
        };
        by_number.entry(number).or_default().insert(key.to_owned(), value.clone());
    }
    let tunnels = by_number.into_values().filter(|of| of.contains_key("type"));
    tunnels.map(|of| (of.get("name").cloned().unwrap_or_else(|| "unnamed".to_owned()), of)).collect()
}

fn from_i2pd(name: &str, of: &Settings, keys: &Keys) -> Result<Tunnel, String> {
    let (kind, client) = match text(of, "type")?.as_str() {
        "client" => ("client", true),
        "httpproxy" => ("http-proxy", true),
        "socks" => ("socks", true),
        "udpclient" => ("udp-client", true),
        "server" => ("server", false),
        "http" => ("http-server", false),
        "irc" => ("irc-server", false),
        "udpserver" => ("udp-server", false),
        other => return Err(format!("its type {other} is not known here")),
    };
    let mut tunnel = Tunnel::new(name, kind);
    let port = port(of, "port")?;
    if client {
        let host = of.get("address").map_or("127.0.0.1", String::as_str);
        tunnel.listen = Some(endpoint(host, port));
        if matches!(kind, "client" | "udp-client") {
            let to = text(of, "destination")?;
            let port = of.get("destinationport").filter(|p| *p != "0" && !to.contains(':'));
            tunnel.destination.push(port.map_or_else(|| to.clone(), |port| format!("{to}:{port}")));
        }
    } else {
        tunnel.target = Some(endpoint(&text(of, "host")?, port));
        tunnel.host_name = of.get("hostoverride").cloned();
    }
    tunnel.keys = of.get("keys").and_then(|file| keys.of(file)).cloned();
    tunnel.options = options(of.iter().map(|(k, v)| (k.as_str(), v)));
    Ok(tunnel)
}

fn from_java(name: &str, of: &Settings, keys: &Keys) -> Result<Tunnel, String> {
    let (kind, client) = match text(of, "type")?.as_str() {
        "client" => ("client", true),
        "ircclient" => ("irc-client", true),
        "httpclient" => ("http-proxy", true),
        "connectclient" => ("connect-proxy", true),
        "sockstunnel" | "socksirctunnel" => ("socks", true),
        "server" => ("server", false),
        "httpserver" => ("http-server", false),
        "ircserver" => ("irc-server", false),
        other => return Err(format!("its type {other} is not known here")),
    };
    let mut tunnel = Tunnel::new(name, kind);
    tunnel.enabled = of.get("startOnLoad").is_none_or(|v| v == "true");
    if client {
        let host = of.get("interface").filter(|h| !h.is_empty()).map_or("127.0.0.1", String::as_str);
        tunnel.listen = Some(endpoint(host, port(of, "listenPort")?));
        if matches!(kind, "client" | "irc-client") {
            let all = text(of, "targetDestination")?;
            let all = all.split([',', ' ']).map(str::trim).filter(|d| !d.is_empty());
            tunnel.destination.extend(all.map(str::to_owned));
        }
    } else {
        let host = of.get("targetHost").filter(|h| !h.is_empty()).map_or("127.0.0.1", String::as_str);
        tunnel.target = Some(endpoint(host, port(of, "targetPort")?));
        tunnel.host_name = of.get("spoofedHost").filter(|h| !h.is_empty()).cloned();
    }
    tunnel.keys = of.get("privKeyFile").and_then(|file| keys.of(file)).cloned();
    tunnel.options = options(of.iter().filter_map(|(k, v)| Some((k.strip_prefix("option.")?, v))));
    Ok(tunnel)
}

impl Tunnel {
    fn new(name: &str, kind: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            enabled: true,
            listen: None,
            destination: Vec::new(),
            target: None,
            host_name: None,
            keys: None,
            options: BTreeMap::new(),
        }
    }
}

fn text(of: &Settings, key: &str) -> Result<String, String> {
    of.get(key).filter(|v| !v.is_empty()).cloned().ok_or_else(|| format!("it has no {key}"))
}

fn port(of: &Settings, key: &str) -> Result<u16, String> {
    let text = text(of, key)?;
    text.parse().map_err(|_| format!("{key} = {text} is no port"))
}

/// Host and port, an IPv6 address in brackets.
fn endpoint(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn options<'a>(all: impl Iterator<Item = (&'a str, &'a String)>) -> Settings {
    let common = all.filter(|(k, _)| OPTIONS.iter().any(|p| k.starts_with(p)) && !NOT_OPTIONS.contains(k));
    common.map(|(k, v)| (k.to_owned(), v.clone())).collect()
}
