//! Reseeding by the real `i2p-router`, from servers of the test's own on
//! loopback: a good one, and each way in which one can be wrong.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aioli_core::{Date, Now, Rng};
use aioli_router::{Config, Identity, create_router_info};
use tempfile::TempDir;
use testkit::program::{Program, eventually, router};
use testkit::proxy::{Kind, Proxy};
use testkit::reseed::{
    Answer, Authority, SIGNER, Server, archive, archive_of, bundle, bundle_of, configuration, entry_name,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NET_ID: u8 = 99;
const FOREVER: &str = "2099-01-01";
/// No condition may take longer to come about.
const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// So many routers of the test's network. Nothing listens at their addresses.
fn routers(first: u8, count: u8) -> Vec<Vec<u8>> {
    routers_of(NET_ID, first, count)
}

fn routers_of(net_id: u8, first: u8, count: u8) -> Vec<Vec<u8>> {
    let wall = Date::from_secs(now());
    (first..first + count)
        .map(|n| {
            let identity = Identity::generate(&mut Rng::from_seed([n; 32]));
            let config = Config {
                net_id,
                private_network: true,
                published: vec![SocketAddr::from(([127, 1, 1, n], 1))],
                ..Config::default()
            };
            create_router_info(&config, &identity, Now { mono: aioli_core::Instant::ZERO, wall })
                .bytes()
                .to_vec()
        })
        .collect()
}

fn good(first: u8) -> Answer {
    Answer::File(bundle(&routers(first, 20), now(), SIGNER).unwrap())
}

fn server(authority: &Authority, answer: Answer) -> Server {
    Server::start(authority, SocketAddr::new(LOOPBACK, 0), LOOPBACK, false, answer).unwrap()
}

fn start(dir: &Path, args: &[&str]) -> Program {
    let args = [args, &["--port", "0", "--no-sam"]].concat();
    Program::start(router(env!("CARGO_BIN_EXE_i2p-router"), dir, &args))
}

/// What it says up to the end of reseeding.
fn reseeded(router: &mut Program) -> String {
    let ended = router.until(|line| line.contains("new routers from") || line.contains("nothing worked"));
    assert!(ended.is_some(), "it ended: {}", router.said);
    router.said.clone()
}

/// Reseeds with this configuration and these arguments; gives what was said and how many are on the disk then.
fn reseed(configuration: &str, args: &[&str]) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("reseed.toml");
    fs::write(&file, configuration).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let args = [args, &["--reseed-config", &file]].concat();
    reseeded(&mut start(dir.path(), &args))
}

#[test]
fn two_good_servers_are_enough_and_what_they_gave_outlives_a_restart() {
    let authority = Authority::new().unwrap();
    let servers = [server(&authority, good(1)), server(&authority, good(21))];
    let urls: Vec<_> = servers.iter().map(Server::url).collect();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("reseed.toml");
    fs::write(&file, configuration(&urls, &authority, FOREVER).unwrap()).unwrap();
    let mut router = start(dir.path(), &["--reseed-config", file.to_str().unwrap()]);
    let said = reseeded(&mut router);
    assert!(said.contains("40 new routers from 2 sources"), "{said}");
    assert!(servers.iter().all(|s| s.asked() == 1 && said.contains(&s.address.to_string())), "{said}");
    // Files are written beside the router's work: they may be behind what it says, and must all come.
    eventually("40 files", PATIENCE, || (files_of_routers(dir.path()) == 40).then_some(()));
    drop(router);
    let mut again = start(dir.path(), &["--reseed", "never"]);
    let line = again.says("other routers known");
    assert!(line.starts_with("40 other routers known"), "{line}");
}

/// RouterInfos in a data directory.
fn files_of_routers(data: &Path) -> usize {
    let shards = fs::read_dir(data.join("netDb")).into_iter().flatten().flatten();
    let files = shards.filter_map(|shard| fs::read_dir(shard.path()).ok()).flatten().flatten();
    files.filter(|file| file.path().extension().is_some_and(|e| e == "dat")).count()
}

#[test]
fn each_way_in_which_a_server_is_wrong_is_one_line() {
    let authority = Authority::new().unwrap();
    let stranger = Authority::new().unwrap();
    let whole = bundle(&routers(1, 5), now(), SIGNER).unwrap();
    let mut altered = whole.clone();
    altered[300] ^= 1;
    let foreign = server(&authority, good(1));
    let expired =
        Server::start(&authority, SocketAddr::new(LOOPBACK, 0), LOOPBACK, true, Answer::File(whole.clone()));
    let month = 31 * 24 * 3_600;
    let cases = [
        (server(&authority, Answer::File(altered)), "its signature is not that of"),
        (
            server(&authority, Answer::File(bundle(&routers(1, 5), now(), "other@example.i2p").unwrap())),
            "its signer \"other@example.i2p\" is not known",
        ),
        (
            server(&authority, Answer::File(bundle(&routers(1, 5), now() - month, SIGNER).unwrap())),
            "it is dated",
        ),
        (server(&authority, Answer::File(b"<html>".to_vec())), "it is no SU3 file"),
        (server(&authority, Answer::Cut(whole.clone(), 1_000)), "the connection broke"),
        (server(&authority, Answer::Endless), "it sends more than 1048576 bytes"),
        (
            server(&authority, Answer::Status("503 Service Unavailable")),
            "it answers \"503 Service Unavailable\"",
        ),
        (server(&authority, Answer::Redirect(format!("{}x", foreign.url()))), "it leads elsewhere"),
        (expired.unwrap(), "cannot connect: invalid peer certificate: certificate expired"),
        (server(&stranger, Answer::File(whole)), "cannot connect: invalid peer certificate: BadSignature"),
    ];
    let mut urls: Vec<_> = cases.iter().map(|(server, _)| server.url()).collect();
    // Nothing listens there.
    urls.push("https://127.0.0.1:1/".to_owned());
    let said = reseed(&configuration(&urls, &authority, FOREVER).unwrap(), &[]);
    for (server, expected) in &cases {
        let line = said.lines().find(|l| l.contains(&server.address.to_string())).unwrap();
        assert!(line.contains(expected), "{line}, expected {expected}");
    }
    assert!(said.contains("127.0.0.1:1: cannot connect"), "{said}");
    assert!(said.contains("nothing worked. Check the network and the clock"), "{said}");
    assert!(said.contains("The servers are asked again in 5 minutes"), "{said}");
    assert_eq!(foreign.asked(), 0, "a redirect to another host is not followed");
}

#[test]
fn a_server_that_takes_too_long_is_given_up() {
    let authority = Authority::new().unwrap();
    let whole = bundle(&routers(1, 5), now(), SIGNER).unwrap();
    // Each byte comes in time, all of them would not.
    let slow = server(&authority, Answer::Trickle(whole, Duration::from_millis(100)));
    let silent = server(&authority, Answer::Silence);
    let config = configuration(&[slow.url(), silent.url()], &authority, FOREVER).unwrap();
    let said = reseed(&format!("timeout = 1\n{config}"), &[]);
    for server in [slow, silent] {
        let expected = format!("{}: it did not answer in full within 1 s", server.address);
        assert!(said.contains(&expected), "{said}, expected {expected}");
        assert_eq!(server.asked(), 1);
    }
}

#[test]
fn each_way_in_which_an_archive_is_wrong_is_said() {
    let authority = Authority::new().unwrap();
    let (good, foreign) = (routers(1, 6), routers_of(98, 21, 3));
    let entry = |bytes: &Vec<u8>| (entry_name(bytes).unwrap(), bytes.clone());
    let mut damaged = entry(&good[0]);
    damaged.1[500] ^= 1;
    let misnamed = (entry_name(&good[1]).unwrap(), good[2].clone());
    let readme = ("readme.txt".to_owned(), b"hello".to_vec());
    let mut mixed: Vec<_> = [damaged, misnamed, readme].into();
    mixed.extend(good[3..].iter().chain(&foreign).map(entry));
    let bomb = (entry_name(&good[0]).unwrap(), vec![0; 40 << 20]);
    let many: Vec<_> = (0..=10_000).map(|n| (format!("{n}"), Vec::new())).collect();
    let cases = [
        (
            archive_of(&mixed),
            "3 routers; entries skipped: 6 (1 damaged, 1 under a wrong name, 3 of another network, 1 no RouterInfos)",
        ),
        (archive(&foreign), "none of its 3 entries is a RouterInfo that can be used (3 of another network)"),
        (archive(&[]), "none of its 0 entries is a RouterInfo that can be used"),
        (archive_of(&[bomb]), "its archive has entries larger than any RouterInfo: refused"),
        (archive_of(&many), "its archive has too many entries: refused"),
        (Ok(b"no archive".to_vec()), "its archive cannot be read"),
    ];
    let serve = |content: anyhow::Result<Vec<u8>>| {
        server(&authority, Answer::File(bundle_of(&content.unwrap(), now(), SIGNER).unwrap()))
    };
    let cases = cases.map(|(content, expected)| (serve(content), expected));
    let urls: Vec<_> = cases.iter().map(|(server, _)| server.url()).collect();
    let said = reseed(&configuration(&urls, &authority, FOREVER).unwrap(), &[]);
    for (server, expected) in &cases {
        let line = said.lines().find(|l| l.contains(&server.address.to_string())).unwrap();
        assert!(
            line.ends_with(expected) || line.contains(&format!("{expected} (")),
            "{line}, expected {expected}"
        );
    }
    assert!(said.contains("3 new routers from 1 source"), "{said}");
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let authority = Authority::new().unwrap();
    let server = server(&authority, good(1));
    let config = configuration(&[server.url()], &authority, FOREVER).unwrap();
    let (http, socks) =
        (Proxy::start(Kind::HttpRefuses).unwrap(), Proxy::start(Kind::Socks5Refuses).unwrap());
    // Nothing listens at the last ones.
    for (url, reason) in [
        (&*http.url, "it refuses"),
        (&*socks.url, "SOCKS error: connection not allowed"),
        ("http://127.0.0.1:1", "Connection refused"),
        ("socks5://127.0.0.1:1", "SOCKS error"),
    ] {
        let said = reseed(&config, &["--reseed-proxy", url]);
        let expected = format!("{}: cannot connect through the proxy {url}: {reason}", server.address);
        assert!(said.contains(&expected), "{said}, expected {expected}");
    }
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_signer_whose_time_is_over_counts_no_more() {
    let authority = Authority::new().unwrap();
    let server = server(&authority, good(1));
    let said = reseed(&configuration(&[server.url()], &authority, "2020-02-02").unwrap(), &[]);
    assert!(said.contains("the key of its signer \"test@example.i2p\" is not valid today"), "{said}");
}

#[test]
fn proxies_are_used_for_everything() {
    let authority = Authority::new().unwrap();
    for kind in [Kind::Http, Kind::Socks5] {
        let (server, proxy) = (server(&authority, good(1)), Proxy::start(kind).unwrap());
        let configuration = configuration(&[server.url()], &authority, FOREVER).unwrap();
        let said = reseed(&configuration, &["--reseed-proxy", &proxy.url]);
        assert!(said.contains("20 new routers from 1 source"), "{kind:?}: {said}");
        assert_eq!(proxy.passed(), 1, "{kind:?}");
    }
}

#[test]
fn files_and_directories_of_the_users_are_read() {
    let dir = TempDir::new().unwrap();
    let infos = routers(1, 5);
    let authority = Authority::new().unwrap();
    let configuration = configuration(&[], &authority, FOREVER).unwrap();
    let config = dir.path().join("reseed.toml");
    fs::write(&config, configuration).unwrap();
    let signed = dir.path().join("i2pseeds.su3");
    fs::write(&signed, bundle(&infos, 1_600_000_000, SIGNER).unwrap()).unwrap();
    let zip = dir.path().join("routers.zip");
    fs::write(&zip, archive(&infos).unwrap()).unwrap();
    let netdb = dir.path().join("netDb/rA");
    fs::create_dir_all(&netdb).unwrap();
    for info in &infos {
        fs::write(netdb.join(entry_name(info).unwrap()), info).unwrap();
    }
    let empty = TempDir::new().unwrap();
    for (path, expected) in [
        (&signed, "5 new routers from 1 source"),
        (&zip, "5 new routers from 1 source"),
        (&dir.path().join("netDb"), "5 new routers from 1 source"),
        (&empty.path().to_owned(), "none of its 0 entries is a RouterInfo"),
        (&config, "reseed.toml: its archive cannot be read"),
    ] {
        let data = TempDir::new().unwrap();
        let args = ["--reseed-config", config.to_str().unwrap(), "--reseed", path.to_str().unwrap()];
        let said = reseeded(&mut start(data.path(), &args));
        assert!(said.contains(expected), "{said}");
        let advised = said.contains("nothing worked. Give --reseed a file i2pseeds.su3");
        assert_eq!(advised, !expected.starts_with('5'), "{said}");
    }
}
