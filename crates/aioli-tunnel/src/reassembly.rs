//! An endpoint: puts fragments together again, in whatever order they come.

use std::collections::BTreeMap;

use aioli_core::{Duration, Instant};
use aioli_wire::i2np::{MAX_BODY_SIZE, STANDARD_HEADER};
use aioli_wire::tunnel::{Fragment, MAX_FOLLOW_ON, TunnelDelivery};

/// Fragments wait for others this long.
const PATIENCE: Duration = Duration::from_secs(45);
/// A message is never larger.
const MAX_MESSAGE: usize = MAX_BODY_SIZE + STANDARD_HEADER;

/// A message of which fragments are missing.
#[derive(Clone, Debug)]
struct Partial {
    delivery: Option<TunnelDelivery>,
    parts: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
    bytes: usize,
    until: Instant,
}

/// All incomplete messages of all tunnels that end here, bounded by their bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reassembly {
    partial: BTreeMap<(u32, u32), Partial>,
    bytes: usize,
    limit: usize,
    /// Fragments over the limit.
    pub(crate) refused: u64,
}

impl Reassembly {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { partial: BTreeMap::new(), bytes: 0, limit, refused: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.partial.len()
    }

    /// Takes a fragment of tunnel `tunnel`. Returns the message that it completes.
    pub(crate) fn push(
        &mut self,
        tunnel: u32,
        fragment: &Fragment<'_>,
        now: Instant,
    ) -> Option<(TunnelDelivery, Vec<u8>)> {
        let (id, number, delivery, last, data) = match *fragment {
            Fragment::First { delivery, id: None, data } => return Some((delivery, data.to_vec())),
            Fragment::First { delivery, id: Some(id), data } => (id, 0, Some(delivery), false, data),
            Fragment::FollowOn { id, number, last, data } => (id, number, None, last, data),
        };
        if self.bytes + data.len() > self.limit || number > MAX_FOLLOW_ON {
            self.refused += 1;
            return None;
        }
        let key = (tunnel, id);
        let partial = self.partial.entry(key).or_insert_with(|| Partial {
            delivery: None,
            parts: BTreeMap::new(),
            last: None,
            bytes: 0,
            until: now + PATIENCE,
        });
        if partial.bytes + data.len() > MAX_MESSAGE {
            self.refused += 1;
            return None;
        }
        partial.delivery = partial.delivery.or(delivery);
        if last {
            partial.last = Some(number);
        }
        if partial.parts.insert(number, data.to_vec()).is_none() {
            partial.bytes += data.len();
            self.bytes += data.len();
        }
        let complete = partial.last.is_some_and(|last| partial.parts.len() == usize::from(last) + 1);
        if !complete {
            return None;
        }
        let done = self.remove(key)?;
        let mut message = Vec::with_capacity(done.bytes);
        for part in done.parts.values() {
            message.extend_from_slice(part);
        }
        Some((done.delivery?, message))
    }

    /// Forgets what waited too long; returns how many messages that were.
    pub(crate) fn expire(&mut self, now: Instant) -> u64 {
        let late: Vec<_> = self.partial.iter().filter(|(_, p)| p.until <= now).map(|(key, _)| *key).collect();
        late.iter().filter(|key| self.remove(**key).is_some()).count() as u64
    }

    fn remove(&mut self, key: (u32, u32)) -> Option<Partial> {
        let partial = self.partial.remove(&key)?;
        self.bytes -= partial.bytes;
        Some(partial)
    }
}
