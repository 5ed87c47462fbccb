//! A node that finds its address out by itself.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aioli_core::Rng;
use aioli_node::{AddressWatch, Node, NodeConfig, Notice, bind};
use aioli_router::{Config, Event, Identity};
use aioli_wire::RouterInfo;

/// What the interfaces of the computer have.
type Interfaces = Arc<Mutex<Vec<IpAddr>>>;

fn start(there: &Interfaces) -> Node {
    let there = Arc::clone(there);
    let source = Box::new(move || Ok(there.lock().unwrap().clone()));
    let every = Duration::from_millis(20);
    let mut watch = AddressWatch::new(9_000, "0.0.0.0".parse().unwrap(), true);
    (watch.every, watch.source) = (every, source);
    let router = Config { net_id: 99, private_network: true, ..Config::default() };
    Node::start(NodeConfig {
        listeners: vec![bind("127.0.0.1:0".parse().unwrap(), "NTCP2", "--port").unwrap()],
        addresses: Some(watch),
        ..NodeConfig::new(router, Identity::generate(&mut Rng::from_seed([7; 32])))
    })
    .unwrap()
}

/// The next change of addresses.
async fn change(node: &mut Node) -> Vec<SocketAddr> {
    loop {
        let notice = tokio::time::timeout(Duration::from_secs(60), node.notice()).await;
        if let Notice::Router(Event::Addresses(addresses)) = notice.unwrap().unwrap() {
            return addresses;
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_that_comes_is_published_and_one_that_goes_is_given_up() {
    let there = Interfaces::default();
    let mut node = start(&there);
    *there.lock().unwrap() = vec!["127.0.0.1".parse().unwrap(), "192.168.7.7".parse().unwrap()];
    let address: SocketAddr = "192.168.7.7:9000".parse().unwrap();
    assert_eq!(change(&mut node).await, [address]);
    let published = |node: &Node| {
        let info = RouterInfo::decode_unverified(&node.snapshot().router_info).ok()?.verify().ok()?;
        info.addresses.iter().find_map(|a| a.endpoint())
    };
    while published(&node) != Some(address) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Another one beside it changes nothing; that it goes does.
    there.lock().unwrap().insert(0, "10.0.0.1".parse().unwrap());
    tokio::time::sleep(Duration::from_millis(200)).await;
    there.lock().unwrap().remove(2);
    assert_eq!(change(&mut node).await, ["10.0.0.1:9000".parse().unwrap()]);
    there.lock().unwrap().clear();
    assert_eq!(change(&mut node).await, []);
    node.stop();
}
