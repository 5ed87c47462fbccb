//! Structures that other projects made. The files are not part of this
//! repository: `AIOLI_VECTORS` names a directory with `routerinfo/` and
//! `i2np/` (emissary's and i2pr's test data); without it these tests say so
//! and check nothing.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what has no body of its own here is tried all the same")]

use std::fs;
use std::path::{Path, PathBuf};

use aioli_core::crypto::hash::sha256;
use aioli_wire::build::{BuildRecords, LONG_RECORD, SHORT_RECORD};
use aioli_wire::i2np::{
    Data, DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, Garlic, ReplyEncryption,
    StoreData, TunnelGateway,
};
use aioli_wire::ntcp2::{Block, Blocks};
use aioli_wire::tunnel::{TUNNEL_DATA_SIZE, fragments};
use aioli_wire::{DecodeError, DestinationKeys, Message, MessageType, RouterInfo, Wire};

#[allow(clippy::print_stderr, reason = "a test that checked nothing must not look like one that did")]
fn vectors() -> Option<PathBuf> {
    let dir = std::env::var_os("AIOLI_VECTORS").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("AIOLI_VECTORS is not set: nothing was checked against the shared vectors");
    }
    dir
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn read_hex(path: &Path) -> Vec<u8> {
    let text = String::from_utf8(read(path)).expect("a hex file is text");
    hex::decode(text.split_whitespace().collect::<String>()).expect("a hex file is hex")
}

/// Hash, capabilities, version and on how many addresses NTCP2 listens.
type Expected = (&'static str, &'static str, (u8, u8, u8), usize);

const ROUTERS: [(u8, Expected); 4] = [
    (1, ("lu-q20AG8SmapDyulME-f~LrhMdeC18ZswJ8pVEmAuQ=", "NRD", (0, 9, 64), 1)),
    (2, ("XHiSynd0UlNCkOB~jb2J4XEUlxLd47jq488Ungc-j~s=", "XR", (0, 9, 58), 1)),
    (4, ("Q2X8EdNABegC~lm0VdCAhh5rGLXMDR~aZO-gVNaP5i4=", "XfU", (0, 9, 62), 1)),
    (5, ("u9QdTy~qBwh8Mrcfrcqvea8MOiNmavLv8Io4XQsMDHg=", "L", (0, 9, 62), 1)),
];

#[test]
fn router_infos() {
    let Some(dir) = vectors() else { return };
    let dir = dir.join("routerinfo");
    for (n, (hash, caps, version, listens)) in ROUTERS {
        let bytes = read(&dir.join(format!("router{n}.dat")));
        let info = RouterInfo::decode_unverified(&bytes).unwrap();
        let info = info.verify().unwrap_or_else(|e| panic!("router{n}: {e}"));
        assert_eq!(info.bytes(), bytes);
        assert_eq!(info.hash().to_base64(), hash);
        assert_eq!(info.caps().to_string(), caps);
        assert_eq!(info.version(), Some(version));
        assert_eq!(info.net_id(), Some(2));
        assert!(info.options.is_sorted());
        assert_eq!(info.ntcp2().filter_map(|a| a.published()).count(), listens);

        let mut forged = bytes.clone();
        forged[400] ^= 1;
        if let Ok(forged) = RouterInfo::decode_unverified(&forged) {
            assert!(forged.verify().is_err());
        }
    }
    // ElGamal: not a router of today.
    assert!(RouterInfo::decode_unverified(&read(&dir.join("router3.dat"))).is_err());
}

#[test]
fn destination_keys() {
    let Some(dir) = vectors() else { return };
    for (name, crypto) in [("destination.b64", 4), ("elgamal.b64", 0)] {
        let text = String::from_utf8(read(&dir.join("routerinfo").join(name))).unwrap();
        let keys = DestinationKeys::from_base64(text.trim()).unwrap();
        assert_eq!(keys.destination.keys_and_cert().crypto_type(), crypto);
        assert_eq!(*keys.to_base64(), text.trim());
        // The signing key belongs to the public one.
        assert!(keys.signing_key().is_some());
    }
}

/// Decodes the body by its type and encodes it again.
fn reencode_body(message: &Message) -> Result<Vec<u8>, DecodeError> {
    let body = message.body.as_slice();
    match message.kind {
        MessageType::DatabaseStore => DatabaseStore::from_bytes(body).map(|b| b.to_bytes()),
        MessageType::DatabaseLookup => DatabaseLookup::from_bytes(body).map(|b| b.to_bytes()),
        MessageType::DatabaseSearchReply => DatabaseSearchReply::from_bytes(body).map(|b| b.to_bytes()),
        MessageType::DeliveryStatus => DeliveryStatus::from_bytes(body).map(|b| b.to_bytes()),
        MessageType::Garlic => Garlic::from_bytes(body).map(|b| b.to_bytes()),
        MessageType::Data => Data::from_bytes(body).map(|b| b.to_bytes()),
        MessageType::TunnelGateway => {
            let gateway = TunnelGateway::from_bytes(body)?;
            gateway.decode_message()?;
            Ok(gateway.to_bytes())
        }
        // Owned by the tunnel formats; only the header is checked here.
        MessageType::TunnelData
        | MessageType::VariableTunnelBuild
        | MessageType::VariableTunnelBuildReply
        | MessageType::ShortTunnelBuild
        | MessageType::OutboundTunnelBuildReply
        | MessageType::Unknown(_) => Ok(body.to_vec()),
    }
}

/// A row of a manifest: the file, its SHA-256, and what is said of it.
struct Row {
    file: String,
    sha256: String,
    expected: String,
}

/// The rows of a manifest. Every file must be what its row says, and every `.hex` file must have a row.
fn manifest(dir: &Path, separator: char, hash: usize, expected: usize) -> Vec<Row> {
    let text = String::from_utf8(read(&dir.join("manifest.tsv"))).unwrap();
    let rows = text.lines().filter(|l| !l.starts_with('#')).map(|line| {
        let fields: Vec<_> = line.split(separator).collect();
        let file = fields[1].rsplit('/').next().unwrap().to_owned();
        Row { file, sha256: fields[hash].to_owned(), expected: fields[expected].to_owned() }
    });
    let rows: Vec<_> = rows.collect();
    for row in &rows {
        assert_eq!(hex::encode(sha256(&read(&dir.join(&row.file)))), row.sha256, "{}", row.file);
    }
    for entry in fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".hex") || rows.iter().any(|row| row.file == name), "{name} has no row");
    }
    rows
}

/// Whether a message and its body can be read and are the same when written again.
fn reencodes(bytes: &[u8]) -> Result<Message, DecodeError> {
    let message = Message::decode_standard(bytes)?;
    let body = match message.kind {
        // The rest of it is encrypted.
        MessageType::TunnelData if message.body.len() == TUNNEL_DATA_SIZE => message.body.clone(),
        MessageType::TunnelData => return Err(fragments(&message.body).unwrap_err()),
        MessageType::VariableTunnelBuild => BuildRecords::decode(&message.body, LONG_RECORD)?.encode(),
        MessageType::ShortTunnelBuild => BuildRecords::decode(&message.body, SHORT_RECORD)?.encode(),
        _ => reencode_body(&message)?,
    };
    assert_eq!(body, message.body);
    assert_eq!(message.encode_standard(), bytes);
    Ok(message)
}

#[test]
fn i2np_messages() {
    let Some(dir) = vectors() else { return };
    let dir = dir.join("i2np");
    let rows = manifest(&dir, '|', 3, 8);
    for Row { file, expected, .. } in &rows {
        let bytes = read_hex(&dir.join(file));
        let expected: Vec<_> = expected.split(':').collect();
        match expected[..] {
            // The header of SSU1, which nobody speaks any more.
            ["decode", "short-ssu", ..] => {}
            ["decode", "short-transport", ..] => {
                let message = Message::decode_short(&bytes).unwrap();
                let mut again = Vec::new();
                message.encode_short(&mut again);
                assert_eq!(again, bytes);
            }
            ["decode", "standard", kind, ..] => {
                let message = reencodes(&bytes).unwrap_or_else(|e| panic!("{file}: {e}"));
                assert_eq!(format!("{:?}", message.kind), kind, "{file}");
            }
            // A type that we do not know is no error; it is dropped by whoever gets it.
            ["error", "Unsupported"] => {
                assert_eq!(Message::decode_standard(&bytes).unwrap().kind, MessageType::Unknown(99));
            }
            // No hop has the number 0: the table of hops drops it.
            ["error", "InvalidFieldValue", "TunnelData tunnel ID"] => assert!(reencodes(&bytes).is_ok()),
            ["error", ..] => assert!(reencodes(&bytes).is_err(), "{file}"),
            _ => panic!("{file}: what is expected? {expected:?}"),
        }
    }
    assert!(rows.len() > 25, "only {} files", rows.len());
}

#[test]
fn ntcp2_blocks() {
    let Some(dir) = vectors() else { return };
    let dir = dir.join("ntcp2");
    // Of the other files, vectors.tsv is for cryptography, and two are that project's own formats.
    assert_eq!(manifest(&dir, '\t', 4, 2).len(), 5);
    let frame = read_hex(&dir.join("data-phase-blocks.hex"));
    let blocks: Vec<_> = Blocks::new(&frame).collect::<Result<_, _>>().unwrap();
    assert!(matches!(blocks[..], [Block::DateTime(_), Block::Padding(_)]), "{blocks:?}");
    let twice_padded = read_hex(&dir.join("data-phase-malformed.hex"));
    assert!(Blocks::new(&twice_padded).any(|block| block.is_err()));
}

#[test]
fn lookup_forms() {
    let Some(dir) = vectors() else { return };
    let reply = |name: &str| {
        let message = Message::decode_standard(&read_hex(&dir.join("i2np").join(name))).unwrap();
        DatabaseLookup::from_bytes(&message.body).unwrap().reply
    };
    assert_eq!(reply("positive-database-lookup-none.hex"), ReplyEncryption::None);
    assert!(matches!(
        reply("positive-database-lookup-ecies.hex"),
        ReplyEncryption::Ecies { key, tag } if key.as_bytes() == &[0x22; 32] && tag.0 == [0x23; 8]
    ));
    assert!(
        matches!(reply("positive-database-lookup-legacy.hex"), ReplyEncryption::Aes { tags, .. } if tags.len() == 1)
    );
    let store = read_hex(&dir.join("i2np/positive-database-store-classic-leaseset.hex"));
    let store = DatabaseStore::from_bytes(&Message::decode_standard(&store).unwrap().body).unwrap();
    assert!(matches!(store.data, StoreData::LeaseSet { .. }));
    let set = store.data.decode_lease_set().unwrap().unwrap();
    assert_eq!(set.claims().leases().len(), 1);
    assert!(set.verify().is_err(), "its keys are placeholders");
}
