//! The reseed server of a private network, run inside a namespace of its own:
//! HTTPS with an authority of the test's, and a bundle signed by its signer.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use testkit::reseed::{Answer, Authority, SIGNER, Server, bundle, configuration};

/// Serves these RouterInfos until it is killed; `config` is for routers that are to ask it.
pub fn serve(listen: SocketAddr, config: &Path, router_infos: &[PathBuf]) -> Result<()> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let infos = router_infos.iter().map(read).collect::<Result<Vec<_>>>()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let authority = Authority::new()?;
    let answer = Answer::File(bundle(&infos, now, SIGNER)?);
    let server = Server::start(&authority, listen, listen.ip(), false, answer)?;
    fs::write(config, configuration(&[server.url()], &authority, "2099-01-01")?)?;
    println!("READY");
    loop {
        thread::park();
    }
}
