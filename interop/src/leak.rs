//! A leak test: programs and hostile pages want everything but I2P, through every
//! proxy of a router, and nothing leaves its namespace but what routers say to
//! each other. A packet capture at its boundary shows it, another on its
//! loopback device, and canaries where nobody may come.
//!
//! ```text
//!   r1: router, proxies, tunnels, curl, Chromium ──eth0── port1 ─ hub ─┬─ r2: nginx, hostile, behind a tunnel
//!       canary on loopback                                │            ├─ r3 … r6
//!                                                         capture      └─ h250: r1's default route; a canary that
//!                                                                              has every address there is
//! ```
//!
//! What leaks would thus arrive somewhere. The last check has things leak on
//! purpose, one by one, and each must be seen.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aioli_wire::base32;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::client::CURL;
use crate::client::chromium::Chromium;
use crate::net::capture::{Capture, Packet, frames, unexpected};
use crate::net::namespace::Namespace;
use crate::net::process::Process;
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::PORT;
use crate::scenario::Place;
use crate::site;
use crate::tunnels::{describe, key_file, own_destination};

/// Routers of ours.
pub(crate) const ROUTERS: usize = 6;
/// Whose namespace is watched, who has the hostile site, and where all ways out end.
const WATCHED: usize = 1;
const HOSTILE: usize = 2;
const OUTSIDE: u8 = 250;

/// Until the site can be reached, and a page has tried all that it tries.
const USABLE_WITHIN: Duration = Duration::from_secs(120);
const PAGE_WITHIN: Duration = Duration::from_secs(90);

/// In every name that must not be looked up: none of it may be read off the wire.
const MARK: &str = "leaktest";
/// Ports of the canaries: of the web, of DNS, and one that hostile pages ask for.
const CANARY_PORTS: [u16; 4] = [53, 80, 443, 9999];

/// What is asked for, and what the page of the HTTP proxy that refuses it is called.
const WANTED: [(&str, &str); 17] = [
    ("http://127.0.0.1:9999/", LOCAL),
    ("http://localhost:9999/", LOCAL),
    ("http://evil.localhost:9999/", LOCAL),
    ("http://[::1]:9999/", LOCAL),
    ("http://[::ffff:127.0.0.1]:9999/", LOCAL),
    ("http://127.1:9999/", LOCAL),
    ("http://2130706433:9999/", LOCAL),
    ("http://0x7f000001:9999/", LOCAL),
    ("http://0.0.0.0:9999/", LOCAL),
    ("http://127.0.0.1:7657/", LOCAL),
    ("http://198.18.250.2/", LOCAL),
    ("http://printer/", LOCAL),
    ("http://93.184.215.14/", NOT_IN_I2P),
    ("http://[2606:2800:21f:cb07::1]/", NOT_IN_I2P),
    ("http://www.leaktest.example/", NOT_IN_I2P),
    ("http://rebind.leaktest.example:9999/", NOT_IN_I2P),
    ("http://rebind.i2p:9999/", "Unknown name"),
];
const LOCAL: &str = "An address of this computer";
const NOT_IN_I2P: &str = "Not in I2P";

/// Runs it; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    let begun = Instant::now();
    match World::start(place) {
        Ok(world) => world.check(report),
        Err(error) => drop(report.check::<String>("(leak) routers and a hostile site start", Err(error))),
    }
    println!("leak took {} s", begun.elapsed().as_secs());
}

/// The network and what listens in it. Fields are dropped in this order.
struct World {
    canaries: [Canary; 2],
    _site: Process,
    network: Network,
    directory: PathBuf,
}

/// A canary, and what it has said.
struct Canary {
    _process: Process,
    log: PathBuf,
}

impl Canary {
    fn start(namespace: &Namespace, log: &Path) -> Result<Self> {
        let mut command = namespace.command(&std::env::current_exe()?);
        command.arg("canary").args(CANARY_PORTS.map(|port| format!("[::]:{port}")));
        let mut process = Process::start(command, "a canary", log)?;
        until(Duration::from_secs(10), || {
            process.ensure_running()?;
            Ok(fs::read_to_string(log)?.contains("READY"))
        })?;
        Ok(Self { _process: process, log: log.to_owned() })
    }

    fn caught(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.log)?;
        Ok(text.lines().filter(|line| line.starts_with("CAUGHT")).map(str::to_owned).collect())
    }
}

/// What was recorded at the boundary and on loopback.
struct Recordings {
    boundary: Vec<u8>,
    loopback: Vec<u8>,
}

impl World {
    fn start(place: &Place) -> Result<Self> {
        let directory = place.directory.join("leak");
        let mut network = Network::start(&Layout::mixed(ROUTERS, 0), &place.binaries, &directory)?;
        let outside = network.add_host(OUTSIDE)?;
        let router = network.router(HOSTILE)?;
        let site = site::nginx(router.namespace(), &directory, &hostile_site(&directory)?)?;
        let server = |kind: &str| {
            format!(
                "[[tunnels]]\nname = \"{kind}\"\ntype = \"{kind}\"\nkeys = \"site\"\nport = {}\ntarget = \"{}\"\n",
                if kind == "server" { 81 } else { 80 },
                site::ADDRESS
            )
        };
        describe(router, &(server("http-server") + &server("server")))?;
        let destination = own_destination(&key_file(router, "site"))?;
        let router = network.router(WATCHED)?;
        // A name that leads to this computer, as far as a hosts file can say so.
        let hosts = format!("evil.i2p={}\nrebind.i2p=127.0.0.1\n", destination.to_base64());
        fs::write(router.data_dir().join("hosts.txt"), hosts)?;
        let b32 = base32::host_name(&destination.hash());
        describe(
            router,
            &format!(
                "[[tunnels]]\nname = \"raw\"\ntype = \"client\"\nlisten = \"127.0.0.1:8888\"\ndestination = \"{b32}:81\"\n\
                 [[tunnels]]\nname = \"proxy\"\ntype = \"http-proxy\"\nlisten = \"127.0.0.1:8889\"\n\
                 [[tunnels]]\nname = \"socks\"\ntype = \"socks\"\nlisten = \"127.0.0.1:8890\"\n\
                 [[tunnels]]\nname = \"both\"\ntype = \"http-bidir\"\nlisten = \"127.0.0.1:8891\"\ntarget = \"127.0.0.1:1\"\n"
            ),
        )?;
        let watched = router.namespace().clone();
        for proxy in [4444, 8889, 8891] {
            let proxy = format!("127.0.0.1:{proxy}");
            let mut last = None;
            let opens = until(USABLE_WITHIN, || {
                let page = curl(&watched, &["--proxy", &proxy, "http://evil.i2p/"])?;
                let open = page.code == "200";
                last = Some(page);
                Ok(open)
            });
            opens.with_context(|| format!("evil.i2p does not open through {proxy}: {last:?}"))?;
        }
        open_ways_out(&watched, &outside)?;
        let canaries = [
            Canary::start(&watched, &directory.join("canary-loopback.log"))?,
            Canary::start(&outside, &directory.join("canary-outside.log"))?,
        ];
        Ok(Self { canaries, _site: site, network, directory })
    }

    fn check(&self, report: &mut Report) {
        let attempts = self.recorded("hostile", || {
            report.check("(leak) programs that want out get the proxies' refusals", self.programs());
            let by_http = self.pages("proxy", "http://127.0.0.1:8889");
            report.check("(leak) hostile pages in Chromium, HTTP proxy", by_http);
            let by_socks = self.pages("socks", "socks5://127.0.0.1:8890");
            report.check("(leak) hostile pages in Chromium, SOCKS proxy", by_socks);
            Ok(())
        });
        report.check(
            "(leak) nothing leaves but what routers say to each other",
            attempts.and_then(|recordings| self.judge(&recordings)),
        );
        report.check("(leak) what leaks on purpose is seen", self.control());
        report.check("(leak) the hostile page leaks in a browser without the proxy", self.control_page());
    }

    fn watched(&self) -> Result<&Namespace> {
        Ok(self.network.router(WATCHED)?.namespace())
    }

    /// Records while something goes on.
    fn recorded(&self, name: &str, act: impl FnOnce() -> Result<()>) -> Result<Recordings> {
        let hub = self.network.hub().context("a network with a bridge")?;
        let file = |at: &str| self.directory.join(format!("{name}-{at}.pcap"));
        let boundary = Capture::start(hub, &format!("port{WATCHED}"), &file("boundary"))?;
        let loopback = Capture::start(self.watched()?, "lo", &file("loopback"))?;
        act()?;
        Ok(Recordings { boundary: boundary.end()?, loopback: loopback.end()? })
    }

    /// What of the recordings must not be there.
    fn found(recordings: &Recordings) -> Result<Vec<String>> {
        let mut found = unexpected(&recordings.boundary, is_transport)?;
        found.extend(unexpected(&recordings.loopback, is_local_business)?);
        if recordings.boundary.windows(MARK.len()).any(|w| w == MARK.as_bytes()) {
            found.push(format!("{MARK} in plain text"));
        }
        Ok(found)
    }

    fn judge(&self, recordings: &Recordings) -> Result<String> {
        let found = Self::found(recordings)?;
        ensure!(found.is_empty(), "{} kinds of packets: {found:#?}", found.len());
        for canary in &self.canaries {
            let caught = canary.caught()?;
            ensure!(caught.is_empty(), "a canary was reached: {caught:#?}");
        }
        let packets = frames(&recordings.boundary)?.len();
        ensure!(packets > 100, "only {packets} packets were recorded: the router did nothing");
        Ok(format!("{packets} packets between routers, no other"))
    }

    /// `curl` through every proxy and tunnel, and words for the proxies that no browser would say.
    fn programs(&self) -> Result<String> {
        let namespace = self.watched()?;
        let mut asked = 0;
        let mut refused = |arguments: &[&str], expected: &str| {
            asked += 1;
            let answer = curl(namespace, arguments)?;
            let all = format!(
                "exit {} code {} connect {}\n{}",
                answer.exit, answer.code, answer.connect, answer.body
            );
            ensure!(all.contains(expected), "curl {}: no {expected:?} in {all}", arguments.join(" "));
            anyhow::Ok(())
        };
        for (url, title) in WANTED {
            for proxy in ["127.0.0.1:4444", "127.0.0.1:8889", "127.0.0.1:8891"] {
                refused(&["--proxy", proxy, url], title)?;
                let code = if title == "Unknown name" { "connect 404" } else { "connect 403" };
                refused(&["--proxy", proxy, "--proxytunnel", url], code)?;
            }
            for proxy in ["127.0.0.1:4447", "127.0.0.1:8890"] {
                // 97: the proxy has refused.
                refused(&["--socks5-hostname", proxy, url], "exit 97")?;
                if !url.contains('[') {
                    refused(&["--socks4a", proxy, url], "exit 97")?;
                }
            }
        }
        for proxy in ["127.0.0.1:4447", "127.0.0.1:8890"] {
            for version in ["--socks4", "--socks5"] {
                refused(&[version, proxy, "http://93.184.215.14/"], "exit 97")?;
                refused(&[version, proxy, "http://127.0.0.1:9999/"], "exit 97")?;
            }
        }
        let proxy = ["--proxy", "127.0.0.1:4444"];
        for (path, title) in [("to-loopback", LOCAL), ("to-address", NOT_IN_I2P), ("to-name", NOT_IN_I2P)] {
            refused(&[proxy[0], proxy[1], "--location", &format!("http://evil.i2p/{path}")], title)?;
        }
        // Where a request goes is not for its headers to say, and a name pointed at loopback is no way in.
        for header in
            ["Host: 127.0.0.1:9999", "Host: www.leaktest.example", "X-Forwarded-Host: 127.0.0.1:9999"]
        {
            refused(&[proxy[0], proxy[1], "--header", header, "http://evil.i2p/host"], "I am evil.i2p")?;
            refused(&["--header", header, "http://127.0.0.1:8888/host"], "I am ")?;
        }
        refused(&["--request-target", "http://127.0.0.1:9999/host", "http://127.0.0.1:8888/"], "I am ")?;
        for (port, code) in [(7657, "code 403"), (4444, "code 400")] {
            let (at, url) = (
                format!("rebind.leaktest.example:{port}:127.0.0.1"),
                format!("http://rebind.leaktest.example:{port}/"),
            );
            refused(&["--resolve", &at, &url], code)?;
        }
        self.sam()?;
        Ok(format!("{asked} requests, each refused or answered by the site"))
    }

    /// SAM looks no name up elsewhere either.
    fn sam(&self) -> Result<()> {
        let talk = "exec 3<>/dev/tcp/127.0.0.1/7656; printf 'HELLO VERSION\\nNAMING LOOKUP NAME=sam.leaktest.example\\n\
                    NAMING LOOKUP NAME=localhost\\nQUIT\\n' >&3; timeout 20 cat <&3";
        let mut command = self.watched()?.command(Path::new("/bin/bash"));
        let said = command.args(["-c", talk]).output()?.stdout;
        let said = String::from_utf8_lossy(&said);
        ensure!(said.matches("NAMING REPLY RESULT=").count() == 2 && !said.contains("VALUE="), "SAM: {said}");
        Ok(())
    }

    /// Pages that try everything, in Chromium.
    fn pages(&self, name: &str, proxy: &str) -> Result<String> {
        let http = proxy.starts_with("http");
        let directory = self.directory.join(format!("chromium-{name}"));
        let mut chromium = Chromium::start(self.watched()?, &directory, Some(proxy))?;
        let before = self.refused(name)?;
        chromium.open("http://evil.i2p/", PAGE_WITHIN)?;
        chromium.wait("the page has tried everything", "document.title.startsWith('done ')", PAGE_WITHIN)?;
        let tried = chromium.eval("document.title")?;
        // Where a page is led, there is the proxy's page, or with SOCKS the browser's own.
        for (path, title) in [
            ("to-loopback", LOCAL),
            ("to-address", NOT_IN_I2P),
            ("to-name", NOT_IN_I2P),
            ("refresh", LOCAL),
            ("script", LOCAL),
        ] {
            let opened = chromium.open(&format!("http://evil.i2p/{path}"), PAGE_WITHIN);
            if http {
                opened?;
                let there = format!(
                    "document.title.includes('{title}') || document.body.innerText.includes('{title}')"
                );
                chromium.wait(&format!("/{path} ends at the proxy's page"), &there, PAGE_WITHIN)?;
            } else {
                let there = "location.href.startsWith('chrome-error:')";
                chromium.wait(&format!("/{path} ends at an error"), there, PAGE_WITHIN)?;
            }
        }
        let more = self.refused(name)? - before;
        ensure!(
            more >= WANTED.len() as u64,
            "only {more} requests came to the proxy: the page tried nothing"
        );
        Ok(format!("{}, {more} requests refused by the proxy", tried.as_str().unwrap_or_default()))
    }

    /// How many requests a proxy that is described as a tunnel has refused, as the console tells.
    fn refused(&self, name: &str) -> Result<u64> {
        let services = curl(self.watched()?, &["http://127.0.0.1:7657/api/v1/services"])?.body;
        let services: Value = serde_json::from_str(&services)?;
        let tunnels = services.get("tunnels").and_then(Value::as_array).context("no tunnels")?;
        let tunnel = tunnels.iter().find(|t| t.get("name").is_some_and(|n| n == name));
        tunnel.and_then(|t| t.get("refused")?.as_u64()).with_context(|| format!("no tunnel {name}"))
    }

    /// How often each canary was connected to.
    fn connections(&self) -> Result<[usize; 2]> {
        let [loopback, outside] = &self.canaries;
        let count = |canary: &Canary| {
            let caught = canary.caught()?;
            anyhow::Ok(caught.iter().filter(|line| line.starts_with("CAUGHT TCP")).count())
        };
        Ok([count(loopback)?, count(outside)?])
    }

    /// Things that leak, each by itself. Whoever sees none of them proves nothing.
    fn control(&self) -> Result<String> {
        let namespace = self.watched()?;
        let v6 = ("http://[2606:2800:21f:cb07::1]/", "[2606:2800:21f:cb07::1]:80");
        for (what, url, reaches, seen) in [
            ("a look-up", "http://control.leaktest.example/", None, ":53"),
            ("a connection over IPv4", "http://93.184.215.14/", Some(1), "93.184.215.14:80"),
            ("a connection over IPv6", v6.0, Some(1), v6.1),
            ("a connection to loopback", "http://127.0.0.1:9999/", Some(0), "127.0.0.1:9999"),
        ] {
            let before = self.connections()?;
            let recordings = self.recorded("control", || {
                curl(namespace, &["--noproxy", "*", "--max-time", "2", url]).map(drop)
            })?;
            let found = Self::found(&recordings)?;
            ensure!(found.iter().any(|packet| packet.contains(seen)), "{what} was not seen, but {found:#?}");
            let after = self.connections()?;
            ensure!(
                reaches.is_none_or(|at| after.get(at) > before.get(at)),
                "{what} did not reach the canary"
            );
        }
        Ok("a look-up, and connections over IPv4, IPv6 and loopback".to_owned())
    }

    /// The hostile page in a browser without a proxy, which brings it over a client tunnel: it leads to both canaries.
    fn control_page(&self) -> Result<String> {
        let directory = self.directory.join("chromium-control");
        let mut chromium = Chromium::start(self.watched()?, &directory, None)?;
        let before = self.connections()?;
        let recordings = self.recorded("control-page", || {
            chromium.begin("http://127.0.0.1:8888/")?;
            let reached =
                || Ok(self.connections()?.iter().zip(before).all(|(after, before)| *after > before));
            until(PAGE_WITHIN, reached).context("the page has not reached both canaries")
        })?;
        let found = Self::found(&recordings)?;
        for seen in [":53 }", "127.0.0.1:9999 }"] {
            ensure!(found.iter().any(|packet| packet.contains(seen)), "{seen} was not seen, but {found:#?}");
        }
        Ok(format!("{} kinds of packets that must not be", found.len()))
    }
}

/// What `curl` got.
#[derive(Debug)]
struct Answer {
    exit: i32,
    code: String,
    connect: String,
    body: String,
}

fn curl(namespace: &Namespace, arguments: &[&str]) -> Result<Answer> {
    let mut command = namespace.command(Path::new(CURL));
    command.args(["--silent", "--max-time", "60", "--write-out", "\n%{http_code} %{http_connect}"]);
    let output = command.args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, codes) = text.rsplit_once('\n').context("curl says nothing")?;
    let (code, connect) = codes.split_once(' ').context("curl says no codes")?;
    let exit = output.status.code().unwrap_or(-1);
    Ok(Answer { exit, code: code.to_owned(), connect: connect.to_owned(), body: body.to_owned() })
}

/// Lets the watched namespace out, to a host that takes itself for every other.
fn open_ways_out(watched: &Namespace, outside: &Namespace) -> Result<()> {
    outside.set_up("eth0", "fd00::250/64")?;
    watched.set_up("eth0", "fd00::1/64")?;
    watched.ip(&["route", "add", "default", "via", &format!("198.18.{OUTSIDE}.2")])?;
    watched.ip(&["-6", "route", "add", "default", "via", "fd00::250"])?;
    // Behind the route to the neighbours, which the host answers over.
    outside.ip(&["route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "main"])?;
    outside.ip(&["-6", "route", "add", "local", "::/0", "dev", "lo", "table", "main"]).map(drop)
}

/// What may cross the boundary: what routers of the network say to each other, and what cables need.
fn is_transport(packet: Packet) -> bool {
    let is_router = |ip: IpAddr| {
        let IpAddr::V4(ip) = ip else { return false };
        (1..=ROUTERS).any(|router| ip == Ipv4Addr::new(198, 18, router as u8, 2))
    };
    let port = |at: SocketAddr| at.port().to_string() == PORT;
    match packet {
        Packet::Arp(asked) => is_router(IpAddr::V4(asked)),
        Packet::Neighbours => true,
        Packet::Between { tcp, from, to } => {
            // One end of TCP has the port of a router; with UDP both have.
            let ports = if tcp { port(from) || port(to) } else { port(from) && port(to) };
            ports && is_router(from.ip()) && is_router(to.ip())
        }
        Packet::Other(..) => false,
    }
}

/// What may go over loopback: connections to proxies and tunnels, and no look-up.
fn is_local_business(packet: Packet) -> bool {
    let canary = |at: SocketAddr| CANARY_PORTS.contains(&at.port());
    matches!(packet, Packet::Between { tcp: true, from, to } if !canary(from) && !canary(to))
}

/// A site whose pages try to have something leave. Gives what `nginx` is told of it.
fn hostile_site(directory: &Path) -> Result<String> {
    let files = directory.join("hostile");
    fs::create_dir_all(&files)?;
    let wanted: Vec<&str> = WANTED.iter().map(|(url, _)| *url).collect();
    let page = include_str!("leak.html").replace("WANTED", &serde_json::to_string(&wanted)?);
    fs::write(files.join("index.html"), page)?;
    Ok(format!(
        "root {};\n\
         location /host {{ return 200 \"I am $host\"; }}\n\
         location /to-loopback {{ return 302 http://127.0.0.1:9999/; }}\n\
         location /to-address {{ return 307 http://93.184.215.14/; }}\n\
         location /to-name {{ return 301 http://www.leaktest.example/; }}\n\
         location /refresh {{ default_type text/html; \
         return 200 '<meta http-equiv=refresh content=\"0;url=http://localhost:9999/\">'; }}\n\
         location /script {{ default_type text/html; \
         return 200 '<script>location = \"http://[::1]:9999/\"</script>'; }}",
        files.display()
    ))
}
