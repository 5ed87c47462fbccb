//! The names that structures call each other by: hashes, tunnel and message ids, session tags.

use std::fmt;
use std::num::NonZeroU32;

use crate::base64;
use crate::codec::{DecodeError, Reader, Wire, Writer};

macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The hash with these bytes.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Its bytes.
            pub const fn to_bytes(self) -> [u8; 32] {
                self.0
            }

            /// I2P Base64, 44 characters.
            pub fn to_base64(&self) -> String {
                base64::encode(&self.0)
            }

            /// From 44 characters of I2P Base64.
            pub fn from_base64(text: &str) -> Option<Self> {
                base64::decode(text)?.try_into().ok().map(Self)
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, c, ..] = self.0;
                write!(f, concat!(stringify!($name), "({})"), base64::encode(&[a, b, c]))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_base64())
            }
        }

        impl<'a> Wire<'a> for $name {
            const SPEC: &'static str = "common-structures#hash";

            fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
                r.array().map(Self)
            }

            fn encode(&self, w: &mut Writer) {
                w.bytes(&self.0);
            }
        }
    };
}

hash_newtype! {
    /// A SHA-256 of whatever a network database key may stand for.
    Hash
}
hash_newtype! {
    /// The SHA-256 of a RouterIdentity: how routers are named.
    RouterHash
}
hash_newtype! {
    /// The SHA-256 of a Destination, or the store key of an encrypted LeaseSet.
    DestinationHash
}

macro_rules! convert_hash {
    ($($from:ident => $to:ident),*) => {$(
        impl From<$from> for $to {
            fn from(hash: $from) -> Self {
                Self(hash.0)
            }
        }
    )*};
}

convert_hash!(Hash => RouterHash, Hash => DestinationHash, RouterHash => Hash, DestinationHash => Hash);

/// Eight bytes that tell a receiver which key opens what follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionTag(pub [u8; 8]);

impl SessionTag {
    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Debug for SessionTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionTag({:016x})", u64::from_be_bytes(self.0))
    }
}

impl<'a> Wire<'a> for SessionTag {
    const SPEC: &'static str = "ecies#session-tag";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.array().map(Self)
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
}

/// Names a tunnel at one router. Zero names none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub NonZeroU32);

impl TunnelId {
    /// The id with this number, unless it is zero.
    pub fn new(n: u32) -> Option<Self> {
        NonZeroU32::new(n).map(Self)
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<NonZeroU32> for TunnelId {
    fn from(n: NonZeroU32) -> Self {
        Self(n)
    }
}

impl fmt::Debug for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelId({})", self.0)
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a> Wire<'a> for TunnelId {
    const SPEC: &'static str = "common-structures#tunnelid";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::new(r.u32()?).ok_or_else(|| r.invalid("tunnel id"))
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.get());
    }
}

/// The number of an I2NP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MessageId(pub u32);

impl MessageId {
    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<u32> for MessageId {
    fn from(n: u32) -> Self {
        Self(n)
    }
}

impl<'a> Wire<'a> for MessageId {
    const SPEC: &'static str = "i2np#common-i2np-header";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.u32().map(Self)
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_names_round_trip_and_debug_is_short() {
        // The hash of the fifth test RouterInfo of the emissary project.
        let text = "u9QdTy~qBwh8Mrcfrcqvea8MOiNmavLv8Io4XQsMDHg=";
        let hash = RouterHash::from_base64(text).unwrap();
        assert_eq!(hash.to_base64(), text);
        assert_eq!(format!("{hash:?}"), "RouterHash(u9Qd)");
        assert_eq!(RouterHash::from_base64("u9Qd"), None);
    }

    #[test]
    fn tunnel_zero_does_not_exist() {
        assert!(TunnelId::from_bytes(&[0; 4]).is_err());
        assert_eq!(TunnelId::from_bytes(&[0, 0, 0, 7]).unwrap().get(), 7);
    }
}
