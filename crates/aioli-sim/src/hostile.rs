//! Adversaries: the same routers, of which others' database messages are taken
//! out and answered as an enemy would; and fake routers that pour in.
//!
//! | kind | a lookup | a store |
//! |---|---|---|
//! | dropping | no answer | confirmed, not kept, not flooded |
//! | lying | phantoms and routers from anywhere, or an outdated RouterInfo | confirmed, not kept, not flooded |
//! | flooding | served | served; and it stores fakes at others |
//!
//! As hops of tunnels all of them behave.

use std::num::NonZeroU32;
use std::sync::Arc;

use aioli_core::{Duration, Rng};
use aioli_router::tap::{Reply, Source, Via};
use aioli_router::{Identity, create_router_info};
use aioli_wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, LookupType, ReplyEncryption,
    StoreReply,
};
use aioli_wire::{Message, MessageType, RouterHash, RouterInfo, Verified, Wire};

use crate::host::config;
use crate::oracle::Violation;
use crate::pipe;
use crate::scenario::Flood;
use crate::world::{Happening, World};

/// How long a message lives.
const LIFE: Duration = Duration::from_secs(15);
/// Names in a lie, of which every other is a phantom.
const NAMES: usize = 4;

/// What a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It does what the product does.
    Honest,
    /// It is silent to lookups and forgets stores.
    Dropping,
    /// It answers with lies.
    Lying,
    /// It stores fakes.
    Flooding,
}

impl Role {
    /// Of floodfill `i`, if so many of a hundred are hostile: all kinds in turn.
    pub(crate) fn of_floodfill(i: usize, percent: usize) -> Self {
        let before = i * percent / 100;
        if (i + 1) * percent / 100 == before {
            return Self::Honest;
        }
        [Self::Dropping, Self::Lying, Self::Flooding].get(before % 3).copied().unwrap_or(Self::Honest)
    }
}

impl World {
    /// A lookup or a store has reached a hostile host.
    pub(crate) fn on_hostile(&mut self, host: usize, source: Source, message: &Message) {
        let now = self.clock(host);
        let role = self.hosts[host].role;
        let store = DatabaseStore::from_bytes(&message.body).ok().filter(|_| is_store(message));
        let lookup = DatabaseLookup::from_bytes(&message.body).ok().filter(|_| !is_store(message));
        // What answers its own questions it takes as everybody does.
        let answers = store.as_ref().is_some_and(|store| store.reply.is_none());
        let reply = match (role, store, lookup) {
            (Role::Dropping | Role::Lying, Some(store), _) if !answers => {
                store.reply.and_then(|reply| self.confirmation(host, source, reply))
            }
            (Role::Dropping, _, Some(_)) => None,
            (Role::Lying, _, Some(lookup)) => Some(self.lie(host, &lookup)),
            _ => {
                if let Some(up) = &mut self.hosts[host].up {
                    up.router.serve(source, message, now);
                }
                return;
            }
        };
        if let (Some(reply), Some(up)) = (reply, &mut self.hosts[host].up) {
            up.router.inject(reply, now);
        }
    }

    /// "It is kept", which is a lie.
    fn confirmation(&mut self, host: usize, source: Source, reply: StoreReply) -> Option<Reply> {
        let status = DeliveryStatus { id: reply.token.get().into(), time: self.clock(host).wall };
        let message = self.message(host, MessageType::DeliveryStatus, status.to_bytes());
        match reply.tunnel {
            Some(tunnel) => Some(Reply::SendTunnel { gateway: reply.gateway, tunnel, message, wrap: None }),
            None if source == Source::Peer(reply.gateway) => {
                Some(Reply::Send { to: reply.gateway, via: Via::Direct, message, garlic: false })
            }
            None => None,
        }
    }

    fn lie(&mut self, host: usize, lookup: &DatabaseLookup) -> Reply {
        let outdated = self.by_router.get(&RouterHash::from(lookup.key)).map(|i| &self.hosts[*i].first_info);
        let seeks_router = lookup.kind == LookupType::RouterInfo;
        let message = match outdated.filter(|_| seeks_router).map(Arc::clone) {
            Some(info) if self.rng.chance(1, 2) => {
                let store = DatabaseStore::router_info(&info, None);
                self.message(host, MessageType::DatabaseStore, store.to_bytes())
            }
            _ => {
                let real = (0..NAMES / 2).map(|_| self.any_host().identity.hash()).collect::<Vec<_>>();
                let phantoms = (0..NAMES / 2).map(|_| RouterHash::new(self.rng.bytes()));
                let peers = phantoms.chain(real).collect();
                let from = self.hosts[host].identity.hash();
                let reply = DatabaseSearchReply { key: lookup.key, peers, from };
                self.message(host, MessageType::DatabaseSearchReply, reply.to_bytes())
            }
        };
        match (lookup.reply_tunnel, &lookup.reply) {
            (None, _) => Reply::Send { to: lookup.from, via: Via::Direct, message, garlic: false },
            (Some(tunnel), ReplyEncryption::Ecies { key, tag }) => {
                let wrap = Some((key.clone(), *tag));
                Reply::SendTunnel { gateway: lookup.from, tunnel, message, wrap }
            }
            (Some(tunnel), ReplyEncryption::None | ReplyEncryption::Aes { .. }) => {
                Reply::SendTunnel { gateway: lookup.from, tunnel, message, wrap: None }
            }
        }
    }

    fn any_host(&mut self) -> &crate::host::Host {
        let last = self.hosts.len() as u64 - 1;
        let i = usize::try_from(self.rng.up_to(last)).unwrap_or(0);
        &self.hosts[i]
    }

    fn message(&mut self, host: usize, kind: MessageType, body: Vec<u8>) -> Message {
        Message { kind, id: self.rng.u32().into(), expires: self.clock(host).wall + LIFE, body }
    }

    /// A hostile floodfill stores one more fake somewhere.
    pub(crate) fn on_junk(&mut self) -> Result<(), Violation> {
        let Some(every) = self.scenario.scale.as_ref().and_then(|scale| scale.junk_every) else {
            return Ok(());
        };
        self.schedule(every, Happening::Junk);
        let number = self.fakes_sent;
        self.fakes_sent += 1;
        let senders = self.hosts_that_are(|h| h.role == Role::Flooding && h.config.floodfill.is_always());
        self.send_fake(&senders, number, true)
    }

    /// The next fake of the flood is stored somewhere.
    pub(crate) fn on_flood(&mut self, number: usize) -> Result<(), Violation> {
        let flood = self.scenario.scale.as_ref().and_then(|scale| scale.flood.as_ref());
        let Some(Flood { fakes, floodfills_percent, over, .. }) = flood.cloned() else { return Ok(()) };
        self.schedule(
            over / u32::try_from(fakes).unwrap_or(u32::MAX).max(1),
            Happening::Flood { number: number + 1 },
        );
        let fake = number % fakes.max(1);
        let senders = self.hosts_that_are(|h| h.role == Role::Flooding && !h.config.floodfill.is_always());
        self.send_fake(&senders, fake, (fake as u64 * 100) % 1_000 < floodfills_percent * 10)
    }

    fn send_fake(&mut self, senders: &[usize], number: usize, floodfill: bool) -> Result<(), Violation> {
        let targets = self.hosts_that_are(|h| h.role == Role::Honest && h.config.floodfill.is_always());
        let (Some(from), Some(to)) = (self.rng.choose(senders).copied(), self.rng.choose(&targets).copied())
        else {
            return Ok(());
        };
        self.report.tally.fakes += 1;
        let info = self.fake(number, floodfill);
        self.fakes.insert(info.hash());
        let to = self.hosts[to].identity.hash();
        let token = NonZeroU32::new(self.rng.u32() | 1).unwrap_or(NonZeroU32::MIN);
        // As out of a tunnel: nobody learns who sent it.
        let reply = StoreReply { token, tunnel: None, gateway: info.hash() };
        let store = DatabaseStore::router_info(&info, Some(reply));
        let message = self.message(from, MessageType::DatabaseStore, store.to_bytes());
        let now = self.clock(from);
        if let Some(up) = &mut self.hosts[from].up {
            up.router.inject(Reply::Send { to, via: Via::Direct, message, garlic: true }, now);
        }
        self.pump(from)
    }

    /// Fake router `number` with a RouterInfo of now: its keys are always the same.
    fn fake(&self, number: usize, floodfill: bool) -> Arc<Verified<RouterInfo>> {
        let mut seed = [0xfa; 32];
        seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        seed[8] = u8::from(floodfill);
        let identity = Identity::generate(&mut Rng::from_seed(seed));
        let mut config = config(&self.scenario, number);
        config.floodfill = floodfill.into();
        config.published = vec![pipe::fake_address(number)];
        create_router_info(&config, &identity, self.clock(0))
    }
}

fn is_store(message: &Message) -> bool {
    message.kind == MessageType::DatabaseStore
}
