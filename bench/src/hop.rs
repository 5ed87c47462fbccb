//! A router that is asked to be a hop, and what it is then given to relay.

use aioli_core::crypto::{noise_n, x25519};
use aioli_core::{Cx, Date, Rng};
use aioli_tunnel::{Config, Limits, Output, Tunnels};
use aioli_wire::build::{BuildRecords, BuildRequest, HASH_PREFIX, Role, SHORT_RECORD, random_tunnel_id};
use aioli_wire::tunnel::TUNNEL_DATA_SIZE;
use aioli_wire::{Mapping, Message, MessageId, MessageType, RouterHash, TunnelId};

use crate::now;

const US: RouterHash = RouterHash::new([1; 32]);
const PREVIOUS: RouterHash = RouterHash::new([2; 32]);
const NEXT: RouterHash = RouterHash::new([3; 32]);
/// Records of a build message.
const RECORDS: usize = 4;

/// A hop.
#[derive(Debug)]
pub struct Hop {
    tunnels: Tunnels,
    key: x25519::PrivateKey,
    rng: Rng,
}

impl Hop {
    /// A router that takes part in nothing yet.
    pub fn new() -> Self {
        let mut rng = Rng::from_seed([9; 32]);
        let key = x25519::PrivateKey::generate(&mut rng);
        // Whatever a bench asks is admitted: it measures work, not the guard before it.
        let limits =
            Limits { requests_per_neighbour: usize::MAX, transit_tunnels: usize::MAX, ..Limits::default() };
        let tunnels = Tunnels::new(Config { limits, ..Config::new(US, key.clone()) }, rng.fork());
        Self { tunnels, key, rng }
    }

    /// A short build message with a record for us, to be given to [`Hop::build`].
    pub fn request(&mut self) -> (TunnelId, Message) {
        let receive_tunnel = random_tunnel_id(&mut self.rng);
        let request = BuildRequest {
            receive_tunnel,
            next_tunnel: receive_tunnel,
            next_router: NEXT,
            role: Role::Participant,
            requested: Date::from_secs(now().wall.as_secs() / 60 * 60),
            lifetime_secs: 600,
            next_message_id: 7,
            options: Mapping::new(),
        };
        let plain = request.encode_short(&mut self.rng);
        let mut records = BuildRecords::new(SHORT_RECORD, RECORDS);
        for i in 0..RECORDS {
            self.rng.fill(records.get_mut(i));
        }
        if let Ok((sealed, _)) = noise_n::seal(&self.key.public(), &plain, &mut self.rng) {
            let (prefix, rest) = records.get_mut(0).split_at_mut(HASH_PREFIX);
            prefix.copy_from_slice(US.as_bytes().get(..HASH_PREFIX).unwrap_or_default());
            rest.copy_from_slice(&sealed);
        }
        let kind = MessageType::ShortTunnelBuild;
        (receive_tunnel, Message { kind, id: MessageId(7), expires: now().wall, body: records.encode() })
    }

    /// Answers a build message.
    pub fn build(&mut self, message: Message) {
        assert_eq!(self.relay(vec![message]), 1, "answered");
    }

    /// `count` tunnel messages of this tunnel as the hop before us would send them.
    pub fn data(&mut self, tunnel: TunnelId, count: usize) -> Vec<Message> {
        let data = || {
            let mut body = vec![0; TUNNEL_DATA_SIZE];
            self.rng.fill(&mut body);
            body.splice(..4, tunnel.get().to_be_bytes());
            Message { kind: MessageType::TunnelData, id: MessageId(1), expires: now().wall, body }
        };
        std::iter::repeat_with(data).take(count).collect()
    }

    /// Gives messages to the hop; says how many it passes on.
    pub fn relay(&mut self, messages: Vec<Message>) -> usize {
        let mut cx = Cx { now: now(), rng: &mut self.rng };
        self.tunnels.handle_message(PREVIOUS, messages, &mut cx, &aioli_tunnel::Nowhere);
        self.tunnels.flush(&mut cx);
        let mut passed = 0;
        while let Some(output) = self.tunnels.poll_output() {
            if let Output::Send { messages, .. } = output {
                passed += messages.len();
            }
        }
        passed
    }
}

impl Default for Hop {
    fn default() -> Self {
        Self::new()
    }
}
