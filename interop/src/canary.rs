//! A canary: listens where nobody should come, and says who did.

use std::io::{Write, stdout};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

use anyhow::{Context, Result};

/// What its process does: a line `READY`, then one `CAUGHT …` for each connection and each datagram, until it is killed.
pub fn listen(addresses: &[SocketAddr]) -> Result<()> {
    let mut ears = Vec::new();
    for address in addresses {
        let in_use = || format!("the canary cannot listen on {address}");
        let tcp = TcpListener::bind(address).with_context(in_use)?;
        ears.push(thread::spawn({
            let address = *address;
            move || {
                for stream in tcp.incoming().flatten() {
                    let from = stream.peer_addr().map_or_else(|e| e.to_string(), |from| from.to_string());
                    say(&format!("CAUGHT TCP from {from} at {address}"));
                }
            }
        }));
        let udp = UdpSocket::bind(address).with_context(in_use)?;
        ears.push(thread::spawn({
            let address = *address;
            move || {
                while let Ok((_, from)) = udp.recv_from(&mut [0; 2_048]) {
                    say(&format!("CAUGHT UDP from {from} at {address}"));
                }
            }
        }));
    }
    say("READY");
    for ear in ears {
        // It hears until the process ends.
        let _ = ear.join();
    }
    Ok(())
}

fn say(line: &str) {
    println!("{line}");
    let _ = stdout().flush();
}
