//! What time it is: the driver's wall clock, corrected by what time servers and peers say (`ntcp2`, "clock skew").
//!
//! The driver hands in what the machine shows. All that the router does with wall time goes through
//! [`Clock::read`], which adds an offset; the monotonic clock, and with it every timer, is never touched.
//!
//! ```text
//!  time servers (SNTP, by the driver) ─► offset, taken as it is            ┐
//!  message 2 of peers that we dialled ─► one voice per peer, one per /16 ─►├─► offset ─► wall time of the router
//!                                        three quarters agree within 5 s   ┘
//! ```
//!
//! Whoever shifts our clock can make tunnels and leases expire, keep us off the network, or let replayed messages
//! seem fresh. Therefore:
//!
//! * Only peers that we dialled have a voice. They have proven the static key that their RouterInfo names, and we
//!   chose them; whoever dials us is chosen by nobody.
//! * A peer has one voice however often it is asked, and in a public network so has each /16 (IPv6 /32).
//! * The offset moves only when three quarters agree, with three voices where no time server has answered, else five.
//!   A minority of liars, of clocks that are wrong, or of both cannot move it. With fewer than five that means all.
//! * A clock that peers have found right is believed: to move it by more than a minute takes twice as many.
//! * When several time servers agree, peers may move the clock by [`PEERS_MAY_MOVE`] from there and no further. That
//!   is less than the minute that routers allow each other, so peers can help a little and cannot lead us away.
//! * Nobody can set the clock to before [`EARLIEST`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use aioli_core::{Date, Duration, Instant, Now};
use aioli_wire::RouterHash;
use aioli_wire::ip::Subnet;

/// No clock is set to before this program was written.
const EARLIEST: Date = Date::from_secs(1_735_689_600);
/// Peers speak in whole seconds: a smaller difference between them and us is none.
const PEERS_STEP_MS: i64 = 3_000;
/// A smaller difference between time servers and us is none.
const SERVERS_STEP_MS: i64 = 1_000;
/// Voices this close to the median agree.
const AGREE_MS: u64 = 5_000;
/// Voices that must be there: when time servers have answered, and when none has.
const VOICES: (usize, usize) = (5, 3);
/// Voices kept at most.
const MAX_VOICES: usize = 64;
/// A voice counts this long.
const VOICE_LIFE: Duration = Duration::from_secs(3_600);
/// How far from what several time servers agree on peers may move the clock.
const PEERS_MAY_MOVE: i64 = 30_000;
/// Routers refuse each other when their clocks differ by more.
const TOLERANCE_MS: i64 = 60_000;
/// Time servers that agree are believed more than peers.
const SERVERS_BELIEVED: usize = 2;
/// The user is told of a difference of this much.
const TELL_MS: i64 = 2_000;
/// The user is told again when it has changed by this much.
const TELL_AGAIN_MS: i64 = 10_000;
/// When the wall clock moves so much against the monotonic one, somebody has set it.
const JUMP_MS: i64 = 2_000;

/// Who says what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// Time servers, so many of which agree.
    TimeServers(usize),
    /// Other routers, so many of which agree.
    Routers(usize),
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimeServers(1) => f.write_str("one time server says so"),
            Self::TimeServers(n) => write!(f, "{n} time servers agree"),
            Self::Routers(n) => write!(f, "{n} other routers agree"),
        }
    }
}

/// What a new voice led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The wall clock moved by so many milliseconds.
    pub(crate) stepped: Option<i64>,
    /// What the user must know.
    pub(crate) tell: Option<Tell>,
}

/// What the user must know of the machine's clock, which is behind by `offset_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// It is wrong and corrected for; or right again.
    Corrected { offset_ms: i64, source: ClockSource },
    /// Peers refuse us and do not agree yet by how much.
    Refused { offset_ms: i64 },
    /// Time servers say the one, routers the other.
    Disagree { servers_ms: i64, routers_ms: i64 },
}

/// What one peer's clock showed.
#[derive(Clone, Copy, Debug)]
struct Voice {
    group: Option<Subnet>,
    at: Instant,
    /// Its clock minus the machine's, in milliseconds.
    offset_ms: i64,
}

/// The time, and what is known about it.
#[derive(Debug)]
pub(crate) struct Clock {
    /// True time minus the machine's, in milliseconds.
    offset_ms: i64,
    /// The machine's clocks at the latest call.
    raw: Now,
    voices: BTreeMap<RouterHash, Voice>,
    /// What time servers said last, and how many.
    servers: Option<(i64, usize)>,
    /// Somebody has confirmed the clock as it is now.
    settled: bool,
    /// Somebody has confirmed it at some time.
    confirmed: bool,
    /// The offset that the user knows of.
    told_ms: i64,
    told_refused: bool,
    told_disagree: bool,
    public: bool,
    steps: u64,
    jumps: u64,
}

impl Clock {
    /// The machine's clock as it is. In a public network a voice counts only once for a /16.
    pub(crate) const fn new(now: Now, public: bool) -> Self {
        Self {
            offset_ms: 0,
            raw: now,
            voices: BTreeMap::new(),
            servers: None,
            settled: false,
            confirmed: false,
            told_ms: 0,
            told_refused: false,
            told_disagree: false,
            public,
            steps: 0,
            jumps: 0,
        }
    }

    /// The corrected time. Every call of the driver comes through here.
    pub(crate) fn read(&mut self, raw: Now) -> Now {
        let jumped = millis(raw.wall).saturating_sub(millis(self.raw.wall))
            - i64::try_from(raw.mono.since(self.raw.mono).as_millis()).unwrap_or(i64::MAX);
        if jumped.abs() >= JUMP_MS {
            self.on_jump(jumped);
        }
        self.raw = raw;
        self.corrected()
    }

    /// The time at the latest call, as corrected now.
    pub(crate) fn corrected(&self) -> Now {
        Now { mono: self.raw.mono, wall: self.raw.wall.shifted(self.offset_ms) }
    }

    /// True time minus the machine's, in milliseconds.
    pub(crate) const fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// Whether time servers or enough peers have confirmed the clock as it is now.
    pub(crate) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// How often the clock was moved.
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    /// How often the machine's clock was set.
    pub(crate) const fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Voices that are kept.
    pub(crate) fn voices(&self) -> usize {
        self.voices.len()
    }

    /// The machine's clock was set, by so much. Once somebody has confirmed our time we keep it: then the offset is
    /// what changed. Before, whoever set the clock may know better. What was compared with it says nothing any more,
    /// for it may also be a machine that was stopped and went on later.
    fn on_jump(&mut self, by_ms: i64) {
        self.jumps += 1;
        self.voices.clear();
        self.servers = None;
        self.settled = false;
        if self.confirmed {
            self.offset_ms = self.offset_ms.saturating_sub(by_ms);
        }
    }

    /// Time servers have answered; `offset_ms` is their time minus the machine's.
    pub(crate) fn on_servers(&mut self, offset_ms: i64, agreeing: usize) -> Heard {
        let few = agreeing < SERVERS_BELIEVED;
        let sure = self.settled && matches!(self.servers, None | Some((_, SERVERS_BELIEVED..)));
        if few && sure && self.offset_ms.abs_diff(offset_ms) > TOLERANCE_MS.unsigned_abs() {
            // One server against all peers, or against several servers.
            return Heard { stepped: None, tell: self.disagree(offset_ms, self.offset_ms) };
        }
        if !self.is_possible(offset_ms) {
            return Heard::default();
        }
        self.servers = Some((offset_ms, agreeing));
        (self.settled, self.confirmed, self.told_refused) = (true, true, false);
        self.move_to(offset_ms, SERVERS_STEP_MS, ClockSource::TimeServers(agreeing))
    }

    /// A peer that we dialled said what its clock shows: `ahead_ms` of ours as corrected.
    pub(crate) fn on_peer(&mut self, peer: RouterHash, at: SocketAddr, ahead_ms: i64) -> Heard {
        let now = self.raw.mono;
        let offset_ms = ahead_ms.saturating_add(self.offset_ms);
        if !self.is_possible(offset_ms) {
            return Heard::default();
        }
        self.voices.retain(|_, voice| now.since(voice.at) < VOICE_LIFE);
        if self.voices.len() >= MAX_VOICES && !self.voices.contains_key(&peer) {
            let oldest = self.voices.iter().min_by_key(|(hash, voice)| (voice.at, **hash)).map(|(h, _)| *h);
            oldest.map(|hash| self.voices.remove(&hash));
        }
        let group = self.public.then(|| Subnet::of(at.ip()));
        self.voices.insert(peer, Voice { group, at: now, offset_ms });
        self.judge()
    }

    /// Looks at all voices together.
    fn judge(&mut self) -> Heard {
        let voices = self.counted();
        let Some(median) = median(&voices) else { return Heard::default() };
        let agreeing: Vec<i64> =
            voices.iter().copied().filter(|offset| offset.abs_diff(median) <= AGREE_MS).collect();
        let needed = if self.servers.is_some() { VOICES.0 } else { VOICES.1 };
        if agreeing.len() * 4 < voices.len() * 3 || voices.len() < needed {
            return Heard { stepped: None, tell: self.refused(&voices, median) };
        }
        let agreed = self::median(&agreeing).unwrap_or(median);
        let far = self.offset_ms.abs_diff(agreed) > TOLERANCE_MS.unsigned_abs();
        if far && self.settled && voices.len() < needed * 2 {
            return Heard::default();
        }
        let target = match self.servers {
            Some((servers, SERVERS_BELIEVED..)) => {
                if servers.abs_diff(agreed) > TOLERANCE_MS.unsigned_abs() {
                    return Heard { stepped: None, tell: self.disagree(servers, agreed) };
                }
                agreed.clamp(servers - PEERS_MAY_MOVE, servers + PEERS_MAY_MOVE)
            }
            Some(_) | None => agreed,
        };
        (self.settled, self.confirmed, self.told_refused) = (true, true, false);
        self.move_to(target, PEERS_STEP_MS, ClockSource::Routers(agreeing.len()))
    }

    /// The newest voice of each group, in order of what they say.
    fn counted(&self) -> Vec<i64> {
        let mut alone = Vec::new();
        let mut grouped: BTreeMap<Subnet, &Voice> = BTreeMap::new();
        for voice in self.voices.values() {
            let Some(group) = voice.group else {
                alone.push(voice.offset_ms);
                continue;
            };
            let newest = grouped.entry(group).or_insert(voice);
            if newest.at < voice.at {
                *newest = voice;
            }
        }
        alone.extend(grouped.values().map(|voice| voice.offset_ms));
        alone.sort_unstable();
        alone
    }

    fn move_to(&mut self, offset_ms: i64, least: i64, source: ClockSource) -> Heard {
        let by = offset_ms - self.offset_ms;
        let stepped = (by.abs() >= least).then_some(by);
        if stepped.is_some() {
            self.offset_ms = offset_ms;
            self.steps += 1;
        }
        let wrong = self.offset_ms.abs() >= TELL_MS;
        let changed = self.offset_ms.abs_diff(self.told_ms) >= TELL_AGAIN_MS.unsigned_abs();
        let first = wrong && self.told_ms == 0;
        let tell = (first || changed).then_some(Tell::Corrected { offset_ms: self.offset_ms, source });
        if tell.is_some() {
            self.told_ms = if wrong { self.offset_ms } else { 0 };
        }
        Heard { stepped, tell }
    }

    /// Peers refuse us, and there are too few to say by how much the clock is wrong.
    fn refused(&mut self, voices: &[i64], median: i64) -> Option<Tell> {
        let refuse = |offset: &&i64| offset.abs_diff(self.offset_ms) > TOLERANCE_MS.unsigned_abs();
        let refusing = voices.iter().filter(refuse).count();
        if self.settled || refusing < 2 || refusing * 4 < voices.len() * 3 {
            return None;
        }
        let told = std::mem::replace(&mut self.told_refused, true);
        (!told).then_some(Tell::Refused { offset_ms: median })
    }

    fn disagree(&mut self, servers_ms: i64, routers_ms: i64) -> Option<Tell> {
        let told = std::mem::replace(&mut self.told_disagree, true);
        (!told).then_some(Tell::Disagree { servers_ms, routers_ms })
    }

    fn is_possible(&self, offset_ms: i64) -> bool {
        self.raw.wall.shifted(offset_ms) >= EARLIEST
    }
}

fn millis(date: Date) -> i64 {
    i64::try_from(date.as_millis()).unwrap_or(i64::MAX)
}

/// The middle of what is sorted: of an even number the lower one, so that it is always somebody's word.
fn median(sorted: &[i64]) -> Option<i64> {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests;
