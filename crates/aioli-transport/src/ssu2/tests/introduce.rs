//! Signatures hold for what was signed, by whom, for whom, and for nothing else.

use aioli_core::Rng;
use aioli_wire::RouterHash;
use aioli_wire::ssu2::{PeerTest, RelayRequest, RelayResponse};

use super::super::introduce::*;
use super::{Keys, START, addr};

const BOB: RouterHash = RouterHash::new([1; 32]);
const CHARLIE: RouterHash = RouterHash::new([2; 32]);

#[test]
fn relay_requests_and_responses() {
    let mut rng = Rng::from_seed([1; 32]);
    let (alice, other) = (Keys::new(1, &mut rng), Keys::new(2, &mut rng));
    let (ri, other) = (alice.router_info(|_| {}), other.router_info(|_| {}));
    let plain = RelayRequest { nonce: 7, tag: 9, timestamp: START, alice: addr(1), signature: &[] };
    let signature = sign_relay_request(&plain, &BOB, &CHARLIE, &alice.signing);
    let request = RelayRequest { signature: &signature, ..plain };
    assert!(verify_relay_request(&request, &BOB, &CHARLIE, &ri));
    assert!(!verify_relay_request(&request, &CHARLIE, &BOB, &ri));
    assert!(!verify_relay_request(&request, &BOB, &CHARLIE, &other));
    for changed in [
        RelayRequest { nonce: 8, ..request },
        RelayRequest { tag: 8, ..request },
        RelayRequest { alice: addr(2), ..request },
        RelayRequest { signature: &signature[1..], ..request },
        plain,
    ] {
        assert!(!verify_relay_request(&changed, &BOB, &CHARLIE, &ri), "{changed:?}");
    }

    let (charlie, token) = (Some(addr(3)), Some(5));
    let plain = RelayResponse { code: 0, nonce: 7, timestamp: START, charlie, signature: &[], token };
    let signature = sign_relay_response(&plain, &BOB, &alice.signing);
    let response = RelayResponse { signature: &signature, ..plain };
    assert!(verify_relay_response(&response, &BOB, &ri));
    assert!(!verify_relay_response(&RelayResponse { charlie: None, ..response }, &BOB, &ri));
    assert!(!verify_relay_response(&response, &CHARLIE, &ri));
    assert!(is_bobs(1) && is_bobs(63) && !is_bobs(0) && !is_bobs(64) && !is_bobs(128));
}

#[test]
fn peer_tests() {
    let mut rng = Rng::from_seed([2; 32]);
    let keys = Keys::new(1, &mut rng);
    let ri = keys.router_info(|_| {});
    let plain = PeerTest {
        message: 1,
        code: 0,
        router: None,
        nonce: 7,
        timestamp: START,
        alice: addr(1),
        signature: &[],
    };
    for named in [None, Some(&CHARLIE)] {
        let signature = sign_peer_test(&plain, &BOB, named, &keys.signing);
        let test = PeerTest { signature: &signature, ..plain };
        assert!(verify_peer_test(&test, &BOB, named, &ri));
        // Bob passes it on with another number and a hash: the signature covers neither.
        assert!(verify_peer_test(&PeerTest { message: 2, router: Some(BOB), ..test }, &BOB, named, &ri));
        let other = if named.is_some() { None } else { Some(&CHARLIE) };
        assert!(!verify_peer_test(&test, &BOB, other, &ri));
        assert!(!verify_peer_test(&PeerTest { alice: addr(2), ..test }, &BOB, named, &ri));
    }
}
