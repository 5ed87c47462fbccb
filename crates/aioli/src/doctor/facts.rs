//! What there is to know of the computer and of the router on it. Tests write these down instead.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aioli_node::{AddressWatch, Holder, Inspection, NodeError, SntpConfig, bind, bind_udp, clock_offset};
use anyhow::Result;
use rustix::process::{Resource, geteuid, getrlimit};

use crate::settings::{Listen, Settings};

/// How long a running router may take to say a word.
const PATIENCE: Duration = Duration::from_secs(2);
/// A statistics file that is older was left by a router that has ended.
const FRESH: Duration = Duration::from_secs(30);

/// All of it.
#[derive(Debug)]
pub struct Facts {
    /// Seconds since 1970, as the computer has it.
    pub wall_secs: u64,
    /// What time servers say.
    pub time: Time,
    /// The ports that the settings name.
    pub ports: Vec<Port>,
    /// The data directory.
    pub directory: Directory,
    /// Files and sockets that the router, or else a program of this user, may have open.
    pub descriptors: Option<u64>,
    /// Memory that can be had, in bytes.
    pub memory: Option<u64>,
    /// An address of this computer that others reach directly.
    pub public_address: Option<IpAddr>,
    /// The router that runs.
    pub running: Running,
}

/// The answer of time servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Time {
    /// They were not asked, because.
    NotAsked(&'static str),
    /// This clock is so many milliseconds behind theirs; so many agree.
    Behind(i64, usize),
    /// None could be used.
    NoAnswer(String),
}

/// A port that the router wants.
#[derive(Clone, Debug)]
pub struct Port {
    /// For what.
    pub what: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// The option that changes it.
    pub option: &'static str,
    /// The router starts without it.
    pub dispensable: bool,
    /// Whether it can be had.
    pub state: PortState,
}

/// Whether a port can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// It can.
    Free,
    /// Another program has it: its name and process, if the system tells.
    Taken(Option<(String, u32)>),
    /// The system refuses.
    Refused(String),
}

/// The data directory.
#[derive(Debug)]
pub enum Directory {
    /// It is made at the first start.
    Missing,
    /// It cannot be looked at.
    Unreadable(String),
    /// It is there.
    There {
        /// Whose it is, and who we are.
        owner: (u32, u32),
        /// Its permissions.
        mode: u32,
        /// Those of the identity file.
        keys_mode: Option<u32>,
        /// Bytes free on its disk.
        free: Option<u64>,
        /// What is in it.
        inside: Box<Inspection>,
    },
}

/// What a running router lets be known.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Whether SAM answers; none where it is off.
    pub sam_answers: Option<bool>,
    /// Its counters, if it writes them.
    pub counters: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Facts {
    /// Asks the system, the disk and, unless `offline`, the time servers of the settings.
    pub fn gather(settings: &Settings, offline: bool) -> Result<Self> {
        let directory = directory(&settings.data_dir);
        let inside = match &directory {
            Directory::There { inside, .. } => Some(inside),
            Directory::Missing | Directory::Unreadable(_) => None,
        };
        let router = inside.and_then(|inside| inside.holder.as_ref()).and_then(Holder::process);
        let port = if settings.port == 0 { inside.and_then(|i| i.port) } else { Some(settings.port) };
        Ok(Self {
            wall_secs: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            time: time(settings, offline)?,
            ports: ports(settings, port),
            directory,
            descriptors: router.and_then(descriptors_of).or_else(own_descriptors),
            memory: memory(),
            public_address: AddressWatch::new(settings.port, settings.host, settings.private_network)
                .look()
                .unwrap_or_default(),
            running: Running {
                sam_answers: settings.sam.map(sam_answers),
                counters: settings.stats_file.as_deref().and_then(counters),
            },
        })
    }
}

fn time(settings: &Settings, offline: bool) -> Result<Time> {
    let Some(servers) = settings.time_servers.clone().filter(|_| !offline) else {
        return Ok(Time::NotAsked(if offline { "--offline" } else { "the settings name none" }));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(clock_offset(SntpConfig::new(servers))) {
        Ok((agreeing, behind)) => Time::Behind(behind, agreeing),
        Err(error) => Time::NoAnswer(error.to_string()),
    })
}

/// Every port, tried as the router will; that of other routers may not be drawn yet.
fn ports(settings: &Settings, port: Option<u16>) -> Vec<Port> {
    let mut all = Vec::new();
    let tcp = |what, address, option, dispensable| {
        let refused = bind(address, what, option).err();
        let state = state(refused, address, "TCP");
        Port { what, address, protocol: "TCP", option, dispensable, state }
    };
    if let Some(port) = port.filter(|_| !settings.hidden) {
        let address = SocketAddr::new(settings.host, port);
        if settings.ntcp2 {
            all.push(tcp("NTCP2", address, "--port", false));
        }
        let other = settings.other_family().map(|ip| (SocketAddr::new(ip, port), true));
        for (address, dispensable) in [(address, false)].into_iter().chain(other).filter(|_| settings.ssu2) {
            let refused = bind_udp(address, "--port").err();
            let state = state(refused, address, "UDP");
            all.push(Port { what: "SSU2", address, protocol: "UDP", option: "--port", dispensable, state });
        }
    }
    all.extend(settings.sam.map(|address| tcp("SAM", address, "--sam", false)));
    let proxy = |listen: Option<Listen>, what, option| {
        listen.map(|Listen { address, insisted }| tcp(what, address, option, !insisted))
    };
    all.extend(proxy(settings.http_proxy, "the HTTP proxy", "--http-proxy"));
    all.extend(proxy(settings.console, "the console", "--console"));
    all.extend(proxy(settings.socks_proxy, "the SOCKS proxy", "--socks-proxy"));
    all
}

fn state(refused: Option<NodeError>, address: SocketAddr, protocol: &str) -> PortState {
    match refused {
        None => PortState::Free,
        Some(NodeError::Listen { error, .. }) if error.kind() == ErrorKind::AddrInUse => {
            PortState::Taken(holder(address.port(), protocol))
        }
        Some(NodeError::Listen { error, .. }) => PortState::Refused(error.to_string()),
        Some(error) => PortState::Refused(error.to_string()),
    }
}

/// The program that listens on a port, from `/proc`: of others' processes only root learns it.
fn holder(port: u16, protocol: &str) -> Option<(String, u32)> {
    let tables = if protocol == "TCP" { ["tcp", "tcp6"] } else { ["udp", "udp6"] };
    let lines: String =
        tables.iter().filter_map(|name| fs::read_to_string(format!("/proc/net/{name}")).ok()).collect();
    let inode = lines.lines().find_map(|line| inode_at(line, port, protocol == "TCP"))?;
    let link = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(|f| fs::read_link(f.path()).is_ok_and(|to| to.as_os_str() == link.as_str())) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((name.trim().to_owned(), pid));
        }
    }
    None
}

/// The inode of a socket that is bound to this port, in a line of `/proc/net/tcp` and the like.
fn inode_at(line: &str, port: u16, listening: bool) -> Option<&str> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?.rsplit_once(':')?.1;
    let state = fields.nth(1)?;
    let right = u16::from_str_radix(local, 16) == Ok(port) && (!listening || state == LISTEN);
    fields.nth(5).filter(|_| right)
}

fn directory(path: &Path) -> Directory {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return Directory::Unreadable("it is a file".into()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Directory::Missing,
        Err(error) => return Directory::Unreadable(error.to_string()),
    };
    if let Err(error) = fs::read_dir(path) {
        return Directory::Unreadable(error.to_string());
    }
    let keys_mode = fs::metadata(path.join("router.keys.json")).ok().map(|m| m.mode() & 0o7777);
    let free = rustix::fs::statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    Directory::There {
        owner: (metadata.uid(), geteuid().as_raw()),
        mode: metadata.mode() & 0o7777,
        keys_mode,
        free,
        inside: Box::new(Inspection::of(path)),
    }
}

fn own_descriptors() -> Option<u64> {
    Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// The limit of a process, as `/proc` has it.
fn descriptors_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let now = line.split_whitespace().next()?;
    if now == "unlimited" { Some(u64::MAX) } else { now.parse().ok() }
}

/// What the system can give, and a control group allows.
fn memory() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok();
    let system = system.as_deref().and_then(available);
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    system.into_iter().chain(group).min()
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether a router says hello there.
fn sam_answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"HELLO VERSION\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line.starts_with("HELLO REPLY RESULT=OK"))
    };
    ask().unwrap_or(false)
}

fn counters(file: &Path) -> Option<serde_json::Map<String, serde_json::Value>> {
    let age = fs::metadata(file).ok()?.modified().ok()?.elapsed().unwrap_or_default();
    let text = fs::read(file).ok().filter(|_| age < FRESH)?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (_, pid) = holder(listener.local_addr().unwrap().port(), "TCP").unwrap();
        assert_eq!(pid, std::process::id());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(holder(socket.local_addr().unwrap().port(), "UDP").map(|h| h.1), Some(std::process::id()));
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 x";
        assert_eq!(inode_at(line, 8080, true), Some("4711"));
        assert_eq!(inode_at(line, 8081, true), None);
        assert_eq!(inode_at(&line.replace(" 0A ", " 01 "), 8080, true), None);
    }

    #[test]
    fn the_file_limit_of_another_process_is_read() {
        assert_eq!(descriptors_of(std::process::id()), own_descriptors());
        assert_eq!(descriptors_of(0), None);
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   1024 kB\n"), Some(1 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
