//! Tests of what the doctor makes of each fact.

use std::collections::BTreeSet;

use aioli_node::{DataDir, Inspection};

use super::*;

/// Seconds since 1970 in the year 2027.
const NOW: u64 = 1_800_000_000;

fn settings(args: &[&str]) -> Settings {
    let args = ["i2p-router"].iter().chain(args).map(|a| (*a).to_owned());
    Settings::resolve(args, |_| None).unwrap()
}

fn inspection() -> Inspection {
    Inspection {
        holder: None,
        layout: Ok(()),
        identity: Ok(None),
        port: None,
        caps: None,
        known_routers: 200,
    }
}

fn there(inside: Inspection) -> Directory {
    Directory::There {
        owner: (1000, 1000),
        mode: 0o700,
        keys_mode: Some(0o600),
        free: Some(1 << 40),
        inside: Box::new(inside),
    }
}

/// A computer where all is well.
fn well() -> Facts {
    Facts {
        wall_secs: NOW,
        time: Time::Behind(20, 4),
        ports: vec![port(PortState::Free)],
        directory: there(inspection()),
        descriptors: Some(1 << 20),
        memory: Some(1 << 34),
        public_address: Some([198, 51, 100, 1].into()),
        running: Running::default(),
    }
}

fn port(state: PortState) -> Port {
    Port {
        what: "NTCP2",
        address: "0.0.0.0:9700".parse().unwrap(),
        protocol: "TCP",
        option: "--port",
        dispensable: false,
        state,
    }
}

/// A running router in a real directory: the only way to have a lock's holder.
fn held(caps: Option<&str>) -> (tempfile::TempDir, DataDir, Directory) {
    let root = tempfile::tempdir().unwrap();
    let open = DataDir::open(root.path()).unwrap();
    let inside = Inspection::of(root.path());
    assert!(inside.holder.is_some());
    let inside = Inspection { caps: caps.map(str::to_owned), ..inside };
    (root, open, there(inside))
}

/// The one finding that is not well, and that it says what to do.
#[track_caller]
fn only(args: &[&str], facts: &Facts, check: &str, level: Level, what: &str) {
    let all = judge(&settings(args), facts);
    let bad: Vec<_> = all.iter().filter(|f| f.level != Level::Ok).collect();
    let [finding] = bad[..] else { panic!("{bad:#?}") };
    assert_eq!((finding.check, finding.level), (check, level), "{finding:?}");
    assert!(finding.what.contains(what), "{finding:?}");
    assert!(finding.remedy.as_ref().is_some_and(|remedy| remedy.len() > 8), "{finding:?}");
}

#[test]
fn where_all_is_well_every_check_says_so() {
    let all = judge(&settings(&[]), &well());
    assert!(all.iter().all(|f| f.level == Level::Ok && f.remedy.is_none()), "{all:#?}");
    let checks: BTreeSet<_> = all.iter().map(|f| f.check).collect();
    let expected = ["address", "clock", "data directory", "file limit", "memory", "port", "router"];
    assert_eq!(checks, BTreeSet::from(expected));
}

#[test]
fn clocks() {
    let with = |time| Facts { time, ..well() };
    only(&[], &with(Time::Behind(90_000, 3)), "clock", Level::Error, "90.0 s behind 3 time servers");
    only(&[], &with(Time::Behind(-6_000, 3)), "clock", Level::Warning, "6.0 s ahead of");
    only(&[], &with(Time::NoAnswer("no server answers".into())), "clock", Level::Warning, "no server");
    only(&[], &Facts { wall_secs: 1_000, ..well() }, "clock", Level::Error, "years behind");
    let asked_nobody = judge(&settings(&[]), &with(Time::NotAsked("--offline")));
    assert!(asked_nobody.iter().all(|f| f.level == Level::Ok));
}

#[test]
fn data_directories() {
    let with = |change: fn(&mut Directory)| {
        let mut facts = well();
        change(&mut facts.directory);
        facts
    };
    let unreadable = with(|d| *d = Directory::Unreadable("Permission denied".into()));
    only(&[], &unreadable, "data directory", Level::Error, "Permission denied");
    let others = with(|d| {
        if let Directory::There { owner, .. } = d {
            *owner = (0, 1000)
        }
    });
    only(&[], &others, "data directory", Level::Error, "belongs to user 0");
    let open = with(|d| {
        if let Directory::There { mode, .. } = d {
            *mode = 0o755
        }
    });
    only(&[], &open, "data directory", Level::Warning, "mode 0755");
    let keys = with(|d| {
        if let Directory::There { keys_mode, .. } = d {
            *keys_mode = Some(0o644)
        }
    });
    only(&[], &keys, "data directory", Level::Error, "may read the identity");
    let full = with(|d| {
        if let Directory::There { free, .. } = d {
            *free = Some(1 << 20)
        }
    });
    only(&[], &full, "disk", Level::Error, "1 MB are free");
    let little = with(|d| {
        if let Directory::There { free, .. } = d {
            *free = Some(100 << 20)
        }
    });
    only(&[], &little, "disk", Level::Warning, "100 MB are free");
    let missing = judge(&settings(&[]), &with(|d| *d = Directory::Missing));
    assert!(missing.iter().all(|f| f.level == Level::Ok));
}

#[test]
fn damaged_files_of_a_directory_are_found_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    for (file, expected) in [("router.keys.json", "identity file"), ("aioli.version", "version file")] {
        let path = root.path().join(file);
        std::fs::write(&path, "{").unwrap();
        let facts = Facts { directory: there(Inspection::of(root.path())), ..well() };
        only(&[], &facts, "data directory", Level::Error, expected);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{");
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "looking leaves nothing behind");
}

#[test]
fn ports() {
    let with = |state| Facts { ports: vec![port(state)], ..well() };
    let taken = PortState::Taken(Some(("java".into(), 4711)));
    only(&[], &with(taken.clone()), "port", Level::Error, "held by java (process 4711)");
    only(&[], &with(PortState::Taken(None)), "port", Level::Error, "that only root may name");
    only(&[], &with(PortState::Refused("cannot assign".into())), "port", Level::Error, "cannot assign");
    let proxy = Port { dispensable: true, ..port(taken) };
    only(&[], &Facts { ports: vec![proxy], ..well() }, "port", Level::Warning, "held by java");
    // The router's own ports are no trouble while it runs.
    let (_root, _open, directory) = held(None);
    let own = PortState::Taken(Some(("i2p-router".into(), std::process::id())));
    let all = judge(&settings(&[]), &Facts { directory, ..with(own) });
    assert!(all.iter().all(|f| f.level == Level::Ok), "{all:#?}");
}

#[test]
fn the_machine() {
    let few = Facts { descriptors: Some(256), ..well() };
    only(&[], &few, "file limit", Level::Warning, "256 files and sockets");
    let memory = |bytes| Facts { memory: Some(bytes), ..well() };
    only(&["--profile", "server"], &memory(64 << 20), "memory", Level::Warning, "profile server may take");
    only(&["--profile", "tiny"], &memory(8 << 20), "memory", Level::Error, "8 MB can be had");
    let behind_nat = || Facts { public_address: None, ..well() };
    only(&["--no-port-mapping"], &behind_nat(), "address", Level::Warning, "no public address");
    only(&["--host", "127.0.0.1"], &behind_nat(), "address", Level::Warning, "this computer alone");
    for args in [&[][..], &["--hidden"], &["--external-host", "198.51.100.7"]] {
        assert!(judge(&settings(args), &behind_nat()).iter().all(|f| f.level == Level::Ok));
    }
}

#[test]
fn a_running_router() {
    let with = |running| {
        let (root, open, directory) = held(Some("XR"));
        (root, open, Facts { directory, running, ..well() })
    };
    let deaf = with(Running { sam_answers: Some(false), counters: None });
    only(&[], &deaf.2, "router", Level::Error, "SAM does not answer");
    let (_root, _open, directory) = held(Some("LU"));
    only(&[], &Facts { directory, ..well() }, "reachability", Level::Warning, "introducers");
    let counting = |pairs: &[(&str, u64)]| {
        let counters = pairs.iter().map(|(name, n)| ((*name).to_owned(), (*n).into())).collect();
        with(Running { sam_answers: Some(true), counters: Some(counters) })
    };
    only(&[], &counting(&[("known_routers", 9)]).2, "peers", Level::Error, "0 sessions, 9 routers");
    only(&[], &counting(&[("sessions", 5)]).2, "peers", Level::Warning, "0 inbound");
    let good = [("sessions", 5), ("tunnels_in", 2), ("tunnels_out", 3), ("bugs", 1)];
    only(&[], &counting(&good).2, "bugs", Level::Warning, "1 bugs");
    assert!(judge(&settings(&[]), &counting(&good[..3]).2).iter().all(|f| f.level == Level::Ok));
}

#[test]
fn configurations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("router.toml");
    let look = |text: &str, settings: &[&str]| {
        std::fs::write(&path, text).unwrap();
        let settings = settings.iter().map(|s| (*s).to_owned()).collect();
        let config = Some(path.to_str().unwrap().to_owned());
        configuration(&Options { config, settings, ..Options::default() }, &|_| None)
    };
    let (good, settings) = look("port = 9701\n", &[]);
    assert!(settings.is_some_and(|s| s.port == 9701) && good[0].level == Level::Ok, "{good:?}");
    let (bad, settings) = look("port = 9701\nprot = 1\ngrace = 9999\n", &[]);
    assert!(settings.is_none());
    let lines: Vec<_> = bad.iter().map(|f| f.what.split(": ").next().unwrap_or_default()).collect();
    let line = |n| format!("{}, line {n}", path.display());
    assert_eq!(lines, [line(2), line(3)]);
    // What only together is impossible, and what the command line says.
    let (pair, settings) = look("hidden = true\nfloodfill = true\n", &[]);
    assert!(settings.is_none() && pair[0].what.contains("leave out floodfill"), "{pair:?}");
    let (option, settings) = look("", &["--port", "x"]);
    assert!(settings.is_none() && option[0].what.contains("command line"), "{option:?}");
    std::fs::remove_file(&path).unwrap();
    let gone = Options { config: Some(path.to_str().unwrap().to_owned()), ..Options::default() };
    let (gone, settings) = configuration(&gone, &|_| None);
    assert!(settings.is_none() && gone[0].what.contains("cannot read"), "{gone:?}");
}

#[test]
fn what_is_said_has_what_to_do_below_it() {
    let findings = [Finding::ok("clock", "plausible"), Finding::error("port", "it is held", "end it")];
    let expected = "ok       clock            plausible\nerror    port             it is held\n                          end it\n\
                    1 errors, 0 warnings";
    assert_eq!(text(&findings), expected);
    let json: serde_json::Value = serde_json::from_str(&json(&findings).unwrap()).unwrap();
    let entry = &json["findings"][1];
    assert_eq!(
        (&entry["check"], &entry["level"], &entry["do"]),
        (&"port".into(), &"error".into(), &"end it".into())
    );
}
