//! `peers.json`: what was learned of other routers, for the next start.
//!
//! One object a router, by name: `{"<base64 hash>": {"heard": 1764288000, "agreed": 12}}`.
//! Everything in it may be lost without harm. What a newer or older program
//! does not know it leaves out of account.

use std::collections::BTreeMap;
use std::io;

use aioli_core::Date;
use aioli_router::StoredProfile;
use aioli_wire::{RouterHash, base64};

use super::{DataDir, read_bounded, write_atomic};

/// No such file is larger.
const MAX_PEERS_FILE: u64 = 2 * 1024 * 1024;
/// Routers of a file at most.
const MAX_PEERS: usize = 4_000;
/// Seconds since 1970 of the last news.
const HEARD: &str = "heard";

type PeersFile = BTreeMap<String, BTreeMap<String, u64>>;

impl DataDir {
    /// What was learned of other routers. A damaged file is told about and gives nothing.
    pub fn load_profiles(&self) -> Vec<StoredProfile> {
        let path = self.root.join("peers.json");
        let parsed = match read_bounded(&path, MAX_PEERS_FILE) {
            Ok(bytes) => serde_json::from_slice::<PeersFile>(&bytes).map_err(|e| e.to_string()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(e) => Err(e.to_string()),
        };
        match parsed {
            Ok(peers) => peers.into_iter().take(MAX_PEERS).filter_map(profile).collect(),
            Err(error) => {
                tracing::warn!(
                    "{} is damaged ({error}): what was learned of other routers is learned anew",
                    path.display()
                );
                Vec::new()
            }
        }
    }

    /// Remembers what was learned of other routers, mode 0600.
    pub fn store_profiles(&self, profiles: &[StoredProfile]) -> io::Result<()> {
        let peers: PeersFile = profiles
            .iter()
            .map(|profile| {
                let values = profile.values.iter().map(|(name, value)| (name.to_string(), *value));
                let heard = (HEARD.to_owned(), profile.heard.as_secs());
                (profile.peer.to_base64(), values.chain([heard]).collect())
            })
            .collect();
        // A line each, so that people can look something up.
        let mut text = String::from("{");
        for (n, (peer, values)) in peers.iter().enumerate() {
            text.push_str(if n == 0 { "\n" } else { ",\n" });
            text.push_str(&format!("\"{peer}\": {}", serde_json::to_string(values)?));
        }
        text.push_str("\n}\n");
        write_atomic(&self.root.join("peers.json"), text.as_bytes(), 0o600)
    }
}

fn profile((name, mut values): (String, BTreeMap<String, u64>)) -> Option<StoredProfile> {
    let peer = RouterHash::new(base64::decode(&name)?.try_into().ok()?);
    let heard = Date::from_secs(values.remove(HEARD)?);
    let values = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Some(StoredProfile { peer, heard, values })
}
