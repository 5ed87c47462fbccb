//! The real `i2p-router`: started, listened to, signalled, waited for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Conditions are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The command for a router in a data directory: on loopback, in a network id that no network uses, with an
/// environment of its own, and silent on the standard error.
pub fn router(program: &str, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if !args.contains(&"--host") {
        command.args(["--host", "127.0.0.1"]);
    }
    command.args(["--private-network", "--net-id", "99", "--data-dir"]).arg(dir).args(args);
    command
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    /// Its process.
    pub child: Child,
    lines: BufReader<ChildStdout>,
    /// What of its standard output was read.
    pub said: String,
}

impl Program {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program can be started");
        let lines = BufReader::new(child.stdout.take().expect("its standard output is a pipe"));
        Self { child, lines, said: String::new() }
    }

    /// Reads its output up to a line that contains `what`, which is returned.
    pub fn says(&mut self, what: &str) -> String {
        let line = self.until(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no \"{what}\" in: {}", self.said))
    }

    /// Reads its output up to a line that is as wanted; none if it ends before.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("its output is text") == 0 {
                return None;
            }
            self.said.push_str(&line);
            if wanted(&line) {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    /// Sends it a signal, named as `kill` takes it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {name}");
    }

    /// How it ended, all that it said, and how long that took from now on.
    pub fn ends(mut self) -> (ExitStatus, String, Duration) {
        let since = Instant::now();
        let _ = self.until(|_| false);
        let status = self.child.wait().expect("it is a child of ours");
        (status, std::mem::take(&mut self.said), since.elapsed())
    }

    /// Stops it as a service manager does; gives how long that took.
    pub fn stops(self) -> Duration {
        self.signal("-TERM");
        let (status, said, took) = self.ends();
        assert_eq!(status.code(), Some(0), "{said}");
        took
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until there is something.
pub fn eventually<T>(what: &str, patience: Duration, mut get: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(got) = get() {
            return got;
        }
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// A counter of a router's statistics file, 0 if there is none yet.
pub fn counter(stats: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(stats).unwrap_or_default();
    let line = text.lines().find(|line| line.contains(&format!("\"{name}\"")));
    line.and_then(|l| l.split(": ").nth(1)?.trim_end_matches(',').parse().ok()).unwrap_or(0)
}
