//! The parameters that tables depend on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Config;

use crate::error::Error;

/// How table servers are reached: the programs behind `pgsql:`, `ldap:`, ... and `proxy:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Servers {
    /// Over their sockets in this directory (`private`), by daemons under master.
    Sockets(PathBuf),
    /// Each is started from `daemon_directory`, for this process alone: tools work without a running suite.
    Programs {
        /// `daemon_directory`
        daemon_directory: PathBuf,
        /// Of the configuration that the server reads.
        config_directory: PathBuf,
    },
}

/// Read once per program; [`crate::Maps::open`] loads it from the configuration by itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `smtputf8_enable`: keys and values are checked to be UTF-8, and keys are folded by Unicode's rules.
    pub utf8: bool,
    /// `lmdb_map_size`, bytes: where an LMDB file's memory map starts; it grows by doubling.
    pub lmdb_map_size: usize,
    /// `daemon_table_open_error_is_fatal`: a table that cannot be opened is an error of `open` instead of every lookup.
    pub open_error_is_fatal: bool,
    /// `proxy_read_maps`, the `proxy:` names in it: what `proxy:` may open.
    pub proxy_read_maps: Vec<String>,
    /// How table servers are reached.
    pub servers: Servers,
    /// `table_server_timeout`: how long a lookup waits for a table server.
    pub server_timeout: Duration,
    /// `proxymap_service_name`.
    pub proxymap_service: String,
    /// `proxywrite_service_name`.
    pub proxywrite_service: String,
    /// `default_database_type`: what postmap and postalias assume.
    pub default_database_type: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            utf8: true,
            lmdb_map_size: 16_777_216,
            open_error_is_fatal: false,
            proxy_read_maps: Vec::new(),
            servers: Servers::Sockets(PathBuf::from("private")),
            server_timeout: Duration::from_secs(100),
            proxymap_service: "proxymap".to_owned(),
            proxywrite_service: "proxywrite".to_owned(),
            default_database_type: "hash".to_owned(),
        }
    }
}

impl Settings {
    /// Reads everything.
    ///
    /// # Errors
    /// A parameter has a bad value.
    pub fn load(config: &Config) -> Result<Self, Error> {
        Ok(Self { proxy_read_maps: proxy_read_maps(config)?, ..Self::without_proxy(config)? })
    }

    /// Reads what `spec` needs: the list of tables for `proxy:` is long, and most lists have no use for it.
    pub(crate) fn for_spec(config: &Config, spec: &str) -> Result<Self, Error> {
        // A file of patterns may name any table.
        if spec.contains("proxy:") || spec.contains('/') { Self::load(config) } else { Self::without_proxy(config) }
    }

    fn without_proxy(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            utf8: config.bool("smtputf8_enable")?,
            lmdb_map_size: usize::try_from(config.long("lmdb_map_size")?).unwrap_or(usize::MAX),
            open_error_is_fatal: config.bool("daemon_table_open_error_is_fatal")?,
            proxy_read_maps: Vec::new(),
            servers: servers(config)?,
            server_timeout: config.time("table_server_timeout")?,
            proxymap_service: config.string("proxymap_service_name")?,
            proxywrite_service: config.string("proxywrite_service_name")?,
            default_database_type: config.string("default_database_type")?,
        })
    }
}

fn servers(config: &Config) -> Result<Servers, Error> {
    if !ipc::table::uses_sockets() {
        return Ok(Servers::Programs {
            daemon_directory: PathBuf::from(config.string("daemon_directory")?),
            config_directory: config.directory().to_owned(),
        });
    }
    // Daemons run in the queue directory, and see nothing else in a jail.
    let queue_directory = PathBuf::from(config.string("queue_directory")?);
    let here = std::env::current_dir().ok().and_then(|path| path.canonicalize().ok());
    let there = queue_directory.canonicalize().ok();
    let root = if here.is_some() && here == there { Path::new("") } else { &queue_directory };
    Ok(Servers::Sockets(root.join("private")))
}

/// The tables of `proxy_read_maps` that are named with `proxy:`, without that.
fn proxy_read_maps(config: &Config) -> Result<Vec<String>, Error> {
    let list = config.string("proxy_read_maps")?;
    Ok(crate::list::split(&list).filter_map(|name| name.strip_prefix("proxy:")).map(str::to_owned).collect())
}

/// Whether a feature (a parameter's name) is in `parent_domain_matches_subdomains`.
///
/// # Errors
/// The parameter has a bad value.
pub fn parent_domain_matches_subdomains(config: &Config, feature: &str) -> Result<bool, Error> {
    Ok(config.list("parent_domain_matches_subdomains")?.iter().any(|name| name == feature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Flags, Maps};

    #[test]
    fn proxy_serves_what_is_approved() {
        let config = Config::from_text(
            "virtual_alias_maps = proxy:inline:{a=b}\nrelay_domains = inline:{c=d}\n\
             proxy_read_maps = $virtual_alias_maps $relay_domains\n",
        )
        .expect("parses");
        for (spec, found) in [("proxy:inline:{a=b}", true), ("proxy:inline:{c=d}", false), ("inline:{a=b}", true)] {
            let maps = Maps::open(spec, &config, "test", Flags::DEFAULT).expect("never fatal");
            assert_eq!(maps.lookup_blocking(b"a").is_ok(), found, "{spec}");
        }
        // Tables that decide what runs as whom are never served by somebody else: they are opened directly.
        let direct = Maps::open("proxy:inline:{c=d}", &config, "test", Flags::NO_PROXY).expect("never fatal");
        assert_eq!(direct.lookup_blocking(b"c").expect("open").expect("found").value, "d");
        assert!(parent_domain_matches_subdomains(&config, "relay_domains").expect("default"));
        assert!(!parent_domain_matches_subdomains(&config, "mydestination").expect("default"));
    }
}
