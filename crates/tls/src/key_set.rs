//! Which keys a configuration names.

use config::{Config, Error};
use ipc::tlsmgr::{KeySet, Role};

/// The keys of `prefix` (`smtpd`, `smtp`, `lmtp`) in a configuration; paths that are relative stay so.
///
/// # Errors
/// Values that cannot be expanded.
pub fn key_set(config: &Config, prefix: &str, role: Role) -> Result<KeySet, Error> {
    let chain_files = config.list(&format!("{prefix}_tls_chain_files"))?;
    let mut pairs = Vec::new();
    if chain_files.is_empty() {
        for kind in ["", "ec"] {
            let certificate = config.string(&format!("{prefix}_tls_{kind}cert_file"))?;
            let key = config.string(&format!("{prefix}_tls_{kind}key_file"))?;
            // `none`: no certificate, on purpose.
            if !certificate.is_empty() && certificate != "none" {
                pairs.push((certificate, key));
            }
        }
    }
    let named = |name: &str| if role == Role::Server { config.string(name) } else { Ok(String::new()) };
    Ok(KeySet {
        role,
        chain_files,
        pairs,
        sni_maps: named("tls_server_sni_maps")?,
        directory: named("tls_server_chain_directory")?,
    })
}

/// What is odd about the parameters of [`key_set`], for warnings.
///
/// # Errors
/// Values that cannot be expanded.
pub fn oddities(config: &Config, prefix: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let set = |name: String| config.string(&name).map(|value| !value.is_empty());
    let legacy = ["cert", "eccert", "dcert"];
    if set(format!("{prefix}_tls_chain_files"))? {
        for kind in legacy {
            if set(format!("{prefix}_tls_{kind}_file"))? {
                found.push(format!(
                    "Both {prefix}_tls_chain_files and one or more of the legacy {prefix}_tls_cert_file, \
                     {prefix}_tls_eccert_file or {prefix}_tls_dcert_file are non-empty; the legacy parameters will be \
                     ignored"
                ));
                break;
            }
        }
    } else if set(format!("{prefix}_tls_dcert_file"))? {
        found.push(format!("{prefix}_tls_dcert_file: DSA certificates are not supported; the file is ignored"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> KeySet {
        let config = Config::from_text(text).expect("configuration");
        key_set(&config, "smtpd", Role::Server).expect("key set")
    }

    #[test]
    fn parameters() {
        assert!(set("").is_empty());
        assert_eq!(set("smtpd_tls_cert_file = /c").pairs, [("/c".to_owned(), "/c".to_owned())]);
        let both = "smtpd_tls_cert_file = /c\nsmtpd_tls_key_file = /k\nsmtpd_tls_eccert_file = /e\n";
        assert_eq!(set(both).pairs.len(), 2);
        let chain = set(&format!("{both}smtpd_tls_chain_files = /a, /b\n"));
        assert_eq!((chain.chain_files.len(), chain.pairs.len()), (2, 0));
        assert!(set("smtpd_tls_cert_file = none").is_empty());
        assert!(set("tls_server_sni_maps = texthash:/x").has_names());
    }
}
