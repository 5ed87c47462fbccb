//! How much memory a whole router takes: the real `i2p-router` as a process of
//! its own, in each profile, with routers known and sessions open.
//!
//! Everything stays on loopback, in a private network: the known routers have
//! valid signatures and addresses at which nobody listens; the peers are our own
//! transport. Each becomes the hop before and the hop after one of 50 tunnels.
//!
//! `router_memory [--router PATH] [--check] [PROFILE...]`; with `--check` it fails if
//! `tiny` takes more than 12,288 KB with the routers known and the sessions open.

#![expect(clippy::print_stdout, reason = "it prints its results")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aioli_bench::peers::{NET_ID, Peers, known_router};
use aioli_core::Rng;
use aioli_wire::{RouterInfo, Verified};
use anyhow::{Context, Result, ensure};

/// Routers known.
const KNOWN: usize = 1_000;
/// Sessions, and tunnels between them.
const SESSIONS: usize = 50;
/// Messages of a kilobyte through each tunnel.
const MESSAGES: usize = 400;
/// The router is left alone so long before it is looked at.
const SETTLE: Duration = Duration::from_secs(4);
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// What `tiny` may take with all of that, in KB.
const TINY: u64 = 12 * 1024;

fn main() -> Result<()> {
    let (mut router, mut check, mut profiles) = (beside_us()?, false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--router" => router = args.next().context("--router needs a path")?.into(),
            "--check" => check = true,
            _ => profiles.push(arg),
        }
    }
    if profiles.is_empty() {
        profiles = ["tiny", "home", "server"].map(str::to_owned).into();
    }
    println!(
        "| profile | idle | {KNOWN} routers known | and {SESSIONS} sessions | after traffic | most ever | of it files |"
    );
    println!("|---|---|---|---|---|---|---|");
    for profile in &profiles {
        let row = measure(&router, profile)?;
        println!(
            "| {profile} | {} | {} | {} | {} | {} | {} |",
            row.idle.rss,
            row.known.rss,
            row.sessions.rss,
            row.traffic.rss,
            row.traffic.most,
            row.traffic.files
        );
        let takes = row.sessions.rss;
        ensure!(!check || profile != "tiny" || takes <= TINY, "tiny takes {takes} KB, more than {TINY}");
    }
    Ok(())
}

/// The router that was built with us.
fn beside_us() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("i2p-router"))
}

/// The memory of one profile, stage by stage.
struct Row {
    idle: Memory,
    known: Memory,
    sessions: Memory,
    traffic: Memory,
}

fn measure(router: &Path, profile: &str) -> Result<Row> {
    let idle = {
        let router = Router::start(router, profile, 0)?;
        thread::sleep(SETTLE);
        router.memory()?
    };
    let router = Router::start(router, profile, KNOWN)?;
    thread::sleep(SETTLE);
    let known = router.memory()?;
    let mut peers = Peers::connect(&router.info()?, SESSIONS, PATIENCE)?;
    peers.attend(SETTLE)?;
    let sessions = router.memory()?;
    peers.build(PATIENCE)?;
    let relayed = peers.relay(MESSAGES, PATIENCE)?;
    ensure!(relayed > SESSIONS * MESSAGES / 2, "only {relayed} messages were relayed");
    peers.attend(SETTLE)?;
    ensure!(peers.len() == SESSIONS, "only {} sessions were left", peers.len());
    Ok(Row { idle, known, sessions, traffic: router.memory()? })
}

/// What the kernel says of a process, in KB.
#[derive(Clone, Copy)]
struct Memory {
    rss: u64,
    files: u64,
    most: u64,
}

/// A router of its own; killed when dropped.
struct Router {
    child: Child,
    /// Kept open: it still has things to say.
    _stdout: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Router {
    fn start(program: &Path, profile: &str, known: usize) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut rng = Rng::from_seed([7; 32]);
        for n in 0..known {
            let info = known_router(n, &mut rng)?;
            let name = info.hash().to_base64();
            let shard = dir.path().join("netDb").join(format!("r{}", name.chars().next().unwrap_or('A')));
            fs::create_dir_all(&shard)?;
            fs::write(shard.join(format!("routerInfo-{name}.dat")), info.bytes())?;
        }
        let mut command = Command::new(program);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.args(["--host", "127.0.0.1", "--external-host", "127.0.0.1", "--port", "0"]);
        command.args(["--private-network", "--net-id", &NET_ID.to_string(), "--reseed", "never"]);
        command.args(["--sam", "127.0.0.1:0", "--profile", profile]);
        command.arg("--data-dir").arg(dir.path());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut stdout = BufReader::new(child.stdout.take().context("it has a stdout")?);
        let loaded = format!("{known} other routers known");
        let started = stdout.by_ref().lines().map_while(Result::ok).any(|line| line.contains(&loaded));
        let router = Self { child, _stdout: stdout, dir };
        ensure!(started, "the router did not load {known} routers");
        Ok(router)
    }

    fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let of = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name));
            line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).with_context(|| format!("no {name}"))
        };
        Ok(Memory { rss: of("VmRSS:")?, files: of("RssFile:")?, most: of("VmHWM:")? })
    }

    /// Its RouterInfo, once it has written it.
    fn info(&self) -> Result<Arc<Verified<RouterInfo>>> {
        let (path, until) = (self.dir.path().join("router.info"), Instant::now() + PATIENCE);
        loop {
            if let Ok(bytes) = fs::read(&path) {
                return Ok(Arc::new(RouterInfo::decode_unverified(&bytes)?.verify()?));
            }
            ensure!(Instant::now() < until, "the router never wrote {}", path.display());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
