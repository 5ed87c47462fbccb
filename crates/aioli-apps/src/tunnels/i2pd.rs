//! i2pd's descriptions of tunnels, `tunnels.conf` and the files of `tunnels.d/`,
//! read as they are. What means nothing here is named, a line for each tunnel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use aioli_node::read_bounded;

use super::config::{Kind, Secret, TunnelConfig};
use super::files::Described;

/// No file is larger.
const MAX_FILE: u64 = 1 << 20;
/// Tunnels of a file at most.
const MAX_SECTIONS: usize = 1_000;

/// The settings of one section.
type Settings = BTreeMap<String, String>;

/// Files of a directory that are looked at, at most.
const MAX_FILES: usize = 256;

/// The file and those of the directory that are there, in the order of their names.
pub(super) fn paths(conf: &Path, dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let is_conf = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "conf");
    let mut more: Vec<_> = entries.map(|entry| entry.path()).filter(is_conf).take(MAX_FILES).collect();
    more.sort();
    std::iter::once(conf.to_owned()).filter(|path| path.exists()).chain(more).collect()
}

/// All tunnels of a file like `tunnels.conf` and a directory like `tunnels.d`, where they are there.
pub fn read_all(conf: &Path, dir: &Path) -> Described {
    let mut all = Described::default();
    paths(conf, dir).iter().for_each(|path| all.add(read(path)));
    all
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Described {
    let place = path.display().to_string();
    match read_bounded(path, MAX_FILE) {
        Ok(bytes) => {
            let mut described = parse(&String::from_utf8_lossy(&bytes), &place);
            for tunnel in &mut described.tunnels {
                let dir = path.parent().unwrap_or_else(|| Path::new(""));
                tunnel.beside =
                    Some(tunnel.beside.take().map_or_else(|| dir.to_owned(), |named| dir.join(named)));
            }
            described
        }
        Err(error) => Described {
            problems: vec![format!("cannot read {place}: {error}")],
            unreadable: true,
            ..Described::default()
        },
    }
}

fn parse(text: &str, place: &str) -> Described {
    let mut described = Described::default();
    for (name, settings) in sections(text, place, &mut described.problems) {
        let section = format!("{place}, section [{name}]");
        match tunnel(&name, &settings) {
            Ok((tunnel, ignored)) => {
                if !ignored.is_empty() {
                    let ignored = ignored.join(", ");
                    described.warnings.push(format!("{section}: {ignored}: means nothing to this router"));
                }
                described.tunnels.push(tunnel);
            }
            Err(why) => described.problems.push(format!("{section}: {why}; left out")),
        }
    }
    described
}

/// The sections in their order. Lines that are none of it are named and passed over.
fn sections(text: &str, place: &str, problems: &mut Vec<String>) -> Vec<(String, Settings)> {
    let mut found: Vec<(String, Settings)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let mut wrong = |what: &str| problems.push(format!("{place}, line {}: {what}", at + 1));
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if found.len() >= MAX_SECTIONS {
                wrong("there are too many sections; the rest is left out");
                break;
            }
            found.push((name.trim().to_owned(), Settings::new()));
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            wrong("neither [NAME] nor KEY = VALUE");
            continue;
        };
        let (key, value) = (key.trim(), value.trim().to_owned());
        match found.last_mut() {
            None => wrong(&format!("{key} stands before the first [NAME]")),
            Some((_, of)) if of.contains_key(key) => {
                wrong(&format!("{key} stands twice; the first one counts"))
            }
            Some((_, of)) => drop(of.insert(key.to_owned(), value)),
        }
    }
    found
}

/// The tunnel of one section, and its settings that mean nothing to this router. An error is a line for people.
pub fn tunnel(
    name: &str,
    settings: &BTreeMap<String, String>,
) -> Result<(TunnelConfig, Vec<String>), String> {
    let mut of = Section { settings, used: vec!["type"] };
    let kind = match of.text("type")? {
        "client" => Kind::Client,
        "httpproxy" => Kind::HttpProxy,
        "socks" => Kind::Socks,
        "server" => Kind::Server,
        "http" => Kind::HttpServer,
        "irc" => Kind::IrcServer,
        other @ ("udpclient" | "udpserver" | "websocks") => {
            return Err(format!("type = {other}: this router has no such tunnels"));
        }
        other => return Err(format!("type = {other}: give client, httpproxy, socks, server, http or irc")),
    };
    let mut config = TunnelConfig::new(name, kind);
    if kind.hosts() {
        of.server(&mut config)?
    } else {
        of.client(&mut config)?
    }
    of.destination(&mut config);
    of.options(&mut config);
    let unused: Vec<_> = config.unused_options().into_iter().map(str::to_owned).collect();
    let left = settings.keys().filter(|key| !of.used.contains(&key.as_str()) || unused.contains(key));
    let left = left.cloned().collect();
    config.options.retain(|key, _| !unused.contains(key));
    config.check().map_err(|error| error.to_string())?;
    Ok((config, left))
}

/// A section, and which of its settings were used.
struct Section<'a> {
    settings: &'a Settings,
    used: Vec<&'a str>,
}

impl<'a> Section<'a> {
    fn get(&mut self, key: &'static str) -> Option<&'a str> {
        self.used.push(key);
        self.settings.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn text(&mut self, key: &'static str) -> Result<&'a str, String> {
        self.get(key).ok_or_else(|| format!("{key} is missing"))
    }

    fn number<T: std::str::FromStr>(&mut self, key: &'static str) -> Result<Option<T>, String> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{key} = {text} is no number that is possible"))
    }

    fn switch(&mut self, key: &'static str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(format!("{key} = {other}: give true or false")),
        }
    }

    fn client(&mut self, config: &mut TunnelConfig) -> Result<(), String> {
        let port: u16 = self.number("port")?.ok_or("port is missing")?;
        let address = self.get("address").unwrap_or("127.0.0.1");
        let address = if address == "localhost" { "127.0.0.1" } else { address };
        let ip: IpAddr = address.parse().map_err(|_| format!("address = {address} is no IP address"))?;
        config.listen = Some(SocketAddr::new(ip, port));
        if config.kind == Kind::Client {
            let to = self.text("destination")?;
            let port = self.number::<u16>("destinationport")?.filter(|port| *port != 0 && !to.contains(':'));
            config.destination = vec![port.map_or_else(|| to.to_owned(), |port| format!("{to}:{port}"))];
        }
        if config.kind == Kind::HttpProxy
            && let Some(outproxy) = self.get("outproxy")
        {
            let host = outproxy.trim_start_matches("http://").trim_end_matches('/');
            config.outproxy = vec![host.split(':').next().unwrap_or_default().to_owned()];
        }
        if let Some(seconds) = self.number::<u32>("connecttimeout")?.filter(|seconds| *seconds > 0) {
            let milliseconds = u64::from(seconds) * 1_000;
            config.options.insert("i2p.streaming.connectTimeout".to_owned(), milliseconds.to_string());
        }
        Ok(())
    }

    fn server(&mut self, config: &mut TunnelConfig) -> Result<(), String> {
        let (host, port) = (self.text("host")?, self.number::<u16>("port")?.ok_or("port is missing")?);
        let bracketed =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        config.target = vec![bracketed];
        self.text("keys")?;
        config.port = self.number("inport")?.unwrap_or(port);
        if self.switch("ssl", false)? {
            return Err("ssl = true: this router speaks no TLS to local servers".to_owned());
        }
        let list = self.get("accesslist").or_else(|| self.get("whitelist")).unwrap_or_default();
        config.allow =
            list.split(',').map(str::trim).filter(|b32| !b32.is_empty()).map(str::to_owned).collect();
        // i2pd does so unless it is told not to, as far as the address allows it.
        let on_loopback =
            host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_ipv4() && ip.is_loopback());
        config.unique_local = self.switch("enableuniquelocal", true)? && on_loopback;
        if config.kind == Kind::HttpServer {
            config.host_name = self.get("hostoverride").map(str::to_owned);
            config.i2p_headers = self.switch("i2pheaders", true)?;
            // i2pd lets them in.
            config.refuse_inproxies = false;
        }
        if config.kind == Kind::IrcServer {
            config.webirc_password = self.get("webircpassword").map(Secret::new);
        }
        Ok(())
    }

    /// Whose destination it is: one of its own, made anew at each start, or the one that clients have in common.
    fn destination(&mut self, config: &mut TunnelConfig) {
        match self.get("keys") {
            Some("shareddest") => config.shared = true,
            None | Some("transient") => config.shared = false,
            Some(keys) if keys.starts_with("transient") => config.shared = false,
            Some(keys) => {
                let path = Path::new(keys);
                config.beside = path.parent().map(Path::to_owned);
                config.keys = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            }
        }
        // Of keys that are made anew; ours are of that type, and those of a file of whatever they are.
        if self.settings.get("signaturetype").is_some_and(|kind| kind == "7") {
            self.used.push("signaturetype");
        }
    }

    fn options(&mut self, config: &mut TunnelConfig) {
        for (key, value) in self.settings {
            if ["inbound.", "outbound.", "i2cp.", "i2p.streaming."].iter().any(|begin| key.starts_with(begin))
            {
                self.used.push(key);
                config.options.insert(key.clone(), value.clone());
            }
        }
        if let Some(streams) =
            config.options.get("i2p.streaming.maxConcurrentStreams").and_then(|n| n.parse().ok())
            && config.kind.hosts()
        {
            config.limits.connections = streams;
            config.options.remove("i2p.streaming.maxConcurrentStreams");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "\
; the tunnels of a router
[IRC-ILITA]
type = client
address = 127.0.0.1
port = 6668
destination = irc.ilita.i2p
destinationport = 6667
keys = irc-keys.dat
i2p.streaming.profile=2

[site]
type=http
host=127.0.0.1
port=8080
inport=80
keys=site.dat
hostoverride=site.i2p
accesslist=lhbd7ojcaiofbfku7ixh47qj537g572zmhdc4oilvugzxdpdghua,zzz.i2p
inbound.length=2
gzip = true
signaturetype=7
i2p.streaming.maxConcurrentStreams=12

[chat]
type = irc
host = ::1
port = 6667
keys = site.dat
webircpassword = secret
[browse]
type = httpproxy
port = 4445
keys = transient
outproxy = http://false.i2p:80
[socks]
type = socks
port = 4448
keys = shareddest
";

    #[test]
    fn what_i2pd_reads_is_read() {
        let Described { tunnels, problems, warnings, .. } = parse(CONF, "tunnels.conf");
        assert!(problems.is_empty(), "{problems:?}");
        let [irc, site, chat, browse, socks] = &tunnels[..] else { panic!("{tunnels:?}") };
        assert_eq!((irc.kind, irc.listen.unwrap().to_string()), (Kind::Client, "127.0.0.1:6668".to_owned()));
        assert_eq!((&*irc.destination[0], irc.keys.as_deref()), ("irc.ilita.i2p:6667", Some("irc-keys.dat")));
        assert_eq!((site.kind, &*site.target[0], site.port), (Kind::HttpServer, "127.0.0.1:8080", 80));
        assert_eq!((site.host_name.as_deref(), site.allow.len()), (Some("site.i2p"), 2));
        assert!(site.unique_local && site.i2p_headers && !site.refuse_inproxies);
        assert_eq!((&*site.options["inbound.length"], site.limits.connections), ("2", 12));
        assert_eq!((&*chat.target[0], chat.port, chat.unique_local), ("[::1]:6667", 6667, false));
        assert_eq!(chat.webirc_password.as_ref().unwrap().expose(), "secret");
        assert_eq!((browse.shared, &*browse.outproxy[0]), (false, "false.i2p"));
        assert!(socks.shared && socks.keys.is_none());
        assert_eq!(
            warnings,
            [
                "tunnels.conf, section [IRC-ILITA]: i2p.streaming.profile: means nothing to this router",
                "tunnels.conf, section [site]: gzip: means nothing to this router",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_stands() {
        let server = |more: &str| format!("[a]\ntype=server\nhost=127.0.0.1\nport=80\nkeys=a.dat\n{more}");
        for (text, problem) in [
            ("x = y\n".to_owned(), "c, line 1: x stands before the first [NAME]"),
            ("[a]\nwhat\n".to_owned(), "c, line 2: neither [NAME] nor KEY = VALUE"),
            ("[a]\nport=1\n".to_owned(), "c, section [a]: type is missing; left out"),
            (
                "[a]\ntype=udpserver\n".to_owned(),
                "c, section [a]: type = udpserver: this router has no such tunnels; left out",
            ),
            (
                "[a]\ntype=client\nport=99999\n".to_owned(),
                "c, section [a]: port = 99999 is no number that is possible; left out",
            ),
            ("[a]\ntype=client\nport=1\n".to_owned(), "c, section [a]: destination is missing; left out"),
            (
                "[a]\ntype=server\nhost=127.0.0.1\nport=1\n".to_owned(),
                "c, section [a]: keys is missing; left out",
            ),
            (
                server("ssl=true\n"),
                "c, section [a]: ssl = true: this router speaks no TLS to local servers; left out",
            ),
            (
                server("inbound.length=9\n"),
                "c, section [a]: options: inbound.length must be 0 to 8; left out",
            ),
            (
                server("gzip=yes\nmatchtunnels=true\n"),
                "c, section [a]: gzip, matchtunnels: means nothing to this router",
            ),
        ] {
            let text = format!("{text}[good]\ntype=socks\nport=1\n");
            let Described { tunnels, mut problems, warnings, .. } = parse(&text, "c");
            problems.extend(warnings);
            assert!(problems.iter().any(|p| p == problem), "{text}: {problems:?}");
            assert!(tunnels.iter().any(|tunnel| tunnel.name == "good"), "{text}");
        }
    }
}
