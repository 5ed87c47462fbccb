//! `aioli import` against directories as i2pd and Java I2P leave them, made
//! here from our own codec, and against damage of each file.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use aioli_apps::tunnels::TunnelsFile;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Date, Rng};
use aioli_node::DataDir;
use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::router_info::RouterInfoParts;
use aioli_wire::{
    Mapping, RouterAddress, RouterHash, RouterIdentity, RouterInfo, Verified, Wire, base32, base64,
};
use tempfile::TempDir;

/// Another router's directory, ours, and what went into the first.
struct Move {
    root: TempDir,
    rng: Rng,
    hash: RouterHash,
    ntcp2: PrivateKey,
    iv: [u8; 16],
}

impl Move {
    fn new() -> Self {
        let mut rng = Rng::from_seed([5; 32]);
        let (ntcp2, iv) = (PrivateKey::generate(&mut rng), rng.bytes());
        let it = Self { root: TempDir::new().unwrap(), hash: RouterHash::new([0; 32]), rng, ntcp2, iv };
        fs::create_dir(it.theirs()).unwrap();
        it
    }

    fn theirs(&self) -> PathBuf {
        self.root.path().join("theirs")
    }

    fn ours(&self) -> PathBuf {
        self.root.path().join("ours")
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.theirs().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Router keys in the form that both routers use; `padding` is repeated.
    fn router_keys(&mut self, file: &str, padding: &[u8]) {
        let (signing, encryption) =
            (SigningKey::generate(&mut self.rng), PrivateKey::generate(&mut self.rng));
        let identity = RouterIdentity::with_padding(&encryption.public(), &signing.public(), padding);
        let secret = encryption.to_secret();
        self.hash = identity.hash();
        self.write(file, [identity.bytes(), secret.as_bytes(), signing.seed().as_bytes()].concat());
    }

    fn destination(&mut self, file: &str) -> DestinationKeys {
        let keys = DestinationKeys::create(&SigningKey::generate(&mut self.rng), &self.rng.bytes());
        self.write(file, keys.to_bytes());
        keys
    }

    fn router(&mut self) -> Verified<RouterInfo> {
        let signing = SigningKey::generate(&mut self.rng);
        let key = PrivateKey::generate(&mut self.rng).public();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let parts = RouterInfoParts {
            identity: RouterIdentity::create(&key, &signing.public(), &self.rng.bytes()),
            published: Date::from_secs(now),
            addresses: vec![RouterAddress::ntcp2(14, &key, None).unwrap()],
            options: Mapping::from_pairs([("caps", "LR"), ("netId", "2"), ("router.version", "0.9.67")])
                .unwrap(),
        };
        RouterInfo::create(parts, &signing)
    }

    fn in_netdb(&self, info: &RouterInfo) -> String {
        let name = info.hash().to_base64();
        format!("netDb/r{}/routerInfo-{name}.dat", name.chars().next().unwrap())
    }

    /// As i2pd 2.5x leaves it.
    fn i2pd(&mut self) {
        self.router_keys("router.keys", &[7; 32]);
        let keys = [&self.ntcp2.public().0, self.ntcp2.to_secret().as_bytes(), &self.iv[..]].concat();
        self.write("ntcp2.keys", keys);
        self.write("ssu2.keys", [1; 96]);
        self.write("router.info", b"it is made anew");
        let server = self.destination("web-keys.dat");
        self.destination("irc-keys.dat");
        // Temporary encryption keys: no destination.
        let b32 = base32::encode(server.destination.hash().as_bytes());
        self.write(&format!("destinations/{b32}.4.dat"), [9; 64]);
        self.write(
            "tunnels.conf",
            "[IRC-ILITA]\ntype = client\naddress = 127.0.0.1\nport = 6668\ndestination = irc.ilita.i2p\n\
             destinationport = 6667\nkeys = irc-keys.dat\ni2p.streaming.profile=2\n\n# [OFF]\n[WEB]\ntype = http\n\
             host = 127.0.0.1\nport = 8080\nkeys = web-keys.dat\ninbound.length = 2\n[OLD]\ntype = websocks\nport = 1\n",
        );
        let friend = self.destination("friend.tmp").destination;
        fs::remove_file(self.theirs().join("friend.tmp")).unwrap();
        let b32 = base32::encode(friend.hash().as_bytes());
        self.write(&format!("addressbook/b{}/{b32}.b32", b32.chars().next().unwrap()), friend.bytes());
        let csv = format!("friend.i2p,{b32}\nunknown.i2p,{}\nnonsense\n", "a".repeat(52));
        self.write("addressbook/addresses.csv", csv);
        let known = self.router();
        self.write(&self.in_netdb(&known), known.bytes());
        let forged = self.router();
        let mut bytes = forged.bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        self.write(&self.in_netdb(&forged), bytes);
        let other = self.router();
        self.write("netDb/rA/routerInfo-AAAA.dat", other.bytes());
    }

    /// As Java I2P 2.x leaves it.
    fn java(&mut self) {
        self.router_keys("router.keys.dat", &[8; 32]);
        let config = format!(
            "# Last saved\ni2np.ntcp2.iv={}\ni2np.ntcp2.sp={}\nrouter.version=2.9.0\n",
            base64::encode(&self.iv),
            base64::encode(self.ntcp2.to_secret().as_bytes())
        );
        self.write("router.config", config);
        self.destination("eepsite/eepPriv.dat");
        self.write(
            "i2ptunnel.config",
            "tunnel.0.name=I2P HTTP Proxy\ntunnel.0.type=httpclient\ntunnel.0.interface=127.0.0.1\n\
             tunnel.0.listenPort=4444\ntunnel.0.option.inbound.length=3\ntunnel.0.startOnLoad=true\n\
             tunnel.3.name=webserver\ntunnel.3.type=httpserver\ntunnel.3.targetHost=127.0.0.1\n\
             tunnel.3.targetPort=7658\ntunnel.3.spoofedHost=mysite.i2p\ntunnel.3.privKeyFile=eepsite/eepPriv.dat\n\
             tunnel.3.startOnLoad=false\n",
        );
        self.write(
            "i2ptunnel.config.d/01-irc-i2ptunnel.config",
            "name=Irc2P\ntype=ircclient\ninterface=127.0.0.1\nlistenPort=6668\n\
             targetDestination=irc.postman.i2p:6667,irc.echelon.i2p:6667\noption.i2cp.closeOnIdle=true\n",
        );
        let site = self.destination("site.tmp").destination.to_base64();
        fs::remove_file(self.theirs().join("site.tmp")).unwrap();
        self.write(
            "hosts.txt",
            format!("site.i2p={site}#!date=1\nbad name.i2p={site}\nx.b32.i2p={site}\ny.i2p=AA\n"),
        );
        self.write("userhosts.txt", format!("mine.i2p={site}\n"));
        self.write("hostsdb.blockfile", b"blocks");
        let known = self.router();
        self.write(&self.in_netdb(&known), known.bytes());
    }

    /// Runs the program: its exit status, stdout, stderr.
    fn import(&self, options: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aioli"));
        command.env_clear().arg("import").arg("--from").arg(self.theirs()).arg("--data-dir").arg(self.ours());
        let output = command.args(options).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn imported(&self, options: &[&str]) -> String {
        let (status, out, err) = self.import(options);
        assert_eq!((status, err.as_str()), (0, ""), "{out}");
        out
    }

    /// The identity of ours is theirs, its NTCP2 keys too.
    fn is_ours(&self) {
        let dir = DataDir::open(&self.ours()).unwrap();
        let identity = dir.load_identity().unwrap().unwrap();
        assert_eq!(identity.hash(), self.hash);
        assert_eq!(identity.ntcp2_static.to_secret().as_bytes(), self.ntcp2.to_secret().as_bytes());
        assert_eq!(identity.ntcp2_iv, self.iv);
        assert_eq!(dir.load_netdb().0.len(), 1);
    }

    fn our(&self, name: &str) -> String {
        fs::read_to_string(self.ours().join(name)).unwrap()
    }
}

/// All files below a directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else if entry.file_name() != "aioli.lock" {
                // The lock names the process that had it last.
                all.insert(entry.path(), fs::read(entry.path()).unwrap_or_default());
            }
        }
    }
    all
}

fn has(text: &str, wanted: &[&str]) {
    for line in wanted {
        assert!(text.contains(line), "no \"{line}\" in:\n{text}");
    }
}

#[test]
fn everything_of_i2pd_moves_in() {
    let mut it = Move::new();
    it.i2pd();
    let before = tree(&it.theirs());
    let out = it.imported(&[]);
    it.is_ours();
    has(
        &out,
        &[
            "is a directory of i2pd",
            &format!("took  identity {}", it.hash.to_base64()),
            "took  netDb: 1 other routers",
            "left  netDb: 2 entries that are damaged, forged or not what their names say",
            "as destinations/web-keys.dat",
            "took  address book: 1 names",
            "left  address book: 1 lines that are no name",
            "left  address book: 1 names of which only the hash is known",
            "took  tunnel \"IRC-ILITA\" (client)",
            "took  tunnel \"WEB\" (http-server)",
            "note  tunnel \"IRC-ILITA\": i2p.streaming.profile: means nothing here",
            "left  tunnel \"OLD\": type = websocks: this router has no such tunnels",
            "never run both routers with this identity",
        ],
    );
    let tunnels: toml::Table = it.our("tunnels.toml").parse().unwrap();
    let tunnel = |n: usize| tunnels["tunnels"][n].as_table().unwrap();
    assert_eq!(tunnel(0)["listen"].as_str(), Some("127.0.0.1:6668"));
    assert_eq!(tunnel(0)["destination"][0].as_str(), Some("irc.ilita.i2p:6667"));
    assert_eq!(tunnel(0)["keys"].as_str(), Some("destinations/irc-keys.dat"));
    assert_eq!(tunnel(1)["target"][0].as_str(), Some("127.0.0.1:8080"));
    assert!(TunnelsFile::of(&it.ours()).read().problems.is_empty(), "the router takes all of it");
    assert_eq!(tunnel(1)["options"]["inbound.length"].as_str(), Some("2"));
    assert!(it.our("hosts.txt").starts_with("friend.i2p="));
    for private in
        ["destinations/web-keys.dat", "destinations/irc-keys.dat", "tunnels.toml", "router.keys.json"]
    {
        let mode = fs::metadata(it.ours().join(private)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{private}");
    }
    let theirs = fs::read(it.theirs().join("web-keys.dat")).unwrap();
    assert_eq!(fs::read(it.ours().join("destinations/web-keys.dat")).unwrap(), theirs);
    assert_eq!(tree(&it.theirs()), before, "nothing of theirs is touched");
}

#[test]
fn everything_of_java_moves_in() {
    let mut it = Move::new();
    it.java();
    let out = it.imported(&[]);
    it.is_ours();
    has(
        &out,
        &[
            "is a directory of Java I2P",
            "as destinations/eepPriv.dat",
            "took  address book: 2 names",
            "left  address book: 3 lines",
            "left  hostsdb.blockfile: export",
            "took  tunnel \"I2P HTTP Proxy\" (http-proxy)",
            "note  tunnel \"I2P HTTP Proxy\" is not started: the router has a proxy at its place",
            "note  tunnel \"Irc2P\": i2cp.closeOnIdle: means nothing here",
            "took  tunnel \"Irc2P\" (irc-client)",
        ],
    );
    let tunnels: toml::Table = it.our("tunnels.toml").parse().unwrap();
    let by_name = |name: &str| {
        let all = tunnels["tunnels"].as_array().unwrap();
        all.iter().find(|t| t["name"].as_str() == Some(name)).unwrap().as_table().unwrap().clone()
    };
    let (proxy, web, irc) = (by_name("I2P HTTP Proxy"), by_name("webserver"), by_name("Irc2P"));
    // The router has a proxy of its own at 4444.
    assert_eq!((proxy["enabled"].as_bool(), web["enabled"].as_bool()), (Some(false), Some(false)));
    assert!(!irc.contains_key("enabled"));
    assert_eq!(proxy["options"]["inbound.length"].as_str(), Some("3"));
    assert_eq!(web["keys"].as_str(), Some("destinations/eepPriv.dat"));
    assert_eq!(web["host_name"].as_str(), Some("mysite.i2p"));
    assert_eq!(irc["destination"].as_array().unwrap().len(), 2);
}

#[test]
fn a_dry_run_changes_nothing_and_says_the_same() {
    let mut it = Move::new();
    it.i2pd();
    let dry = it.imported(&["--dry-run"]);
    assert!(!it.ours().exists());
    let wet = it.imported(&[]);
    let without_end = dry.replace("note  nothing was changed: this was a dry run\n", "");
    assert_eq!(without_end, wet);
}

#[test]
fn what_is_here_stays_and_a_second_time_takes_nothing() {
    let mut it = Move::new();
    it.i2pd();
    let dir = DataDir::open(&it.ours()).unwrap();
    let own = aioli_router::Identity::generate(&mut Rng::from_seed([1; 32]));
    dir.store_identity(&own).unwrap();
    drop(dir);
    let site = it.destination("site.tmp").destination.to_base64();
    fs::remove_file(it.theirs().join("site.tmp")).unwrap();
    let mine = format!("# mine\nFriend.i2p={site}#!a=b\n");
    fs::write(it.ours().join("hosts.txt"), &mine).unwrap();
    fs::create_dir(it.ours().join("destinations")).unwrap();
    fs::write(it.ours().join("destinations/web-keys.dat"), b"mine").unwrap();
    let out = it.imported(&[]);
    has(
        &out,
        &["which is never overwritten", "left  address book: there is no name that is not here already"],
    );
    let dir = DataDir::open(&it.ours()).unwrap();
    assert_eq!(dir.load_identity().unwrap().unwrap().hash(), own.hash());
    drop(dir);
    assert_eq!((it.our("hosts.txt"), it.our("destinations/web-keys.dat")), (mine, "mine".to_owned()));
    let named: Vec<_> = tree(&it.ours().join("destinations")).into_keys().collect();
    assert_eq!(named.len(), 3, "under another name: {named:?}");
    let before = tree(&it.ours());
    let again = it.imported(&[]);
    assert!(again.contains("it is here already") && again.contains("there is a tunnels.toml already"));
    assert!(tree(&it.ours()) == before, "a second time changes nothing");
}

#[test]
fn single_parts_can_be_chosen() {
    let mut it = Move::new();
    it.java();
    let out = it.imported(&["--addresses", "--netdb"]);
    assert!(!out.contains("identity") && !out.contains("tunnel"), "{out}");
    let names: Vec<_> = fs::read_dir(it.ours()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!names.contains(&"router.keys.json".into()) && names.contains(&"hosts.txt".into()), "{names:?}");
}

#[test]
fn padding_that_does_not_repeat_is_kept_whole() {
    let mut it = Move::new();
    let padding: [u8; 320] = it.rng.bytes();
    it.router_keys("router.keys", &padding);
    it.write("ntcp2.keys", [&it.ntcp2.public().0, it.ntcp2.to_secret().as_bytes(), &it.iv[..]].concat());
    it.imported(&["--identity"]);
    let identity = DataDir::open(&it.ours()).unwrap().load_identity().unwrap().unwrap();
    assert_eq!(identity.hash(), it.hash);
}

#[test]
fn each_file_wrong_in_turn_is_a_line_and_the_rest_goes_on() {
    let cases: &[(&str, &[u8], &str)] = &[
        ("router.keys", b"short", "left  identity: the keys are damaged"),
        ("router.keys", &[0; 660], "left  identity: router.keys holds DSA and ElGamal keys"),
        ("router.keys", &[1; 8_000], "left  identity: router.keys: it is larger than"),
        ("ntcp2.keys", &[1; 80], "left  identity: ntcp2.keys is damaged"),
        ("ntcp2.keys", &[1; 79], "left  identity: ntcp2.keys is damaged"),
        ("web-keys.dat", b"nothing", "left  destination web-keys.dat: no private keys"),
        ("tunnels.conf", &[0xff, 0xfe], "left  tunnels.conf: it is no UTF-8 text"),
        (
            "tunnels.conf",
            b"[A\x1b[2J]\ntype=client\nport=no\n",
            "left  tunnel \"A?[2J\": port = no is no number that is possible",
        ),
    ];
    for (file, bytes, line) in cases {
        let mut it = Move::new();
        it.i2pd();
        it.write(file, bytes);
        let out = it.imported(&[]);
        has(&out, &[line, "took  netDb: 1 other routers", "took  address book: 1 names"]);
        assert_eq!(it.ours().join("router.keys.json").exists(), !line.contains("identity"), "{file}");
    }
}

#[test]
fn a_dsa_identity_is_no_router_any_more() {
    let mut it = Move::new();
    it.i2pd();
    // A null certificate: ElGamal 256, DSA 128, private 256 and 20.
    it.write("router.keys", [&[3; 384][..], &[0, 0, 0], &[4; 276]].concat());
    has(
        &it.imported(&["--identity"]),
        &["signature type 0 and encryption type 0", "Start with a new identity"],
    );
    assert!(!it.ours().join("router.keys.json").exists());
}

#[test]
fn links_do_not_lead_out_of_the_directory_but_settings_may_be_elsewhere() {
    let mut it = Move::new();
    it.i2pd();
    for file in ["router.keys", "web-keys.dat", "tunnels.conf"] {
        let outside = it.root.path().join(file);
        fs::rename(it.theirs().join(file), &outside).unwrap();
        symlink(&outside, it.theirs().join(file)).unwrap();
    }
    let out = it.imported(&[]);
    has(&out, &["left  identity: router.keys: it leads out of the directory"]);
    has(&out, &["left  destination web-keys.dat: it leads out", "took  tunnel \"WEB\" (http-server)"]);
    has(&out, &["tunnel \"WEB\": its keys web-keys.dat were not taken"]);
}

#[test]
fn nothing_to_import_is_one_line_on_stderr() {
    let it = Move::new();
    let (status, out, err) = it.import(&[]);
    assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
    has(&err, &["is no directory of i2pd or Java I2P"]);
    fs::remove_dir(it.theirs()).unwrap();
    let (status, _, err) = it.import(&[]);
    assert_eq!((status, err.lines().count()), (1, 1));
    has(&err, &["cannot read"]);
    assert!(!it.ours().exists());
}

#[test]
fn a_running_router_is_warned_of() {
    let mut it = Move::new();
    it.i2pd();
    it.write("i2pd.pid", std::process::id().to_string());
    has(&it.imported(&["--dry-run"]), &["note  i2pd seems to be running (process"]);
    let mut it = Move::new();
    it.java();
    it.write("router.ping", "1");
    has(&it.imported(&["--dry-run"]), &["note  Java I2P seems to be running"]);
}
