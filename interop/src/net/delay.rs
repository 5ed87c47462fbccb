//! Links with delay, where the kernel has no netem.
//!
//! ```text
//!   namespace r1          forwarder          namespace r2
//!   app ── tun ────────▶ queue, 25 ms ─────▶ tun ── app
//! ```
//!
//! One TUN device per namespace, and one thread that reads them all and hands
//! each packet to the device of its target when it is due. The delay is the
//! same for all, so packets leave in the order in which they came.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write, stdout};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::namespace::{Namespace, Namespaces};
use super::process::Process;

/// What a packet on such a link may hold.
const MTU: u16 = 1500;
/// Packets under way at a time, all links together: 300 MB, beyond which packets are lost.
const MAX_UNDER_WAY: usize = 200_000;
/// A packet due so soon is sent now rather than waited for.
const SOON: Duration = Duration::from_micros(300);

/// Starts a forwarder and puts one end of it into each namespace, addressed 198.18.i.2/15.
pub fn connect(
    namespaces: &mut Namespaces,
    targets: &[(u8, Namespace)],
    delay: Duration,
    logs: &Path,
) -> Result<Process> {
    let own = namespaces.add("delay")?;
    let mut command = own.command(&std::env::current_exe()?);
    command.arg("forward").arg(delay.as_millis().to_string());
    command.args(targets.iter().map(|(index, _)| index.to_string()));
    let (process, lines) = Process::start_talking(command, "the forwarder", &logs.join("forwarder.log"))?;
    lines.expect("READY", Duration::from_secs(10))?;
    for (index, target) in targets {
        let device = device_name(*index);
        // A device keeps its connection to the forwarder when it moves.
        own.ip(&["link", "set", &device, "netns", target.name()])?;
        target.ip(&["addr", "add", &format!("198.18.{index}.2/15"), "dev", &device])?;
        target.ip(&["link", "set", &device, "mtu", &MTU.to_string(), "txqueuelen", "10000", "up"])?;
    }
    Ok(process)
}

/// What the forwarder's process does: forwards until it is killed.
pub fn forward(delay: Duration, indices: &[u8]) -> Result<()> {
    let mut forwarder = Forwarder::new(delay, indices)?;
    println!("READY");
    stdout().flush()?;
    loop {
        forwarder.turn()?;
    }
}

fn device_name(index: u8) -> String {
    format!("link{index}")
}

/// The devices and what is under way between them.
struct Forwarder {
    delay: Duration,
    poll: Poll,
    events: Events,
    devices: Vec<tun::Device>,
    /// The device that leads to 198.18.i.2.
    device_of: [Option<usize>; 256],
    under_way: VecDeque<Packet>,
    spare: Vec<Vec<u8>>,
}

struct Packet {
    due: Instant,
    device: usize,
    bytes: Vec<u8>,
}

impl Forwarder {
    fn new(delay: Duration, indices: &[u8]) -> Result<Self> {
        let poll = Poll::new()?;
        let mut devices = Vec::new();
        let mut device_of = [None; 256];
        for index in indices {
            let mut configuration = tun::configure();
            configuration.tun_name(device_name(*index)).mtu(MTU);
            let device = tun::create(&configuration).context("making a TUN device (this needs root)")?;
            device.set_nonblock()?;
            let token = Token(devices.len());
            poll.registry().register(&mut SourceFd(&device.as_raw_fd()), token, Interest::READABLE)?;
            if let Some(slot) = device_of.get_mut(usize::from(*index)) {
                *slot = Some(devices.len());
            }
            devices.push(device);
        }
        let events = Events::with_capacity(64);
        Ok(Self { delay, poll, events, devices, device_of, under_way: VecDeque::new(), spare: Vec::new() })
    }

    /// Waits for packets or for one to be due, and handles both.
    fn turn(&mut self) -> Result<()> {
        let wait = self.under_way.front().map(|p| p.due.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let due = Instant::now() + self.delay;
        let ready = self.events.iter().map(|e| e.token().0).collect::<Vec<_>>();
        for device in ready {
            self.read_all(device, due);
        }
        self.send_due();
        Ok(())
    }

    /// Takes what a device holds. A device that is not up yet, or gone, holds nothing.
    fn read_all(&mut self, from: usize, due: Instant) {
        let Some(source) = self.devices.get(from) else { return };
        loop {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.resize(usize::from(MTU), 0);
            let Ok(length) = source.recv(&mut bytes) else {
                self.spare.push(bytes);
                return;
            };
            bytes.truncate(length);
            match self.target(&bytes) {
                Some(device) if self.under_way.len() < MAX_UNDER_WAY => {
                    self.under_way.push_back(Packet { due, device, bytes });
                }
                _ => self.spare.push(bytes),
            }
        }
    }

    /// The device for a packet to 198.18.i.2.
    fn target(&self, packet: &[u8]) -> Option<usize> {
        match packet {
            [version, ..] if version >> 4 == 4 => match packet.get(16..20)? {
                [198, 18, index, 2] => *self.device_of.get(usize::from(*index))?,
                _ => None,
            },
            _ => None,
        }
    }

    fn send_due(&mut self) {
        let now = Instant::now() + SOON;
        while self.under_way.front().is_some_and(|p| p.due <= now) {
            let Some(packet) = self.under_way.pop_front() else { return };
            if let Some(device) = self.devices.get(packet.device) {
                // A device that does not take a packet loses it, as a link does.
                let _ = device.send(&packet.bytes);
            }
            self.spare.push(packet.bytes);
        }
    }
}
