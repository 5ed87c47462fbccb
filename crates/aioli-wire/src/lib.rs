//! Every I2P byte format, and nothing else: no policy, and no secrets but
//! those in a key file.
//!
//! Each structure implements [`Wire`]: a decoder that borrows and that no
//! input can make panic, and an encoder that cannot fail because the types
//! hold the limits. `Wire::SPEC` names the section of the specifications.

pub mod b33;
pub mod base32;
pub mod base64;
pub mod build;
pub mod caps;
pub mod client_payload;
pub mod codec;
pub mod destination;
pub mod garlic;
pub mod gzip;
pub mod i2np;
pub mod identity;
pub mod ids;
pub mod ip;
pub mod keyfile;
pub mod lease_set;
pub mod mapping;
pub mod ntcp2;
pub mod offline;
pub mod router_address;
pub mod router_info;
pub mod ssu2;
pub mod streaming;
pub mod su3;
pub mod termination;
pub mod tunnel;
pub mod verified;

pub use caps::{Bandwidth, Capabilities, Congestion};
pub use codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
pub use destination::Destination;
pub use i2np::{Message, MessageType};
pub use identity::{Certificate, KeysAndCert, RouterIdentity};
pub use ids::{DestinationHash, Hash, MessageId, RouterHash, SessionTag, TunnelId};
pub use keyfile::{DestinationKeys, OfflineKeys};
pub use lease_set::{
    EncryptedLeaseSet, Lease, LeaseSet, LeaseSet1, LeaseSet2, LeaseSet2Parts, LeaseSetFlags, LeaseSetHeader,
    LeaseSetType, MetaLease, MetaLeaseSet,
};
pub use mapping::{Mapping, MappingFull};
pub use offline::OfflineSignature;
pub use router_address::{Ntcp2Address, RouterAddress};
pub use router_info::{RouterInfo, RouterInfoParts};
pub use verified::{Signed, Unverified, Verified, VerifyError};
