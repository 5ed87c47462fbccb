//! The router's own keys.
//!
//! ```text
//! i2pd   router.keys      identity | encryption private | signing private
//!        ntcp2.keys       static public 32 | static private 32 | IV 16
//! Java   router.keys.dat  as i2pd's router.keys
//!        router.config    i2np.ntcp2.sp and i2np.ntcp2.iv in I2P base64
//! ```
//!
//! Java's `router.keys` of 660 bytes holds DSA and ElGamal keys: no router of today.

use std::path::Path;

use aioli_core::Rng;
use aioli_core::crypto::sign::SigType;
use aioli_core::crypto::x25519;
use aioli_node::{DataDir, entropy};
use aioli_router::Identity;
use aioli_wire::identity::X25519;
use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::{RouterIdentity, Wire, base64};

use super::source::{Kind, Source, is_absent};
use super::{Report, properties};

/// No file of router keys is larger.
const MAX_KEYS: u64 = 4 * 1024;
/// No `router.config` is larger.
const MAX_CONFIG: u64 = 1 << 20;
/// Java's file from before there were other keys than DSA and ElGamal.
const OLD_JAVA_KEYS: usize = 660;

/// Private and published part of NTCP2's static keys.
type Ntcp2Keys = (x25519::PrivateKey, [u8; 16]);

/// The identity to be written, if there is one and ours has none.
pub(super) fn collect(
    source: &Source,
    ours: &Path,
    target: Option<&DataDir>,
    report: &mut Report,
) -> Option<Identity> {
    let identity = read(source, report)?;
    let name = identity.hash().to_base64();
    if ours.join("router.keys.json").exists() {
        match target.map(DataDir::load_identity).transpose() {
            Ok(Some(Some(own))) if own.hash() == identity.hash() => {
                report.left(format!("identity {name}: it is here already"));
            }
            Ok(_) => report.left(format!(
                "identity {name}: {} has one, which is never overwritten; import into an empty directory",
                ours.display()
            )),
            Err(error) => report.left(format!("identity {name}: {error}")),
        }
        return None;
    }
    report.took(format!("identity {name}"));
    report.note(
        "never run both routers with this identity: they would take each other's sessions, and the network \
         would shun both",
    );
    Some(identity)
}

fn read(source: &Source, report: &mut Report) -> Option<Identity> {
    let name = match source.kind() {
        Kind::Java if source.has("router.keys.dat") => "router.keys.dat",
        Kind::Java | Kind::I2pd => "router.keys",
    };
    let bytes = match source.read(name, MAX_KEYS) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => {
            report.left("identity: there is none");
            return None;
        }
        Err(error) => {
            report.left(format!("identity: {name}: {error}"));
            return None;
        }
    };
    let known = decode(&bytes).and_then(|keys| Ok((keys, ntcp2_keys(source)?)));
    match known {
        Ok((keys, ntcp2)) => {
            if ntcp2.is_none() {
                report.note("no NTCP2 keys were found: new ones are made, and the address changes with them");
            }
            if source.kind() == Kind::I2pd && source.has("ssu2.keys") {
                report.left(
                    "ssu2.keys: the identity does not depend on it, a new key is made where one is used",
                );
            }
            Some(keys.into_identity(ntcp2))
        }
        Err(why) => {
            report.left(format!("identity: {why}"));
            None
        }
    }
}

/// The parts of an identity that make its name.
struct RouterKeys {
    signing: aioli_core::crypto::ed25519::SigningKey,
    encryption: x25519::PrivateKey,
    padding: Vec<u8>,
}

impl RouterKeys {
    fn into_identity(self, ntcp2: Option<Ntcp2Keys>) -> Identity {
        let Self { signing, encryption, padding } = self;
        let mut new = Identity::generate(&mut Rng::from_seed(entropy()));
        if let Some((static_key, iv)) = ntcp2 {
            (new.ntcp2_static, new.ntcp2_iv) = (static_key, iv);
        }
        Identity { signing, encryption, padding, ..new }
    }
}

/// The keys of a router of today.
fn decode(bytes: &[u8]) -> Result<RouterKeys, String> {
    if bytes.len() == OLD_JAVA_KEYS {
        return Err("router.keys holds DSA and ElGamal keys, which no router of today speaks with; \
                    start with a new identity"
            .to_owned());
    }
    let keys = DestinationKeys::from_bytes(bytes).map_err(|e| format!("the keys are damaged ({e})"))?;
    let general = keys.destination.keys_and_cert();
    if general.sig_type() != SigType::Ed25519 || general.crypto_type() != X25519 {
        return Err(format!(
            "its keys are of signature type {} and encryption type {}; routers of today have Ed25519 and X25519 \
             (7 and 4). Start with a new identity",
            general.sig_type().code(),
            general.crypto_type()
        ));
    }
    let router = RouterIdentity::from_bytes(keys.destination.bytes())
        .map_err(|e| format!("the identity is damaged ({e})"))?;
    let private: [u8; 32] =
        keys.encryption.as_bytes().try_into().map_err(|_| "the encryption key is damaged".to_owned())?;
    let encryption = x25519::PrivateKey::from_bytes(private);
    let signing = keys.signing_key().filter(|_| keys.offline.is_none());
    match signing {
        Some(signing) if encryption.public() == router.encryption_key() => {
            let padding = shortest(router.padding());
            Ok(RouterKeys { signing, encryption, padding })
        }
        _ => Err("the private keys are not those of the identity in the same file".to_owned()),
    }
}

/// 32 bytes if the padding repeats them, otherwise all of it.
fn shortest(padding: &[u8]) -> Vec<u8> {
    let seed = padding.get(..32).unwrap_or(padding);
    let repeats = padding.iter().eq(seed.iter().cycle().take(padding.len()));
    if repeats { seed.to_vec() } else { padding.to_vec() }
}

/// None if there are none; an error if they are damaged, so that an address does not change unseen.
fn ntcp2_keys(source: &Source) -> Result<Option<Ntcp2Keys>, String> {
    match source.kind() {
        Kind::I2pd => match source.read("ntcp2.keys", 80) {
            Ok(bytes) => i2pd_ntcp2(&bytes).map(Some).ok_or_else(|| "ntcp2.keys is damaged".to_owned()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(format!("ntcp2.keys: {error}")),
        },
        Kind::Java => {
            let config = match source.read_settings("router.config", MAX_CONFIG) {
                Ok(text) => properties::parse(&text),
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(format!("router.config: {error}")),
            };
            let Some((key, iv)) = config.get("i2np.ntcp2.sp").zip(config.get("i2np.ntcp2.iv")) else {
                return Ok(None);
            };
            let key: Option<[u8; 32]> = base64::decode(key).and_then(|k| k.try_into().ok());
            let iv: Option<[u8; 16]> = base64::decode(iv).and_then(|k| k.try_into().ok());
            let (key, iv) = key.zip(iv).ok_or("the NTCP2 keys in router.config are damaged")?;
            Ok(Some((x25519::PrivateKey::from_bytes(key), iv)))
        }
    }
}

fn i2pd_ntcp2(bytes: &[u8]) -> Option<Ntcp2Keys> {
    let public: [u8; 32] = bytes.get(..32)?.try_into().ok()?;
    let private: [u8; 32] = bytes.get(32..64)?.try_into().ok()?;
    let iv: [u8; 16] = bytes.get(64..)?.try_into().ok()?;
    let key = x25519::PrivateKey::from_bytes(private);
    (key.public().0 == public).then_some((key, iv))
}
