//! What goes over a device, recorded by `tcpdump` and read packet by packet.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::namespace::Namespace;
use super::process::{Process, ensure_installed};
use super::until;

/// Where Debian has it.
const PROGRAM: &str = "/usr/bin/tcpdump";
/// It is heard from and ends within this time.
const WITHIN: Duration = Duration::from_secs(20);

/// A recording that goes on.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// A packet, as far as it matters who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Who has an address, or has it.
    Arp(Ipv4Addr),
    /// TCP or UDP.
    Between {
        /// Whether it is TCP.
        tcp: bool,
        /// Sender.
        from: SocketAddr,
        /// Receiver.
        to: SocketAddr,
    },
    /// What neighbours over IPv6 tell each other: types 133 to 137 and 143 of ICMPv6.
    Neighbours,
    /// Anything else: kind of frame, and protocol.
    Other(u16, u8),
}

impl Capture {
    /// Records all that goes over a device from now on.
    pub fn start(namespace: &Namespace, device: &str, file: &Path) -> Result<Self> {
        ensure_installed(PROGRAM)?;
        let mut command = namespace.command(Path::new(PROGRAM));
        command.args(["-i", device, "-n", "-U", "--immediate-mode", "-B", "65536", "-s", "0", "-Z", "root"]);
        command.arg("-w").arg(file);
        let log = file.with_extension("log");
        let mut process = Process::start(command, "tcpdump", &log)?;
        until(WITHIN, || {
            process.ensure_running()?;
            Ok(fs::read_to_string(&log)?.contains("listening on"))
        })
        .context("tcpdump does not listen")?;
        Ok(Self { process, file: file.to_owned() })
    }

    /// Ends it and gives what was recorded: none of it may be missing.
    pub fn end(mut self) -> Result<Vec<u8>> {
        ensure!(self.process.stop(WITHIN), "tcpdump had to be killed");
        let said = fs::read_to_string(self.process.log())?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump has missed something: {said}");
        Ok(fs::read(&self.file)?)
    }
}

/// The frames of a recording, as they stand on the wire.
pub fn frames(recording: &[u8]) -> Result<Vec<&[u8]>> {
    let number = |at: usize| {
        let bytes = recording.get(at..at + 4).context("the recording is cut off")?;
        Ok::<_, anyhow::Error>(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(number(0)? == 0xa1b2_c3d4 && number(20)? == 1, "no recording of Ethernet");
    let (mut frames, mut at) = (Vec::new(), 24);
    while at < recording.len() {
        let (kept, sent) = (number(at + 8)?, number(at + 12)?);
        ensure!(kept == sent, "{kept} bytes of {sent} were recorded");
        let frame = recording.get(at + 16..at + 16 + kept).context("the recording is cut off")?;
        frames.push(frame);
        at += 16 + kept;
    }
    Ok(frames)
}

/// Who speaks to whom in a frame of Ethernet.
pub fn packet(frame: &[u8]) -> Result<Packet> {
    let short = || anyhow::anyhow!("a frame of {} bytes is cut off", frame.len());
    let get = |at: usize, n: usize| frame.get(at..at + n).ok_or_else(short);
    let two = |at: usize| Ok::<_, anyhow::Error>(u16::from_be_bytes(get(at, 2)?.try_into()?));
    let v4 = |at: usize| Ok::<_, anyhow::Error>(Ipv4Addr::from(<[u8; 4]>::try_from(get(at, 4)?)?));
    let v6 = |at: usize| Ok::<_, anyhow::Error>(Ipv6Addr::from(<[u8; 16]>::try_from(get(at, 16)?)?));
    let kind = two(12)?;
    let (protocol, from, to, payload) = match kind {
        0x0806 => return Ok(Packet::Arp(v4(38)?)),
        0x0800 => {
            let words = usize::from(get(14, 1)?[0] & 15);
            ensure!(two(20)? & 0x3fff == 0, "a fragment, which nobody here needs to send");
            (get(23, 1)?[0], IpAddr::V4(v4(26)?), IpAddr::V4(v4(30)?), 14 + words * 4)
        }
        0x86dd => {
            let (next, from, to) = (get(20, 1)?[0], v6(22)?, v6(38)?);
            // Reports of groups begin with options for each hop.
            let (next, payload) = if next == 0 { (get(54, 1)?[0], 62) } else { (next, 54) };
            (next, IpAddr::V6(from), IpAddr::V6(to), payload)
        }
        _ => return Ok(Packet::Other(kind, 0)),
    };
    Ok(match protocol {
        6 | 17 => Packet::Between {
            tcp: protocol == 6,
            from: SocketAddr::new(from, two(payload)?),
            to: SocketAddr::new(to, two(payload + 2)?),
        },
        58 if matches!(get(payload, 1)?[0], 133..=137 | 143) => Packet::Neighbours,
        other => Packet::Other(kind, other),
    })
}

/// The packets of a recording that are none of those expected, each kind of them once.
pub fn unexpected(recording: &[u8], expected: impl Fn(Packet) -> bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for frame in frames(recording)? {
        let packet = packet(frame)?;
        if !expected(packet) {
            let words = format!("{packet:?}");
            if !found.contains(&words) {
                found.push(words);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1];
        bytes.extend([0; 16]);
        bytes.extend(1_u32.to_le_bytes());
        for frame in frames {
            bytes.extend([0; 8]);
            for _ in 0..2 {
                bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
            }
            bytes.extend(frame);
        }
        bytes
    }

    fn ipv4(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(from.0.iter().chain(&to.0));
        frame.extend(from.1.to_be_bytes().iter().chain(&to.1.to_be_bytes()));
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn packets_are_told_apart() {
        let (us, peer, resolver) = (([198, 18, 1, 2], 12345), ([198, 18, 2, 2], 12345), ([10, 0, 0, 53], 53));
        let router = ipv4(17, us, peer);
        let dns = ipv4(17, us, resolver);
        let ping = ipv4(1, us, peer);
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[8, 6]);
        arp[38..].copy_from_slice(&peer.0);
        let mut solicit = vec![0; 60];
        solicit[12..14].copy_from_slice(&[0x86, 0xdd]);
        (solicit[20], solicit[54]) = (58, 135);
        let mut spanning = vec![0; 60];
        spanning[13] = 38;
        let recorded = recording(&[router, dns.clone(), ping, arp, solicit, spanning, dns]);
        let packets: Vec<_> = frames(&recorded).unwrap().into_iter().map(|f| packet(f).unwrap()).collect();
        assert_eq!(packets[3], Packet::Arp(peer.0.into()));
        assert_eq!(packets[4], Packet::Neighbours);
        let to_peer = |p: Packet| matches!(p, Packet::Between { to, .. } if to == SocketAddr::from(peer));
        let found = unexpected(&recorded, |p| to_peer(p) || matches!(p, Packet::Arp(_) | Packet::Neighbours));
        let found = found.unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("10.0.0.53:53"), "{found:?}");
        assert!(frames(&recorded[..recorded.len() - 1]).is_err(), "a part of a recording is no proof");
    }
}
