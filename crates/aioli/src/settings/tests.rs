//! Tests of the settings: sources, defaults, and what nonsense leads to.

use super::*;

fn resolve(args: &[&str], env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let args = std::iter::once("i2p-router").chain(args.iter().copied()).map(str::to_owned);
    Settings::resolve(args, |name| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
}

#[test]
fn the_command_line_wins_over_the_environment_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("aioli.toml");
    std::fs::write(&file, "port = 1111\ntunnel_length = 2\nfloodfill = true\nhost = \"::\"\n").unwrap();
    let file = file.to_str().unwrap();
    let s = resolve(
        &["--config", file, "--port", "3333"],
        &[("I2P_LISTEN_PORT", "2222"), ("I2P_TUNNEL_LENGTH", "1"), ("HOME", "/home/u")],
    )
    .unwrap();
    assert_eq!((s.port, s.tunnel_length, s.floodfill), (3333, 1, FloodfillRole::Always));
    assert_eq!(s.data_dir, Path::new("/home/u/.aioli"));
    let line = |key: &str| s.describe().lines().find(|l| l.starts_with(key)).unwrap().to_owned();
    assert!(line("port").ends_with("command line"));
    assert!(line("tunnel-length").ends_with("environment"));
    assert!(line("floodfill").ends_with("file"));
    assert!(line("net-id").ends_with("default"));
}

#[test]
fn the_reference_names_every_setting_and_its_default() {
    let text = include_str!("../../../../docs/configuration.md");
    for s in SETTINGS {
        let value = if s.value == SWITCH { String::new() } else { format!(" {}", s.value) };
        let default = if s.default.is_empty() { String::new() } else { format!(" `{}`", s.default) };
        let row = format!("| `--{}{value}` | `{}` |{default} |", s.key, s.env);
        assert!(text.contains(&row), "docs/configuration.md lacks: {row}");
    }
    let rows = text.lines().filter(|line| line.starts_with("| `--")).count();
    assert_eq!(rows, SETTINGS.len(), "docs/configuration.md has rows of settings that are not there");
}

#[test]
fn the_file_of_the_data_directory_is_read_unless_another_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (usual, named) = (dir.path().join("router.toml"), dir.path().join("named.toml"));
    std::fs::write(&usual, "port = 1111\n").unwrap();
    std::fs::write(&named, "grace = 1\n").unwrap();
    let data_dir = dir.path().to_str().unwrap();
    assert_eq!(resolve(&["--data-dir", data_dir], &[]).unwrap().port, 1111);
    assert_eq!(resolve(&[], &[("I2P_DATA_DIR", data_dir)]).unwrap().port, 1111);
    assert_eq!(
        resolve(&["--data-dir", data_dir], &[("I2P_CONFIG", named.to_str().unwrap())]).unwrap().port,
        9700
    );
    std::fs::remove_file(&usual).unwrap();
    assert_eq!(resolve(&["--data-dir", data_dir], &[]).unwrap().port, 9700);
}

#[test]
fn setting_up_is_asked_for_with_and_without_answers() {
    let of = |args: &[&str], env: &[(&str, &str)]| {
        let args = std::iter::once("i2p-router").chain(args.iter().copied()).map(str::to_owned);
        Settings::setup(args, |name| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
    };
    let request = |kind, file: &str, usual| Some(setup::Request { kind, file: file.into(), usual });
    assert_eq!(of(&["--port", "1"], &[]).unwrap(), None);
    assert_eq!(of(&["--setup"], &[("HOME", "/h")]).unwrap(), request(None, "/h/.aioli/router.toml", true));
    let paranoid = Some(setup::Kind::Paranoid);
    assert_eq!(of(&["--setup=paranoid", "--config", "/c"], &[]).unwrap(), request(paranoid, "/c", false));
    assert_eq!(
        of(&["--setup=auto", "--data-dir", "/d"], &[]).unwrap().unwrap().file,
        Path::new("/d/router.toml")
    );
    assert!(of(&["--setup=fast"], &[]).is_err());
}

#[test]
fn every_setting_has_the_same_order_of_sources() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("aioli.toml");
    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=";
    const C: &str = "CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCA=";
    for s in SETTINGS.iter().filter(|s| s.key != "tunnel-lifetime") {
        // Values that are possible and tell the three sources apart, where there are three.
        let [a, b, c] = match s.value {
            SWITCH => ["true", "false", "true"],
            "IP" => ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            "HOST:PORT" => ["[::1]:1", "[::1]:2", "[::1]:3"],
            "LEVEL" => ["error", "warn", "debug"],
            "WHETHER" => ["true", "auto", "false"],
            "WHEN" => ["now", "never", "auto"],
            "URL" => ["http://a:1", "socks5://b:2", "http://c:3"],
            "KBPS" => ["100", "200", "300"],
            "BYTES" => ["1280", "1400", "1500"],
            "HASHES" => [A, B, C],
            "HOSTS" => ["a.i2p", "b.i2p", "c.i2p"],
            "PROFILE" => ["tiny", "server", "home"],
            "N" if s.key.starts_with("max-") => ["40", "50", "60"],
            _ => ["4", "5", "6"],
        };
        std::fs::write(&file, format!("{} = \"{c}\"\n", s.key)).unwrap();
        let config = file.to_str().unwrap();
        let option = format!("--{}", s.key);
        let args = if s.value == SWITCH { vec![&*option] } else { vec![&*option, a] };
        let args: Vec<_> = ["--config", config].into_iter().chain(args).collect();
        let of = |args: &[&str], env: &[(&str, &str)]| {
            let settings = resolve(args, env).unwrap();
            let (_, value, source) = settings.table.into_iter().find(|(key, _, _)| *key == s.key).unwrap();
            (value, source)
        };
        assert_eq!(of(&args, &[(s.env, b)]), (a.to_owned(), Source::CommandLine), "{}", s.key);
        assert_eq!(of(&args[..2], &[(s.env, b)]), (b.to_owned(), Source::Environment), "{}", s.key);
        assert_eq!(of(&args[..2], &[(s.env, "")]), (c.to_owned(), Source::File), "{}", s.key);
        assert_eq!(of(&[], &[]), (s.default.to_owned(), Source::Default), "{}", s.key);
    }
}

#[test]
fn reseeding_is_automatic_asked_for_or_switched_off() {
    let of = |args: &[&str]| resolve(args, &[]).unwrap().reseed;
    assert_eq!(of(&[]), Reseed::Auto);
    assert_eq!(of(&["--reseed"]), Reseed::Now);
    assert_eq!(of(&["--reseed", "--port", "1"]), Reseed::Now);
    assert_eq!(of(&["--reseed", "never"]), Reseed::Never);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    assert_eq!(of(&["--reseed", path]), Reseed::From(path.into()));
    let typo = resolve(&["--reseed", "nevr"], &[]).unwrap_err().to_string();
    assert!(typo.contains("reseed = \"nevr\"") && typo.contains("that exists"), "{typo}");
    for url in ["https://a:1", "socks5://b", "http://:1", "http://a:99999", "a:1"] {
        assert!(resolve(&["--reseed-proxy", url], &[]).is_err(), "{url}");
    }
}

#[test]
fn time_servers_are_asked_unless_the_network_is_private() {
    let of = |args: &[&str]| resolve(args, &[]).unwrap().time_servers;
    assert_eq!(of(&[]).unwrap().len(), 4);
    assert_eq!(of(&["--private-network"]), None);
    assert_eq!(of(&["--ntp", "never"]), None);
    let own = ["--private-network", "--ntp", "192.0.2.1:1123, ntp.example.org, ::1, [::1]:5"];
    assert_eq!(of(&own).unwrap(), ["192.0.2.1:1123", "ntp.example.org", "::1", "[::1]:5"]);
    for wrong in [",", "a,,b", "a:", "a:x", ":123", "a b", "a:99999"] {
        assert!(resolve(&["--ntp", wrong], &[]).is_err(), "{wrong}");
    }
}

#[test]
fn floodfill_is_off_on_or_by_the_rules() {
    let of = |args: &[&str], env: &[(&str, &str)]| resolve(args, env).unwrap().floodfill;
    assert_eq!(of(&[], &[]), FloodfillRole::Never);
    assert_eq!(of(&["--floodfill"], &[]), FloodfillRole::Always);
    assert_eq!(of(&["--floodfill", "--port", "1"], &[]), FloodfillRole::Always);
    assert_eq!(of(&["--floodfill", "auto"], &[]), FloodfillRole::Auto);
    assert_eq!(of(&[], &[("I2P_FLOODFILL", "false")]), FloodfillRole::Never);
    assert_eq!(of(&["--floodfill=off"], &[("I2P_FLOODFILL", "true")]), FloodfillRole::Never);
}

#[test]
fn each_direction_has_the_common_limit_or_its_own() {
    let of = |args: &[&str]| {
        let Bandwidth { inbound, outbound, .. } = resolve(args, &[]).unwrap().bandwidth;
        (inbound, outbound)
    };
    assert_eq!(of(&[]), (None, None));
    assert_eq!(of(&["--bandwidth", "256"]), (Some(262_144), Some(262_144)));
    assert_eq!(of(&["--bandwidth", "256", "--bandwidth-in", "0"]), (None, Some(262_144)));
    assert_eq!(of(&["--bandwidth-out", "64"]), (None, Some(65_536)));
}

#[test]
fn a_profile_sets_the_limits_and_single_ones_win_over_it() {
    let of = |args: &[&str]| resolve(args, &[]).unwrap();
    assert_eq!(of(&[]).limits, Limits::home());
    assert_eq!(of(&["--profile", "tiny"]).limits, Limits::tiny());
    let server = of(&["--profile", "server", "--max-connections", "77", "--max-transit-tunnels", "0"]);
    assert_eq!((server.limits.connections, server.limits.transit_tunnels), (77, 0));
    assert_eq!(server.limits.dials_per_minute, Limits::server().dials_per_minute);
    let text = of(&["--profile", "tiny"]).describe();
    assert!(text.lines().any(|l| l.starts_with("= connections") && l.contains("100")), "{text}");
}

#[test]
fn nonsense_is_one_line_that_says_what_to_give() {
    for (args, env, expected) in [
        (
            &["--port", "70000"][..],
            &[][..],
            "port = \"70000\" (from the command line) is not possible: give 0 to 65535",
        ),
        (
            &[],
            &[("I2P_TUNNEL_LENGTH", "9")],
            "tunnel-length = \"9\" (from the environment) is not possible: give 0 to 8 hops",
        ),
        (&["--tunnel-lifetime", "300"], &[], "give 600 seconds: every router"),
        (&["--bandwidth", "15"], &[], "give at least 16 KB/s"),
        (
            &["--bandwidth-out=-1"],
            &[],
            "bandwidth-out = \"-1\" (from the command line) is not possible: give 0 to",
        ),
        (&[], &[("I2P_TRANSIT_SHARE", "101")], "give 0 to 100 percent"),
        (&["--explicit-peers", "AAAA"], &[], "\"AAAA\" is no router hash"),
        (&["--outproxy", "a.i2p, example.com"], &[], "\"example.com\" does not end with .i2p"),
        (&["--hidden", "--floodfill"], &[], "leave out floodfill"),
        (&["--host", "example.com"], &[], "give an IP address"),
        (&[], &[("I2P_PROFILE", "huge")], "give tiny, home or server"),
        (&["--max-connections", "5"], &[], "give 16 to 60000 connections"),
        (&[], &[("I2P_MTU", "1279")], "give 1280 to 1500 bytes"),
        (&[], &[("I2P_FLOODFILL", "maybe")], "give true, false or auto"),
        (&[], &[("I2P_PRIVATE_NETWORK", "maybe")], "give true or false"),
        (&["--config", "/does/not/exist"], &[], "cannot read the configuration file"),
    ] {
        let error = resolve(args, env).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn one_transport_may_be_left_out_but_not_both() {
    let both = resolve(&[], &[]).unwrap();
    assert!(both.ntcp2 && both.ssu2 && both.mtu == 1_500);
    assert_eq!(resolve(&["--mtu", "1400"], &[]).unwrap().mtu, 1_400);
    let s = resolve(&["--no-ntcp2"], &[]).unwrap();
    assert!(!s.ntcp2 && s.ssu2);
    let s = resolve(&[], &[("I2P_NO_SSU2", "true")]).unwrap();
    assert!(s.ntcp2 && !s.ssu2);
    let error = resolve(&["--no-ntcp2"], &[("I2P_NO_SSU2", "true")]).unwrap_err().to_string();
    assert!(
        error.contains("no-ssu2") && error.contains("environment") && error.contains("no-ntcp2"),
        "{error}"
    );
}

#[test]
fn tunnels_stand_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("aioli.toml");
    let config = file.to_str().unwrap();
    let tunnel = "[[tunnels]]\nname = \"site\"\ntype = \"http-server\"\n";
    std::fs::write(&file, format!("port = 1\n{tunnel}target = \"127.0.0.1:8080\"\n")).unwrap();
    let tunnels = resolve(&["--config", config, "--tunnels-dir", "d"], &[]).unwrap().tunnels.unwrap();
    assert_eq!((&*tunnels.configured[0].name, tunnels.dir.as_deref()), ("site", Some(Path::new("d"))));
    assert!(resolve(&["--config", config, "--no-tunnels"], &[]).unwrap().tunnels.is_none());
    for (more, why) in [
        ("target = \"web:8080\"", "[[tunnels]]: tunnel \"site\": target: \"web:8080\" is no IP:PORT"),
        ("target = \"127.0.0.1:1\"\nwhat = 1", "unknown field `what`"),
        ("target = \"127.0.0.1:1\"\noptions = { x = 1 }", "x: means nothing to this router"),
    ] {
        std::fs::write(&file, format!("{tunnel}{more}\n")).unwrap();
        let error = resolve(&["--config", config], &[]).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("aioli.toml") && error.lines().count() == 1, "{error}");
    }
}
