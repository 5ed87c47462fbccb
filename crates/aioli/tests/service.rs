//! What service managers, shells and packagers need of the programs.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::program::{Program, router};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads what a service says up to a message that contains `what`.
fn told(manager: &UnixDatagram, what: &str) {
    let (mut all, until) = (String::new(), Instant::now() + PATIENCE);
    while Instant::now() < until {
        let mut bytes = [0; 4096];
        let n = match manager.recv(&mut bytes) {
            Ok(n) => n,
            // The system does not begin again a call that has a time limit.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("no {what} after {all:?}: {error}"),
        };
        let message = String::from_utf8_lossy(&bytes[..n]).into_owned();
        if message.contains(what) {
            return;
        }
        all.push_str(&message);
    }
    panic!("no {what} in {all:?}");
}

#[test]
fn a_service_manager_hears_of_the_start_of_life_and_of_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let data = directory.path().join("data");
    let args = ["--port", "0", "--no-sam", "--no-http-proxy", "--no-socks-proxy", "--no-console"];
    let plain = router(env!("CARGO_BIN_EXE_i2p-router"), &data, &args);
    // Who is watched is named by its process, which only that process knows.
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", r#"WATCHDOG_PID=$$ exec "$0" "$@""#]);
    command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let service = Program::start(command);
    told(&manager, "READY=1");
    told(&manager, "STATUS=");
    told(&manager, "WATCHDOG=1");
    told(&manager, "WATCHDOG=1");
    service.signal("-TERM");
    told(&manager, "STOPPING=1");
    assert_eq!(service.ends().0.code(), Some(0));
}

fn aioli(args: &[&str], directory: &Path) {
    let status =
        Command::new(env!("CARGO_BIN_EXE_aioli")).args(args).arg(directory).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "{args:?}");
}

#[test]
fn manual_pages_and_completions_know_every_option() {
    let directory = tempfile::tempdir().unwrap();
    aioli(&["man"], directory.path());
    let page = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let (router, doctor) = (page("i2p-router.1"), page("aioli-doctor.1"));
    for name in [
        "aioli.1",
        "aioli-testnet.1",
        "aioli-import.1",
        "aioli-address.1",
        "i2p-tunnel.1",
        "i2p-tunnel-add.1",
    ] {
        assert!(page(name).contains(".SH"), "{name}");
    }
    assert!(doctor.contains(r"\-\-offline"), "{doctor}");
    let files = [("bash", "i2p-router.bash"), ("fish", "i2p-router.fish"), ("zsh", "_i2p-router")];
    for (key, _, _) in aioli::settings::names() {
        assert!(router.contains(&format!(r"\-\-{}", key.replace('-', r"\-"))), "i2p-router.1 lacks {key}");
    }
    for (shell, file) in files {
        aioli(&["completions", shell], directory.path());
        let text = page(file);
        for (key, _, _) in aioli::settings::names() {
            assert!(text.contains(key), "{file} lacks {key}");
        }
    }
}

#[test]
fn set_up_without_a_terminal_writes_a_file_that_the_next_start_reads() {
    let directory = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_i2p-router"));
        command.env_clear().arg("--data-dir").arg(directory.path()).args(args).stdin(Stdio::null());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (status, said, _) = run(&["--setup=paranoid"]);
    assert!(status == Some(0) && said.contains("ntp = \"never\""), "{said}");
    let (_, shown, _) = run(&["--print-config"]);
    assert!(
        shown.lines().any(|l| l.starts_with("ntp ") && l.contains("never") && l.ends_with("file")),
        "{shown}"
    );
    let (status, _, error) = run(&["--setup=auto"]);
    assert!(status == Some(1) && error.contains("is left as it is") && error.lines().count() == 1, "{error}");
    let (status, _, error) = run(&["--setup"]);
    assert!(status == Some(1) && error.contains("answers ended"), "{error}");
}
