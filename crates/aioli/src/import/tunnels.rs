//! Client and server tunnels: i2pd's `tunnels.conf` and `tunnels.d/`, Java's
//! `i2ptunnel.config` and `i2ptunnel.config.d/`, into `tunnels.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aioli_apps::tunnels::{Kind as TunnelKind, TunnelConfig, from_i2pd_settings, to_toml};

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
            Ok((mut tunnel, ignored)) => {
                report.took(format!("tunnel \"{}\" ({})", tunnel.name, tunnel.kind));
                if let Some(file) = key_file(source.kind(), settings).filter(|f| keys.of(f).is_none()) {
                    report
                        .note(format!("tunnel \"{name}\": its keys {file} were not taken; it gets new ones"));
                }
                if !ignored.is_empty() {
                    report.note(format!("tunnel \"{name}\": {}: means nothing here", ignored.join(", ")));
                }
                if is_ours(&tunnel) && tunnel.enabled {
                    tunnel.enabled = false;
                    report.note(format!(
                        "tunnel \"{name}\" is not started: the router has a proxy at its place"
                    ));
                }
                tunnels.push(tunnel);
            }
            Err(why) => report.left(format!("tunnel \"{name}\": {why}")),
        }
    }
    if tunnels.is_empty() {
        return;
    }
    let head = "# Made by `aioli import`: see docs/tunnels.md.\n\n";
    let text = to_toml(&tunnels).unwrap_or_default();
    files.push(NewFile::new("tunnels.toml", format!("{head}{text}").into_bytes(), 0o600));
}

/// Whether a proxy of the router itself is where this one would be.
fn is_ours(tunnel: &TunnelConfig) -> bool {
    let port = tunnel.listen.map(|address| address.port());
    matches!((tunnel.kind, port), (TunnelKind::HttpProxy, Some(4444)) | (TunnelKind::Socks, Some(4447)))
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

/// A tunnel, and its settings that mean nothing here.
type Made = (TunnelConfig, Vec<String>);

fn from_i2pd(name: &str, of: &Settings, keys: &Keys) -> Result<Made, String> {
    let (mut tunnel, ignored) = from_i2pd_settings(name, of)?;
    tunnel.keys = of.get("keys").and_then(|file| keys.of(file)).cloned();
    // Whoever had keys of its own does not join the others without them.
    if tunnel.keys.is_none() && tunnel.kind.listens() && key_file(Kind::I2pd, of).is_some() {
        tunnel.shared = false;
    }
    Ok((tunnel, ignored))
}

fn from_java(name: &str, of: &Settings, keys: &Keys) -> Result<Made, String> {
    let kind = match text(of, "type")?.as_str() {
        "client" => TunnelKind::Client,
        "ircclient" => TunnelKind::IrcClient,
        "httpclient" | "connectclient" => TunnelKind::HttpProxy,
        "sockstunnel" | "socksirctunnel" => TunnelKind::Socks,
        "server" => TunnelKind::Server,
        "httpserver" => TunnelKind::HttpServer,
        "httpbidirserver" => TunnelKind::HttpBidir,
        "ircserver" => TunnelKind::IrcServer,
        other => return Err(format!("its type {other} is not known here")),
    };
    let mut tunnel = TunnelConfig::new(name, kind);
    tunnel.enabled = of.get("startOnLoad").is_none_or(|v| v == "true");
    tunnel.shared = of.get("sharedClient").is_none_or(|v| v == "true");
    if kind.listens() {
        let host = of.get("interface").filter(|h| !h.is_empty()).map_or("127.0.0.1", String::as_str);
        let at = endpoint(host, port(of, "listenPort")?);
        tunnel.listen = Some(at.parse().map_err(|_| format!("{at} is no address to listen on"))?);
    }
    if kind.dials() {
        let all = text(of, "targetDestination")?;
        let all = all.split([',', ' ']).map(str::trim).filter(|d| !d.is_empty());
        tunnel.destination.extend(all.map(str::to_owned));
    }
    if kind.hosts() {
        let host = of.get("targetHost").filter(|h| !h.is_empty()).map_or("127.0.0.1", String::as_str);
        tunnel.target.push(endpoint(host, port(of, "targetPort")?));
    }
    if matches!(kind, TunnelKind::HttpServer | TunnelKind::HttpBidir) {
        tunnel.host_name = of.get("spoofedHost").filter(|h| !h.is_empty()).cloned();
    }
    tunnel.keys = of.get("privKeyFile").and_then(|file| keys.of(file)).cloned();
    tunnel.options = options(of.iter().filter_map(|(k, v)| Some((k.strip_prefix("option.")?, v))));
    let ignored: Vec<_> = tunnel.unused_options().into_iter().map(str::to_owned).collect();
    tunnel.options.retain(|key, _| !ignored.contains(key));
    tunnel.check().map_err(|error| error.to_string())?;
    Ok((tunnel, ignored))
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
