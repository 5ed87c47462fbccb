//! Signatures of those who introduce and test each other: made, and checked
//! against the RouterInfo of who should have made them (`ssu2#relayrequest`,
//! `ssu2#relayresponse`, `ssu2#peertest`).
//!
//! ```text
//! RelayRequest, RelayIntro   Alice signs, for Bob and Charlie
//! RelayResponse              Charlie signs; Bob if he refuses (codes 1 to 63)
//! PeerTest 1, 2              Alice signs, for Bob
//! PeerTest 3, 4              Charlie signs, naming Alice; Bob if he refuses
//! ```

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::{self, SigType};
use aioli_wire::RouterHash;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{
    PeerTest, RelayRequest, RelayResponse, peer_test_signed, relay_request_signed, relay_response_signed,
};
use aioli_wire::verified::Verified;

/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

/// Alice's signature of a request to Bob for an introduction to Charlie.
pub fn sign_relay_request(
    request: &RelayRequest<'_>,
    bob: &RouterHash,
    charlie: &RouterHash,
    key: &SigningKey,
) -> [u8; SIGNATURE] {
    key.sign(&relay_request_signed(request, bob, charlie))
}

/// Whether Alice has made this request, in a RelayRequest or a RelayIntro.
pub fn verify_relay_request(
    request: &RelayRequest<'_>,
    bob: &RouterHash,
    charlie: &RouterHash,
    alice: &Verified<RouterInfo>,
) -> bool {
    verify(alice, &relay_request_signed(request, bob, charlie), request.signature)
}

/// Charlie's or Bob's signature of an answer.
pub fn sign_relay_response(
    response: &RelayResponse<'_>,
    bob: &RouterHash,
    key: &SigningKey,
) -> [u8; SIGNATURE] {
    key.sign(&relay_response_signed(response, bob))
}

/// Whether `signer`, Charlie or Bob as [`is_bobs`] says, has made this answer.
pub fn verify_relay_response(
    response: &RelayResponse<'_>,
    bob: &RouterHash,
    signer: &Verified<RouterInfo>,
) -> bool {
    verify(signer, &relay_response_signed(response, bob), response.signature)
}

/// Alice's signature of messages 1 and 2; Charlie's, with `alice`, of 3 and 4.
pub fn sign_peer_test(
    test: &PeerTest<'_>,
    bob: &RouterHash,
    alice: Option<&RouterHash>,
    key: &SigningKey,
) -> [u8; SIGNATURE] {
    key.sign(&peer_test_signed(test, bob, alice))
}

/// Whether `signer` has made this message of a peer test. `alice` is named in
/// messages 3 and 4 only.
pub fn verify_peer_test(
    test: &PeerTest<'_>,
    bob: &RouterHash,
    alice: Option<&RouterHash>,
    signer: &Verified<RouterInfo>,
) -> bool {
    verify(signer, &peer_test_signed(test, bob, alice), test.signature)
}

/// Whether an answer with this code is Bob's own.
pub const fn is_bobs(code: u8) -> bool {
    matches!(code, 1..=63)
}

fn verify(signer: &Verified<RouterInfo>, signed: &[u8], signature: &[u8]) -> bool {
    sign::verify(SigType::Ed25519, &signer.identity.signing_key(), signed, signature).is_ok()
}

/// Codes of answers (`ssu2#relayresponse`, `ssu2#peertest`). Those of relays and of peer tests that both have
/// are alike.
pub(super) mod code {
    pub(in super::super) const ACCEPT: u8 = 0;
    pub(in super::super) const BOB_UNSPECIFIED: u8 = 1;
    /// Of a peer test; of a relay, that Charlie is banned.
    pub(in super::super) const BOB_NO_CHARLIE: u8 = 2;
    pub(in super::super) const BOB_LIMIT: u8 = 3;
    pub(in super::super) const BOB_SIGNATURE: u8 = 4;
    /// Of a peer test.
    pub(in super::super) const BOB_ADDRESS: u8 = 5;
    /// Of a relay.
    pub(in super::super) const BOB_TAG: u8 = 5;
    /// Of a relay.
    pub(in super::super) const BOB_NO_ALICE: u8 = 6;
    pub(in super::super) const CHARLIE_UNSPECIFIED: u8 = 64;
    pub(in super::super) const CHARLIE_ADDRESS: u8 = 65;
    pub(in super::super) const CHARLIE_LIMIT: u8 = 66;
    pub(in super::super) const CHARLIE_SIGNATURE: u8 = 67;
    pub(in super::super) const CHARLIE_CONNECTED: u8 = 68;
    pub(in super::super) const CHARLIE_NO_ALICE: u8 = 70;
}
