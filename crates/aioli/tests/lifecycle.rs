//! The real `i2p-router` from its start to its end: one at a time in a data
//! directory, kills, damaged state, and every way to stop.
//!
//! Everything runs on loopback, in a network id that no network uses.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running router; killed when dropped.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    /// Starts a router; its log goes to `log` beside its data.
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_i2p-router"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::create(dir.join("log")).unwrap());
        command
            .args(["--private-network", "--net-id", "99", "--no-sam", "--port", "0", "--data-dir"])
            .arg(dir);
        if !args.contains(&"--host") {
            command.args(["--host", "127.0.0.1"]);
        }
        let mut child = command.args(args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, seen: String::new() }
    }

    /// Reads its output up to a line that contains `what`, which is returned.
    fn says(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "no \"{what}\" in: {}", self.seen);
            self.seen.push_str(&line);
            if line.contains(what) {
                return line.trim_end().to_owned();
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// How it ended, what it said last and how long that took from now on.
    fn ends(mut self) -> (ExitStatus, String, Duration) {
        let since = Instant::now();
        while self.lines.read_line(&mut self.seen).unwrap() > 0 {}
        (self.child.wait().unwrap(), std::mem::take(&mut self.seen), since.elapsed())
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(self) {
        self.signal("-TERM");
        let (status, said, _) = self.ends();
        assert_eq!(status.code(), Some(0), "{said}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it holds.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The name of the router in a line about its identity.
fn name(line: &str) -> String {
    let words = line.split("identity ").nth(1).unwrap();
    words.split([',', ' ']).next().unwrap().to_owned()
}

#[test]
fn a_second_router_in_a_directory_is_told_who_uses_it() {
    let dir = TempDir::new().unwrap();
    let mut first = Running::start(dir.path(), &[]);
    first.says("routers known");
    let (status, said, took) = Running::start(dir.path(), &["--host", "127.0.0.2"]).ends();
    assert_eq!(status.code(), Some(1), "{said}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains(&format!("process {} since", first.child.id())), "{log}");
    assert!(log.contains("--data-dir") && log.lines().count() == 1, "{log}");
    assert!(took < PATIENCE);
    // The first one has not noticed.
    assert!(first.child.try_wait().unwrap().is_none());
    first.stop();
}

#[test]
fn a_router_that_was_killed_at_any_moment_starts_again_as_the_same() {
    let dir = TempDir::new().unwrap();
    let mut identity = None;
    for moment in ["identity", "listening on", "routers known", "routers known"] {
        let mut router = Running::start(dir.path(), &[]);
        let line = router.says("identity");
        if moment != "identity" {
            router.says(moment);
        }
        let known = identity.get_or_insert_with(|| name(&line));
        assert_eq!(name(&line), *known);
        router.kill();
    }
    let mut router = Running::start(dir.path(), &[]);
    assert_eq!(Some(name(&router.says("identity"))), identity);
    router.says("routers known");
    router.stop();
}

#[test]
fn damaged_state_costs_a_line_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut router = Running::start(dir.path(), &[]);
    let identity = router.says("identity");
    router.says("routers known");
    router.stop();
    assert!(dir.path().join("peers.json").exists());
    let keys = fs::read(dir.path().join("router.keys.json")).unwrap();
    for file in ["router.state.json", "peers.json", "router.info"] {
        for damage in [&b"{\"half\": "[..], b"", &[0xff; 3_000_000]] {
            fs::write(dir.path().join(file), damage).unwrap();
            let mut router = Running::start(dir.path(), &[]);
            assert_eq!(name(&router.says("identity")), name(&identity));
            router.says("routers known");
            router.stop();
            let log = fs::read_to_string(dir.path().join("log")).unwrap();
            let lines = log.lines().filter(|l| l.contains("WARN")).collect::<Vec<_>>();
            // Our own RouterInfo is signed anew at every start: nobody reads the old one.
            let told = usize::from(file != "router.info");
            assert_eq!(lines.len(), told, "{file}: {log}");
            assert!(lines.iter().all(|l| l.contains(file)), "{log}");
        }
    }
    assert_eq!(fs::read(dir.path().join("router.keys.json")).unwrap(), keys);
}

#[test]
fn without_others_tunnels_every_signal_stops_at_once() {
    for signal in ["-INT", "-TERM"] {
        let dir = TempDir::new().unwrap();
        let mut router = Running::start(dir.path(), &[]);
        router.says("routers known");
        router.signal(signal);
        let (status, said, took) = router.ends();
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(said.ends_with("stopped\n") && !said.contains("waiting for"), "{said}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

/// Routers that build tunnels of one hop through each other.
struct Network {
    dirs: Vec<TempDir>,
    routers: Vec<Running>,
}

impl Network {
    fn start(args: &[&str]) -> Self {
        let mut network = Self { dirs: Vec::new(), routers: Vec::new() };
        for n in 0..4_u8 {
            let dir = TempDir::new().unwrap();
            fs::create_dir_all(dir.path().join("netDb/rA")).unwrap();
            for (i, known) in network.dirs.iter().enumerate() {
                let copy = dir.path().join(format!("netDb/rA/routerInfo-{i}.dat"));
                fs::copy(known.path().join("router.info"), copy).unwrap();
            }
            network.routers.push(Self::router(dir.path(), n, args));
            eventually("router.info", || dir.path().join("router.info").exists());
            network.dirs.push(dir);
        }
        network
    }

    fn router(dir: &Path, n: u8, more: &[&str]) -> Running {
        let (host, stats) = (format!("127.0.0.{}", 10 + n), dir.join("stats.json"));
        let mut args = vec!["--host", &host, "--tunnel-length", "1", "--floodfill", "--stats-file"];
        args.push(stats.to_str().unwrap());
        args.extend(more);
        Running::start(dir, &args)
    }

    fn counter(&self, router: usize, name: &str) -> u64 {
        let text = fs::read_to_string(self.dirs[router].path().join("stats.json")).unwrap_or_default();
        let line = text.lines().find(|l| l.contains(&format!("\"{name}\"")));
        line.and_then(|l| l.split(": ").nth(1)?.trim_end_matches(',').parse().ok()).unwrap_or(0)
    }

    /// The first router, once others have tunnels through it.
    fn hop(mut self) -> (Running, Self) {
        eventually("tunnels of others", || self.counter(0, "transit_tunnels") > 0);
        let hop = self.routers.remove(0);
        (hop, self)
    }
}

#[test]
fn the_first_ctrl_c_waits_for_others_tunnels_and_the_second_says_goodbye() {
    let (mut hop, network) = Network::start(&[]).hop();
    hop.says("ready: ");
    for phase in ["starting, data in", "identity", "listening on", "routers known"] {
        assert!(hop.seen.contains(phase), "{phase}: {}", hop.seen);
    }
    hop.signal("-INT");
    hop.says("no further tunnels of others are accepted");
    let line = hop.says("waiting for");
    assert!(line.contains("tunnels of others") && line.contains("at most"), "{line}");
    assert!(hop.child.try_wait().unwrap().is_none());
    let asked = Instant::now();
    hop.signal("-INT");
    let (status, said, _) = hop.ends();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("saying goodbye") && said.ends_with("stopped\n"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(network);
}

#[test]
fn the_wait_ends_after_the_grace_and_sigterm_does_not_wait() {
    let (mut hop, mut network) = Network::start(&["--grace", "2"]).hop();
    hop.says("ready: ");
    hop.signal("-INT");
    hop.says("waiting for");
    let (status, said, took) = hop.ends();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(took > Duration::from_millis(1_500) && took < Duration::from_secs(12), "{took:?}");
    // Another, with SIGTERM.
    eventually("tunnels of others", || network.counter(1, "transit_tunnels") > 0);
    let other = network.routers.remove(0);
    other.signal("-TERM");
    let (status, said, _) = other.ends();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("waiting for"), "{said}");
}

#[test]
fn a_warm_start_has_tunnels_within_seconds() {
    let mut network = Network::start(&[]);
    network.routers[3].says("ready: ");
    eventually("everyone is known", || network.counter(3, "known_routers") >= 3);
    network.routers.remove(3).stop();
    assert!(fs::read_to_string(network.dirs[3].path().join("peers.json")).unwrap().contains("agreed"));
    let mut again = Network::router(network.dirs[3].path(), 3, &[]);
    again.says("remembered from the last time");
    let line = again.says("ready: ");
    let seconds: f64 = line.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(seconds < 30.0, "{line}");
}
