//! How much is sent and received: bandwidth limits, and who goes first.
//!
//! ```text
//!  own messages ────────────────────────────────► outbound bucket ─► socket
//!  relayed ──► early drop ──► transit bucket ──┘  (own first; transit keeps an eighth)
//!  socket ──► inbound bucket ──► read; while it is empty TCP holds the peer back, and datagrams are dropped
//!             (peers that bring ours first; the others keep an eighth)
//! ```
//!
//! A connection that may not send or read now stands in line; whoever comes to
//! its turn gets one quantum. Without a limit nothing of this is in the way.

use std::collections::VecDeque;

use aioli_core::{Bucket, Cx, Duration, Instant, Rng};

use crate::{Bandwidth, ConnId, Lane};

/// A bucket holds what comes in this time, so much may be sent at once.
const BURST: Duration = Duration::from_millis(100);
/// A bucket holds at least this much: a frame and some.
const MIN_BURST: u64 = 4 * 1024;
/// Relayed messages may wait about this long for their turn.
const TRANSIT_WAIT: Duration = Duration::from_millis(500);
/// Our own may wait this long: what is more is dropped, and their streams slow down.
const OWN_WAIT: Duration = Duration::from_secs(1);
/// Each kind may have this many bytes waiting under any limit.
const MIN_WAITING: u64 = 48 * 1024;
/// While our own messages wait, of the limit this part is kept for others', each way.
const FLOOR_PART: u64 = 8;
/// Of what comes in beyond the limit, datagrams are dropped: all of them at this much of a debt.
const MAX_DEBT: Duration = Duration::from_millis(500);
/// But never those smaller than this.
const ALWAYS_PASSES: usize = 256;
/// Connections that wait are looked at no more often.
const PAUSE: Duration = Duration::from_millis(2);

/// Limits on what is sent and received.
#[derive(Debug, Default)]
pub(crate) struct Shaper {
    outbound: Option<Outbound>,
    inbound: Option<Inbound>,
    /// Connections that have something of ours to send.
    own: VecDeque<ConnId>,
    /// Connections that have only relayed messages to send.
    transit: VecDeque<ConnId>,
    /// Connections of peers that bring what is for us, and have something to read.
    first_readers: VecDeque<ConnId>,
    /// Other connections that have something to read.
    readers: VecDeque<ConnId>,
}

#[derive(Debug)]
struct Outbound {
    all: Bucket,
    transit: Bucket,
    /// What transit gets though our own messages wait.
    floor: Bucket,
}

#[derive(Debug)]
struct Inbound {
    all: Bucket,
    /// What others may bring though those wait who bring ours.
    floor: Bucket,
}

/// What a frame may hold of each kind, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) own: usize,
    pub(crate) transit: usize,
}

impl Allowance {
    /// Without a limit.
    pub(crate) const ALL: Self = Self { own: usize::MAX, transit: usize::MAX };
    /// What needs no leave: terminations, our RouterInfo.
    pub(crate) const NONE: Self = Self { own: 0, transit: 0 };

    pub(crate) const fn of(&self, lane: Lane) -> usize {
        match lane {
            Lane::Own => self.own,
            Lane::Transit => self.transit,
        }
    }

    /// A message of so many bytes is sent.
    pub(crate) const fn take(&mut self, lane: Lane, bytes: usize) {
        self.own = self.own.saturating_sub(bytes);
        if matches!(lane, Lane::Transit) {
            self.transit = self.transit.saturating_sub(bytes);
        }
    }
}

fn bucket(rate: u64, now: Instant) -> Bucket {
    Bucket::new(rate, burst(rate), now)
}

fn burst(rate: u64) -> u64 {
    share(rate, BURST).max(MIN_BURST)
}

/// What comes in this time.
fn share(rate: u64, time: Duration) -> u64 {
    u64::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(u64::MAX)
}

fn as_room(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What a connection may send or read when it is its turn.
fn quantum(bucket: &Bucket) -> u64 {
    (bucket.burst() / 8).clamp(2 * 1024, 64 * 1024)
}

impl Shaper {
    pub(crate) fn new(bandwidth: &Bandwidth, now: Instant) -> Self {
        let outbound = bandwidth.outbound.map(|limit| Outbound {
            all: bucket(limit, now),
            transit: bucket(bandwidth.transit(limit), now),
            floor: bucket(bandwidth.transit(limit / FLOOR_PART), now),
        });
        let inbound = bandwidth
            .inbound
            .map(|limit| Inbound { all: bucket(limit, now), floor: bucket(limit / FLOOR_PART, now) });
        Self { outbound, inbound, ..Self::default() }
    }

    /// Other limits hold from now on. Gives all who wait: they stand in line again if they must.
    pub(crate) fn set(&mut self, bandwidth: &Bandwidth, now: Instant) -> (Vec<ConnId>, Vec<ConnId>) {
        let waiting = std::mem::replace(self, Self::new(bandwidth, now));
        let readers = waiting.first_readers.into_iter().chain(waiting.readers);
        (waiting.own.into_iter().chain(waiting.transit).collect(), readers.collect())
    }

    /// Whether what is sent has a limit.
    pub(crate) const fn limits_sending(&self) -> bool {
        self.outbound.is_some()
    }

    /// What the next frame may hold.
    pub(crate) fn allowance(&mut self, now: Instant) -> Allowance {
        let own_waits = !self.own.is_empty();
        let Some(o) = &mut self.outbound else { return Allowance::ALL };
        let all = o.all.available(now);
        let scarce = own_waits && all < o.all.burst() / 2;
        let floor = if scarce { o.floor.available(now) } else { u64::MAX };
        let own = all.min(quantum(&o.all));
        let transit = own.min(o.transit.available(now)).min(floor);
        Allowance { own: as_room(own), transit: as_room(transit) }
    }

    /// Whether a datagram of so many bytes is dropped because too much comes in. UDP cannot be left unread as TCP can,
    /// so its senders are slowed by losses: the deeper in debt, the likelier. While connections wait to be read, the
    /// upper half of the bucket is for datagrams and the lower for them. Small ones always pass: acknowledgements and
    /// handshakes are not what fills a line.
    pub(crate) fn polices(&mut self, bytes: usize, cx: &mut Cx<'_>) -> bool {
        let Some(inbound) = &mut self.inbound else { return false };
        if bytes < ALWAYS_PASSES {
            return false;
        }
        let (now, inbound) = (cx.now.mono, &mut inbound.all);
        if self.readers.is_empty() && self.first_readers.is_empty() {
            let debt = inbound.ready_at(0).since(now);
            return debt > Duration::ZERO
                && cx.rng.chance(debt.as_micros() as u64, MAX_DEBT.as_micros() as u64);
        }
        let half = (inbound.burst() / 2).max(1);
        let missing = half.saturating_sub(inbound.available(now));
        missing > 0 && cx.rng.chance(missing, half)
    }

    /// Bytes were sent, some of them others'.
    pub(crate) fn sent(&mut self, bytes: usize, transit: usize, now: Instant) {
        let own_waits = !self.own.is_empty();
        let Some(o) = &mut self.outbound else { return };
        o.all.take(bytes as u64, now);
        o.transit.take(transit as u64, now);
        if own_waits {
            o.floor.take(transit as u64, now);
        }
    }

    /// Bytes of a lane that may wait, of one peer (own) or of all (transit).
    pub(crate) fn room(&self, lane: Lane) -> usize {
        let Some(o) = &self.outbound else { return usize::MAX };
        as_room(match lane {
            Lane::Own => share(o.all.rate(), OWN_WAIT).max(MIN_WAITING),
            Lane::Transit => share(o.transit.rate(), TRANSIT_WAIT).max(MIN_WAITING),
        })
    }

    /// Whether a relayed message is dropped because the room fills up: the
    /// fuller, the likelier, from the half on. So many streams slow down a
    /// little, and not all of them at once.
    pub(crate) fn drops_early(&self, waiting: usize, rng: &mut Rng) -> bool {
        if self.outbound.is_none() {
            return false;
        }
        let room = self.room(Lane::Transit);
        let beyond = waiting.saturating_sub(room / 2);
        beyond > 0 && rng.chance(beyond as u64, (room / 2).max(1) as u64)
    }

    /// The connection waits until it may send.
    pub(crate) fn park(&mut self, lane: Lane, conn: ConnId) {
        match lane {
            Lane::Own => self.own.push_back(conn),
            Lane::Transit => self.transit.push_back(conn),
        }
    }

    /// Whose turn it is to send, if there is anything to send with.
    pub(crate) fn next_sender(&mut self, now: Instant) -> Option<(Lane, ConnId)> {
        let allowance = self.allowance(now);
        for (lane, line) in [(Lane::Own, &mut self.own), (Lane::Transit, &mut self.transit)] {
            if allowance.of(lane) > 0
                && let Some(conn) = line.pop_front()
            {
                return Some((lane, conn));
            }
        }
        None
    }

    /// When somebody who waits may send.
    pub(crate) fn send_at(&self, now: Instant) -> Option<Instant> {
        let own_waits = !self.own.is_empty();
        let o = self.outbound.as_ref()?;
        let all = o.all.ready_at(quantum(&o.all));
        let transit = || {
            let of_transit = all.max(o.transit.ready_at(quantum(&o.transit)));
            let of_floor = o.floor.ready_at(quantum(&o.floor)).max(all);
            let plenty = o.all.ready_at(o.all.burst() / 2);
            if own_waits { of_transit.max(of_floor.min(plenty)) } else { of_transit }
        };
        let own = (!self.own.is_empty()).then_some(all);
        let others = (!self.transit.is_empty()).then(transit);
        let at = [own, others].into_iter().flatten().min()?;
        Some(at.max(now + PAUSE))
    }

    /// How much may be read now; what is granted counts as read. `first`: of a peer that brings ours.
    pub(crate) fn grant(&mut self, first: bool, now: Instant) -> usize {
        let gives_way = !first && !self.first_readers.is_empty();
        let Some(i) = &mut self.inbound else { return usize::MAX };
        if i.all.available(now) == 0 || (gives_way && i.floor.available(now) == 0) {
            return 0;
        }
        let granted = quantum(&i.all);
        i.all.take(granted, now);
        if gives_way {
            i.floor.take(granted, now);
        }
        as_room(granted)
    }

    /// Of what was granted so much was not read, or so much more was.
    pub(crate) fn settle(&mut self, granted: usize, read: usize, now: Instant) {
        let Some(inbound) = &mut self.inbound else { return };
        if granted >= read {
            inbound.all.give_back((granted - read) as u64);
        } else {
            inbound.all.take((read - granted) as u64, now);
        }
    }

    /// The connection waits until it may read.
    pub(crate) fn park_reader(&mut self, first: bool, conn: ConnId) {
        self.line(first).push_back(conn);
    }

    const fn line(&mut self, first: bool) -> &mut VecDeque<ConnId> {
        if first { &mut self.first_readers } else { &mut self.readers }
    }

    /// Whose turn it is to read, and how much, if anything may be read.
    pub(crate) fn next_reader(&mut self, now: Instant) -> Option<(ConnId, usize)> {
        // Others come when nobody goes before them, and for their eighth.
        for first in [false, true] {
            let granted = if self.line(first).is_empty() { 0 } else { self.grant(first, now) };
            if granted > 0 {
                return self.line(first).pop_front().map(|conn| (conn, granted));
            }
        }
        None
    }

    /// When somebody who waits may read.
    pub(crate) fn read_at(&self, now: Instant) -> Option<Instant> {
        let i = self.inbound.as_ref()?;
        let anybody = !self.first_readers.is_empty() || !self.readers.is_empty();
        anybody.then(|| i.all.ready_at(quantum(&i.all) / 2).max(now + PAUSE))
    }
}
