//! A reseed server of a test's own: its certificate authority, its signer, and
//! all the ways in which a server can be wrong.

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use aioli_wire::RouterInfo;
use aioli_wire::su3::encode_unsigned;
use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA512, digest};
use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use zip::write::{SimpleFileOptions, ZipWriter};

/// Who signs the bundles of tests.
pub const SIGNER: &str = "test@example.i2p";
/// A key that signs nothing but bundles of tests.
const SIGNER_KEY: &str = include_str!("test_signer.pem");
/// A connection that is not closed by the other side ends after this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A file, whole.
    File(Vec<u8>),
    /// A file of which only so many bytes come before the end.
    Cut(Vec<u8>, usize),
    /// So many bytes, whatever they are.
    Endless,
    /// A status line and nothing else.
    Status(&'static str),
    /// Go elsewhere.
    Redirect(String),
    /// Nothing at all.
    Silence,
    /// A file, byte by byte with a pause before each.
    Trickle(Vec<u8>, Duration),
}

/// A certificate authority that vouches for servers of tests.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pem", &self.pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate for a server at `ip`; `expired`: of last century.
    fn server(&self, ip: IpAddr, expired: bool) -> Result<ServerConfig> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![ip.to_string()])?;
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(1998, 1, 1), date_time_ymd(1999, 1, 1));
        }
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?)
    }
}

/// A running server; its threads end with the process.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// Starts one that answers every request alike.
    pub fn start(
        authority: &Authority,
        listen: SocketAddr,
        published: IpAddr,
        expired: bool,
        answer: Answer,
    ) -> Result<Self> {
        let tls = Arc::new(authority.server(published, expired)?);
        let listener = TcpListener::bind(listen).with_context(|| format!("listening on {listen}"))?;
        let address = SocketAddr::new(published, listener.local_addr()?.port());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, answer, count) = (Arc::clone(&tls), answer.clone(), Arc::clone(&count));
                // An error is the client's business: it is what tests look at.
                thread::spawn(move || drop(serve(stream, tls, &answer, &count)));
            }
        });
        Ok(Self { address, asked })
    }

    /// Its address as a configuration names it.
    pub fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// Requests that it has read.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, tls: Arc<ServerConfig>, answer: &Answer, count: &AtomicUsize) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls)?, stream);
    let mut reader = BufReader::new(&mut stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        anyhow::ensure!(reader.read_line(&mut request)? > 0, "it hung up");
    }
    count.fetch_add(1, Ordering::SeqCst);
    let right = request.starts_with("GET /i2pseeds.su3?netid=") && request.contains("Wget/1.11.4");
    let header = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    match answer {
        _ if !right => stream.write_all(header("400 Bad Request", 0).as_bytes())?,
        Answer::File(bytes) => {
            stream.write_all(header("200 OK", bytes.len()).as_bytes())?;
            stream.write_all(bytes)?;
        }
        Answer::Cut(bytes, at) => {
            stream.write_all(header("200 OK", bytes.len()).as_bytes())?;
            stream.write_all(bytes.get(..*at).unwrap_or(bytes))?;
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[0; 10_000])?;
            }
        }
        Answer::Status(status) => stream.write_all(header(status, 0).as_bytes())?,
        Answer::Redirect(to) => {
            let text = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(text.as_bytes())?;
        }
        Answer::Silence => drop(stream.read(&mut [0])?),
        Answer::Trickle(bytes, pause) => {
            stream.write_all(header("200 OK", bytes.len()).as_bytes())?;
            for byte in bytes {
                stream.flush()?;
                thread::sleep(*pause);
                stream.write_all(&[*byte])?;
            }
        }
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}

/// How reseed servers name a RouterInfo in an archive.
pub fn entry_name(router_info: &[u8]) -> Result<String> {
    let hash = RouterInfo::decode_unverified(router_info)?.claims().hash();
    Ok(format!("routerInfo-{}.dat", hash.to_base64()))
}

/// An archive of RouterInfos, named as reseed servers name them.
pub fn archive(router_infos: &[Vec<u8>]) -> Result<Vec<u8>> {
    let entry = |bytes: &Vec<u8>| Ok((entry_name(bytes)?, bytes.clone()));
    archive_of(&router_infos.iter().map(entry).collect::<Result<Vec<_>>>()?)
}

/// An archive of whatever it is.
pub fn archive_of(entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(name.as_str(), SimpleFileOptions::default())?;
        zip.write_all(bytes)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// A bundle dated `date` (seconds since 1970), signed by [`SIGNER`]'s key in the name of `signer`.
pub fn bundle(router_infos: &[Vec<u8>], date: u64, signer: &str) -> Result<Vec<u8>> {
    bundle_of(&archive(router_infos)?, date, signer)
}

/// The same of any content.
pub fn bundle_of(content: &[u8], date: u64, signer: &str) -> Result<Vec<u8>> {
    let key = RsaPrivateKey::from_pkcs8_pem(SIGNER_KEY)?;
    let mut bytes = encode_unsigned(512, &date.to_string(), signer, content);
    let hash = digest(&SHA512, &bytes);
    let signature = key.sign(Pkcs1v15Sign::new_unprefixed(), hash.as_ref())?;
    bytes.extend_from_slice(&signature);
    Ok(bytes)
}

/// A configuration that trusts these servers, this authority, and [`SIGNER`] until `not_after`.
pub fn configuration(servers: &[String], authority: &Authority, not_after: &str) -> Result<String> {
    let key = RsaPrivateKey::from_pkcs8_pem(SIGNER_KEY)?;
    let modulus = BASE64.encode(&key.n().to_bytes_be());
    let servers: Vec<_> = servers.iter().map(|url| format!("\"{url}\"")).collect();
    Ok(format!(
        "servers = [{}]\n\n[[signer]]\nid = \"{SIGNER}\"\nnot_before = \"2020-01-01\"\nnot_after = \"{not_after}\"\n\
         modulus = \"{modulus}\"\n\n[[authority]]\ncertificate = \"\"\"\n{}\"\"\"\n",
        servers.join(", "),
        authority.pem
    ))
}
