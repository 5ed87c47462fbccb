//! What goes wrong: power cuts, connections that break, a network that splits.

use crate::oracle::Violation;
use crate::pipe::End;
use crate::scenario::Scenario;
use crate::world::{Happening, World};

use aioli_core::Duration;

/// Nothing breaks before everybody had a chance to start.
const FIRST_FAULT: Duration = Duration::from_secs(120);
/// Outputs of a router among which the power fails.
const FUSE: u64 = 40;

impl World {
    /// The first fault of each kind.
    pub(crate) fn schedule_faults(&mut self) {
        let Scenario { crash_every, reset_every, partition_every, .. } = self.scenario;
        let first = [
            (crash_every, Happening::Crash),
            (reset_every, Happening::Reset),
            (partition_every, Happening::Split),
        ];
        for (every, fault) in first {
            if let Some(every) = every {
                self.schedule(FIRST_FAULT + every, fault);
            }
        }
    }

    /// The power of some host fails: at once, or in the middle of what its router does next.
    pub(crate) fn on_crash(&mut self) {
        if self.is_quiet() {
            return;
        }
        if let Some(every) = self.scenario.crash_every {
            self.schedule(every, Happening::Crash);
        }
        let running: Vec<_> = (0..self.hosts.len()).filter(|i| self.hosts[*i].up.is_some()).collect();
        let Some(victim) = self.rng.choose(&running).copied() else { return };
        if self.rng.chance(1, 2) {
            self.crash(victim);
        } else {
            let fuse = self.rng.up_to(FUSE);
            if let Some(up) = &mut self.hosts[victim].up {
                up.fuse.get_or_insert(fuse);
            }
        }
    }

    /// Whether the power of this host fails now, before the router's next output.
    pub(crate) fn blows(&mut self, host: usize) -> bool {
        let Some(fuse) = self.hosts[host].up.as_mut().and_then(|up| up.fuse.as_mut()) else { return false };
        if let Some(left) = fuse.checked_sub(1) {
            *fuse = left;
            return false;
        }
        self.crash(host);
        true
    }

    fn crash(&mut self, victim: usize) {
        if self.stop(victim) {
            self.schedule(self.scenario.down_for, Happening::Start { host: victim });
        }
    }

    /// A host leaves for good.
    pub(crate) fn leave(&mut self, host: usize) {
        self.stop(host);
        self.hosts[host].gone = true;
        self.hosts[host].disk = crate::host::Disk::default();
    }

    fn stop(&mut self, victim: usize) -> bool {
        let life = self.hosts[victim].life;
        let Some(up) = self.hosts[victim].crash(self.now) else { return false };
        for (pipe, end) in up.conns.into_values() {
            self.cut(pipe, end);
        }
        self.published.remove(&victim);
        let hit = (victim, life);
        let before = self.transfers.len();
        self.transfers.retain(|_, t| t.from != hit && t.to != hit);
        self.report.crashed += (before - self.transfers.len()) as u64;
        true
    }

    /// Some connection breaks: what was under way is lost, both ends are told at once.
    pub(crate) fn on_reset(&mut self) -> Result<(), Violation> {
        if self.is_quiet() {
            return Ok(());
        }
        if let Some(every) = self.scenario.reset_every {
            self.schedule(every, Happening::Reset);
        }
        let pipes: Vec<u64> = self.pipes.keys().copied().collect();
        let Some(pipe) = self.rng.choose(&pipes).and_then(|id| self.pipes.remove(id)) else { return Ok(()) };
        pipe.ends.into_iter().try_for_each(|end| self.tell_closed(end))
    }

    /// Two parts of the network do not reach each other for a while.
    pub(crate) fn on_split(&mut self) {
        if self.is_quiet() {
            return;
        }
        if let Some(every) = self.scenario.partition_every {
            self.schedule(every, Happening::Split);
        }
        self.split = (0..self.hosts.len()).filter(|_| self.rng.chance(1, 3)).collect();
        self.schedule(self.scenario.partition_for, Happening::Heal);
    }

    /// The parts are one again: TCP repeats what could not get through.
    pub(crate) fn on_heal(&mut self) -> Result<(), Violation> {
        self.split.clear();
        self.healed = Some(self.now);
        let delay = self.scenario.link.delay;
        let mut late = Vec::new();
        for (id, pipe) in &mut self.pipes {
            for (lane, held) in pipe.lanes.iter_mut().enumerate() {
                late.extend(held.held.drain(..).map(|bytes| match bytes {
                    Some(bytes) => Happening::Bytes { pipe: *id, lane, bytes },
                    None => Happening::Closed { pipe: *id, lane },
                }));
            }
        }
        for happening in late {
            self.schedule(delay, happening);
        }
        Ok(())
    }

    /// Whether these hosts cannot reach each other.
    pub(crate) fn is_split(&self, a: usize, b: usize) -> bool {
        self.split.contains(&a) != self.split.contains(&b)
    }

    /// Whether what goes through this pipe has to wait.
    pub(crate) fn holds_back(&self, pipe: u64) -> bool {
        self.pipes.get(&pipe).is_some_and(|p| {
            let [End { host: a, .. }, End { host: b, .. }] = p.ends;
            self.is_split(a, b)
        })
    }

    /// Keeps bytes, or the end of the connection, until the network is one again.
    pub(crate) fn hold(&mut self, pipe: u64, lane: usize, bytes: Option<Vec<u8>>) {
        if let Some(p) = self.pipes.get_mut(&pipe) {
            p.lanes[lane].held.push_back(bytes);
        }
    }
}
