//! One supervised program: its own process group, its output in a file, its
//! end certain.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A program that runs, and is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident: u64,
    /// Processor time in user and system mode.
    pub cpu: Duration,
}

/// Fails if a program is missing.
pub fn ensure_installed(program: &str) -> Result<()> {
    ensure!(Path::new(program).exists(), "{program} is not installed: .ci/run installs it");
    Ok(())
}

impl Process {
    /// Starts a program whose output goes to the file `log`.
    pub fn start(mut command: Command, name: &str, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Self::spawn(command, name, log)
    }

    /// Starts a program whose standard output is read as lines by the caller.
    pub fn start_talking(mut command: Command, name: &str, log: &Path) -> Result<(Self, Lines)> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut process = Self::spawn(command, name, log)?;
        let Some(stdout) = process.child.stdout.take() else { bail!("{name} has no standard output") };
        Ok((process, Lines::of(stdout, name, log)))
    }

    /// Starts a program that is spoken to over its standard input and output.
    pub fn start_piped(
        mut command: Command,
        name: &str,
        log: &Path,
    ) -> Result<(Self, ChildStdin, ChildStdout)> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut process = Self::spawn(command, name, log)?;
        let pipes = process.child.stdin.take().zip(process.child.stdout.take());
        let (input, output) = pipes.with_context(|| format!("{name} has no pipes"))?;
        Ok((process, input, output))
    }

    fn spawn(mut command: Command, name: &str, log: &Path) -> Result<Self> {
        let child = command.process_group(0).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// Where its output is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails with the end of the log if the program has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}; the end of its log:\n{}", self.name, tail(&self.log));
        }
        Ok(())
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} did not end within {limit:?}; the end of its log:\n{}", self.name, tail(&self.log));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the program to end, and kills it if it does not within `grace`.
    /// Returns whether it ended when asked.
    pub fn stop(&mut self, grace: Duration) -> bool {
        self.signal(Signal::SIGTERM);
        if self.wait(grace).is_ok() {
            return true;
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
        false
    }

    /// Tells the program to read its configuration again.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Kills the program without a word.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }

    /// Its memory and processor time, from `/proc`.
    pub fn usage(&self) -> Result<Usage> {
        let pid = self.child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        let resident =
            resident.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat.rsplit_once(')').map(|(_, f)| f).unwrap_or_default();
        let ticks =
            fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        // The kernel reports to user space in hundredths of a second on every architecture we run on.
        Ok(Usage { resident: resident * 1024, cpu: Duration::from_millis(ticks * 10) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// The lines a program prints, each awaited for a bounded time.
#[derive(Debug)]
pub struct Lines {
    lines: Receiver<String>,
    name: String,
    log: PathBuf,
}

impl Lines {
    fn of(stdout: ChildStdout, name: &str, log: &Path) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines, name: name.to_owned(), log: log.to_owned() }
    }

    /// The rest of the next line that begins with `keyword`; a line `ERROR …` fails.
    pub fn expect(&self, keyword: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not print {keyword} within {limit:?}\n{}", self.name, tail(&self.log))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended before it printed {keyword}\n{}", self.name, tail(&self.log))
                }
            };
            if let Some(error) = line.strip_prefix("ERROR") {
                bail!("{}:{error}", self.name);
            }
            if let Some(rest) = line.strip_prefix(keyword) {
                return Ok(rest.trim().to_owned());
            }
        }
    }
}

/// Runs a program to its end, which must be a good one.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {}", command.get_program().display()))?;
    ensure!(status.success(), "{} ended with {status}", command.get_program().display());
    Ok(())
}

/// The last lines of a log, for a message about a failure.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().collect::<Vec<_>>();
    lines.iter().skip(lines.len().saturating_sub(15)).map(|l| format!("    {l}\n")).collect()
}
