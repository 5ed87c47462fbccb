//! What a simulated network sees of a router, and what its adversaries make one do.
//!
//! A driver of the product uses nothing of this. A tapped router is the same
//! router: it says how its searches and builds ended, and one with
//! [`Tap::database`] hands over what others ask of its NetDB, so that whoever
//! drives it can drop, delay, falsify or serve it.

use std::sync::Arc;

pub use aioli_netdb::{Answer, Output as Reply, SearchEnded, Sought, Source, VerifyCache, Via};
pub use aioli_tunnel::BuildResult;

use aioli_core::{Duration, Now};
use aioli_netdb::View;
use aioli_wire::{DestinationHash, Message, MessageType, RouterHash};

use crate::router::{Output, Router, cx};

/// What is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tap {
    /// How searches and builds end.
    pub outcomes: bool,
    /// Lookups and stores of others, instead of serving them.
    pub database: bool,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum Tapped {
    /// A search of the network ended.
    Search(SearchEnded),
    /// A build of ours ended.
    Build {
        /// Through whom; empty for a tunnel without hops.
        hops: Vec<RouterHash>,
        /// How.
        result: BuildResult,
        /// After how long.
        took: Duration,
    },
    /// Somebody's lookup or store, not served.
    Database {
        /// From whom.
        source: Source,
        /// What.
        message: Message,
    },
}

impl Router {
    /// Hands out from now on what `tap` says.
    pub const fn set_tap(&mut self, tap: Tap) {
        self.tap = tap;
        self.netdb.report_searches(tap.outcomes);
    }

    /// Shares the signature checks of RouterInfos with other routers.
    pub fn share_checks(&mut self, cache: Arc<dyn VerifyCache>) {
        self.netdb.share_checks(cache);
    }

    /// Serves a message that was handed out, as if it had not been.
    pub fn serve(&mut self, source: Source, message: &Message, now: Now) {
        self.enter(now);
        self.with_paths(|netdb, cx, paths| netdb.handle_message(source, message, cx, paths));
    }

    /// Does as if our NetDB had asked for it.
    pub fn inject(&mut self, reply: Reply, now: Now) {
        self.enter(now);
        self.on_netdb_output(reply);
    }

    /// The routers that our NetDB knows, and whether they have been of use to us.
    pub fn known_routers(&self) -> impl Iterator<Item = (RouterHash, bool)> {
        self.netdb.routers().map(|info| (info.hash(), self.netdb.is_proven(&info.hash())))
    }

    /// Whether we hold the LeaseSet of this destination for others.
    pub fn holds_lease_set(&self, destination: &DestinationHash) -> bool {
        self.netdb.lease_set(View::Router, destination).is_some()
    }

    /// Looks a RouterInfo up in the network, known or not.
    pub fn seek_router(&mut self, hash: &RouterHash, now: Now) {
        self.enter(now);
        self.netdb.refresh_router(hash, &mut cx!(self));
    }

    /// Whether the message was handed out.
    pub(crate) fn tap_database(&mut self, source: Source, message: &Message) -> bool {
        let asks = matches!(message.kind, MessageType::DatabaseStore | MessageType::DatabaseLookup);
        let taken = self.tap.database && asks && !matches!(source, Source::Tunnel(_));
        if taken {
            let message = message.clone();
            self.outputs.push_back(Output::Tapped(Tapped::Database { source, message }));
        }
        taken
    }

    pub(crate) fn tap_build(&mut self, hops: &[RouterHash], result: &BuildResult, took: Duration) {
        if self.tap.outcomes {
            let (hops, result) = (hops.to_vec(), result.clone());
            self.outputs.push_back(Output::Tapped(Tapped::Build { hops, result, took }));
        }
    }
}
