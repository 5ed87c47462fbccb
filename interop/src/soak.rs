//! One stream that stays up across tunnel generations: a ping each second for
//! as long as asked, each answered intact.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::client::load::{open, ping};
use crate::client::sam::session_within;

/// The kind byte of an echo stream, see `client::load`.
const ECHO: u8 = b'E';

/// The connecting side: one stream, a ping per second; prints the longest round trip.
pub fn soak(destination: &str, options: &str, time: Duration) -> Result<()> {
    let (session, _) = session_within(options, Duration::from_secs(120))?;
    let mut stream = open(&session, destination)?;
    std::io::Write::write_all(&mut stream, &[ECHO])?;
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    let mut count = 0_u32;
    while begun.elapsed() < time {
        let sent = Instant::now();
        ping(&mut stream).with_context(|| format!("after {} s", begun.elapsed().as_secs()))?;
        longest = longest.max(sent.elapsed());
        count += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("SOAK {count} {:.3}", longest.as_secs_f64());
    Ok(())
}
