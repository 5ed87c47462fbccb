//! A gateway: packs messages into the fewest tunnel messages
//! (`tunnel-message#tunnel-message-format`).

use aioli_core::Rng;
use aioli_wire::tunnel::{
    Fragment, MAX_FOLLOW_ON, MAX_FRAGMENTS_SIZE, TunnelDelivery, assemble, first_header, follow_on_header,
};
use aioli_wire::{TunnelId, Writer};

/// A first fragment that carries less is not worth its header: it waits for the next message.
const MIN_FIRST: usize = 64;

/// Messages on their way into one tunnel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packer {
    /// Fragments of the tunnel message that is being filled.
    open: Vec<u8>,
    /// Bodies of full tunnel messages, in the clear.
    full: Vec<Vec<u8>>,
}

impl Packer {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.open.len() + self.full.len() * MAX_FRAGMENTS_SIZE
    }

    /// Adds a standard-header message.
    pub(crate) fn push(&mut self, delivery: TunnelDelivery, message: &[u8], tunnel: TunnelId, rng: &mut Rng) {
        if first_header(&delivery, false) + message.len() <= self.room() {
            self.append(&Fragment::First { delivery, id: None, data: message });
            return;
        }
        let header = first_header(&delivery, true);
        if self.room() < header + MIN_FIRST {
            self.close(tunnel, rng);
            if first_header(&delivery, false) + message.len() <= self.room() {
                self.append(&Fragment::First { delivery, id: None, data: message });
                return;
            }
        }
        let id = rng.u32();
        let (first, mut rest) = message.split_at((self.room() - header).min(message.len()));
        self.append(&Fragment::First { delivery, id: Some(id), data: first });
        for number in 1..=MAX_FOLLOW_ON {
            self.close(tunnel, rng);
            let (data, tail) = rest.split_at((self.room() - follow_on_header()).min(rest.len()));
            let last = tail.is_empty();
            self.append(&Fragment::FollowOn { id, number, last, data });
            if last {
                return;
            }
            rest = tail;
        }
    }

    /// Takes the bodies of all tunnel messages, the last one padded.
    pub(crate) fn take(&mut self, tunnel: TunnelId, rng: &mut Rng) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.close(tunnel, rng);
        }
        std::mem::take(&mut self.full)
    }

    fn room(&self) -> usize {
        MAX_FRAGMENTS_SIZE - self.open.len()
    }

    fn append(&mut self, fragment: &Fragment<'_>) {
        let mut w = Writer::append_to(std::mem::take(&mut self.open));
        fragment.encode(&mut w);
        self.open = w.into_vec();
    }

    fn close(&mut self, tunnel: TunnelId, rng: &mut Rng) {
        self.full.push(assemble(tunnel, &self.open, rng));
        self.open.clear();
    }
}
