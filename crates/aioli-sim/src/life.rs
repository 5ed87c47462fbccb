//! A network step by step, for tests that do something to one host: let it
//! sleep, stop it, look at what it says.

use aioli_core::{Duration, Instant};
use aioli_router::Router;

use crate::oracle::{Report, Violation};
use crate::world::{Happening, World};

impl World {
    /// Runs for so long.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.now + time;
        self.run_until(until, &mut |_, _| {})?;
        self.now = until;
        Ok(())
    }

    /// The computer sleeps for so long: nothing reaches it, nothing of it happens, its clocks go on.
    /// What was sent to it meanwhile it gets when it wakes up.
    pub fn sleep(&mut self, host: usize, time: Duration) {
        self.asleep.insert(host, self.now + time);
    }

    /// Somebody sets the host's clock on, or back, by so many milliseconds.
    pub fn set_clock(&mut self, host: usize, by_ms: i64) -> Result<(), Violation> {
        if let Some(h) = self.hosts.get_mut(host) {
            h.wrong_ms += by_ms;
        }
        self.pump(host)
    }

    /// A transfer now, between hosts that are up. That it fails is a violation.
    pub fn call(&mut self, from: usize, to: usize, bytes: u64) -> Result<(), Violation> {
        self.transfer(from, to, bytes, true)
    }

    /// How the run goes.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Does something with a host's router, as its owner would.
    pub fn with_router<T>(
        &mut self,
        host: usize,
        f: impl FnOnce(&mut Router, aioli_core::Now) -> T,
    ) -> Result<Option<T>, Violation> {
        let now = self.clock(host);
        let result = self.hosts.get_mut(host).and_then(|h| h.up.as_mut()).map(|up| f(&mut up.router, now));
        self.pump(host)?;
        Ok(result)
    }

    /// When the host that this concerns wakes up, if it sleeps.
    pub(crate) fn wakes(&self, happening: &Happening) -> Option<Instant> {
        let pipe_end = |pipe: &u64, end: usize| self.pipes.get(pipe).map(|p| p.ends[end].host);
        let host = match happening {
            Happening::Wake { host, .. } | Happening::Start { host } => Some(*host),
            Happening::Connected { pipe } => pipe_end(pipe, 0),
            Happening::Refused { from: end } | Happening::Readable(end) => Some(end.host),
            Happening::Bytes { pipe, lane, .. } | Happening::Closed { pipe, lane } => {
                pipe_end(pipe, 1 - *lane)
            }
            Happening::Dialled { .. }
            | Happening::Datagram { .. }
            | Happening::Crash
            | Happening::Reset
            | Happening::Split
            | Happening::Heal
            | Happening::Transfer
            | Happening::Call
            | Happening::Inspect
            | Happening::Replace
            | Happening::Probe
            | Happening::Junk
            | Happening::Flood { .. } => None,
        };
        self.asleep.get(&host?).copied().filter(|until| *until > self.now)
    }

    /// Whether a host sleeps.
    pub(crate) fn is_asleep(&self, host: usize) -> bool {
        self.asleep.get(&host).is_some_and(|until| *until > self.now)
    }
}
