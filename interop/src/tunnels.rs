//! Ordinary servers and programs behind tunnels of ours, in a private network of
//! ours: a page of `nginx` by `curl`, and talk between two `irssi` over `ngircd`.
//!
//! ```text
//!   r1: curl, irssi ─► client tunnels ─► … ─► server tunnels ─► nginx, ngircd :r2
//! ```
//!
//! The servers must see who comes and nothing that was forged, and the programs
//! must not be asked for what tells who they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::{Destination, Wire, base32};
use anyhow::{Context, Result, ensure};

use crate::client::CURL;
use crate::net::process::{Process, ensure_installed};
use crate::net::until;
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::Router;
use crate::scenario::Place;
use crate::site;

/// Routers of ours.
pub(crate) const ROUTERS: usize = 6;
/// Where the programs are, and where the servers.
const PROGRAMS: usize = 1;
const SERVERS: usize = 2;

const NGIRCD: &str = "/usr/sbin/ngircd";
const IRSSI: &str = "/usr/bin/irssi";
/// What nginx answers.
const SHOWS_HEADERS: &str = "location / { return 200 \"b32=$http_x_i2p_destb32 host=$host hash=$http_x_i2p_desthash \
                             b64=$http_x_i2p_destb64\\n\"; }";
/// Gives a program the terminal that it wants.
const SCRIPT: &str = "/usr/bin/script";

/// Until tunnels that were just described carry something.
const USABLE_WITHIN: Duration = Duration::from_secs(120);
/// Until a router has made the keys of a tunnel that was described.
const KEYS_WITHIN: Duration = Duration::from_secs(30);

/// Runs it; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    let begun = Instant::now();
    match World::start(place) {
        Ok(world) => {
            report.check("(tunnels) nginx sees who asks, and nothing forged", world.web());
            report.check("(tunnels) irssi talks over ngircd, which sees who it is", world.irc());
        }
        Err(error) => {
            report.check::<String>("(tunnels) routers and servers start", Err(error));
        }
    }
    println!("tunnels took {} s", begun.elapsed().as_secs());
}

/// The network, the servers, and who is who. Fields are dropped in this order.
struct World {
    _servers: Vec<Process>,
    network: Network,
    /// The destinations of the programs.
    web_visitor: String,
    irc_visitor: String,
    directory: PathBuf,
}

impl World {
    fn start(place: &Place) -> Result<Self> {
        [NGIRCD, IRSSI, CURL, SCRIPT].into_iter().try_for_each(ensure_installed)?;
        let directory = place.directory.join("tunnels");
        let network = Network::start(&Layout::mixed(ROUTERS, 0), &place.binaries, &directory)?;
        let router = network.router(SERVERS)?;
        let servers =
            vec![site::nginx(router.namespace(), &directory, SHOWS_HEADERS)?, ngircd(router, &directory)?];
        describe(
            router,
            "[[tunnels]]\nname = \"web\"\ntype = \"http-server\"\ntarget = \"127.0.0.1:8080\"\nhost_name = \"site.i2p\"\n\
             [[tunnels]]\nname = \"irc\"\ntype = \"irc-server\"\ntarget = \"127.0.0.1:6667\"\nwebirc_password = \"between-us\"\n",
        )?;
        let (web, irc) = (own_name(router, "web")?, own_name(router, "irc")?);
        let router = network.router(PROGRAMS)?;
        describe(
            router,
            &format!(
                "[[tunnels]]\nname = \"web\"\ntype = \"client\"\nlisten = \"127.0.0.1:8888\"\ndestination = \"{web}\"\nkeys = \"web\"\n\
                 [[tunnels]]\nname = \"irc\"\ntype = \"irc-client\"\nlisten = \"127.0.0.1:6668\"\ndestination = \"{irc}\"\nkeys = \"irc\"\n"
            ),
        )?;
        let (web_visitor, irc_visitor) = (own_name(router, "web")?, own_name(router, "irc")?);
        Ok(Self { _servers: servers, network, web_visitor, irc_visitor, directory })
    }

    /// A page, with forged headers in its request.
    fn web(&self) -> Result<String> {
        let curl = || {
            let mut command = self.network.router(PROGRAMS)?.namespace().command(Path::new(CURL));
            command.args([
                "--silent",
                "--include",
                "--max-time",
                "60",
                "--header",
                "X-I2P-DestB32: forged.b32.i2p",
            ]);
            command.args(["--header", "X-I2P-DestHash: forged", "http://127.0.0.1:8888/"]);
            anyhow::Ok(String::from_utf8_lossy(&command.output()?.stdout).into_owned())
        };
        let mut answer = String::new();
        until(USABLE_WITHIN, || {
            answer = curl()?;
            Ok(answer.starts_with("HTTP/1.1 200"))
        })
        .with_context(|| format!("curl got no page, but {answer:?}"))?;
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default().trim();
        let expected = format!("b32={} host=site.i2p", self.web_visitor);
        ensure!(
            body.starts_with(&expected) && !body.contains("forged"),
            "nginx saw {body:?}, not {expected:?}"
        );
        let head = answer.to_ascii_lowercase();
        ensure!(
            !head.contains("nginx") && !head.contains("\r\ndate:"),
            "the answer tells of the server: {answer}"
        );
        Ok(format!("{}…", self.web_visitor.chars().take(8).collect::<String>()))
    }

    /// Two people, one of whom is asked by CTCP who he is.
    fn irc(&self) -> Result<String> {
        let (_alice, alice) = self.irssi("alice", "")?;
        heard(&alice, " JOIN :#i2p", USABLE_WITHIN).context("alice has not joined")?;
        let says = "/wait 1000;/msg #i2p hello from bob;/ctcp alice VERSION;/msg #i2p that is all";
        let (_bob, bob) = self.irssi("bob", says)?;
        heard(&alice, "that is all", USABLE_WITHIN).context("alice has not heard all of bob")?;
        let (alice, bob) = (fs::read_to_string(&alice)?, fs::read_to_string(&bob)?);
        ensure!(bob.contains("PRIVMSG alice :\u{1}VERSION"), "bob has not asked: {bob}");
        ensure!(
            alice.contains("hello from bob") && !alice.contains('\u{1}'),
            "a question has come to alice: {alice}"
        );
        let expected = format!(":bob!cgiirc@{} JOIN :#i2p", self.irc_visitor);
        ensure!(alice.contains(&expected), "alice was not told {expected:?}: {alice}");
        Ok(format!("{}…", self.irc_visitor.chars().take(8).collect::<String>()))
    }

    /// An irssi that joins a channel and says things then; all that it hears and says is in the file.
    fn irssi(&self, nick: &str, says: &str) -> Result<(Process, PathBuf)> {
        let home = self.directory.join(format!("irssi-{nick}"));
        fs::create_dir_all(&home)?;
        let raw = home.join("raw");
        let config = format!(
            "servers = ( {{ address = \"127.0.0.1\"; port = \"6668\"; chatnet = \"i2p\"; autoconnect = \"yes\"; use_tls = \"no\"; }} );\n\
             chatnets = {{ i2p = {{ type = \"IRC\"; nick = \"{nick}\"; username = \"{nick}\"; realname = \"{nick}\";\n\
             autosendcmd = \"/rawlog open {}\"; }}; }};\n\
             channels = ( {{ name = \"#i2p\"; chatnet = \"i2p\"; autojoin = \"yes\"; autosendcmd = \"{says}\"; }} );\n\
             settings = {{ core = {{ real_name = \"{nick}\"; user_name = \"{nick}\"; nick = \"{nick}\"; }}; }};\n",
            raw.display()
        );
        fs::write(home.join("config"), config)?;
        let command_line = format!("{IRSSI} --home={}", home.display());
        let mut command = self.network.router(PROGRAMS)?.namespace().command(Path::new(SCRIPT));
        command.args(["-q", "-c", &command_line, "/dev/null"]).env("TERM", "xterm");
        let process = Process::start(command, nick, &self.directory.join(format!("irssi-{nick}.log")))?;
        Ok((process, raw))
    }
}

/// Writes what a router follows.
pub(crate) fn describe(router: &Router, tunnels: &str) -> Result<()> {
    let path = router.data_dir().join("tunnels.toml");
    fs::write(&path, tunnels).with_context(|| format!("writing {}", path.display()))
}

/// The b32 name of a tunnel, whose keys the router makes when it starts it.
fn own_name(router: &Router, keys: &str) -> Result<String> {
    Ok(base32::host_name(&own_destination(&key_file(router, keys))?.hash()))
}

/// Where a router of ours keeps the keys of a tunnel.
pub(crate) fn key_file(router: &Router, keys: &str) -> PathBuf {
    router.data_dir().join("destinations").join(format!("{keys}.dat"))
}

/// The destination in a key file, which a router makes when it starts the tunnel.
pub(crate) fn own_destination(path: &Path) -> Result<Destination> {
    until(KEYS_WITHIN, || Ok(path.exists())).with_context(|| format!("there is no {}", path.display()))?;
    Ok(DestinationKeys::from_bytes(&fs::read(path)?)?.destination)
}

fn heard(raw: &Path, words: &str, limit: Duration) -> Result<()> {
    let read = || fs::read(raw).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    until(limit, || Ok(read().contains(words))).with_context(|| format!("{words:?} is not in {:?}", read()))
}

fn ngircd(router: &Router, directory: &Path) -> Result<Process> {
    let path = directory.join("ngircd.conf");
    let config = "[Global]\nName = irc.test.i2p\nInfo = a test\nListen = 127.0.0.1\nPorts = 6667\nMotdPhrase = hello\n\
                  [Limits]\nMaxConnectionsIP = 0\n\
                  [Options]\nDNS = yes\nIdent = no\nPAM = no\nWebircPassword = between-us\n";
    fs::write(&path, config)?;
    let mut command = router.namespace().command(Path::new(NGIRCD));
    command.arg("--nodaemon").arg("--config").arg(&path);
    Process::start(command, "ngircd", &directory.join("ngircd.log"))
}
