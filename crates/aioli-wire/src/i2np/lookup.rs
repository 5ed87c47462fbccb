//! DatabaseLookup (`i2np#databaselookup`).
//!
//! ```text
//! key 32 | from 32 | flags 1 | [tunnel 4] | count 2 | excluded 32.. | [reply key 32 | tags 1 | tag 8 or 32 ..]
//!
//! flags: bit 0 reply through `tunnel` of `from`; bit 1 AES reply; bits 3-2 kind; bit 4 ECIES reply;
//!        the others are reserved and not looked at
//! ```

use aioli_core::crypto::Secret;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::ids::{Hash, RouterHash, SessionTag, TunnelId};

/// The most routers that a lookup may exclude.
pub const MAX_EXCLUDED: usize = 512;
const MAX_REPLY_TAGS: u8 = 32;

const TUNNEL: u8 = 1;
const AES: u8 = 1 << 1;
const ECIES: u8 = 1 << 4;

/// Asks for a RouterInfo or LeaseSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseLookup {
    /// What is asked for.
    pub key: Hash,
    /// Who gets the reply: the asker, or the gateway of `reply_tunnel`.
    pub from: RouterHash,
    /// The tunnel through which the reply goes; straight to `from` without one.
    pub reply_tunnel: Option<TunnelId>,
    /// What may be under the key.
    pub kind: LookupType,
    /// Routers not to name in a reply; at most [`MAX_EXCLUDED`] are sent.
    pub excluded: Vec<RouterHash>,
    /// How the reply is to be encrypted.
    pub reply: ReplyEncryption,
}

/// What a lookup asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupType {
    /// Anything; deprecated.
    Any = 0,
    /// A LeaseSet of any kind.
    LeaseSet = 1,
    /// A RouterInfo.
    RouterInfo = 2,
    /// Routers near the key that are not floodfills.
    Exploratory = 3,
}

/// How a reply is to be encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyEncryption {
    /// Not at all.
    None,
    /// ChaCha20-Poly1305 behind a one-time tag: the modern way.
    Ecies {
        /// One-time key.
        key: Secret<32>,
        /// One-time tag.
        tag: SessionTag,
    },
    /// ElGamal/AES session tags: the old way. Nobody needs an answer in it any more.
    Aes {
        /// Session key.
        key: Secret<32>,
        /// Tags; 1 to 32.
        tags: Vec<Secret<32>>,
    },
}

impl<'a> Wire<'a> for DatabaseLookup {
    const SPEC: &'static str = "i2np#databaselookup";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let key = r.read()?;
        let from = r.read()?;
        let flags = r.u8()?;
        let kind = match flags >> 2 & 3 {
            0 => LookupType::Any,
            1 => LookupType::LeaseSet,
            2 => LookupType::RouterInfo,
            _ => LookupType::Exploratory,
        };
        let reply_tunnel = if flags & TUNNEL != 0 { Some(r.read()?) } else { None };
        let count = usize::from(r.u16()?);
        if count > MAX_EXCLUDED {
            return Err(r.error(DecodeErrorKind::Limit("excluded peers")));
        }
        let excluded = (0..count).map(|_| r.read()).collect::<Result<_, _>>()?;
        let reply = decode_reply(r, flags)?;
        Ok(Self { key, from, reply_tunnel, kind, excluded, reply })
    }

    fn encode(&self, w: &mut Writer) {
        let mut flags = (self.kind as u8) << 2;
        if self.reply_tunnel.is_some() {
            flags |= TUNNEL;
        }
        flags |= match self.reply {
            ReplyEncryption::None => 0,
            ReplyEncryption::Ecies { .. } => ECIES,
            ReplyEncryption::Aes { .. } => AES,
        };
        w.write(&self.key);
        w.write(&self.from);
        w.u8(flags);
        if let Some(tunnel) = &self.reply_tunnel {
            w.write(tunnel);
        }
        let excluded = self.excluded.get(..MAX_EXCLUDED).unwrap_or(&self.excluded);
        w.u16(excluded.len() as u16);
        for peer in excluded {
            w.write(peer);
        }
        match &self.reply {
            ReplyEncryption::None => {}
            ReplyEncryption::Ecies { key, tag } => {
                w.bytes(key.as_bytes());
                w.u8(1);
                w.write(tag);
            }
            ReplyEncryption::Aes { key, tags } => {
                let tags = tags.get(..usize::from(MAX_REPLY_TAGS)).unwrap_or(tags);
                w.bytes(key.as_bytes());
                w.u8(tags.len() as u8);
                for tag in tags {
                    w.bytes(tag.as_bytes());
                }
            }
        }
    }
}

fn decode_reply(r: &mut Reader<'_>, flags: u8) -> Result<ReplyEncryption, DecodeError> {
    let kind = flags & (AES | ECIES);
    if kind == 0 {
        return Ok(ReplyEncryption::None);
    }
    if kind == AES | ECIES {
        // Reserved for a form with a Diffie-Hellman key; never deployed.
        return Err(r.invalid("reply encryption"));
    }
    let key = Secret::new(r.array()?);
    let count = r.u8()?;
    if count == 0 || count > MAX_REPLY_TAGS {
        return Err(r.invalid("number of reply tags"));
    }
    if kind == AES {
        let tags = (0..count).map(|_| r.array().map(Secret::new)).collect::<Result<_, _>>()?;
        return Ok(ReplyEncryption::Aes { key, tags });
    }
    let tag = r.read()?;
    // More than one is allowed and pointless: one reply needs one tag.
    r.take(8 * usize::from(count - 1))?;
    Ok(ReplyEncryption::Ecies { key, tag })
}
