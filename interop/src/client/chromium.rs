//! A headless Chromium, driven over the pipe of its debugging protocol:
//! messages in JSON, each of which a zero byte ends.
//!
//! ```text
//!   sh -c 'exec chromium … 3<&0 4>&1'    what we write is its descriptor 3, what it says comes from 4
//! ```
//!
//! It asks for nothing by itself, and has a proxy for all that it asks for, with
//! this computer's own addresses among it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::net::namespace::Namespace;
use crate::net::process::{Process, ensure_installed};
use crate::net::until;

/// Where Debian has it.
pub const PROGRAM: &str = "/usr/bin/chromium";
/// It is started within this time, and answers each command.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// Nothing of its own goes anywhere, and a page may try what it likes: what the browser would refuse by itself is let
/// through to the proxy, which is what is tested.
const FLAGS: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--password-store=basic",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-features=LocalNetworkAccessChecks,MediaRouter,OptimizationHints,HttpsUpgrades,HttpsFirstBalancedMode,\
     WebRtcHideLocalIpsWithMdns",
];

/// A running browser with one page. It is killed when this is dropped.
#[derive(Debug)]
pub struct Chromium {
    process: Process,
    input: ChildStdin,
    messages: Receiver<Value>,
    /// The number of the last command.
    last: u64,
    /// The page's session.
    session: String,
    /// Where downloads go.
    downloads: PathBuf,
    complaints: Vec<String>,
}

/// How large a page is drawn, and in which colours.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// In pixels.
    pub width: u32,
    /// In pixels; none is as high as the page.
    pub height: Option<u32>,
    /// Whether the system prefers dark colours.
    pub dark: bool,
}

impl Chromium {
    /// Starts it in a namespace, with its files below `directory`, for all of whose requests there is this proxy.
    pub fn start(namespace: &Namespace, directory: &Path, proxy: Option<&str>) -> Result<Self> {
        ensure_installed(PROGRAM)?;
        let downloads = directory.join("downloads");
        fs::create_dir_all(&downloads)?;
        let mut command = namespace.command(Path::new("/bin/sh"));
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 >&2 </dev/null", PROGRAM]).args(FLAGS);
        // The namespace is the sandbox; root cannot have the browser's own.
        command.arg("--no-sandbox").arg(format!("--user-data-dir={}", directory.join("profile").display()));
        match proxy {
            Some(proxy) => {
                command.arg(format!("--proxy-server={proxy}")).arg("--proxy-bypass-list=<-loopback>")
            }
            None => command.arg("--no-proxy-server"),
        };
        command.arg("about:blank").env("HOME", directory);
        let log = directory.join("chromium.log");
        let (process, input, output) = Process::start_piped(command, "chromium", &log)?;
        let (last, session, complaints) = (0, String::new(), Vec::new());
        let mut browser =
            Self { process, input, messages: read(output), last, session, downloads, complaints };
        browser.attach()?;
        Ok(browser)
    }

    fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let target = target.get("targetId").context("a page")?.clone();
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}))?;
        attached.get("sessionId").and_then(Value::as_str).context("a session")?.clone_into(&mut self.session);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        let path = self.downloads.clone();
        self.call("Browser.setDownloadBehavior", json!({"behavior": "allow", "downloadPath": path}))?;
        Ok(())
    }

    /// Sends a command and gives its result.
    fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        let of_browser = method.starts_with("Target.") || method.starts_with("Browser.");
        if let Some(fields) = message.as_object_mut().filter(|_| !of_browser) {
            fields.insert("sessionId".to_owned(), Value::String(self.session.clone()));
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.input.write_all(&bytes).context("chromium is gone")?;
        self.input.flush()?;
        let deadline = Instant::now() + ANSWERS_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(answer) = self.messages.recv_timeout(left) else {
                self.process.ensure_running()?;
                bail!("chromium did not answer to {method}");
            };
            if answer.get("id").and_then(Value::as_u64) != Some(self.last) {
                self.note(&answer);
            } else if let Some(error) = answer.get("error") {
                bail!("chromium, {method}: {error}");
            } else {
                return Ok(answer.get("result").cloned().unwrap_or_default());
            }
        }
    }

    /// Remembers what a page complains of.
    fn note(&mut self, event: &Value) {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        match event.get("method").and_then(Value::as_str) {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(text("/params/exceptionDetails/exception/description"));
            }
            Some("Log.entryAdded") if text("/params/entry/level") == "error" => {
                self.complaints.push(format!("{} {}", text("/params/entry/text"), text("/params/entry/url")));
            }
            _ => {}
        }
    }

    /// What pages have complained of since this was asked last: errors of scripts, and what a policy has forbidden.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        // All that was said before the answer has come before it.
        self.eval("0")?;
        Ok(std::mem::take(&mut self.complaints))
    }

    /// Opens an address; an answer that says no is a page as well. What was opened has been loaded when this returns.
    pub fn open(&mut self, url: &str, limit: Duration) -> Result<()> {
        self.begin(url)?;
        self.wait(&format!("{url} has been loaded"), "document.readyState === 'complete'", limit)
    }

    /// Begins to open an address: the page is there, what belongs to it may not be. The page that the browser makes of
    /// an error is none.
    pub fn begin(&mut self, url: &str) -> Result<()> {
        let begun = self.call("Page.navigate", json!({"url": url}))?;
        if let Some(error) = begun.get("errorText").and_then(Value::as_str) {
            bail!("chromium could not open {url}: {error}");
        }
        Ok(())
    }

    /// What an expression of JavaScript is worth in the page.
    pub fn eval(&mut self, expression: &str) -> Result<Value> {
        let result =
            self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}))?;
        if let Some(thrown) = result.get("exceptionDetails") {
            bail!("chromium, {expression}: {thrown}");
        }
        Ok(result.pointer("/result/value").cloned().unwrap_or_default())
    }

    /// Waits until an expression is true. A page that gives way to another meanwhile is no error.
    pub fn wait(&mut self, what: &str, expression: &str, limit: Duration) -> Result<()> {
        let held = until(limit, || {
            self.process.ensure_running()?;
            Ok(self.eval(expression).is_ok_and(|value| value == true))
        });
        held.with_context(|| format!("never: {what}; the page is {}", self.text().unwrap_or_default()))
    }

    /// Where it is, and what can be read there.
    pub fn text(&mut self) -> Result<String> {
        let text = self.eval("location.href + ' ' + document.title + '\\n' + document.body.innerText")?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The page as it is now.
    pub fn dom(&mut self) -> Result<String> {
        let html = self.eval("document.documentElement.outerHTML")?;
        Ok(html.as_str().unwrap_or_default().to_owned())
    }

    /// Clicks on the first element that a selector finds.
    pub fn click(&mut self, selector: &str) -> Result<()> {
        self.eval(&format!("document.querySelector({}).click()", json!(selector))).map(drop)
    }

    /// Waits for a download and gives the file.
    pub fn downloaded(&mut self, name: &str, limit: Duration) -> Result<PathBuf> {
        let path = self.downloads.join(name);
        until(limit, || {
            self.process.ensure_running()?;
            Ok(path.exists() && !self.downloads.join(format!("{name}.crdownload")).exists())
        })
        .with_context(|| format!("{name} was not downloaded"))?;
        Ok(path)
    }

    /// Draws the page into a PNG file.
    pub fn draw(&mut self, look: Look, file: &Path) -> Result<()> {
        let colours = json!({"features": [{"name": "prefers-color-scheme",
                             "value": if look.dark { "dark" } else { "light" }}]});
        self.call("Emulation.setEmulatedMedia", colours)?;
        let metrics = |height: u64| json!({"width": look.width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics(look.height.map_or(800, u64::from)))?;
        if look.height.is_none() {
            let height = self.eval("document.documentElement.scrollHeight")?.as_u64().context("a height")?;
            self.call("Emulation.setDeviceMetricsOverride", metrics(height))?;
        }
        let drawn = self.call("Page.captureScreenshot", json!({"format": "png"}))?;
        let drawn = drawn.get("data").and_then(Value::as_str).context("a picture")?;
        fs::write(file, BASE64.decode(drawn.as_bytes())?)
            .with_context(|| format!("writing {}", file.display()))
    }
}

/// What the browser says, as it comes.
fn read(output: ChildStdout) -> Receiver<Value> {
    let (sender, messages) = channel();
    thread::spawn(move || {
        for message in BufReader::new(output).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    messages
}
