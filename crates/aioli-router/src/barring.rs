//! Where bans and the blocklist hold: connections that come in, dials, and
//! RouterInfos. Who is barred is not in the NetDB, and so is neither asked as a
//! floodfill nor chosen as a hop.

use std::net::IpAddr;

use aioli_core::Duration;
use aioli_transport::{DialError, PeerMisbehaved};
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::{RouterHash, RouterInfo, ip};

use crate::bans::{Ban, BanReason, Subject};
use crate::event::Event;
use crate::router::{Output, Router, cx};

/// With fewer sessions our own clock may be the wrong one.
const CLOCK_WITNESSES: usize = 3;
/// Two peers whose clocks differ from ours within this time raise a doubt.
const DISAGREE_WITHIN: Duration = Duration::from_secs(10 * 60);
/// A line about bans appears at most this often.
const SAY_EVERY: Duration = Duration::from_secs(10 * 60);

impl Router {
    /// Bans a router until this process ends.
    pub fn ban(&mut self, router: RouterHash, now: aioli_core::Now) {
        self.enter(now);
        self.ban_for(Subject::Router(router), BanReason::Asked);
    }

    /// Whether a connection from there is refused.
    pub(crate) fn refuses_ip(&mut self, from: IpAddr) -> bool {
        let barred = self.bans.bars_ip(from, self.now.mono);
        self.bans.refused += u64::from(barred);
        barred
    }

    /// Whether we have nothing to do with this router.
    pub(crate) fn refuses(&mut self, info: &RouterInfo) -> bool {
        let barred = self.bans.bars(info, self.now.mono);
        self.bans.refused += u64::from(barred);
        barred
    }

    pub(crate) fn ban_for(&mut self, subject: Subject, reason: BanReason) {
        let ban = self.bans.ban(subject, reason, self.now.mono, &mut self.rng);
        self.on_ban(ban);
    }

    fn on_ban(&mut self, ban: Ban) {
        tracing::debug!("{} is banned: {}", ban.subject, ban.reason);
        if let Subject::Router(hash) = ban.subject {
            self.transport.ban(hash, ban.until, &mut cx!(self));
            self.netdb.forget_router(&hash);
            self.tunnels.handle_peer_gone(&hash, &mut cx!(self));
        }
        let now = self.now.mono;
        if self.ban_said.is_none_or(|at| now.since(at) >= SAY_EVERY) {
            self.ban_said = Some(now);
            let event = Event::Banned { subject: ban.subject, reason: ban.reason, bans: self.bans.len() };
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// The handshake of a connection that came in failed.
    pub(crate) fn on_handshake_failed(&mut self, from: IpAddr, why: PeerMisbehaved) {
        // Behind one address of a private network there may be everybody.
        if ip::is_public(from.to_canonical())
            && let Some(ban) = self.bans.note_handshake(from, why, self.now.mono, &mut self.rng)
        {
            self.on_ban(ban);
        }
    }

    /// We dialled this router, and it answered badly.
    pub(crate) fn note_dial_failed(&mut self, peer: RouterHash, reason: DialError) {
        let skewed = matches!(reason, DialError::Handshake(PeerMisbehaved::ClockSkew(_)));
        if !skewed {
            return;
        }
        // Where two disagree with us, it may be we who are wrong.
        let now = self.now.mono;
        let before = self.skewed_peer.replace((now, peer));
        let alone = before.is_none_or(|(at, other)| other == peer || now.since(at) > DISAGREE_WITHIN);
        if alone && self.transport.sessions() >= CLOCK_WITNESSES {
            self.ban_for(Subject::Router(peer), BanReason::ClockSkew);
        }
    }

    /// A session with this router stands. False: it does not any more.
    pub(crate) fn welcomes(&mut self, peer: &RouterHash, info: Option<&RouterInfo>) -> bool {
        let barred = self.bans.bars_router(peer, self.now.mono)
            || info.is_some_and(|info| self.bans.bars(info, self.now.mono));
        if barred {
            self.bans.refused += 1;
            self.transport.close(peer, TerminationReason::Banned, &mut cx!(self));
        }
        !barred
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use aioli_core::{Date, Instant, Now, Rng};

    use super::*;
    use crate::blocklist::Blocklist;
    use crate::{Config, Identity, LoadError, create_router_info};

    fn at(secs: u64) -> Now {
        Now {
            mono: Instant::ZERO + Duration::from_secs(secs),
            wall: Date::from_secs(1_782_475_200) + Duration::from_secs(secs),
        }
    }

    fn address(last: u8) -> std::net::SocketAddr {
        ([9, 9, 9, last], 12_345).into()
    }

    fn router(blocklist: &str) -> Router {
        let (blocklist, skipped) = Blocklist::parse(blocklist);
        assert_eq!(skipped.lines, 0);
        let config = Config { blocklist: Arc::new(blocklist), ..Config::default() };
        let identity = Identity::generate(&mut Rng::from_seed([1; 32]));
        let mut router = Router::new(config, identity, [2; 32], at(0));
        router.start(at(0));
        drain(&mut router);
        router
    }

    fn drain(router: &mut Router) -> Vec<Output> {
        std::iter::from_fn(|| router.poll_output()).collect()
    }

    /// Another router at this address.
    fn other(n: u8) -> Arc<aioli_wire::Verified<RouterInfo>> {
        let config = Config { published: vec![address(n)], ..Config::default() };
        create_router_info(&config, &Identity::generate(&mut Rng::from_seed([n; 32])), at(0))
    }

    #[test]
    fn the_blocklist_bars_connections_and_router_infos() {
        let hash = other(7).hash().to_base64();
        let mut router = router(&format!("9.9.9.1-9.9.9.3\nsomebody:{hash}\n"));
        assert_eq!(router.accepted(address(2), at(1)), None);
        assert!(router.accepted(address(4), at(1)).is_some());
        for n in [2, 3, 7] {
            let refused = router.load_router_info(other(n).bytes(), at(1));
            assert_eq!(refused, Err(LoadError::Unwanted), "{n}");
        }
        assert!(router.load_router_info(other(4).bytes(), at(1)).is_ok());
        assert_eq!((router.stats().barred, router.stats().known_routers), (4, 1));
    }

    #[test]
    fn datagrams_from_barred_addresses_are_not_looked_at() {
        let mut router = router("9.9.9.2\n");
        for (last, barred) in [(2, 1), (4, 1), (2, 2)] {
            router.handle_datagram(address(last), &mut [7; 100], at(1));
            assert_eq!(router.stats().barred, barred);
        }
        assert_eq!(router.stats().bytes_in, 100);
    }

    #[test]
    fn a_banned_router_is_forgotten_and_stays_out() {
        let mut router = router("");
        let peer = other(5);
        router.load_router_info(peer.bytes(), at(1)).unwrap();
        router.ban(peer.hash(), at(2));
        let outputs = drain(&mut router);
        let said =
            |o: &Output| matches!(o, Output::Event(Event::Banned { bans: 1, reason: BanReason::Asked, .. }));
        assert!(outputs.iter().any(said), "{outputs:?}");
        assert_eq!((router.stats().known_routers, router.stats().bans), (0, 1));
        assert_eq!(router.load_router_info(peer.bytes(), at(3)), Err(LoadError::Unwanted));
        router.ban(other(6).hash(), at(4));
        assert!(
            !drain(&mut router).iter().any(|o| matches!(o, Output::Event(Event::Banned { .. }))),
            "said once"
        );
    }

    #[test]
    fn an_address_whose_handshakes_fail_again_and_again_is_let_in_again_after_a_while() {
        let mut router = router("");
        let mut rng = Rng::from_seed([9; 32]);
        let mut tried = 0;
        while let Some(conn) = router.accepted(address(1), at(1)) {
            tried += 1;
            assert!(tried <= 16, "no end of it");
            router.handle_bytes(conn, &mut rng.bytes::<64>(), at(1));
            drain(&mut router);
            router.closed(conn, at(1));
        }
        assert_eq!((tried, router.stats().bans), (16, 1));
        assert!(router.accepted(address(2), at(1)).is_some(), "the neighbour is welcome");
        assert_eq!(router.accepted(address(1), at(8 * 60)), None);
        assert!(router.accepted(address(1), at(15 * 60 + 2)).is_some());
    }
}
