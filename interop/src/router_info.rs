//! As much of a RouterInfo as seeding needs: whose it is, and the file name
//! under which Java I2P, i2pd and aioli keep it (`netDb/rX/routerInfo-….dat`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{Encoding, Specification};

/// Public key, signing key and the head of the certificate.
const IDENTITY_WITHOUT_CERTIFICATE: usize = 387;

/// The router hash of a RouterInfo: SHA-256 of its identity.
pub fn router_hash(router_info: &[u8]) -> Result<[u8; 32]> {
    let length = router_info.get(IDENTITY_WITHOUT_CERTIFICATE - 2..IDENTITY_WITHOUT_CERTIFICATE);
    let certificate = length.and_then(|l| l.try_into().ok()).map(u16::from_be_bytes).context("too short")?;
    let identity = router_info.get(..IDENTITY_WITHOUT_CERTIFICATE + usize::from(certificate));
    let hash = digest(&SHA256, identity.context("shorter than its certificate says")?);
    hash.as_ref().try_into().context("SHA-256 has 32 bytes")
}

/// The router hash as it is written.
pub fn name(router_info: &[u8]) -> Result<String> {
    Ok(base64()?.encode(&router_hash(router_info)?))
}

/// Where this RouterInfo belongs below a data directory.
pub fn netdb_path(data_dir: &Path, router_info: &[u8]) -> Result<PathBuf> {
    let name = name(router_info)?;
    let directory = format!("r{}", name.chars().next().unwrap_or('A'));
    Ok(data_dir.join("netDb").join(directory).join(format!("routerInfo-{name}.dat")))
}

/// I2P's base64: the usual one with `-` and `~` for `+` and `/`.
fn base64() -> Result<Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~");
    specification.padding = Some('=');
    Ok(specification.encoding()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_covers_the_identity_with_its_certificate() {
        let mut bytes = vec![7; 384];
        bytes.extend([5, 0, 4, 0, 7, 0, 4]);
        let of_identity = router_hash(&bytes).unwrap();
        assert_eq!(of_identity.as_slice(), digest(&SHA256, &bytes).as_ref());
        bytes.extend([1, 2, 3]);
        assert_eq!(router_hash(&bytes).unwrap(), of_identity);
        assert!(router_hash(&bytes[..390]).is_err());
        assert!(router_hash(&bytes[..380]).is_err());
    }

    #[test]
    fn the_directory_is_the_first_character() {
        let mut bytes = vec![0; 387];
        bytes[384] = 0;
        let path = netdb_path(Path::new("d"), &bytes).unwrap();
        let path = path.to_str().unwrap();
        let name = path.rsplit_once("routerInfo-").unwrap().1;
        assert_eq!(name.len(), 44 + 4);
        let first = name.chars().next().unwrap();
        assert!(path.starts_with(&format!("d/netDb/r{first}/")));
    }
}
