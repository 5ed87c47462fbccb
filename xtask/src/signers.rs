//! Reseed signers: the entry of `data/reseed.toml` that a certificate makes,
//! and whether the file says what certificates say.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use toml::{Table, Value};
use x509_parser::pem::parse_x509_pem;
use x509_parser::public_key::PublicKey;

/// Where the router keeps what this makes.
const DATA_FILE: &str = "crates/aioli-node/data/reseed.toml";
/// Bytes of an RSA-4096 modulus, and the exponent that the router expects.
const MODULUS: usize = 512;
const EXPONENT: u64 = 65_537;
/// Characters in a line of base64.
const WIDTH: usize = 100;

/// What the data file says of a certificate.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// `someone@example.i2p`, or a host for a server's own certificate.
    name: String,
    not_before: String,
    not_after: String,
    key: Key,
}

#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// Of one who signs bundles, base64.
    Modulus(String),
    /// Of a server's certificate, hexadecimal.
    Sha256(String),
}

/// Prints the entry for a certificate.
pub(crate) fn print(path: &Path) -> Result<()> {
    print!("{}", Entry::read(path)?.to_toml());
    Ok(())
}

/// Compares the data file with all certificates of a directory. Returns how many agree.
pub(crate) fn compare(directory: &Path) -> Result<usize> {
    let table = fs::read_to_string(DATA_FILE)?.parse::<Table>()?;
    let known = entries(&table)?;
    let mut found = Vec::new();
    for file in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let path = file?.path();
        if path.extension().is_some_and(|e| e == "crt") {
            found.push(Entry::read(&path)?);
        }
    }
    for entry in &found {
        let same = known.iter().find(|k| k.name == entry.name);
        let same = same.with_context(|| format!("{DATA_FILE} has no {}", entry.name))?;
        ensure!(same == entry, "{DATA_FILE} says {same:?}, the certificate {entry:?}");
    }
    for entry in &known {
        let certified = found.iter().any(|f| f.name == entry.name);
        ensure!(certified, "{} of {DATA_FILE} has no certificate in {}", entry.name, directory.display());
    }
    Ok(found.len())
}

/// What the data file has.
fn entries(table: &Table) -> Result<Vec<Entry>> {
    let list = |key: &str| table.get(key).and_then(Value::as_array).into_iter().flatten();
    let signers = list("signer").map(|entry| {
        let modulus: String = text(entry, "modulus")?.split_whitespace().collect();
        Entry::from_toml(entry, "id", Key::Modulus(modulus))
    });
    let pinned =
        list("pinned").map(|entry| Entry::from_toml(entry, "host", Key::Sha256(text(entry, "sha256")?)));
    signers.chain(pinned).collect()
}

fn text(entry: &Value, key: &str) -> Result<String> {
    Ok(entry.get(key).and_then(Value::as_str).with_context(|| format!("an entry has no {key}"))?.to_owned())
}

impl Entry {
    fn from_toml(entry: &Value, name: &str, key: Key) -> Result<Self> {
        let (not_before, not_after) = (text(entry, "not_before")?, text(entry, "not_after")?);
        Ok(Self { name: text(entry, name)?, not_before, not_after, key })
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Self::from_pem(&bytes).with_context(|| path.display().to_string())
    }

    fn from_pem(bytes: &[u8]) -> Result<Self> {
        let (_, pem) = parse_x509_pem(bytes).context("it is no certificate in PEM")?;
        let certificate = pem.parse_x509().context("it is no X.509 certificate")?;
        let name = certificate.subject().iter_common_name().next().context("it names nobody")?;
        let name = name.as_str().context("its name is no text")?.to_owned();
        let date = |time: x509_parser::time::ASN1Time| time.to_datetime().date().to_string();
        let validity = certificate.validity();
        let key = if name.contains('@') {
            Key::Modulus(modulus(&certificate.public_key().parsed()?)?)
        } else {
            Key::Sha256(HEXLOWER.encode(&Sha256::digest(&pem.contents)))
        };
        Ok(Self { name, not_before: date(validity.not_before), not_after: date(validity.not_after), key })
    }

    fn to_toml(&self) -> String {
        let (table, name) = match self.key {
            Key::Modulus(_) => ("signer", "id"),
            Key::Sha256(_) => ("pinned", "host"),
        };
        let head = format!(
            "[[{table}]]\n{name} = \"{}\"\nnot_before = \"{}\"\nnot_after = \"{}\"\n",
            self.name, self.not_before, self.not_after
        );
        match &self.key {
            Key::Modulus(modulus) => {
                let lines: Vec<_> = modulus.as_bytes().chunks(WIDTH).map(String::from_utf8_lossy).collect();
                format!("{head}modulus = \"\"\"\n{}\n\"\"\"\n", lines.join("\n"))
            }
            Key::Sha256(hash) => format!("{head}sha256 = \"{hash}\"\n"),
        }
    }
}

/// The modulus of an RSA-4096 key with the usual exponent.
fn modulus(key: &PublicKey<'_>) -> Result<String> {
    let PublicKey::RSA(rsa) = key else { bail!("its key is not RSA") };
    ensure!(rsa.try_exponent()? == EXPONENT, "its exponent is not {EXPONENT}");
    let bytes = rsa.modulus.strip_prefix(&[0]).unwrap_or(rsa.modulus);
    ensure!(bytes.len() == MODULUS, "its modulus has {} bytes instead of {MODULUS}", bytes.len());
    Ok(BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_is_written() {
        for (name, key) in [
            ("a@b.i2p", Key::Modulus(BASE64.encode(&[0xc1; MODULUS]))),
            ("a.b", Key::Sha256("00".repeat(32))),
        ] {
            let (not_before, not_after) = ("2020-01-01".to_owned(), "2030-01-01".to_owned());
            let entry = Entry { name: name.to_owned(), not_before, not_after, key };
            let table = entry.to_toml().parse::<Table>().unwrap();
            assert_eq!(entries(&table).unwrap(), [entry]);
        }
    }

    #[test]
    fn the_data_file_is_understood() {
        let text = include_str!("../../crates/aioli-node/data/reseed.toml");
        assert!(entries(&text.parse::<Table>().unwrap()).unwrap().len() > 16);
    }

    #[test]
    fn what_is_no_certificate_is_said() {
        assert!(Entry::from_pem(b"hello").is_err());
        let empty = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(Entry::from_pem(empty).unwrap_err().to_string().contains("no X.509"));
    }
}
