//! Signature checks shared by all hosts: each RouterInfo is checked, and kept, once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aioli_core::crypto::hash::sha256;
use aioli_router::tap::VerifyCache;
use aioli_wire::{RouterInfo, Unverified, Verified, VerifyError};

/// Looks for entries that nobody holds when there are so many more than after the last look.
const SLACK: usize = 10_000;

/// By the hash of the exact bytes, as long as some host holds it.
#[derive(Debug, Default)]
pub(crate) struct Memo(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    infos: BTreeMap<[u8; 32], Weak<Verified<RouterInfo>>>,
    swept: usize,
}

impl VerifyCache for Memo {
    fn router_info(&self, info: Unverified<RouterInfo>) -> Result<Arc<Verified<RouterInfo>>, VerifyError> {
        let key = sha256(info.claims().bytes());
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = known.infos.get(&key).and_then(Weak::upgrade) {
            return Ok(kept);
        }
        let info = Arc::new(info.verify()?);
        if known.infos.len() >= known.swept + SLACK {
            known.infos.retain(|_, kept| kept.strong_count() > 0);
            known.swept = known.infos.len();
        }
        known.infos.insert(key, Arc::downgrade(&info));
        Ok(info)
    }
}
