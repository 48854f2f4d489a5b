//! The configuration: `main.cf` as far as the daemon skeleton needs it, until the parameter table takes its place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A configuration error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    /// There is no such parameter.
    #[error("unknown parameter: {0}")]
    Unknown(String),
    /// The value is not what the parameter takes.
    #[error("bad value for {0}: {1}")]
    Value(String, String),
}

/// The parameters of one program.
#[derive(Clone, Debug)]
pub struct Config(Rc<RefCell<HashMap<String, String>>>);

const DEFAULTS: &[(&str, &str)] = &[
    ("syslog_name", "postfix"),
    ("syslog_facility", "mail"),
    ("maillog_file", ""),
    ("maillog_file_permissions", "0600"),
    ("maillog_file_prefixes", "/var, /dev/stdout"),
    ("postlog_service_name", "postlog"),
    ("postlogd_watchdog_timeout", "10s"),
    ("queue_directory", "/var/spool/postfix"),
    ("mail_owner", "postfix"),
    ("setgid_group", "postdrop"),
    ("mail_in_account", "posthouse-in"),
    ("mail_out_account", "posthouse-out"),
    ("tls_key_account", "posthouse-keys"),
    ("table_account", "posthouse-tables"),
    ("resolver_account", "posthouse-dns"),
    ("max_idle", "100s"),
    ("max_use", "100"),
    ("daemon_timeout", "18000s"),
    ("ipc_timeout", "3600s"),
    ("trigger_timeout", "10s"),
    ("application_event_drain_time", "100s"),
    ("service_session_limit", "1000"),
    ("config_directory", "/etc/postfix"),
    ("stress", ""),
    ("process_name", ""),
    ("service_name", ""),
];

impl Config {
    /// Reads `main.cf` in `directory`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(directory: &Path) -> Result<Config, Error> {
        let path = directory.join("main.cf");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::Read(format!("open {}: {e}", path.display())))?;
        let config = Config::from_text(&text)?;
        config.set("config_directory", &directory.to_string_lossy());
        Ok(config)
    }

    /// For tests.
    ///
    /// # Errors
    /// None.
    pub fn from_text(text: &str) -> Result<Config, Error> {
        let mut map: HashMap<String, String> =
            DEFAULTS.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
            if let Some((name, value)) = line.split_once('=') {
                map.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(Config(Rc::new(RefCell::new(map))))
    }

    /// Overrides a parameter.
    pub fn set(&self, name: &str, value: &str) {
        self.0.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// A string.
    ///
    /// # Errors
    /// Unknown names.
    pub fn string(&self, name: &str) -> Result<String, Error> {
        self.0.borrow().get(name).cloned().ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    /// A string that may not be there.
    ///
    /// # Errors
    /// None.
    pub fn optional_string(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.0.borrow().get(name).cloned())
    }

    /// A list.
    ///
    /// # Errors
    /// Unknown names.
    pub fn list(&self, name: &str) -> Result<Vec<String>, Error> {
        let text = self.string(name)?;
        Ok(text.split([',', ' ', '\t']).filter(|s| !s.is_empty()).map(str::to_owned).collect())
    }

    /// A number.
    ///
    /// # Errors
    /// Unknown names, other text.
    pub fn int(&self, name: &str) -> Result<i64, Error> {
        let text = self.string(name)?;
        text.parse().map_err(|_| Error::Value(name.to_owned(), text))
    }

    /// A time.
    ///
    /// # Errors
    /// Unknown names, other text.
    pub fn time(&self, name: &str) -> Result<Duration, Error> {
        let text = self.string(name)?;
        text.trim_end_matches('s')
            .parse()
            .map(Duration::from_secs)
            .map_err(|_| Error::Value(name.to_owned(), text.clone()))
    }
}
