//! Whether others reach us, for each address family: what is observed, what follows from it, and what is published.
//! `docs/reachability.md` says the same in words.
//!
//! ```text
//!  peers say where they see us ─► our address ─► tests of it ─┐
//!  strangers come in ─────────────────────────────────────────┼─► state ─► what is published, what the user is told
//! ```
//!
//! One witness proves nothing, and witnesses that may be of one hand count as one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use aioli_core::{Duration, Instant};
use aioli_transport::ssu2::{Family, TestOutcome};
use aioli_wire::ip::Hand;

/// So many independent witnesses make a first judgement, or an address.
const ENOUGH: usize = 2;
/// So many are needed to change a judgement, none of them older than the last for it.
const TO_CHANGE: usize = 3;
/// A single witness whom nobody contradicts is believed after this, if there is no judgement yet.
const ALONE_FOR: Duration = Duration::from_secs(20);
/// What was seen is worth nothing after this.
const HOLDS: Duration = Duration::from_secs(90 * 60);
/// A judgement is looked at again after this.
const TEST_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Between two tests while there is no judgement, at first.
const TEST_SOON: Duration = Duration::from_secs(4);
/// And after one that was refused, of which so many do not count.
const TEST_REFUSED: Duration = Duration::from_secs(1);
const MANY_REFUSED: u32 = 40;
/// And when so many have not led to one.
const MANY_TESTS: u32 = 12;
/// Then it is this.
const TEST_LATER: Duration = Duration::from_secs(120);
/// So many must not answer over UDP, and nobody does, before it is believed that none gets through.
const SILENT: usize = 3;
/// Between two tests while something contradicts the judgement.
const TEST_IN_DOUBT: Duration = Duration::from_secs(20);
/// Bob says so of an address that is not Alice's (`ssu2#peertest`).
const BOB_ADDRESS: u8 = 5;
/// Witnesses remembered of each kind.
const WITNESSES: usize = 32;

/// Whether others reach us in one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
    /// Not known yet.
    #[default]
    Testing,
    /// They do.
    Open,
    /// They do not: a firewall or a NAT is in the way.
    Firewalled,
    /// They do not, and the NAT shows another port to each of them.
    SymmetricNat,
    /// They do not, and no UDP gets through at all.
    NoUdp,
    /// They shall not.
    Hidden,
    /// We do not speak it.
    Disabled,
}

impl Reachability {
    /// One word, for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Testing => "testing",
            Self::Open => "open",
            Self::Firewalled => "firewalled",
            Self::SymmetricNat => "symmetric-nat",
            Self::NoUdp => "no-udp",
            Self::Hidden => "hidden",
            Self::Disabled => "disabled",
        }
    }

    const fn is_closed(self) -> bool {
        matches!(self, Self::Firewalled | Self::SymmetricNat)
    }
}

/// A state of a family, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which.
    pub family: Family,
    /// How it is.
    pub state: Reachability,
    /// Where others reach us, or else where they see us.
    pub address: Option<SocketAddr>,
    /// Where we listen.
    pub port: u16,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, state, address, port } = self;
        let seen = address.map(|at| format!(" ({})", at.ip())).unwrap_or_default();
        match (state, address) {
            (Reachability::Testing, _) => write!(f, "{family}: finding out whether others reach this router"),
            (Reachability::Open, Some(address)) => {
                write!(f, "{family}: others reach this router at {address}")
            }
            (Reachability::Open, None) => write!(f, "{family}: others reach this router"),
            (Reachability::Firewalled, _) => write!(
                f,
                "{family}: a firewall or NAT{seen} keeps others out; the router works through introducers. To help the \
                 network, and be faster, let UDP and TCP port {port} through to this machine"
            ),
            (Reachability::SymmetricNat, _) => write!(
                f,
                "{family}: the NAT{seen} keeps others out and shows each of them another port (symmetric NAT); the router \
                 works through introducers, which fails with some. Let UDP and TCP port {port} through to this machine"
            ),
            (Reachability::NoUdp, _) => write!(
                f,
                "{family}: a firewall or NAT lets no UDP through, and keeps others out; the router works over TCP, slower. \
                 Let UDP and TCP port {port} through to this machine, or at least UDP to others and their answers"
            ),
            (Reachability::Hidden, _) => write!(f, "{family}: the router is hidden: others do not reach it"),
            (Reachability::Disabled, _) => write!(f, "{family}: not in use"),
        }
    }
}

/// How a family is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Whether it is spoken.
    pub on: bool,
    /// Whether nothing is published.
    pub hidden: bool,
    /// Where we listen.
    pub port: u16,
    /// The address that the user says others reach us at.
    pub fixed: Option<SocketAddr>,
    /// A public address of this machine, or one that a port mapping leads from.
    pub presumed: Option<SocketAddr>,
}

/// Things that witnesses said, the last of each. Those that may be of one hand are one.
#[derive(Clone, Debug)]
struct Said<T>(BTreeMap<Hand, (T, Instant)>);

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy + PartialEq> Said<T> {
    fn insert(&mut self, who: IpAddr, what: T, now: Instant) {
        let who = Hand::of(who);
        self.0.retain(|_, (_, at)| now.since(*at) < HOLDS);
        if self.0.len() >= WITNESSES
            && !self.0.contains_key(&who)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, (_, at))| *at).map(|(who, _)| *who)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(who, (what, now));
    }

    /// How many say what `of` is true of, and when the last of them did.
    fn count(&self, now: Instant, of: impl Fn(T) -> bool) -> (usize, Option<Instant>) {
        let those = self.0.values().filter(|(what, at)| of(*what) && now.since(*at) < HOLDS);
        those.fold((0, None), |(n, last), (_, at)| (n + 1, last.max(Some(*at))))
    }

    /// How many have said it since.
    fn count_since(&self, since: Option<Instant>, of: impl Fn(T) -> bool) -> usize {
        self.0.values().filter(|(what, at)| of(*what) && since.is_none_or(|s| *at > s)).count()
    }
}

/// What a test or a visitor showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Open,
    Firewalled,
    Symmetric,
}

/// One family.
#[derive(Clone, Debug, Default)]
struct One {
    setup: Setup,
    state: Reachability,
    /// Where peers see us.
    seen: Said<SocketAddr>,
    /// Our address: the host on which they agree.
    host: Option<IpAddr>,
    signs: Said<Sign>,
    /// Who did not answer over UDP, though it is there.
    silent: Said<()>,
    tests: u32,
    refused: u32,
    refused_last: bool,
    tested: Option<Instant>,
    /// The address that a test showed to be open.
    proven: Option<SocketAddr>,
    /// What is known is of an address that we had before.
    stale: bool,
    /// The network has changed: the first who sees us elsewhere is believed.
    uprooted: bool,
    /// Something says that our address may be another than the one on which witnesses agreed.
    doubted: bool,
    /// Whether the next test is of the port on which we listen, whatever others see.
    try_own_port: bool,
}

impl One {
    /// The port that all witnesses see; none if they see different ones.
    fn port(&self) -> Option<u16> {
        let host = self.host?;
        let mut ports =
            self.seen.0.values().map(|(at, _)| *at).filter(|at| at.ip() == host).map(|at| at.port());
        let first = ports.next()?;
        ports.all(|p| p == first).then_some(first)
    }

    /// Where our packets seem to come from.
    fn outside(&self) -> Option<SocketAddr> {
        let learned = self.host.map(|host| SocketAddr::new(host, self.port().unwrap_or(self.setup.port)));
        self.setup.fixed.or(self.setup.presumed).or(learned)
    }

    /// What the next test is of.
    fn candidate(&self) -> Option<SocketAddr> {
        let outside = self.outside()?;
        let own = SocketAddr::new(outside.ip(), self.setup.port);
        Some(if self.try_own_port && self.setup.port != 0 { own } else { self.proven.unwrap_or(outside) })
    }

    fn forget(&mut self) {
        self.signs = Said::default();
        self.silent = Said::default();
        self.proven = None;
        self.try_own_port = false;
        (self.tests, self.refused) = (0, 0);
        self.doubted = false;
        self.stale = true;
        self.tested = None;
    }

    fn on_seen(&mut self, by: IpAddr, at: SocketAddr, now: Instant) {
        self.seen.insert(by, at, now);
        self.silent = Said::default();
        if self.state == Reachability::NoUdp {
            self.state = Reachability::Testing;
        }
        let uprooted = std::mem::take(&mut self.uprooted);
        if self.host == Some(at.ip()) {
            self.doubted = false;
            return;
        }
        let (count, _) = self.seen.count(now, |a| a.ip() == at.ip());
        let moved = match self.host {
            None => count >= ENOUGH || self.seen.0.len() == 1,
            Some(_) if uprooted => true,
            Some(old) => {
                let (_, last) = self.seen.count(now, |a| a.ip() == old);
                self.seen.count_since(last, |a| a.ip() == at.ip()) >= ENOUGH
            }
        };
        if moved {
            self.host = Some(at.ip());
            self.forget();
        }
    }

    /// Our address may be another: others are to say where they see us.
    const fn doubt(&mut self) {
        self.doubted = self.host.is_some() && self.setup.fixed.is_none() && self.setup.presumed.is_none();
    }

    fn on_sign(&mut self, by: IpAddr, sign: Sign, now: Instant) {
        self.signs.insert(by, sign, now);
        self.refused = 0;
        self.judge(now);
    }

    /// Draws the conclusion.
    fn judge(&mut self, now: Instant) {
        if !self.setup.on || self.setup.hidden {
            self.state = if self.setup.on { Reachability::Hidden } else { Reachability::Disabled };
            return;
        }
        let (open, last_open) = self.signs.count(now, |s| s == Sign::Open);
        let (closed, last_closed) = self.signs.count(now, |s| s != Sign::Open);
        let (symmetric, _) = self.signs.count(now, |s| s == Sign::Symmetric);
        let kind = if symmetric * 2 > closed { Reachability::SymmetricNat } else { Reachability::Firewalled };
        let judged = if self.stale { Reachability::Testing } else { self.state };
        let state = match judged {
            Reachability::Open => {
                let since = self.signs.count_since(last_open, |s| s != Sign::Open);
                if since >= TO_CHANGE { kind } else { Reachability::Open }
            }
            Reachability::NoUdp if open >= ENOUGH => Reachability::Open,
            Reachability::NoUdp => Reachability::NoUdp,
            Reachability::Firewalled | Reachability::SymmetricNat => {
                let since = self.signs.count_since(last_closed, |s| s == Sign::Open);
                if since >= ENOUGH {
                    Reachability::Open
                } else if closed >= TO_CHANGE {
                    kind
                } else {
                    self.state
                }
            }
            Reachability::Testing | Reachability::Hidden | Reachability::Disabled => {
                let alone = |last: Option<Instant>| last.is_some_and(|at| now.since(at) >= ALONE_FOR);
                if open > closed && (open >= ENOUGH || alone(last_open)) {
                    Reachability::Open
                } else if closed > open
                    && (closed >= ENOUGH || (alone(last_closed) && self.is_decided_by_one(kind)))
                {
                    kind
                } else if open == 0 && self.silent.0.len() >= SILENT {
                    Reachability::NoUdp
                } else {
                    Reachability::Testing
                }
            }
        };
        // What was said of the address before stands until something is said of this one.
        if state != Reachability::Testing || !self.stale {
            (self.state, self.stale) = (state, state == Reachability::Testing);
        }
    }

    /// Whether nothing is known of the address that we have.
    fn is_unjudged(&self) -> bool {
        self.state == Reachability::Testing || self.stale
    }

    /// The same, or it is one at which no UDP gets through, which the next answer ends.
    fn is_unsettled(&self) -> bool {
        self.is_unjudged() || self.state == Reachability::NoUdp
    }

    /// Whether one witness is enough: not if the port that was not tested may be let through.
    fn is_decided_by_one(&self, kind: Reachability) -> bool {
        kind == Reachability::SymmetricNat || !self.ports_differ()
    }

    /// Whether others see us at another port than that on which we listen: then both are tested.
    fn ports_differ(&self) -> bool {
        self.setup.port != 0 && self.outside().is_some_and(|at| at.port() != self.setup.port)
    }

    /// Whether something says otherwise than the judgement.
    fn is_doubted(&self, now: Instant) -> bool {
        let (_, last_open) = self.signs.count(now, |s| s == Sign::Open);
        let (_, last_closed) = self.signs.count(now, |s| s != Sign::Open);
        if self.state.is_closed() {
            return last_open > last_closed;
        }
        self.state == Reachability::Open && last_closed > last_open
    }

    fn is_test_due(&self, now: Instant) -> bool {
        let pause = if self.is_unjudged() {
            match self.tests {
                0..MANY_TESTS if self.refused_last => TEST_REFUSED,
                0..MANY_TESTS => TEST_SOON,
                MANY_TESTS.. => TEST_LATER,
            }
        } else if self.is_doubted(now) {
            TEST_IN_DOUBT
        } else if self.refused_last {
            TEST_LATER
        } else {
            TEST_AGAIN
        };
        self.setup.on && !self.setup.hidden && self.tested.is_none_or(|last| last + pause <= now)
    }
}

/// What is published of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Nothing: it is not spoken.
    Nothing,
    /// A host, and whether others are introduced.
    Host {
        /// Where.
        at: SocketAddr,
        /// Whether we introduce others.
        introduces: bool,
    },
    /// That it is spoken, with introducers if they are wanted.
    NoHost {
        /// Whether introducers are wanted.
        introducers: bool,
    },
}

/// Both families.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    of: [One; 2],
    told: [Option<(Reachability, Option<SocketAddr>)>; 2],
}

impl Observer {
    /// How a family is set up, now and after changes.
    pub fn set_up(&mut self, family: Family, setup: Setup, now: Instant) {
        let one = &mut self.of[family as usize];
        let before = std::mem::replace(&mut one.setup, setup);
        let moved = (before.fixed, before.presumed, before.port) != (setup.fixed, setup.presumed, setup.port);
        if moved || before.on != setup.on {
            one.forget();
        }
        if before.on != setup.on || before.hidden != setup.hidden {
            (one.state, one.stale) = (Reachability::Testing, true);
        }
        one.judge(now);
    }

    /// The machine's addresses are others than before: where peers saw us is in doubt.
    pub fn moved(&mut self) {
        for one in &mut self.of {
            one.forget();
            one.seen = Said::default();
            one.uprooted = true;
        }
    }

    /// Connections break, several at once: on the other side of a gateway our address may have changed.
    pub fn doubt(&mut self) {
        self.of.iter_mut().for_each(One::doubt);
    }

    /// A peer at `by` sees us at `at`. Only peers that we dialled are asked, for nobody can choose to be one.
    pub fn on_seen(&mut self, by: IpAddr, at: SocketAddr, now: Instant) {
        self.of[Family::of(&at.ip()) as usize].on_seen(by, at, now);
    }

    /// A router at `at`, with which there is a session over TCP, does not answer over UDP; nobody else does either.
    pub fn on_silent(&mut self, at: IpAddr, now: Instant) {
        let one = &mut self.of[Family::of(&at) as usize];
        one.silent.insert(at, (), now);
        one.judge(now);
    }

    /// A router of which we knew nothing came to us.
    pub fn on_visitor(&mut self, from: IpAddr, now: Instant) {
        self.of[Family::of(&from.to_canonical()) as usize].on_sign(from, Sign::Open, now);
    }

    /// A peer test of `address` is over, with a Charlie at `by`.
    pub fn on_tested(&mut self, by: Option<IpAddr>, address: SocketAddr, outcome: TestOutcome, now: Instant) {
        let one = &mut self.of[Family::of(&address.ip()) as usize];
        let own_port = address.port() == one.setup.port;
        // What is found out of an address that we had before says nothing of the one that we have.
        let is_ours = one.outside().is_none_or(|at| at.ip() == address.ip());
        match (outcome, by) {
            (TestOutcome::Reachable { .. }, Some(by)) if is_ours => {
                one.proven = Some(address);
                one.on_sign(by, Sign::Open, now);
            }
            (TestOutcome::Firewalled, Some(by)) if is_ours => {
                if one.proven == Some(address) {
                    one.proven = None;
                }
                one.try_own_port = !own_port;
                one.on_sign(by, Sign::Firewalled, now);
            }
            (TestOutcome::AddressDiffers { seen }, Some(by)) => {
                one.on_seen(by, seen, now);
                one.try_own_port = false;
                if seen.ip() == address.ip() && one.host.is_none_or(|host| host == seen.ip()) {
                    let same = one.port() == Some(seen.port());
                    one.on_sign(by, if same { Sign::Firewalled } else { Sign::Symmetric }, now);
                }
            }
            // Bob sees us elsewhere, or cannot test at all.
            (TestOutcome::Refused { code: BOB_ADDRESS }, _) if is_ours && !one.doubted => one.doubt(),
            // Nobody was there who could test us: it is not one of those that may lead to nothing.
            (TestOutcome::Refused { .. } | TestOutcome::Unproven, _) if one.refused < MANY_REFUSED => {
                one.refused += 1;
                one.tests = one.tests.saturating_sub(1);
                one.refused_last = true;
            }
            (
                TestOutcome::Reachable { .. }
                | TestOutcome::Firewalled
                | TestOutcome::AddressDiffers { .. }
                | TestOutcome::Unproven
                | TestOutcome::Refused { .. }
                | TestOutcome::NoAnswer,
                _,
            ) => {}
        }
    }

    /// A test was asked for.
    pub const fn on_asked(&mut self, family: Family, now: Instant) {
        let one = &mut self.of[family as usize];
        one.tests = one.tests.saturating_add(1);
        (one.tested, one.refused_last) = (Some(now), false);
    }

    /// The address to test, if a test is due.
    pub fn wants_test(&self, family: Family, now: Instant) -> Option<SocketAddr> {
        let one = &self.of[family as usize];
        one.candidate().filter(|_| one.is_test_due(now))
    }

    /// Draws conclusions that time allows.
    pub fn judge(&mut self, now: Instant) {
        self.of.iter_mut().for_each(|one| one.judge(now));
    }

    /// What is known.
    pub const fn state(&self, family: Family) -> Reachability {
        self.of[family as usize].state
    }

    /// What is known, as people are told it.
    pub fn told(&self, family: Family) -> Told {
        let one = &self.of[family as usize];
        let address = match self.publish(family) {
            Publish::Host { at, .. } => Some(at),
            Publish::Nothing | Publish::NoHost { .. } => None,
        };
        Told { family, state: one.state, address: address.or_else(|| one.outside()), port: one.setup.port }
    }

    /// Whether it is being found out.
    pub fn is_unjudged(&self, family: Family) -> bool {
        self.of[family as usize].is_unjudged()
    }

    /// Whether the last test was refused, and another is due soon.
    pub fn was_refused(&self, family: Family) -> bool {
        let one = &self.of[family as usize];
        one.is_unjudged() && one.refused_last
    }

    /// Whether nobody has said yet where he sees us, and it is to be found out.
    pub fn is_unanswered(&self, family: Family) -> bool {
        let one = &self.of[family as usize];
        one.setup.on && !one.setup.hidden && one.state == Reachability::Testing && one.seen.0.is_empty()
    }

    /// Whether more should say where they see us.
    pub fn wants_witnesses(&self, family: Family) -> bool {
        let one = &self.of[family as usize];
        one.setup.on && (one.doubted || (one.is_unsettled() && one.seen.0.len() < ENOUGH))
    }

    /// Where our packets seem to come from.
    pub fn outside(&self, family: Family) -> Option<SocketAddr> {
        self.of[family as usize].outside()
    }

    /// What to publish.
    pub fn publish(&self, family: Family) -> Publish {
        let one = &self.of[family as usize];
        let known = one.setup.fixed.or(one.setup.presumed);
        let at = one.setup.fixed.or(one.proven).or_else(|| one.outside());
        match (one.state, at) {
            (Reachability::Disabled, _) => Publish::Nothing,
            (Reachability::Hidden, _) => Publish::NoHost { introducers: false },
            (Reachability::Open, Some(at)) => Publish::Host { at, introduces: true },
            (state, Some(at)) if one.setup.fixed.is_some() => {
                Publish::Host { at, introduces: !(state.is_closed() || state == Reachability::NoUdp) }
            }
            (Reachability::Testing, Some(at)) if known.is_some() => Publish::Host { at, introduces: false },
            (state, _) => Publish::NoHost { introducers: state.is_closed() },
        }
    }

    /// Whether others are to introduce us.
    pub fn wants_introducers(&self, family: Family) -> bool {
        self.publish(family) == Publish::NoHost { introducers: true }
    }

    /// The same, or they may be before long.
    pub fn may_want_introducers(&self, family: Family) -> bool {
        let one = &self.of[family as usize];
        let may = one.setup.on && !one.setup.hidden && one.setup.fixed.is_none();
        self.wants_introducers(family) || (may && one.is_unsettled())
    }

    /// What the user has not been told yet. Nothing is said of testing that follows another state.
    pub fn news(&mut self) -> Vec<Told> {
        let mut news = Vec::new();
        for family in Family::ALL {
            let one = &self.of[family as usize];
            let address = match self.publish(family) {
                Publish::Host { at, .. } => Some(at),
                Publish::NoHost { introducers: true } => one.outside(),
                Publish::Nothing | Publish::NoHost { introducers: false } => None,
            };
            // Through a NAT the port is another for each, or may be.
            let at = address.map(|at| if one.state.is_closed() { SocketAddr::new(at.ip(), 0) } else { at });
            let now = (one.state, at);
            let before = self.told[family as usize];
            let unknown = one.state == Reachability::Testing && one.outside().is_none();
            let quiet = before.is_none() && (one.state == Reachability::Disabled || unknown);
            let again = one.state == Reachability::Testing && before.is_some();
            if quiet || again || before == Some(now) {
                continue;
            }
            self.told[family as usize] = Some(now);
            news.push(Told { family, state: one.state, address, port: one.setup.port });
        }
        news
    }
}

#[cfg(test)]
mod tests;
