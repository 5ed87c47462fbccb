//! What a user can get wrong, and what a stranger can send, given to the real
//! `i2p-router`: one clear line and a non-zero status, or it goes on working.
//!
//! Everything runs on loopback, in a network id that no network uses, with an
//! empty `netDb/`.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::program::{self, Program, counter, eventually};

/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(20);

fn router(dir: &Path, args: &[&str]) -> Command {
    program::router(env!("CARGO_BIN_EXE_i2p-router"), dir, args)
}

/// Runs a router that must refuse to start: one line on stderr, which is returned.
fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "it started: {text}");
    assert_eq!(text.lines().count(), 1, "one line expected: {text}");
    text
}

/// Starts a router.
fn start(dir: &Path, args: &[&str]) -> Program {
    Program::start(router(dir, args))
}

/// The same, with a file for its log.
fn start_logging(dir: &Path, args: &[&str], log: &Path) -> Program {
    let mut command = router(dir, args);
    command.stderr(fs::File::create(log).unwrap());
    Program::start(command)
}

fn address_after(line: &str, words: &str) -> SocketAddr {
    line.split(words).nth(1).unwrap().trim().parse().unwrap()
}

/// A port that is free at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_damaged_identity_stops_the_start_and_stays() {
    for damage in [&b"{\"version\":1"[..], b"", b"\xff\xfe\x00", b"{\"version\":7}", &[b'x'; 100_000]] {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("router.keys.json");
        fs::write(&file, damage).unwrap();
        let text = refused(router(dir.path(), &["--port", "0", "--no-sam"]));
        assert!(text.contains("router.keys.json"), "{text}");
        assert_eq!(fs::read(&file).unwrap(), damage);
    }
}

#[test]
fn ports_in_use_and_unusable_directories_are_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = TempDir::new().unwrap();
    let text = refused(router(dir.path(), &["--port", &port, "--no-sam"]));
    assert!(text.contains(&port) && text.contains("--port"), "{text}");
    let text = refused(router(dir.path(), &["--port", "0", "--sam", &format!("127.0.0.1:{port}")]));
    assert!(text.contains(&port) && text.contains("--sam"), "{text}");
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let text = refused(router(&file.join("below"), &["--no-sam"]));
    assert!(text.contains("data directory"), "{text}");
}

#[test]
fn nonsense_settings_are_refused_in_one_line() {
    let dir = TempDir::new().unwrap();
    for args in [
        &["--port", "70000"][..],
        &["--tunnel-length", "9"],
        &["--sam", "nowhere"],
        &["--external-host", "x"],
        &["--tunnel-lifetime", "601"],
        &["--inbound-tunnels", "0"],
        &["--config", "/nonexistent/file"],
        &["--nonsense"],
    ] {
        refused(router(dir.path(), args));
    }
    let mut command = router(dir.path(), &[]);
    command.env("I2P_LISTEN_PORT", "many");
    assert!(refused(command).contains("environment"));
    let file = dir.path().join("config.toml");
    for text in ["port = ", "colour = 1", "port = [1]", "port = -1", "\u{0}"] {
        fs::write(&file, text).unwrap();
        refused(router(dir.path(), &["--config", file.to_str().unwrap()]));
    }
}

/// A command that reads all four sources, and has its home directory at `home`.
fn bare(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_i2p-router"));
    command.env_clear().env("HOME", home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn every_setting_refuses_nonsense_from_each_of_its_sources() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("config.toml");
    let is_path = |kind: &str| kind == "FILE" || kind == "DIR";
    for (key, env, kind) in aioli::settings::names() {
        let bad = if is_path(kind) { "/dev/null/nothing" } else { "a b!" };
        fs::write(&file, format!("{key} = \"{bad}\"\n")).unwrap();
        for source in ["command line", "environment", "file"] {
            let mut command = bare(home.path());
            match source {
                "command line" => command.arg(format!("--{key}={bad}")),
                "environment" => command.env(env, bad),
                _ => command.arg("--config").arg(&file),
            };
            if is_path(kind) {
                // Whether a path can be used shows at the start, which must not come to a network.
                command.args(["--private-network", "--net-id", "99", "--host", "127.0.0.1", "--port", "0"]);
                command.args(["--no-sam", "--reseed", "never", "--ntp", "never"]);
                assert!(refused(command).contains(bad), "{key} from the {source}");
            } else {
                // What is not refused is printed, and nothing is started.
                let text = refused_settings(command.arg("--print-config"));
                assert!(text.contains(key), "{key} from the {source}: {text}");
            }
        }
    }
}

/// The same as [`refused`], with the status for settings.
fn refused_settings(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{command:?}: {text}");
    assert_eq!(text.lines().count(), 1, "one line expected: {text}");
    text
}

#[test]
fn a_wrong_reseed_configuration_is_refused_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("reseed.toml");
    let signer =
        "servers = []\n[[signer]]\nid = \"a\"\nnot_before = \"2020-01-01\"\nnot_after = \"2030-01-01\"\n";
    let cases: [(Vec<u8>, &str); 9] = [
        (b"servers = [".to_vec(), "reseed.toml is wrong"),
        (b"\xff\xfe".to_vec(), "cannot read"),
        (vec![b'#'; (1 << 20) + 1], "larger than 1048576 bytes"),
        (b"servers = [\"http://a/\"]".to_vec(), "must begin with https://"),
        (b"servers = []\ntimeout = 0".to_vec(), "give 1 to 600 seconds"),
        (b"servers = []\nserver = []".to_vec(), "unknown field `server`"),
        (b"servers = []\n[[authority]]\ncertificate = \"x\"".to_vec(), "an authority's certificate"),
        (format!("{signer}modulus = \"AAAA\"").into_bytes(), "the modulus has 3 bytes"),
        (signer.as_bytes().to_vec(), "missing field `modulus`"),
    ];
    for (content, expected) in cases {
        fs::write(&file, &content).unwrap();
        let args = ["--port", "0", "--no-sam", "--reseed-config", file.to_str().unwrap()];
        let text = refused(router(&dir.path().join("data"), &args));
        assert!(text.contains("reseed.toml") && text.contains(expected), "{text}, expected {expected}");
        assert_eq!(fs::read(&file).unwrap(), content);
    }
    let args = ["--port", "0", "--no-sam", "--reseed-config", dir.path().to_str().unwrap()];
    assert!(
        refused(router(&dir.path().join("data"), &args)).contains("cannot read the reseed configuration")
    );
}

#[test]
fn a_damaged_state_file_costs_the_port_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let mut first = start(dir.path(), &["--port", "0", "--no-sam"]);
    first.says("routers known");
    first.stops();
    let keys = fs::read(dir.path().join("router.keys.json")).unwrap();
    for damage in [&b"{\"port\":"[..], b"", b"\xff", b"{\"port\":70000}", b"7", &[b' '; 100_000]] {
        fs::write(dir.path().join("router.state.json"), damage).unwrap();
        let log = dir.path().join("log");
        let mut router = start_logging(dir.path(), &["--port", "0", "--no-sam"], &log);
        address_after(&router.says("listening on"), "listening on");
        router.says("routers known");
        router.stops();
        let log = fs::read_to_string(&log).unwrap();
        assert!(log.contains("router.state.json is damaged") && log.contains("a new port is drawn"), "{log}");
        assert_eq!(fs::read(dir.path().join("router.keys.json")).unwrap(), keys);
    }
}

#[test]
fn a_time_server_that_is_not_there_is_one_line_and_no_obstacle() {
    let dir = TempDir::new().unwrap();
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut running = start(dir.path(), &["--port", "0", "--no-sam", "--ntp", &nobody]);
    let line = running.says("time servers");
    assert!(line.contains("do not answer; the router goes on"), "{line}");
    assert!(line.contains(&format!("({nobody}: cannot be reached)")), "{line}");
    running.says("other routers known");
}

#[test]
fn print_config_says_where_values_come_from() {
    let dir = TempDir::new().unwrap();
    let output = router(dir.path(), &["--print-config"]).env("I2P_TUNNEL_LENGTH", "2").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for (key, source) in [("net-id", "command line"), ("tunnel-length", "environment"), ("port", "default")] {
        assert!(text.lines().any(|l| l.starts_with(key) && l.ends_with(source)), "{key}: {text}");
    }
}

#[test]
fn identity_and_drawn_port_outlive_a_restart_and_damaged_entries_are_counted() {
    let dir = TempDir::new().unwrap();
    let mut first = start(dir.path(), &["--port", "0", "--no-sam"]);
    let identity = first.says("new identity").split_whitespace().nth(2).unwrap().trim_matches(',').to_owned();
    let address = first.says("listening on");
    first.says("0 other routers known");
    assert!(first.stops() < Duration::from_secs(2));
    let keys = dir.path().join("router.keys.json");
    assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    let shard = dir.path().join("netDb/rA");
    fs::create_dir_all(&shard).unwrap();
    fs::write(shard.join("routerInfo-AAAA.dat"), [7; 500]).unwrap();
    fs::write(shard.join("routerInfo-AAAB.dat"), vec![7; 50_000]).unwrap();
    let mut second = start(dir.path(), &["--port", "0", "--no-sam"]);
    assert!(second.says("identity").contains(&identity));
    assert_eq!(second.says("listening on"), address);
    assert!(second.says("other routers known").contains("2 damaged"));
    second.stops();
}

#[test]
fn garbage_at_the_ports_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let sam = format!("127.0.0.1:{}", free_port());
    let (stats, log) = (dir.path().join("stats.json"), dir.path().join("log"));
    let args = ["--port", "0", "--sam", &sam, "--stats-file", stats.to_str().unwrap()];
    let mut router = start_logging(dir.path(), &args, &log);
    let ntcp2 = address_after(&router.says("listening on"), "listening on");
    router.says("routers known");
    let sam: SocketAddr = sam.parse().unwrap();
    let mut slow = Vec::new();
    for (address, junk) in
        [(ntcp2, &[0xA5_u8; 70_000][..]), (ntcp2, b"GET / HTTP/1.1\r\n\r\n"), (sam, &[b'x'; 70_000])]
    {
        let mut stream = TcpStream::connect(address).unwrap();
        // It may close before everything is sent.
        let _ = stream.write_all(junk);
        // One that stays silent after a single byte, while the rest goes on.
        let mut idle = TcpStream::connect(address).unwrap();
        idle.write_all(&junk[..1]).unwrap();
        slow.push((stream, idle));
    }
    let mut stream = TcpStream::connect(sam).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"HELLO VERSION\nQUIT\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HELLO REPLY RESULT=OK"), "{answer}");
    assert!(router.child.try_wait().unwrap().is_none());
    for name in ["handshakes_failed", "sam_bad_lines"] {
        eventually(name, PATIENCE, || (counter(&stats, name) > 0).then_some(()));
    }
    for line in ["no valid NTCP2 handshake", "no SAM commands"] {
        let logged = || fs::read_to_string(&log).unwrap_or_default().contains(line).then_some(());
        eventually(line, PATIENCE, logged);
    }
    assert_eq!(counter(&stats, "bugs"), 0);
    assert!(router.stops() < Duration::from_secs(2));
}

/// A SAM client that asks and asks and never reads: its last words cannot be delivered.
fn deaf_client(sam: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(sam).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(b"HELLO VERSION\n").unwrap();
    let asks = format!("PING {}\n", "x".repeat(16_000)).repeat(64);
    while stream.write_all(asks.as_bytes()).is_ok() {}
    stream
}

#[test]
fn the_first_signal_is_patient_and_the_second_ends_at_once() {
    for (name, status) in [("-INT", 130), ("-TERM", 143)] {
        let dir = TempDir::new().unwrap();
        let sam = format!("127.0.0.1:{}", free_port());
        let mut router = start(dir.path(), &["--port", "0", "--sam", &sam]);
        router.says("routers known");
        let deaf = deaf_client(sam.parse().unwrap());
        router.signal(name);
        router.says("stopping");
        let asked = Instant::now();
        router.signal(name);
        assert_eq!(router.child.wait().unwrap().code(), Some(status));
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        drop(deaf);
    }
}

#[test]
fn a_client_that_does_not_read_does_not_keep_the_router_from_stopping() {
    let dir = TempDir::new().unwrap();
    let sam = format!("127.0.0.1:{}", free_port());
    let mut router = start(dir.path(), &["--port", "0", "--sam", &sam]);
    router.says("routers known");
    let deaf = deaf_client(sam.parse().unwrap());
    let took = router.stops();
    assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&took), "{took:?}");
    drop(deaf);
}

#[test]
fn a_drawn_port_that_is_taken_later_is_explained_and_kept() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let state = dir.path().join("router.state.json");
    fs::write(&state, format!("{{\"port\":{port}}}")).unwrap();
    let text = refused(router(dir.path(), &["--port", "0", "--no-sam"]));
    assert!(text.contains(&port.to_string()) && text.contains("--port"), "{text}");
    assert!(fs::read_to_string(&state).unwrap().contains(&port.to_string()));
    // An address that is not ours: nothing is drawn and kept.
    fs::remove_file(&state).unwrap();
    let text = refused(router(dir.path(), &["--port", "0", "--no-sam", "--host", "192.0.2.1"]));
    assert!(text.contains("192.0.2.1"), "{text}");
    assert!(!state.exists());
}
