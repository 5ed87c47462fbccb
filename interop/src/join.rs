//! A router that knows nobody joins a network of i2pd's by reseeding from the
//! test's server alone, and comes back after every kill.
//!
//! ```text
//!   h200: the reseed server ◄── HTTPS ── r1: ours, an empty directory
//!                                        │ a stream through three hops, again and again
//!                                        ▼
//!                                        r5: the echoing server on i2pd
//!                                        ▲
//! ```
//!
//! i2pd publishes the server's LeaseSet in its own time, up to 40 s after it calls the session ready: ours starts
//! when two other i2pd's have found it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aioli_core::Rng;
use anyhow::{Context, Result, bail, ensure};

use crate::net::process::{Lines, Process};
use crate::network::{Layout, Network};
use crate::report::Report;
use crate::router::{Binaries, Kind, Router};

/// The router that joins, and the one of i2pd's that is spoken to.
const FRESH: usize = 1;
const FAR: usize = 5;
/// The i2pd's that find the server before ours starts, and within which time.
const WITNESSES: [usize; 2] = [3, 7];
const PUBLISHED_WITHIN: Duration = Duration::from_secs(120);
/// The host of the reseed server, and its port.
const SERVER: u8 = 200;
const SERVER_PORT: u16 = 8443;
/// From the start of a router without peers to the first echo over a stream.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// The same after a kill.
const RETURN_WITHIN: Duration = Duration::from_secs(60);
/// Kills come within this time after a start.
const KILL_WITHIN_MS: u64 = 5_000;
/// After how many kills a stream is asked for.
const STREAM_EVERY: u32 = 5;
/// Sent and fetched over each stream, checked by hash.
const BYTES: u32 = 500_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often the router is killed.
    pub kills: u32,
    /// Decides when.
    pub seed: u64,
    /// The routers' programs.
    pub binaries: Binaries,
    /// Data directories and logs go below here.
    pub directory: PathBuf,
}

/// Runs it; failures are in the report.
pub fn run(plan: &Plan, report: &mut Report) {
    println!("network of 9 i2pd, and a router of ours that knows nobody");
    let begun = Instant::now();
    let join = match Join::prepare(plan) {
        Ok(mut join) => {
            let joined = report.check("(join) a fresh router, a reseed server, a stream", join.first_start());
            joined.map(|_| join)
        }
        Err(error) => {
            report.check::<String>("(join) the network", Err(error));
            None
        }
    };
    if let Some(mut join) = join {
        let name = format!("(join) killed {} times, seed {}", plan.kills, plan.seed);
        report.check(&name, join.kills());
        let name = "(join) ends when asked";
        let stopped = join.network.router_mut(FRESH).map(Router::stop);
        report.check(name, stopped.and_then(|ok| if ok { Ok("yes") } else { bail!("it had to be killed") }));
    }
    println!("join took {} s", begun.elapsed().as_secs());
}

/// The network and what the checks remember.
struct Join<'a> {
    plan: &'a Plan,
    network: Network,
    _server: Process,
    far: Far,
    /// The router's hash, and its identity file.
    identity: Option<(String, Vec<u8>)>,
}

/// The session on i2pd that streams go to.
struct Far {
    _process: Process,
    destination: String,
}

impl<'a> Join<'a> {
    /// Nine i2pd that run and know each other, their RouterInfos on a reseed server, and a session on one.
    fn prepare(plan: &'a Plan) -> Result<Self> {
        let layout = Layout::mixed(1, 9).with_fresh(FRESH);
        let mut network = Network::start(&layout, &plan.binaries, &plan.directory.join("join"))?;
        let far = Far::start(&network, "far")?;
        far.published(&network)?;
        let host = network.add_host(SERVER)?;
        let config = network.directory().join("reseed.toml");
        let mut command = host.command(&std::env::current_exe()?);
        command.arg("reseed-server").arg(format!("198.18.{SERVER}.2:{SERVER_PORT}")).arg(&config);
        command.args(network.routers().iter().filter(|r| !r.is_fresh()).map(Router::router_info_file));
        let log = network.directory().join("reseed-server.log");
        let (server, lines) = Process::start_talking(command, "the reseed server", &log)?;
        lines.expect("READY", Duration::from_secs(20))?;
        let router = network.router_mut(FRESH)?;
        router.reseed_from(&config);
        ensure!(!router.data_dir().exists(), "the fresh router has a data directory");
        Ok(Self { plan, network, _server: server, far, identity: None })
    }

    /// An empty directory, and then a stream in time.
    fn first_start(&mut self) -> Result<String> {
        self.start("fresh")?;
        let (took, steps) = self.stream("fresh", JOIN_WITHIN)?;
        let router = self.network.router(FRESH)?;
        let log = router.log("fresh");
        ensure!(log.contains("from 1 source"), "it did not say that it reseeded:\n{log}");
        let hash = identity_in(&log).context("it did not say who it is")?;
        self.identity = Some((hash, fs::read(router.data_dir().join("router.keys.json"))?));
        Ok(format!("first echo after {:.1} s ({steps})", took.as_secs_f64()))
    }

    /// Kills it at random moments; it must be the same router each time, and carry streams.
    fn kills(&mut self) -> Result<String> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.plan.seed.to_le_bytes());
        let mut rng = Rng::from_seed(seed);
        let mut streams = Vec::new();
        let mut run = "fresh".to_owned();
        for n in 1..=self.plan.kills {
            let moment = Duration::from_millis(rng.between(0, KILL_WITHIN_MS));
            let router = self.network.router_mut(FRESH)?;
            let left = router.started().map_or(moment, |at| moment.saturating_sub(at.elapsed()));
            thread::sleep(left);
            self.ensure_same(&run).with_context(|| format!("before kill {n}"))?;
            self.network.router_mut(FRESH)?.kill();
            run = format!("after-kill-{n}");
            self.start(&run)?;
            if n % STREAM_EVERY == 0 || n == self.plan.kills {
                let (took, _) =
                    self.stream(&run, RETURN_WITHIN).with_context(|| format!("after kill {n}"))?;
                streams.push(format!("{:.1}", took.as_secs_f64()));
            }
        }
        self.ensure_same(&run)?;
        Ok(format!("the same identity each time; streams again after {} s", streams.join(", ")))
    }

    fn start(&mut self, run: &str) -> Result<()> {
        let binaries = &self.plan.binaries;
        self.network.router_mut(FRESH)?.start(binaries, run)
    }

    /// Fails if the router has ended, or is another than before.
    fn ensure_same(&mut self, run: &str) -> Result<()> {
        let router = self.network.router_mut(FRESH)?;
        router.ensure_running()?;
        let Some((hash, keys)) = &self.identity else { return Ok(()) };
        ensure!(fs::read(router.data_dir().join("router.keys.json"))? == *keys, "the identity file changed");
        // A router that is killed at once has said nothing yet.
        match identity_in(&router.log(run)) {
            Some(now) if now != *hash => bail!("it was {hash} and is {now}"),
            Some(_) | None => Ok(()),
        }
    }

    /// A stream from the router to the i2pd at the other side: when its first echo was back, counted from
    /// the start of the router, and how it came to that. All bytes must arrive.
    ///
    /// i2pd 2.45.1 crashes now and then: then it is started again, and so is the router, once.
    fn stream(&mut self, run: &str, limit: Duration) -> Result<(Duration, String)> {
        let error = match self.attempt(run, limit) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let ended = self.network.revive(Kind::I2pd)?;
        if ended.is_empty() {
            return Err(error);
        }
        ended.iter().for_each(|line| println!("note: {line}; started again, and tried again"));
        self.network.router_mut(FRESH)?.kill();
        self.far = Far::start(&self.network, &format!("far-{run}"))?;
        self.far.published(&self.network)?;
        self.start(run)?;
        self.attempt(run, limit)
    }

    fn attempt(&self, run: &str, limit: Duration) -> Result<(Duration, String)> {
        let router = self.network.router(FRESH)?;
        let started = router.started().context("it was not started")?;
        let (_client, lines) = self.far.client(&self.network, router, &format!("stream-{run}"), BYTES)?;
        let over = AtomicBool::new(false);
        let (first_echo, steps) = thread::scope(|scope| {
            let steps = scope.spawn(|| steps(router, run, started, &over));
            let result = first_echo(&lines, started, limit);
            over.store(true, Ordering::SeqCst);
            (result, steps.join().unwrap_or_default())
        });
        let steps = steps.join(", ");
        let (session, took) = first_echo.with_context(|| {
            format!("no echo within {limit:?} of the start ({steps})\n{}", router.log(run))
        })?;
        lines.expect("DONE", Duration::from_secs(180)).context("the bytes after the first echo")?;
        Ok((took, format!("{steps}, session {:.1} s", session.as_secs_f64())))
    }
}

/// When there was a session, and when the first echo came back.
fn first_echo(lines: &Lines, started: Instant, limit: Duration) -> Result<(Duration, Duration)> {
    let left = || limit.saturating_sub(started.elapsed());
    lines.expect("SESSION", left())?;
    let session = started.elapsed();
    lines.expect("CONNECT", left())?;
    Ok((session, started.elapsed()))
}

/// When the router said what, up to the end of the waiting.
fn steps(router: &Router, run: &str, started: Instant, over: &AtomicBool) -> Vec<String> {
    let mut waiting = vec![("reseeded", "new routers from"), ("first tunnels", "ready: ")];
    let mut seen = Vec::new();
    while !waiting.is_empty() && !over.load(Ordering::SeqCst) {
        let log = router.log(run);
        waiting.retain(|(step, line)| {
            let said = log.contains(line);
            if said {
                seen.push(format!("{step} {:.1} s", started.elapsed().as_secs_f64()));
            }
            !said
        });
        thread::sleep(Duration::from_millis(50));
    }
    seen.extend(waiting.iter().map(|(step, _)| format!("{step} never")));
    seen
}

impl Far {
    fn start(network: &Network, log: &str) -> Result<Self> {
        let mut command = network.router(FAR)?.namespace().command(&std::env::current_exe()?);
        command.args(["load", "serve", "--hops", "3"]);
        let log = network.directory().join(format!("{log}.log"));
        let (process, lines) = Process::start_talking(command, "the server on i2pd", &log)?;
        lines.expect("SESSION", Duration::from_secs(180))?;
        let destination = lines.expect("DESTINATION", Duration::from_secs(10))?;
        Ok(Self { _process: process, destination })
    }

    /// Waits until other i2pd's find its LeaseSet.
    fn published(&self, network: &Network) -> Result<()> {
        for witness in WITNESSES {
            let mut command = network.router(witness)?.namespace().command(&std::env::current_exe()?);
            command.args(["load", "find", &self.destination]);
            command.args(["--seconds", &PUBLISHED_WITHIN.as_secs().to_string()]);
            let log = network.directory().join(format!("witness-{witness}.log"));
            let (_process, lines) = Process::start_talking(command, "the witness", &log)?;
            lines.expect("FOUND", PUBLISHED_WITHIN * 2).context("no i2pd finds the server on i2pd")?;
        }
        Ok(())
    }

    /// A client on this router that wants an echo of it, and then this many bytes each way.
    fn client(&self, network: &Network, on: &Router, log: &str, bytes: u32) -> Result<(Process, Lines)> {
        let mut command = on.namespace().command(&std::env::current_exe()?);
        command.args(["load", "measure", &self.destination, "--pings", "1"]);
        command.args(["--bytes", &bytes.to_string(), "--seconds", "60"]);
        let log = network.directory().join(format!("{log}.log"));
        Process::start_talking(command, "the stream's client", &log)
    }
}

/// Who a router says it is.
fn identity_in(log: &str) -> Option<String> {
    let rest = log.lines().find_map(|line| line.split("identity ").nth(1))?;
    rest.split([',', ' ']).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_found_in_both_of_its_lines() {
        assert_eq!(identity_in("a\nnew identity AB-~=, kept in x\n").as_deref(), Some("AB-~="));
        assert_eq!(identity_in("identity AB-~=\nb\n").as_deref(), Some("AB-~="));
        assert_eq!(identity_in("listening"), None);
    }
}
