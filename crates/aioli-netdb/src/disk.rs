//! Names in the `netDb` directory, as Java I2P and i2pd lay it out.

use aioli_wire::RouterHash;

/// Where the RouterInfo of `hash` lies inside `netDb`: a directory of one letter
/// and a file.
///
/// ```text
/// rX/routerInfo-X....=.dat      X: first character of the hash in I2P Base64
/// ```
pub fn router_info_path(hash: &RouterHash) -> (String, String) {
    let name = hash.to_base64();
    let first = name.chars().next().unwrap_or('A');
    (format!("r{first}"), format!("routerInfo-{name}.dat"))
}

/// The hash in a file name of that form.
pub fn router_info_name(file: &str) -> Option<RouterHash> {
    RouterHash::from_base64(file.strip_prefix("routerInfo-")?.strip_suffix(".dat")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_other_routers() {
        let hash = RouterHash::from_base64("u9QdTy~qBwh8Mrcfrcqvea8MOiNmavLv8Io4XQsMDHg=").unwrap();
        let (dir, file) = router_info_path(&hash);
        assert_eq!(dir, "ru");
        assert_eq!(file, "routerInfo-u9QdTy~qBwh8Mrcfrcqvea8MOiNmavLv8Io4XQsMDHg=.dat");
        assert_eq!(router_info_name(&file), Some(hash));
        assert_eq!(router_info_name("routerInfo-u9Qd.dat"), None);
    }
}
