//! The machinery below the routers: network namespaces, gateways, supervised
//! processes and a forwarder that adds delay.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub mod capture;
pub mod delay;
pub mod guard;
pub mod namespace;
pub mod nat;
pub mod process;

/// Waits until something holds; an error ends the waiting, and so does the limit.
pub fn until(limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() >= deadline {
            bail!("not within {limit:?}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
