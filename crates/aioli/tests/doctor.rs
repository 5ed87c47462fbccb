//! `aioli doctor` as a person runs it: beside a router that runs, and where something is wrong.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use testkit::program::{Program, router};

/// Options with which neither the router nor the doctor touches a usual port.
const APART: &[&str] = &["--no-http-proxy", "--no-socks-proxy", "--no-console"];

fn doctor(directory: &Path, doctor: &[&str], settings: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aioli"));
    command.env_clear().args(["doctor", "--offline", "--data-dir"]).arg(directory).args(doctor);
    command.args(["--", "--host", "127.0.0.1", "--private-network"]).args(APART).args(settings);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_router_that_runs_is_recognised_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let stats = directory.path().join("stats.json");
    let own = ["--port", "0", "--sam", "127.0.0.1:0", "--stats-file", stats.to_str().unwrap()];
    let mut running = Program::start(router(
        env!("CARGO_BIN_EXE_i2p-router"),
        directory.path(),
        &[&own[..], APART].concat(),
    ));
    let listening = running.says("listening on");
    let port = listening.rsplit(':').next().unwrap().to_owned();
    running.says("other routers known");

    let settings = ["--port", &port, "--no-sam", "--stats-file", stats.to_str().unwrap()];
    let report = doctor(directory.path(), &["--json"], &settings);
    let findings: serde_json::Value = serde_json::from_str(&said(&report)).unwrap();
    let level = |check: &str, what: &str| {
        let all = findings["findings"].as_array().unwrap();
        let found = all.iter().find(|f| f["check"] == check && f["what"].as_str().unwrap().contains(what));
        found.unwrap_or_else(|| panic!("no {check} with {what:?} in {findings:#}"))["level"].clone()
    };
    assert_eq!(level("port", "the running router has it"), "ok");
    assert_eq!(level("router", &format!("process {}", running.child.id())), "ok");
    assert_eq!(level("data directory", "can be used"), "ok");
    assert_eq!(level("address", "this computer alone"), "warning");
    running.stops();

    let report = doctor(directory.path(), &[], &["--port", &port, "--no-sam"]);
    assert_eq!(report.status.code(), Some(0), "{}", said(&report));
    assert!(said(&report).contains("none runs"), "{}", said(&report));
}

#[test]
fn what_is_wrong_has_exit_status_1_and_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let report = doctor(directory.path(), &[], &["--port", &port, "--no-sam"]);
    assert_eq!(report.status.code(), Some(1), "{}", said(&report));
    let expected = format!("TCP 127.0.0.1:{port} for NTCP2 is held by");
    assert!(said(&report).contains(&expected) && said(&report).contains("choose another port with --port"));

    let config = directory.path().join("router.toml");
    std::fs::write(&config, "port = 9700\ncolour = \"red\"\n").unwrap();
    let report = doctor(directory.path(), &["--config", config.to_str().unwrap()], &[]);
    assert_eq!(report.status.code(), Some(1));
    assert!(said(&report).contains("line 2: there is no setting \"colour\""), "{}", said(&report));
    let misused = doctor(directory.path(), &["--colour"], &[]);
    assert_eq!(misused.status.code(), Some(2));
}
