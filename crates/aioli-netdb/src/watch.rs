//! Two hooks for those who run many routers in one process: signature checks that
//! are shared, and how each search ended.

use std::fmt::Debug;
use std::sync::Arc;

use aioli_core::Instant;
use aioli_wire::{Hash, RouterInfo, Unverified, Verified, VerifyError};

use crate::search::{Outcome, Search, SearchKey, What};
use crate::{NetDb, Output};

/// Remembers RouterInfos whose signature held, by their exact bytes, so that a
/// thousand databases check and keep each only once. It must be a pure memo:
/// whether it remembers changes no behaviour.
pub trait VerifyCache: Debug + Send + Sync {
    /// Checks the signature, or gives what an earlier check of the same bytes gave.
    fn router_info(&self, info: Unverified<RouterInfo>) -> Result<Arc<Verified<RouterInfo>>, VerifyError>;
}

/// What a search sought in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// A RouterInfo.
    RouterInfo,
    /// A LeaseSet.
    LeaseSet,
}

/// How a search of the network ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchEnded {
    /// What was sought.
    pub what: Sought,
    /// Its key.
    pub key: Hash,
    /// Whether it was found.
    pub found: bool,
    /// Queries sent.
    pub queries: u8,
    /// Floodfills that kept silent.
    pub silent: usize,
    /// Floodfills that said that they have nothing.
    pub denied: usize,
    /// Only a reply's naming it made us look.
    pub derived: bool,
    /// When it began.
    pub began: Instant,
}

impl NetDb {
    /// Shares signature checks from now on.
    pub fn share_checks(&mut self, cache: Arc<dyn VerifyCache>) {
        self.verify_cache = Some(cache);
    }

    /// Whether each search ends with an [`Output::SearchEnded`].
    pub const fn report_searches(&mut self, on: bool) {
        self.reports_searches = on;
    }

    pub(crate) fn check(
        &self,
        info: Unverified<RouterInfo>,
    ) -> Result<Arc<Verified<RouterInfo>>, VerifyError> {
        match &self.verify_cache {
            Some(cache) => cache.router_info(info),
            None => info.verify().map(Arc::new),
        }
    }

    pub(crate) fn report_search(&mut self, key: &SearchKey, search: &Search, found: bool) {
        let what = match key.what {
            What::Router => Sought::RouterInfo,
            What::LeaseSet => Sought::LeaseSet,
            What::Explore => return,
        };
        if self.reports_searches {
            let count = |outcome| search.asked.values().filter(|asked| asked.outcome == outcome).count();
            let ended = SearchEnded {
                what,
                key: key.key,
                found,
                queries: search.queries,
                silent: count(Outcome::Silent),
                denied: count(Outcome::NotHere),
                derived: search.derived,
                began: search.began,
            };
            self.outputs.push_back(Output::SearchEnded(ended));
        }
    }
}
