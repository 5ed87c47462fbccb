//! Whom is asked, and a gateway that speaks NAT-PMP alone (RFC 6886). Real ones are met in `interop/`.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

const PORT: NonZeroU16 = NonZeroU16::new(9_700).unwrap();
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(45, 66, 77, 88);

fn gateway(address: &str, local: &str) -> Gateway {
    Gateway { address: address.parse().unwrap(), local: local.parse().unwrap(), interface: 1 }
}

fn mapper(listening: &str) -> Rc<Mapper> {
    Mapper::new(&MappingConfig::new(PORT, listening.parse().unwrap(), false))
}

#[test]
fn only_gateways_of_private_addresses_of_the_family_are_asked() {
    let home = gateway("192.168.1.1", "192.168.1.7");
    let server = gateway("45.1.2.1", "45.1.2.3");
    let v6 = gateway("fe80::1", "2a01:4f8::2");
    let all = vec![v6.clone(), server, home.clone(), home.clone()];
    assert_eq!(mapper("0.0.0.0").worth_asking(all.clone()), vec![home.clone()]);
    assert_eq!(mapper("192.168.1.7").worth_asking(all.clone()), vec![home]);
    assert_eq!(mapper("192.168.1.8").worth_asking(all.clone()), []);
    assert_eq!(mapper("::").worth_asking(all), [v6]);
    let many = (1..20).map(|n| gateway(&format!("10.0.{n}.1"), &format!("10.0.{n}.2"))).collect();
    assert_eq!(mapper("0.0.0.0").worth_asking(many).len(), MAX_GATEWAYS);
}

#[test]
fn no_lease_is_renewed_later_than_ours_or_all_the_time() {
    assert_eq!(half(None), LEASE / 2);
    assert_eq!(half(Some(Duration::from_secs(86_400))), LEASE / 2);
    assert_eq!(half(Some(Duration::from_secs(600))), Duration::from_secs(300));
    assert_eq!(half(Some(Duration::ZERO)), LOOK_EVERY);
}

/// A gateway of a loopback address: what it has mapped, external ports by opcode.
type Mapped = Arc<Mutex<Vec<(u8, u16)>>>;

/// Answers NAT-PMP until the test ends; PCP with its version, as the standard says; `refuse` is its result code.
fn nat_pmp(address: &str, refuse_tcp: bool) -> Mapped {
    let socket = UdpSocket::bind((address, crab_nat::GATEWAY_PORT)).unwrap();
    let mapped = Mapped::default();
    let table = Arc::clone(&mapped);
    thread::spawn(move || {
        let mut bytes = [0; 1100];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let asked = &bytes[..length];
            let mut answer = vec![0, asked[1] | 0x80, 0, 0, 0, 0, 0, 9];
            match asked {
                [0, 0] => answer.extend(OUTSIDE.octets()),
                [0, 2, ..] if refuse_tcp => {
                    answer[3] = 2;
                    answer.extend([0; 8]);
                }
                [0, op, _, _, port @ .., _, _, _, _, _, _] if port.len() == 2 => {
                    let lease = &asked[8..12];
                    let mut table = table.lock().unwrap();
                    table.retain(|(of, _)| of != op);
                    answer.extend(port);
                    if lease == [0; 4] {
                        answer.extend([0; 6]);
                    } else {
                        // Another port than was asked for.
                        table.push((*op, 4_000 + u16::from(*op)));
                        answer.extend((4_000 + u16::from(*op)).to_be_bytes());
                        answer.extend(lease);
                    }
                }
                _ => answer[3] = 1,
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    mapped
}

#[tokio::test]
async fn a_gateway_maps_both_transports_and_forgets_them_at_the_end() {
    let mapped = nat_pmp("127.77.1.1", false);
    let (mapper, gateway) = (mapper("0.0.0.0"), gateway("127.77.1.1", "127.0.0.1"));
    let local = tokio::task::LocalSet::new();
    let mut events = Vec::new();
    local
        .run_until(async {
            mapper.ask_one(&gateway, &mut events).await;
            let outside = |port| SocketAddr::new(OUTSIDE.into(), port);
            assert_eq!(
                mapper.external(),
                [(Transport::Tcp, outside(4_002)), (Transport::Udp, outside(4_001))]
            );
            assert_eq!(mapped.lock().unwrap().len(), 2);
            let texts: Vec<_> = events.iter().map(ToString::to_string).collect();
            assert_eq!(
                texts[0],
                "port mapping: 45.66.77.88:4002 (TCP) leads to this router, by NAT-PMP at 127.77.1.1"
            );
            assert_eq!(texts.len(), 2, "what failed before does not matter then: {texts:?}");
            let (at, mut lease) = (0, mapper.held.borrow()[0].lease.clone());
            let renewed = lease.renew().await;
            let (_, events) = mapper.renewed(at, lease, renewed).unwrap();
            assert_eq!(events, [], "nothing has changed");
            mapper.remove_all().await;
        })
        .await;
    assert_eq!(*mapped.lock().unwrap(), []);
    assert!(mapper.external().is_empty());
}

#[tokio::test]
async fn a_gateway_that_maps_one_transport_alone_is_left_with_none() {
    let mapped = nat_pmp("127.77.1.2", true);
    let mapper = mapper("0.0.0.0");
    let (refusing, silent) = (gateway("127.77.1.2", "127.0.0.1"), gateway("127.77.1.3", "127.0.0.1"));
    let local = tokio::task::LocalSet::new();
    let error = local.run_until(mapper.map(&refusing, Protocol::NatPmp)).await;
    assert_eq!(error, Err(MappingError::Refused("not authorized".into())));
    assert_eq!(*mapped.lock().unwrap(), []);
    let error = local.run_until(mapper.map(&silent, Protocol::Pcp)).await;
    assert_eq!(error, Err(MappingError::Unsupported));
}
