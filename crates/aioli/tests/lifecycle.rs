//! The real `i2p-router` from its start to its end: one at a time in a data
//! directory, kills, damaged state, and every way to stop.
//!
//! Everything runs on loopback, in a network id that no network uses.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::program::{Program, counter, eventually, router};

/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a router; its log goes to `log` beside its data.
fn start(dir: &Path, args: &[&str]) -> Program {
    let args = [args, &["--no-sam", "--port", "0"]].concat();
    let mut command = router(env!("CARGO_BIN_EXE_i2p-router"), dir, &args);
    command.stderr(fs::File::create(dir.join("log")).unwrap());
    Program::start(command)
}

/// The name of the router in a line about its identity.
fn name(line: &str) -> String {
    let words = line.split("identity ").nth(1).unwrap();
    words.split([',', ' ']).next().unwrap().to_owned()
}

#[test]
fn a_second_router_in_a_directory_is_told_who_uses_it() {
    let dir = TempDir::new().unwrap();
    let mut first = start(dir.path(), &[]);
    first.says("routers known");
    let (status, said, took) = start(dir.path(), &["--host", "127.0.0.2"]).ends();
    assert_eq!(status.code(), Some(1), "{said}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains(&format!("process {} since", first.child.id())), "{log}");
    assert!(log.contains("--data-dir") && log.lines().count() == 1, "{log}");
    assert!(took < PATIENCE);
    // The first one has not noticed.
    assert!(first.child.try_wait().unwrap().is_none());
    first.stops();
}

#[test]
fn a_router_that_was_killed_at_any_moment_starts_again_as_the_same() {
    let dir = TempDir::new().unwrap();
    let mut identity = None;
    for moment in ["identity", "listening on", "routers known", "routers known"] {
        let mut router = start(dir.path(), &[]);
        let line = router.says("identity");
        if moment != "identity" {
            router.says(moment);
        }
        let known = identity.get_or_insert_with(|| name(&line));
        assert_eq!(name(&line), *known);
        drop(router);
    }
    let mut router = start(dir.path(), &[]);
    assert_eq!(Some(name(&router.says("identity"))), identity);
    router.says("routers known");
    router.stops();
}

#[test]
fn damaged_state_costs_a_line_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut router = start(dir.path(), &[]);
    let identity = router.says("identity");
    router.says("routers known");
    router.stops();
    assert!(dir.path().join("peers.json").exists());
    let keys = fs::read(dir.path().join("router.keys.json")).unwrap();
    for file in ["router.state.json", "peers.json", "router.info"] {
        for damage in [&b"{\"half\": "[..], b"", &[0xff; 3_000_000]] {
            fs::write(dir.path().join(file), damage).unwrap();
            let mut router = start(dir.path(), &[]);
            assert_eq!(name(&router.says("identity")), name(&identity));
            router.says("routers known");
            router.stops();
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
        let mut router = start(dir.path(), &[]);
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
    routers: Vec<Program>,
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
            eventually("router.info", PATIENCE, || dir.path().join("router.info").exists().then_some(()));
            network.dirs.push(dir);
        }
        network
    }

    fn router(dir: &Path, n: u8, more: &[&str]) -> Program {
        let (host, stats) = (format!("127.0.0.{}", 10 + n), dir.join("stats.json"));
        let mut args = vec!["--host", &host, "--tunnel-length", "1", "--floodfill", "--stats-file"];
        args.push(stats.to_str().unwrap());
        args.extend(more);
        start(dir, &args)
    }

    fn counter(&self, router: usize, name: &str) -> u64 {
        counter(&self.dirs[router].path().join("stats.json"), name)
    }

    /// Waits until a counter is as large.
    fn counts(&self, router: usize, name: &str, least: u64) {
        eventually(name, PATIENCE, || (self.counter(router, name) >= least).then_some(()));
    }

    /// The first router, once others have tunnels through it.
    fn hop(mut self) -> (Program, Self) {
        self.counts(0, "transit_tunnels", 1);
        let hop = self.routers.remove(0);
        (hop, self)
    }
}

#[test]
fn the_first_ctrl_c_waits_for_others_tunnels_and_the_second_says_goodbye() {
    let (mut hop, network) = Network::start(&[]).hop();
    hop.says("ready: ");
    for phase in ["starting, data in", "identity", "listening on", "routers known"] {
        assert!(hop.said.contains(phase), "{phase}: {}", hop.said);
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
    network.counts(1, "transit_tunnels", 1);
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
    network.counts(3, "known_routers", 3);
    network.routers.remove(3).stops();
    assert!(fs::read_to_string(network.dirs[3].path().join("peers.json")).unwrap().contains("agreed"));
    let mut again = Network::router(network.dirs[3].path(), 3, &[]);
    again.says("remembered from the last time");
    let line = again.says("ready: ");
    let seconds: f64 = line.split(", ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(seconds < 30.0, "{line}");
}
