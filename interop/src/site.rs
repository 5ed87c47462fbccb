//! A site: `nginx` in the namespace of a router, on 127.0.0.1:8080.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::net::namespace::Namespace;
use crate::net::process::{Process, ensure_installed};

/// Where Debian has it.
pub(crate) const NGINX: &str = "/usr/sbin/nginx";
/// Where it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:8080";

/// Starts it with these directives for its one server; its files are below `directory`.
pub(crate) fn nginx(namespace: &Namespace, directory: &Path, directives: &str) -> Result<Process> {
    ensure_installed(NGINX)?;
    let own = directory.join("nginx");
    fs::create_dir_all(&own)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", own.display()))
        .collect();
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {own}/pid;\nerror_log {own}/error.log;\nevents {{}}\n\
         http {{\naccess_log off;\ntypes {{ text/html html; application/octet-stream bin; }}\n\
         {temporary}server {{\nlisten {ADDRESS};\n{directives}\n}}\n}}\n",
        own = own.display()
    );
    let path = own.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = namespace.command(Path::new(NGINX));
    command.arg("-c").arg(&path).arg("-p").arg(&own);
    Process::start(command, "nginx", &directory.join("nginx.log"))
}
