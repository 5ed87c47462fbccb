//! What a person with a browser does: `curl` and Chromium open sites through the
//! HTTP proxy, follow address helpers and download 20 MB; Chromium opens every
//! page of the console.
//!
//! ```text
//!   aioli testnet, in a namespace of its own:  curl, Chromium ─► 4444 ─► hello.i2p
//!   3 of ours and 6 i2pd:                      curl, Chromium ─► 4444 of r1 ─┬─► nginx behind a tunnel of ours, r2
//!                                              Chromium ─► 7657 of r1        └─► nginx behind a tunnel of i2pd's, r4
//! ```
//!
//! What Chromium saw is drawn into `screenshots` beside the run's directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use aioli_core::Rng;
use aioli_core::crypto::hash::sha256;
use aioli_wire::base32;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::client::CURL;
use crate::client::chromium::{Chromium, Look};
use crate::net::namespace::{Namespace, Namespaces};
use crate::net::process::{Lines, Process};
use crate::net::until;
use crate::network::{Layout, Network, empty};
use crate::report::Report;
use crate::router::Router;
use crate::scenario::Place;
use crate::site;
use crate::tunnels::{describe, key_file, own_destination};

/// Routers of ours and of i2pd's.
pub(crate) const ROUTERS: (usize, usize) = (3, 6);
/// Where the browsers are, and what has a site: one of ours, one of i2pd's.
const VISITOR: usize = 1;
const OURS: usize = 2;
const I2PD: usize = 4;

const PROXY: &str = "127.0.0.1:4444";
const SOCKS: &str = "127.0.0.1:4447";
const CONSOLE: &str = "http://127.0.0.1:7657";

/// Until a network of ours in one process opens its own page.
const TESTNET_WITHIN: Duration = Duration::from_secs(60);
/// Until a site that has just been described can be reached; i2pd takes its time.
const USABLE_WITHIN: Duration = Duration::from_secs(150);
/// A page, and 20 MB.
const PAGE_WITHIN: Duration = Duration::from_secs(60);
const LARGE_WITHIN: Duration = Duration::from_secs(180);

/// What a site of `nginx` has on its first page.
const GREETING: &str = "Hello through the tunnels";
/// What `hello.i2p` of a network of ours in one process has there.
const TESTNET_GREETING: &str = "Hello from the other side";
/// Bytes of `/20mb.bin`, there and here.
const LARGE: usize = 20_000_000;

/// The pages of the console, and what each must show.
const PAGES: [(&str, &str, &[&str]); 9] = [
    (
        "overview",
        "/",
        &["Connected to I2P", "127.0.0.1:4444", "127.0.0.1:7656", "Bandwidth", "198.18.1.2:12345"],
    ),
    ("tunnels", "/tunnels", &["The router's own", "this router", ".b32.i2p"]),
    ("peers", "/peers", &["8 sessions", "198.18.4.2", "SSU2"]),
    ("netdb", "/netdb", &["8 routers", "By version"]),
    ("destinations", "/destinations", &[".b32.i2p", "ready"]),
    ("services", "/services", &["to ours", "127.0.0.1:8888", "ready"]),
    ("addressbook", "/addressbook", &["hello.i2p", "1 in user"]),
    ("logs", "/logs", &["connected to the first router", "What was logged"]),
    ("settings", "/settings", &["net-id", "77", "after a restart", "4000"]),
];
const WIDE: Look = Look { width: 1_000, height: None, dark: false };
const NARROW: Look = Look { width: 400, height: None, dark: true };

/// Runs it; failures are in the report.
pub fn run(place: &Place, report: &mut Report) {
    let begun = Instant::now();
    let pictures = place.directory.with_file_name("screenshots");
    // i2pd warms up meanwhile.
    thread::scope(|scope| {
        let private = scope.spawn(|| Private::start(place, &pictures));
        match Testnet::start(place, &pictures) {
            Ok(mut testnet) => testnet.check(report),
            Err(error) => drop(report.check::<String>("(browse) aioli testnet starts", Err(error))),
        }
        let started = private.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the runner panicked")));
        match started {
            Ok(mut private) => private.check(report),
            Err(error) => drop(report.check::<String>("(browse) routers and sites start", Err(error))),
        }
    });
    println!("browse took {} s; pictures: {}", begun.elapsed().as_secs(), pictures.display());
}

/// The bytes of `/20mb.bin`: the same every time.
fn large_file() -> Vec<u8> {
    let mut bytes = vec![0; LARGE];
    Rng::from_seed([0; 32]).fill(&mut bytes);
    bytes
}

/// Who visits: `curl` and a Chromium in a namespace, and where their files are.
struct Visitor {
    namespace: Namespace,
    directory: PathBuf,
    pictures: PathBuf,
    chromium: Chromium,
    large: [u8; 32],
}

impl Visitor {
    fn new(namespace: &Namespace, directory: &Path, pictures: &Path) -> Result<Self> {
        fs::create_dir_all(pictures)?;
        let directory = directory.join("visitor");
        let proxy = format!("http://{PROXY}");
        let chromium = Chromium::start(namespace, &directory, Some(&proxy))?;
        let (namespace, pictures) = (namespace.clone(), pictures.to_owned());
        Ok(Self { namespace, directory, pictures, chromium, large: sha256(&large_file()) })
    }

    /// What `curl` gets, if it is no error; a page of the proxy that says no is one.
    fn curl(&self, arguments: &[&str]) -> Result<String> {
        let mut command: Command = self.namespace.command(Path::new(CURL));
        command.args(["--silent", "--show-error", "--fail", "--max-time"]);
        let output = command.arg(LARGE_WITHIN.as_secs().to_string()).args(arguments).output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "curl {}: {}", arguments.join(" "), error.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same until there is an answer.
    fn curl_until(&self, arguments: &[&str]) -> Result<String> {
        let mut last = Ok(String::new());
        let there = until(USABLE_WITHIN, || {
            last = self.curl(arguments);
            Ok(last.is_ok())
        });
        there.and(last)
    }

    /// 20 MB by `curl`.
    fn curl_large(&self, host: &str) -> Result<String> {
        let file = self.directory.join(format!("{host}.bin"));
        let path = file.to_str().context("a path")?;
        let begun = Instant::now();
        self.curl(&["--proxy", PROXY, "--output", path, &format!("http://{host}/20mb.bin")])?;
        self.compare(&file, begun)
    }

    /// 20 MB by a click in Chromium, on the first page of a site.
    fn chromium_large(&mut self, host: &str, greeting: &str) -> Result<String> {
        self.chromium.open(&format!("http://{host}/"), PAGE_WITHIN)?;
        let dom = self.chromium.dom()?;
        ensure!(dom.contains(greeting), "no {greeting:?} in {dom}");
        let begun = Instant::now();
        self.chromium.click("a[href=\"/20mb.bin\"]")?;
        let file = self.chromium.downloaded("20mb.bin", LARGE_WITHIN)?;
        let compared = self.compare(&file, begun);
        fs::remove_file(file)?;
        compared
    }

    fn compare(&self, file: &Path, begun: Instant) -> Result<String> {
        let took = begun.elapsed().as_secs_f64();
        let bytes = fs::read(file)?;
        ensure!(sha256(&bytes) == self.large, "{} bytes came, and not those of 20 MB", bytes.len());
        Ok(format!("20 MB in {took:.1} s, SHA-256 equal"))
    }

    /// Follows a link that brings a name, by `curl`: the question, the answer of its form, the page.
    fn curl_helper(&self, host: &str, destination: &str, greeting: &str) -> Result<String> {
        let link = format!("http://{host}/?i2paddresshelper={destination}");
        let question = self.curl(&["--proxy", PROXY, "--location", &link])?;
        let field = |name: &str| {
            let value = question.split(&format!("name={name} value=\"")).nth(1);
            let value = value.and_then(|rest| rest.split('"').next());
            let value = value.with_context(|| format!("no field {name} in {question}"))?;
            anyhow::Ok(format!("{name}={}", value.replace("&amp;", "&")))
        };
        let fields = [field("token")?, field("host")?, field("dest")?, field("url")?];
        let mut arguments = vec!["--proxy", PROXY, "--location", "--data-urlencode", "action=once"];
        for field in &fields {
            arguments.extend(["--data-urlencode", field]);
        }
        arguments.push("http://proxy.i2p/helper");
        let page = self.curl(&arguments)?;
        ensure!(page.contains(greeting), "no {greeting:?} in {page}");
        Ok(format!("{host} opens"))
    }

    /// The same in Chromium, with a click on one of the buttons.
    fn chromium_helper(
        &mut self,
        host: &str,
        destination: &str,
        button: &str,
        greeting: &str,
    ) -> Result<String> {
        self.chromium.open(&format!("http://{host}/?i2paddresshelper={destination}"), PAGE_WITHIN)?;
        let question = self.chromium.text()?;
        ensure!(
            question.starts_with("http://proxy.i2p/helper?")
                && question.contains(&format!("Is this {host}?")),
            "no question, but {question}"
        );
        let picture = self.pictures.join(format!("helper-{host}.png"));
        self.chromium.draw(WIDE, &picture)?;
        self.chromium.click(&format!("button[value={button}]"))?;
        let arrived =
            format!("location.href === 'http://{host}/' && document.body.innerText.includes('{greeting}')");
        self.chromium.wait(&format!("{host} has opened"), &arrived, USABLE_WITHIN)?;
        Ok(format!("asked, answered, {host} opens"))
    }
}

/// `aioli testnet` where nothing else is.
struct Testnet {
    visitor: Visitor,
    _network: Process,
    _lines: Lines,
    _namespaces: Namespaces,
}

impl Testnet {
    fn start(place: &Place, pictures: &Path) -> Result<Self> {
        let directory = place.directory.join("browse-testnet");
        empty(&directory)?;
        let mut namespaces = Namespaces::new()?;
        let namespace = namespaces.add("testnet")?;
        namespace.ensure_isolated()?;
        let program = place.binaries.aioli.with_file_name("aioli");
        let mut command = namespace.command(&program);
        command.arg("testnet");
        let log = directory.join("testnet.log");
        let (network, lines) = Process::start_talking(command, "aioli testnet", &log)?;
        lines.expect("http://hello.i2p/ has opened", TESTNET_WITHIN)?;
        let visitor = Visitor::new(&namespace, &directory, pictures)?;
        Ok(Self { visitor, _network: network, _lines: lines, _namespaces: namespaces })
    }

    fn check(&mut self, report: &mut Report) {
        let visitor = &mut self.visitor;
        let opens = || {
            for proxy in [["--proxy", PROXY], ["--socks5-hostname", SOCKS]] {
                let page = visitor.curl(&[proxy[0], proxy[1], "http://hello.i2p/"])?;
                ensure!(page.contains(TESTNET_GREETING), "not the page: {page}");
            }
            visitor.curl_large("hello.i2p")
        };
        report.check("(browse) testnet: curl, HTTP and SOCKS", opens());
        let downloads = visitor.chromium_large("hello.i2p", TESTNET_GREETING);
        report.check("(browse) testnet: Chromium", downloads);
        let mut helpers = || {
            let found = visitor.curl(&[&format!("{CONSOLE}/api/v1/addressbook?q=hello.i2p")])?;
            let found: Value = serde_json::from_str(&found)?;
            let b32 = found.pointer("/names/0/b32").and_then(Value::as_str);
            let b32 = b32.context("hello.i2p is not in the address book")?;
            visitor.curl_helper("by-curl.i2p", b32, TESTNET_GREETING)?;
            visitor.chromium_helper("by-chromium.i2p", b32, "once", TESTNET_GREETING)
        };
        report.check("(browse) testnet: an address helper, curl and Chromium", helpers());
    }
}

/// Routers of ours and of i2pd's, two sites, and who visits. Fields are dropped in this order.
struct Private {
    visitor: Visitor,
    /// The destinations of the sites.
    ours: String,
    i2pd: String,
    _sites: Vec<Process>,
    network: Network,
}

impl Private {
    fn start(place: &Place, pictures: &Path) -> Result<Self> {
        let directory = place.directory.join("browse");
        let network = Network::start(&Layout::mixed(ROUTERS.0, ROUTERS.1), &place.binaries, &directory)?;
        let (ours, i2pd) = (network.router(OURS)?, network.router(I2PD)?);
        let sites = vec![site_of(ours, &directory)?, site_of(i2pd, &directory)?];
        describe(
            ours,
            &format!(
                "[[tunnels]]\nname = \"site\"\ntype = \"http-server\"\ntarget = \"{}\"\n",
                site::ADDRESS
            ),
        )?;
        i2pd.give_tunnels(
            "[site]\ntype = http\nhost = 127.0.0.1\nport = 8080\nkeys = site.dat\nsignaturetype = 7\n\
             i2cp.leaseSetEncType = 4\n",
        )?;
        let i2pd = own_destination(&i2pd.data_dir().join("site.dat"))?;
        let (ours, b32) = {
            let destination = own_destination(&key_file(ours, "site"))?;
            (destination.to_base64(), base32::host_name(&destination.hash()))
        };
        let visitor = network.router(VISITOR)?;
        describe(
            visitor,
            &format!(
                "[[tunnels]]\nname = \"to ours\"\ntype = \"client\"\nlisten = \"127.0.0.1:8888\"\ndestination = \"{b32}\"\n"
            ),
        )?;
        let visitor = Visitor::new(visitor.namespace(), &directory, pictures)?;
        // The console shows tunnels and rates only once something has gone through.
        for url in [format!("http://{b32}/"), format!("http://{}/", base32::host_name(&i2pd.hash()))] {
            let page = visitor.curl_until(&["--proxy", PROXY, &url])?;
            ensure!(page.contains(GREETING), "{url} is {page}");
        }
        Ok(Self { visitor, ours, i2pd: i2pd.to_base64(), _sites: sites, network })
    }

    fn check(&mut self, report: &mut Report) {
        let visitor = &mut self.visitor;
        let kept = visitor.chromium_helper("hello.i2p", &self.ours, "save", GREETING);
        report.check(
            "(browse) i2pd network: Chromium follows a helper to a site of ours, and keeps the name",
            kept,
        );
        report.check(
            "(browse) i2pd network: Chromium, 20 MB from it",
            visitor.chromium_large("hello.i2p", GREETING),
        );
        let once = visitor.curl_helper("far.i2p", &self.i2pd, GREETING);
        report.check("(browse) i2pd network: curl follows a helper to a site of i2pd's", once);
        report.check("(browse) i2pd network: curl, 20 MB from it", visitor.curl_large("far.i2p"));
        let again =
            visitor.chromium.open("http://far.i2p/", PAGE_WITHIN).and_then(|()| visitor.chromium.dom());
        let again = again.and_then(|dom| {
            ensure!(dom.contains(GREETING), "not the page: {dom}");
            Ok("opens")
        });
        report.check("(browse) i2pd network: Chromium, a site of i2pd's", again);
        report.check("(browse) Chromium opens every page of the console", self.console());
        report.check(
            "(browse) every router of ours still runs",
            self.network.ensure_kind_running(crate::router::Kind::Aioli).map(|()| "yes"),
        );
    }

    /// Every page of the console, drawn, and a change by its form.
    fn console(&self) -> Result<String> {
        let directory = self.visitor.directory.join("console");
        let mut chromium = Chromium::start(&self.visitor.namespace, &directory, None)?;
        chromium.open(&format!("{CONSOLE}/settings"), PAGE_WITHIN)?;
        for name in ["receive_kbps", "send_kbps"] {
            chromium.eval(&format!(
                "document.querySelector('form[data-change=\"/api/v1/bandwidth\"] [name={name}]').value = 4000"
            ))?;
        }
        chromium.click("form[data-change=\"/api/v1/bandwidth\"] button")?;
        let said = "document.getElementById('result').textContent";
        chromium.wait("the change is answered", &format!("{said} !== ''"), PAGE_WITHIN)?;
        let said = chromium.eval(said)?;
        ensure!(!said.to_string().contains("Nothing was changed"), "the limits were not changed: {said}");
        for (name, path, parts) in PAGES {
            chromium.open(&format!("{CONSOLE}{path}"), PAGE_WITHIN)?;
            for part in parts {
                let there = format!("document.documentElement.outerHTML.includes({})", json!(part));
                chromium.wait(&format!("{part:?} on {path}"), &there, PAGE_WITHIN)?;
            }
            fresh(&mut chromium, path)?;
            chromium.draw(WIDE, &self.visitor.pictures.join(format!("console-{name}.png")))?;
            chromium.draw(NARROW, &self.visitor.pictures.join(format!("console-{name}-narrow.png")))?;
            // Nothing of a page is wider than the screen.
            let over = chromium.eval("document.documentElement.scrollWidth - innerWidth")?;
            ensure!(over == 0, "{path} is {over} pixels wider than a telephone");
            let complaints = chromium.complaints()?;
            ensure!(complaints.is_empty(), "Chromium complains of {path}: {complaints:?}");
        }
        Ok(format!("{} pages, fresh by their script, two pictures of each, a limit changed", PAGES.len()))
    }
}

/// Waits until the script of a page has brought it up to date, where there is something to bring.
fn fresh(chromium: &mut Chromium, path: &str) -> Result<()> {
    let up_to_date = "!document.querySelector('[data-live]') || (document.getElementById('offline').hidden && \
                      performance.getEntriesByType('resource').some(e => e.initiatorType === 'fetch'))";
    chromium.wait(&format!("{path} is kept fresh"), up_to_date, PAGE_WITHIN)
}

/// A site with a page and 20 MB.
fn site_of(router: &Router, directory: &Path) -> Result<Process> {
    let own = directory.join(format!("site{}", router.index()));
    let files = own.join("files");
    fs::create_dir_all(&files)?;
    let page = format!(
        "<!DOCTYPE html>\n<title>a site</title>\n<h1>{GREETING}</h1>\n<a href=\"/20mb.bin\">20 MB to download</a>\n"
    );
    fs::write(files.join("index.html"), page)?;
    fs::write(files.join("20mb.bin"), large_file())?;
    site::nginx(router.namespace(), &own, &format!("root {};", files.display()))
}
