//! What is made, encoded and decoded again is the same, and verifies.

mod common;

use std::fmt::Debug;

use aioli_wire::i2np::{Data, DeliveryStatus, Garlic, TunnelGateway};
use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::{LeaseSet, LeaseSetType, Message, MessageId, RouterInfo, Wire, gzip};
use common::*;
use proptest::prelude::*;

/// Also: no shorter and no longer input decodes.
fn check<T>(value: &T) -> Result<(), TestCaseError>
where
    T: for<'a> Wire<'a> + PartialEq + Debug,
{
    let bytes = value.to_bytes();
    let again = T::from_bytes(&bytes);
    prop_assert_eq!(again.as_ref(), Ok(value));
    prop_assert!(T::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    for len in 0..bytes.len() {
        prop_assert!(T::from_bytes(&bytes[..len]).is_err());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn identities((id, key) in identity(), (destination, _) in destination(), padding: [u8; 32]) {
        check(&id)?;
        check(id.keys_and_cert())?;
        check(&destination)?;
        check(&DestinationKeys::create(&key, &padding))?;
        check(&DestinationKeys::create_with_elgamal_filler(&key, &padding))?;
    }

    #[test]
    fn small_structures(map in mapping(), address in address(), hash in hash(), tunnel in tunnel()) {
        check(&map)?;
        check(&address)?;
        check(&hash)?;
        check(&tunnel)?;
    }

    #[test]
    fn router_infos(info in router_info()) {
        check(&*info)?;
        prop_assert!(info.options.is_sorted());
        prop_assert_eq!(RouterInfo::decode_unverified(info.bytes()).unwrap().verify().unwrap(), info);
    }

    #[test]
    fn lease_sets(set in lease_set()) {
        let again = LeaseSet::decode(LeaseSetType::V2, set.bytes()).unwrap().verify().unwrap();
        prop_assert_eq!(&again, &set);
        check(set.as_v2().unwrap())?;
        // Another store type may fit by accident, but not its signature.
        for kind in [LeaseSetType::V1, LeaseSetType::Encrypted, LeaseSetType::Meta] {
            if let Ok(other) = LeaseSet::decode(kind, set.bytes()) {
                prop_assert!(other.verify().is_err());
            }
        }
    }

    #[test]
    fn database_messages(store in database_store(), lookup in database_lookup(), reply in search_reply()) {
        // A LeaseSet fills the rest of its message, so its length is not the store's to check.
        let bytes = store.to_bytes();
        prop_assert_eq!(aioli_wire::i2np::DatabaseStore::from_bytes(&bytes).unwrap(), store);
        check(&lookup)?;
        check(&reply)?;
    }

    #[test]
    fn stored_data_verifies(store in database_store()) {
        let info = store.data.decode_router_info();
        let set = store.data.decode_lease_set();
        match (info, set) {
            (Some(info), None) => {
                let info = info.unwrap().verify().unwrap();
                prop_assert_eq!(aioli_wire::Hash::from(info.hash()), store.key);
            }
            (None, Some(set)) => {
                prop_assert_eq!(aioli_wire::Hash::from(set.unwrap().verify().unwrap().key()), store.key);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn messages(message in message()) {
        let bytes = message.encode_standard();
        prop_assert_eq!(&Message::decode_standard(&bytes).unwrap(), &message);
        let mut short = Vec::new();
        message.encode_short(&mut short);
        prop_assert_eq!(short.len(), message.short_len());
        prop_assert_eq!(&Message::decode_short(&short).unwrap(), &message);
        for len in 0..bytes.len() {
            prop_assert!(Message::decode_standard(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn envelopes(bytes in prop::collection::vec(any::<u8>(), 0..300), tunnel in tunnel(), id: u32, time in millis()) {
        check(&DeliveryStatus { id: MessageId(id), time })?;
        let garlic = Garlic { bytes: &bytes };
        let encoded = garlic.to_bytes();
        prop_assert_eq!(Garlic::from_bytes(&encoded).unwrap(), garlic);
        let data = Data { payload: &bytes };
        let encoded = data.to_bytes();
        prop_assert_eq!(Data::from_bytes(&encoded).unwrap(), data);
        let gateway = TunnelGateway { tunnel, message: &bytes };
        let encoded = gateway.to_bytes();
        prop_assert_eq!(TunnelGateway::from_bytes(&encoded).unwrap(), gateway);
    }

    #[test]
    fn compressed_router_infos_are_small(info in router_info()) {
        let compressed = gzip::compress(info.bytes());
        prop_assert_eq!(gzip::inflate(&compressed, info.bytes().len()).unwrap(), info.bytes());
        prop_assert!(gzip::inflate(&compressed, info.bytes().len() - 1).is_err());
    }
}
