//! DatabaseSearchReply (`i2np#databasesearchreply`): "not here, ask these".

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ids::{Hash, RouterHash};

/// The most routers of a reply that are sent or looked at.
pub const MAX_SEARCH_REPLY_PEERS: usize = 16;

/// "Not here, ask these."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSearchReply {
    /// What was asked for.
    pub key: Hash,
    /// Routers closer to it, at most [`MAX_SEARCH_REPLY_PEERS`].
    pub peers: Vec<RouterHash>,
    /// Who answers. Nothing proves it.
    pub from: RouterHash,
}

impl<'a> Wire<'a> for DatabaseSearchReply {
    const SPEC: &'static str = "i2np#databasesearchreply";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let key = r.read()?;
        let count = usize::from(r.u8()?);
        let mut peers = (0..count).map(|_| r.read()).collect::<Result<Vec<_>, _>>()?;
        peers.truncate(MAX_SEARCH_REPLY_PEERS);
        Ok(Self { key, peers, from: r.read()? })
    }

    fn encode(&self, w: &mut Writer) {
        let peers = self.peers.get(..MAX_SEARCH_REPLY_PEERS).unwrap_or(&self.peers);
        w.write(&self.key);
        w.u8(peers.len() as u8);
        for peer in peers {
            w.write(peer);
        }
        w.write(&self.from);
    }
}
