//! Two hooks for those who run many routers in one process: signature checks that
//! are shared, and how each search ended.

use std::fmt::Debug;
use std::sync::Arc;

use aioli_core::Instant;
use aioli_wire::{Hash, RouterHash, RouterInfo, Unverified, Verified, VerifyError};

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

/// What became of asking one floodfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// None, and there was still time when the search ended.
    Open,
    /// It has nothing.
    NotHere,
    /// None in time.
    Silent,
}

/// How a search of the network ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchEnded {
    /// What was sought.
    pub what: Sought,
    /// Its key.
    pub key: Hash,
    /// Whether it was found.
    pub found: bool,
    /// Queries sent.
    pub queries: u8,
    /// Who was asked. Whoever brought what was sought counts as open.
    pub asked: Vec<(RouterHash, Answer)>,
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
            let answer = |outcome| match outcome {
                Outcome::Waiting => Answer::Open,
                Outcome::NotHere => Answer::NotHere,
                Outcome::Silent => Answer::Silent,
            };
            let ended = SearchEnded {
                what,
                key: key.key,
                found,
                queries: search.queries,
                asked: search.asked.iter().map(|(who, asked)| (*who, answer(asked.outcome))).collect(),
                derived: search.derived,
                began: search.began,
            };
            self.outputs.push_back(Output::SearchEnded(ended));
        }
    }
}
