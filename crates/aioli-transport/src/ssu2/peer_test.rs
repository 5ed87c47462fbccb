//! A peer test in its three roles: what each knows of it, and what it does next
//! (`ssu2#peer-test-process`).
//!
//! ```text
//! Alice                      Bob                    Charlie
//!   1 ──── in session ────►
//!                             her RouterInfo, 2 ──►
//!                          ◄───────────────────── 3
//!   ◄──── his RouterInfo, 4
//!   ◄──────────────────────────────────────────── 5   to the address that she signed: does it come in?
//!   6 ────────────────────────────────────────────►   at once after 5, or some seconds after 4
//!   ◄──────────────────────────────────────────── 7   where 6 came from
//! ```

use std::net::{IpAddr, SocketAddr};

use aioli_core::{Duration, Instant};
use aioli_wire::RouterHash;

use super::repeats::Repeats;
use super::{IntroKey, TestOutcome};

/// Alice waits so long for message 4: Bob may ask several Charlies.
const ANSWER: Duration = Duration::from_secs(12);
/// And then for message 5, which is lost unless it comes in by itself.
const FIVE: Duration = Duration::from_secs(4);
/// Message 6 is sent again at these times after the first.
const SIX: &[Duration] = &[Duration::from_millis(1_500), Duration::from_millis(3_500)];
/// Message 7 must come within this.
const SEVEN: Duration = Duration::from_secs(7);
/// Charlie sends message 5 again at these times after the first.
const FIVE_AGAIN: &[Duration] = &[Duration::from_millis(1_200), Duration::from_millis(3_000)];
/// Charlie answers message 6 so often.
const MAX_SEVENS: u32 = 3;
/// Charlie forgets a test after this.
const CHARLIE: Duration = Duration::from_secs(30);
/// Bob waits so long for one Charlie.
const ONE_CHARLIE: Duration = Duration::from_secs(4);
/// And asks so many.
pub(super) const MAX_CHARLIES: usize = 3;

/// Who tests Alice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charlie {
    pub(super) hash: RouterHash,
    pub(super) address: SocketAddr,
    pub(super) intro_key: IntroKey,
    /// Whether our own packets may have opened a way for him.
    pub(super) is_warm: bool,
}

/// How far a test of ours is.
#[derive(Debug)]
enum Phase {
    /// Message 4 has not come.
    Asked { until: Instant },
    /// It has; message 5 may come until then.
    Agreed { until: Instant },
    /// Message 6 is sent.
    Six(Repeats),
}

/// What Alice does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing.
    Wait,
    /// Sends message 6 to Charlie.
    SendSix,
    /// The test is over.
    End(TestOutcome),
}

/// A test that we asked for.
#[derive(Debug)]
pub(super) struct AliceTest {
    pub(super) bob: RouterHash,
    /// What is tested.
    pub(super) address: SocketAddr,
    pub(super) charlie: Option<Charlie>,
    phase: Phase,
    /// Where message 5 came from.
    five: Option<SocketAddr>,
}

impl AliceTest {
    /// Message 1 is sent.
    pub(super) fn new(bob: RouterHash, address: SocketAddr, now: Instant) -> Self {
        Self { bob, address, charlie: None, phase: Phase::Asked { until: now + ANSWER }, five: None }
    }

    /// Whether message 4 is awaited.
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. })
    }

    /// Charlie agreed, in message 4.
    pub(super) fn on_agreed(&mut self, charlie: Charlie, now: Instant) -> Act {
        // A message 5 that came before from anywhere else was not his.
        self.five = self.five.filter(|from| from.ip() == charlie.address.ip());
        self.charlie = Some(charlie);
        if self.five.is_some() {
            return self.six(now);
        }
        self.phase = Phase::Agreed { until: now + FIVE };
        Act::Wait
    }

    fn six(&mut self, now: Instant) -> Act {
        self.phase = Phase::Six(Repeats::new(SIX, SEVEN, now));
        Act::SendSix
    }

    /// Message 5; `is_warm` says whether something of ours has opened a way for it since. None if it is not Charlie's.
    pub(super) fn on_five(&mut self, from: SocketAddr, is_warm: bool, now: Instant) -> Option<Act> {
        if let (Phase::Agreed { .. }, Some(charlie)) = (&self.phase, &mut self.charlie) {
            charlie.is_warm |= is_warm;
        }
        match (&self.phase, &self.charlie) {
            (_, Some(charlie)) if charlie.address.ip() != from.ip() => None,
            (Phase::Agreed { .. }, _) => {
                self.five = Some(from);
                Some(self.six(now))
            }
            (Phase::Asked { .. }, _) => {
                self.five.get_or_insert(from);
                Some(Act::Wait)
            }
            // After message 6 it proves nothing.
            (Phase::Six(_), _) => Some(Act::Wait),
        }
    }

    /// Message 7, with where Charlie sees us. None if it is not his.
    pub(super) fn on_seven(&self, from: SocketAddr, seen: Option<SocketAddr>) -> Option<TestOutcome> {
        let charlie = self.charlie.as_ref()?;
        if charlie.address.ip() != from.ip() || !matches!(self.phase, Phase::Six(_)) {
            return None;
        }
        Some(match seen {
            _ if self.five.is_some() => self.came(seen),
            Some(seen) if seen != self.address => TestOutcome::AddressDiffers { seen },
            Some(_) | None => TestOutcome::Firewalled,
        })
    }

    fn came(&self, seen: Option<SocketAddr>) -> TestOutcome {
        let warm = self.charlie.as_ref().is_none_or(|c| c.is_warm);
        if warm { TestOutcome::Unproven } else { TestOutcome::Reachable { seen } }
    }

    /// Does what is due.
    pub(super) fn on_timeout(&mut self, now: Instant) -> Act {
        match &mut self.phase {
            Phase::Asked { until } if *until <= now => Act::End(TestOutcome::NoAnswer),
            Phase::Agreed { until } if *until <= now => self.six(now),
            Phase::Six(repeats) => match repeats.on_timeout(now) {
                Some(true) => Act::SendSix,
                Some(false) => Act::Wait,
                None if self.five.is_some() => Act::End(self.came(None)),
                None => Act::End(TestOutcome::NoAnswer),
            },
            Phase::Asked { .. } | Phase::Agreed { .. } => Act::Wait,
        }
    }

    /// When to call [`Self::on_timeout`].
    pub(super) fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Asked { until } | Phase::Agreed { until } => *until,
            Phase::Six(repeats) => repeats.deadline(),
        }
    }
}

/// A test that we find a Charlie for.
#[derive(Debug)]
pub(super) struct BobTest {
    pub(super) alice: RouterHash,
    /// Where Alice's session is.
    pub(super) alice_at: SocketAddr,
    /// Her message 1.
    pub(super) block: Vec<u8>,
    /// Those asked; the last has not answered.
    pub(super) charlies: Vec<RouterHash>,
    pub(super) until: Instant,
}

impl BobTest {
    /// Alice asked.
    pub(super) const fn new(alice: RouterHash, alice_at: SocketAddr, block: Vec<u8>, now: Instant) -> Self {
        Self { alice, alice_at, block, charlies: Vec::new(), until: now }
    }

    /// Another one is asked.
    pub(super) fn ask(&mut self, charlie: RouterHash, now: Instant) {
        self.charlies.push(charlie);
        self.until = now + ONE_CHARLIE;
    }
}

/// A test that we agreed to.
#[derive(Debug)]
pub(super) struct CharlieTest {
    /// What Alice signed: where message 5 goes.
    pub(super) to: SocketAddr,
    pub(super) intro_key: IntroKey,
    /// Our message 3.
    pub(super) block: Vec<u8>,
    /// Of message 5, until message 6 comes.
    pub(super) repeats: Repeats,
    sevens: u32,
}

impl CharlieTest {
    /// Message 3 is sent, and message 5 for the first time.
    pub(super) const fn new(to: SocketAddr, intro_key: IntroKey, block: Vec<u8>, now: Instant) -> Self {
        Self { to, intro_key, block, repeats: Repeats::new(FIVE_AGAIN, CHARLIE, now), sevens: 0 }
    }

    /// Message 6. Whether to answer with message 7: to the address that Alice signed, whatever
    /// its port became on the way, and not more often than needed.
    pub(super) fn on_six(&mut self, from: IpAddr) -> bool {
        if from != self.to.ip() || self.sevens >= MAX_SEVENS {
            return false;
        }
        self.sevens += 1;
        self.repeats.stop();
        true
    }
}
