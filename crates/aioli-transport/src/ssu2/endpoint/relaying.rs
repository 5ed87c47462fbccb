//! Introductions in the three roles (`ssu2#relay-process`); what is known of each is in `relay`.

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::{Cx, Duration};
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{
    Block, Blocks, Introducer, LongHeader, MIN_MTU, NewToken, PacketType, RelayIntro, RelayRequest,
    RelayResponse,
};
use aioli_wire::verified::Verified;
use aioli_wire::{RouterHash, Wire};

use super::super::alice::MAX_PADDING;
use super::super::introduce::{
    code, sign_relay_request, sign_relay_response, verify_relay_request, verify_relay_response,
};
use super::super::packet::{Long, open_with_intro, seal_with_intro};
use super::super::relay::{
    Held, KEEP_ALIVE, Punch, RELAYED, Relayed, Seek, TAG_LIFE, Tag, are_ids, ids, is_recent,
};
use super::super::{ConnectError, Family, IntroKey, Output, Remote, same_family};
use super::dial::Waiting;
use super::introductions::intro_key;
use super::testing::same_host;
use super::{Endpoint, Key};

/// Charlie's token is for at once: it is held for less than this.
const TOKEN: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Whether dials ask for a tag: whether routers are wanted that introduce others to us.
    /// [`Output::RelayTag`] tells who will. Those of a family in which none are wanted are forgotten.
    pub fn want_tags(&mut self, ipv4: bool, ipv6: bool) {
        self.intro.wants_tags = [ipv4, ipv6];
        let wanted = self.intro.wants_tags;
        self.intro.introducers.retain(|_, held| wanted[held.family as usize]);
    }

    /// Whether to ask for a tag in SessionRequest: some give one only then.
    pub(super) fn wants_tag(&self, at: SocketAddr) -> bool {
        let room = self.intro.introducers.len() < self.common.limits.introducers;
        room && self.intro.wants_tags[Family::of(&at.ip()) as usize]
    }

    /// Asks a peer to introduce others to us, or to go on doing so.
    pub fn request_tag(&mut self, bob: &RouterHash) {
        self.notify(bob, &Block::RelayTagRequest);
    }

    /// The name under which a peer introduces others to us.
    pub fn tag_at(&self, bob: &RouterHash) -> Option<u32> {
        self.intro.introducers.get(bob).map(|held| held.tag)
    }

    /// Begins a session with a router that cannot be reached directly. `remote.address` does not
    /// matter. Those introducers are asked with whom there are sessions, one after another.
    ///
    /// # Errors
    /// As [`Self::connect`], and [`ConnectError::NotIntroduced`] if there is no session with any introducer.
    pub fn connect_through(
        &mut self,
        mut remote: Remote,
        info: Arc<Verified<RouterInfo>>,
        family: Family,
        introducers: &[Introducer],
        cx: &mut Cx<'_>,
    ) -> Result<(), ConnectError> {
        remote.mtu = remote.mtu.clamp(MIN_MTU, self.config.mtu);
        let local = self.local.clone().ok_or(ConnectError::NotReady)?;
        if self.is_connected(&remote.hash) || self.is_dialling(&remote.hash) {
            return Ok(());
        }
        if remote.hash == local.hash || self.config.signing.is_none() {
            return Err(ConnectError::Refused);
        }
        let limits = &self.common.limits;
        if self.intro.seeking.len() >= limits.pending_outbound || self.sessions.len() >= limits.sessions {
            return Err(ConnectError::Limit);
        }
        let good = |i: &&Introducer| {
            i.router != remote.hash
                && i.expires.is_none_or(|at| cx.now.wall < at)
                && self.is_connected(&i.router)
                && self.own_address(family, &i.router).is_some()
        };
        let introducers = introducers.iter().filter(good).copied().collect::<Vec<_>>();
        if introducers.is_empty() {
            return Err(ConnectError::NotIntroduced);
        }
        let hash = remote.hash;
        let seek = Seek::new(remote, info, family, introducers, cx.now.mono);
        self.intro.seeking.insert(hash, (seek, Waiting::default()));
        self.common.stats.introductions_asked += 1;
        self.seek_on(hash, cx);
        Ok(())
    }

    /// Alice: asks the next introducer, or gives up.
    pub(super) fn seek_on(&mut self, charlie: RouterHash, cx: &mut Cx<'_>) {
        loop {
            let Some((seek, _)) = self.intro.seeking.get_mut(&charlie) else { return };
            if seek.is_over(cx.now.mono) {
                return self.fail_seek(charlie);
            }
            if !seek.wants_next(cx.now.mono) {
                self.timers.set(Key::Seek(charlie), seek.deadline());
                return;
            }
            let Some(introducer) = seek.left.pop_front() else { continue };
            let family = seek.family;
            if let Some(nonce) = self.request_relay(&charlie, family, introducer, cx)
                && let Some((seek, _)) = self.intro.seeking.get_mut(&charlie)
            {
                seek.ask(nonce, introducer.router, cx.now.mono);
            }
        }
    }

    fn request_relay(
        &mut self,
        charlie: &RouterHash,
        family: Family,
        introducer: Introducer,
        cx: &mut Cx<'_>,
    ) -> Option<u32> {
        let alice = self.own_address(family, &introducer.router)?;
        let signing = self.config.signing.as_ref()?;
        let (nonce, timestamp) = (cx.rng.u32(), cx.now.wall);
        let plain = RelayRequest { nonce, tag: introducer.tag, timestamp, alice, signature: &[] };
        let signature = sign_relay_request(&plain, &introducer.router, charlie, signing);
        let request = Block::RelayRequest(RelayRequest { signature: &signature, ..plain });
        self.notify(&introducer.router, &request).then_some(nonce)
    }

    /// Takes a wish to be introduced away, with what is queued.
    pub(super) fn take_seek(&mut self, charlie: &RouterHash) -> Option<(Seek, Waiting)> {
        let (seek, waiting) = self.intro.seeking.remove(charlie)?;
        self.timers.stop(&Key::Seek(*charlie));
        self.forget_unless_connected(charlie);
        Some((seek, waiting))
    }

    fn fail_seek(&mut self, charlie: RouterHash) {
        let Some((_, waiting)) = self.take_seek(&charlie) else { return };
        self.fail_waiting(charlie, None, ConnectError::NotIntroduced, waiting);
    }

    /// Alice or Bob: an answer has come.
    pub(super) fn on_relay_response(
        &mut self,
        from: RouterHash,
        response: &RelayResponse<'_>,
        cx: &mut Cx<'_>,
    ) {
        let nonce = response.nonce;
        if let Some(relayed) = self.intro.relayed.remove(&(from, nonce)) {
            self.timers.stop(&Key::Relayed(from, nonce));
            self.notify(&relayed.alice, &Block::RelayResponse(*response));
            return;
        }
        let mut seeks = self.intro.seeking.values_mut();
        let Some((seek, _)) = seeks.find(|(seek, _)| seek.bob_of(nonce) == Some(from)) else {
            // After a hole punch it comes too late.
            self.common.stats.bad_relays += u64::from(response.code != code::ACCEPT);
            return;
        };
        let charlie = seek.remote.hash;
        let accepts = response.code == code::ACCEPT;
        let good = accepts && verify_relay_response(response, &from, &seek.info);
        if let Some(address) = response.charlie.filter(|_| good) {
            self.meet(charlie, address, response.token, cx);
        } else {
            self.common.stats.bad_relays += u64::from(accepts);
            seek.on_refused(nonce);
            self.seek_on(charlie, cx);
        }
    }

    /// Alice: a hole punch. None if it is not one that we asked for.
    pub(super) fn on_hole_punch(
        &mut self,
        long: &Long,
        from: SocketAddr,
        packet: &mut [u8],
        cx: &mut Cx<'_>,
    ) -> Option<()> {
        let payload = open_with_intro(long, &self.config.intro_key, packet).ok()?;
        let response = Blocks::new(payload).flatten().find_map(|block| {
            if let Block::RelayResponse(response) = block { Some(response) } else { None }
        })?;
        let nonce = response.nonce;
        if !are_ids(&long.header, nonce, false) {
            return None;
        }
        let mut seeks = self.intro.seeking.values();
        let Some((seek, bob)) = seeks.find_map(|(seek, _)| Some((seek, seek.bob_of(nonce)?))) else {
            // It comes more than once, and after Bob's answer.
            tracing::debug!("a hole was punched towards us from {from}");
            return Some(());
        };
        let charlie = seek.remote.hash;
        let signed = response.charlie.filter(|_| response.code == code::ACCEPT)?;
        if !verify_relay_response(&response, &bob, &seek.info) {
            return None;
        }
        // A symmetric NAT gives him another port towards us; another host would be somebody else.
        let address = if same_host(signed.ip(), from.ip()) { from } else { signed };
        self.common.stats.hole_punches_received += 1;
        tracing::debug!("{charlie:?} has punched a hole towards us, at {address}, introduced by {bob:?}");
        self.meet(charlie, address, response.token, cx);
        Some(())
    }

    /// Alice: Charlie is there, and expects us.
    fn meet(&mut self, charlie: RouterHash, address: SocketAddr, token: Option<u64>, cx: &mut Cx<'_>) {
        let Some((seek, waiting)) = self.take_seek(&charlie) else { return };
        let full = self.dials.len() >= self.common.limits.pending_outbound;
        let reason = match self.local.clone() {
            _ if !self.may_probe(address) => ConnectError::Refused,
            _ if full || self.dials.contains_key(&address) => ConnectError::Limit,
            None => ConnectError::NotReady,
            Some(local) => {
                self.common.stats.introductions_made += 1;
                let expires = cx.now.wall + TOKEN;
                self.common.held.insert(address, NewToken { expires, token: token.unwrap_or(0) });
                match self.dial(&local, Remote { address, ..seek.remote }, cx) {
                    Ok(()) => {
                        if let Some(dial) = self.dials.get_mut(&address) {
                            dial.waiting = waiting;
                        }
                        return;
                    }
                    Err(reason) => reason,
                }
            }
        };
        self.fail_waiting(charlie, None, reason, waiting);
    }

    /// Bob: Alice wants to meet one of ours. The router whose RouterInfo is missing, if one is.
    pub(super) fn on_relay_request(
        &mut self,
        alice: RouterHash,
        remote: SocketAddr,
        request: &RelayRequest<'_>,
        is_last: bool,
        cx: &mut Cx<'_>,
    ) -> Option<RouterHash> {
        let (local, now) = (self.local.clone()?, cx.now.mono);
        let info = self.info_of(&alice);
        if info.is_none() && !is_last {
            return Some(alice);
        }
        let tag = self.intro.tags.get(&request.tag).filter(|tag| now < tag.until).copied();
        let full = self.intro.relayed.len() >= self.common.limits.relays;
        let code = match (tag, &info) {
            (None, _) => code::BOB_TAG,
            (Some(_), None) => code::BOB_NO_ALICE,
            (Some(tag), Some(_)) if self.intro.relayed.contains_key(&(tag.charlie, request.nonce)) => {
                return None; // again the same
            }
            (Some(_), Some(_)) if full || !self.count_ip(remote.ip(), now) => {
                self.common.stats.introductions_limited += 1;
                code::BOB_LIMIT
            }
            (Some(tag), Some(info)) => {
                let good = is_recent(request.timestamp, cx.now.wall)
                    && verify_relay_request(request, &local.hash, &tag.charlie, info);
                self.common.stats.bad_relays += u64::from(!good);
                let is_hers =
                    !same_family(request.alice, remote) || same_host(request.alice.ip(), remote.ip());
                if !good {
                    code::BOB_SIGNATURE
                } else if tag.charlie == alice || !is_hers || !self.may_probe(request.alice) {
                    code::BOB_UNSPECIFIED
                } else {
                    code::ACCEPT
                }
            }
        };
        let (Some(tag), Some(info), code::ACCEPT) = (tag, info, code) else {
            self.common.stats.relays_refused += 1;
            self.answer_relay(&alice, &local.hash, request.nonce, code, None, cx);
            return None;
        };
        self.common.stats.relays_passed_on += 1;
        self.tell(&tag.charlie, &info, cx);
        self.notify(&tag.charlie, &Block::RelayIntro(RelayIntro { alice, request: *request }));
        self.timers.set(Key::Relayed(tag.charlie, request.nonce), now + RELAYED);
        self.intro.relayed.insert((tag.charlie, request.nonce), Relayed { alice });
        None
    }

    /// Bob or Charlie: says yes, with where we are, or no. What was said.
    fn answer_relay(
        &mut self,
        to: &RouterHash,
        bob: &RouterHash,
        nonce: u32,
        code: u8,
        accepted: Option<(SocketAddr, u64)>,
        cx: &Cx<'_>,
    ) -> Option<Vec<u8>> {
        let signing = self.config.signing.as_ref()?;
        let (charlie, token) = accepted.unzip();
        let plain = RelayResponse { code, nonce, timestamp: cx.now.wall, charlie, signature: &[], token };
        let signature = sign_relay_response(&plain, bob, signing);
        let answer = Block::RelayResponse(RelayResponse { signature: &signature, ..plain });
        self.notify(to, &answer);
        Some(answer.to_bytes())
    }

    /// Charlie: Bob introduces Alice. The router whose RouterInfo is missing, if one is.
    pub(super) fn on_relay_intro(
        &mut self,
        bob: RouterHash,
        intro: &RelayIntro<'_>,
        is_last: bool,
        cx: &mut Cx<'_>,
    ) -> Option<RouterHash> {
        let (local, request) = (self.local.clone()?, &intro.request);
        if self.intro.punches.contains_key(&request.nonce) {
            return None; // again the same
        }
        let info = self.info_of(&intro.alice);
        if info.is_none() && !is_last {
            return Some(intro.alice);
        }
        let family = Family::of(&request.alice.ip());
        let key = info.as_ref().and_then(|info| intro_key(info, family));
        let ours = self.own_address(family, &bob);
        let code = match (&info, key) {
            _ if self.tag_at(&bob) != Some(request.tag) => code::CHARLIE_UNSPECIFIED,
            _ if ours.is_none() || !self.may_probe(request.alice) => code::CHARLIE_ADDRESS,
            (Some(info), Some(_)) => {
                let good = is_recent(request.timestamp, cx.now.wall)
                    && verify_relay_request(request, &bob, &local.hash, info);
                if good { self.punch_code(&intro.alice, request.alice, cx) } else { code::CHARLIE_SIGNATURE }
            }
            _ => code::CHARLIE_NO_ALICE,
        };
        self.common.stats.bad_relays += u64::from(code == code::CHARLIE_SIGNATURE);
        let (Some(ours), Some(key), code::ACCEPT) = (ours, key, code) else {
            self.common.stats.relays_refused += 1;
            self.answer_relay(&bob, &bob, request.nonce, code, None, cx);
            return None;
        };
        let token = self.common.tokens.for_retry(request.alice, cx.now, cx.rng);
        let answer = self.answer_relay(&bob, &bob, request.nonce, code, Some((ours, token)), cx)?;
        self.punch(request.nonce, request.alice, key, &answer, cx);
        None
    }

    /// Charlie: whether to open the way for Alice.
    fn punch_code(&mut self, alice: &RouterHash, at: SocketAddr, cx: &Cx<'_>) -> u8 {
        if self.is_connected(alice) {
            return code::CHARLIE_CONNECTED;
        }
        let full = self.intro.punches.len() >= self.common.limits.hole_punches;
        if full || !self.count_ip(at.ip(), cx.now.mono) {
            self.common.stats.introductions_limited += 1;
            return code::CHARLIE_LIMIT;
        }
        code::ACCEPT
    }

    fn punch(&mut self, nonce: u32, to: SocketAddr, key: IntroKey, answer: &[u8], cx: &mut Cx<'_>) {
        let Ok(answer) = Block::from_bytes(answer) else { return };
        let (destination, source) = ids(nonce, false);
        let header = LongHeader {
            destination,
            packet_number: cx.rng.u32(),
            kind: PacketType::HolePunch,
            net_id: self.config.net_id,
            source,
            token: cx.rng.u64(),
        };
        let padding = Block::Padding(cx.rng.up_to(MAX_PADDING) as usize);
        let blocks = [Block::DateTime(cx.now.wall), Block::Address(to), answer, padding];
        let packet = seal_with_intro(&header, &key, &blocks);
        self.send_punch(to, packet.clone(), cx);
        let punch = Punch::new(to, packet, cx.now.mono);
        self.timers.set(Key::Punch(nonce), punch.repeats.deadline());
        self.intro.punches.insert(nonce, punch);
    }

    fn send_punch(&mut self, to: SocketAddr, packet: Vec<u8>, cx: &Cx<'_>) {
        self.common.stats.hole_punches_sent += 1;
        tracing::debug!("punching a hole for {to}");
        self.contact(to.ip(), cx.now.mono);
        self.transmit(to, packet);
    }

    pub(super) fn on_punch_timeout(&mut self, nonce: u32, cx: &Cx<'_>) {
        let Some(punch) = self.intro.punches.get_mut(&nonce) else { return };
        let Some(due) = punch.repeats.on_timeout(cx.now.mono) else {
            self.intro.punches.remove(&nonce);
            return;
        };
        let (to, packet) = (punch.to, punch.packet.clone());
        self.timers.set(Key::Punch(nonce), punch.repeats.deadline());
        // Once she is here it is open.
        if due && !self.pending_ips.contains_key(&to.ip()) && !self.sessions_at(to) {
            self.send_punch(to, packet, cx);
        }
    }

    fn sessions_at(&self, at: SocketAddr) -> bool {
        self.by_peer.values().any(|id| self.sessions.get(id).is_some_and(|s| s.remote == at))
    }

    /// Bob: somebody wants to be introduced by us.
    pub(super) fn on_tag_request(&mut self, charlie: RouterHash, remote: SocketAddr, cx: &mut Cx<'_>) {
        // A session may have ended with the packet that asks.
        if !self.introduces(Family::of(&remote.ip())) || !self.is_connected(&charlie) {
            return;
        }
        let (now, until) = (cx.now.mono, cx.now.mono + TAG_LIFE);
        if self.intro.tags.len() >= self.common.limits.relay_tags {
            self.intro.tags.retain(|_, given| now < given.until);
        }
        let tag = match self.intro.tags.iter().find(|(_, given)| given.charlie == charlie) {
            Some((tag, _)) => *tag,
            None if self.intro.tags.len() >= self.common.limits.relay_tags => {
                self.common.stats.relay_tags_full += 1;
                return;
            }
            None => loop {
                let tag = cx.rng.nonzero_u32().get();
                if !self.intro.tags.contains_key(&tag) {
                    break tag;
                }
            },
        };
        self.intro.tags.insert(tag, Tag { charlie, until });
        self.notify(&charlie, &Block::RelayTag(tag));
    }

    /// Charlie: somebody introduces others to us.
    pub(super) fn on_tag(&mut self, bob: RouterHash, at: SocketAddr, tag: u32, cx: &Cx<'_>) {
        let (introducers, family) = (&mut self.intro.introducers, Family::of(&at.ip()));
        if tag == 0 || !self.intro.wants_tags[family as usize] {
            self.common.stats.ignored_blocks += 1;
            return;
        }
        if introducers.len() >= self.common.limits.introducers && !introducers.contains_key(&bob) {
            self.common.stats.relay_tags_full += 1;
            return;
        }
        introducers.insert(bob, Held { tag, family });
        self.timers.set_earlier(Key::KeepAlive, cx.now.mono + KEEP_ALIVE);
        self.common.outputs.push_back(Output::RelayTag { by: bob, at, tag });
    }

    /// Says something to those who introduce others to us, before NATs forget us.
    pub(super) fn keep_alive(&mut self, cx: &Cx<'_>) {
        let bobs = self.intro.introducers.keys().copied().collect::<Vec<_>>();
        for bob in &bobs {
            let Some(id) = self.by_peer.get(bob).copied() else { continue };
            if let Some(session) = self.sessions.get_mut(&id) {
                session.ping();
            }
            self.enqueue(id);
        }
        if !bobs.is_empty() {
            self.timers.set(Key::KeepAlive, cx.now.mono + KEEP_ALIVE);
        }
    }
}
