//! What master reads from `main.cf`, once at its start and once per reload.

use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use config::Config;

use crate::Error;
use crate::addresses::{Interfaces, Protocols};
use crate::owner::Owner;

/// Parameters that cannot change while master runs: locks, sockets and jails depend on them.
const FIXED: [&str; 6] =
    ["queue_directory", "data_directory", "process_id_directory", "mail_owner", "inet_interfaces", "inet_protocols"];

/// Settings of master.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `queue_directory`: master's working directory.
    pub queue_directory: PathBuf,
    /// `daemon_directory`.
    pub daemon_directory: PathBuf,
    /// `data_directory/master.lock`.
    pub data_lock: PathBuf,
    /// `process_id_directory/master.pid`, below the queue directory.
    pub pid_file: PathBuf,
    /// `mail_owner`, when we are root.
    pub owner: Option<Owner>,
    /// `mail_version`.
    pub mail_version: String,
    /// `inet_interfaces`.
    pub interfaces: Interfaces,
    /// `inet_protocols`.
    pub protocols: Protocols,
    /// `default_process_limit`.
    pub default_process_limit: u32,
    /// It is set in `main.cf`.
    pub default_process_limit_is_set: bool,
    /// `service_throttle_time`.
    pub throttle: Duration,
    /// `daemon_timeout`.
    pub daemon_timeout: Duration,
    /// `maillog_file` is set.
    pub has_maillog_file: bool,
    /// `postlog_service_name`.
    pub postlog_service: String,
    /// `resolver_service_name`.
    pub resolver_service: String,
    /// What programs get as environment (`import_environment`, `MAIL_CONFIG`).
    pub environment: Vec<CString>,
    /// The texts of [`FIXED`], to see a change.
    fixed: Vec<(&'static str, String)>,
}

impl Settings {
    /// Reads everything.
    ///
    /// # Errors
    /// Values that make no sense, and a `mail_owner` that does not exist.
    pub(crate) fn load(config: &Config) -> Result<Settings, Error> {
        let path = |name: &str| config.string(name).map(PathBuf::from);
        let queue_directory = path("queue_directory")?;
        let protocols = config.list("inet_protocols")?;
        let fixed = FIXED
            .into_iter()
            .map(|name| config.string(name).map(|value| (name, value)))
            .collect::<Result<Vec<_>, config::Error>>()?;
        Ok(Settings {
            daemon_directory: path("daemon_directory")?,
            data_lock: path("data_directory")?.join("master.lock"),
            pid_file: pid_file(config)?,
            queue_directory,
            owner: owner(config)?,
            mail_version: config.string("mail_version")?,
            interfaces: Interfaces::parse(&config.list("inet_interfaces")?),
            protocols: Protocols::parse(&protocols)
                .ok_or_else(|| Error::Value { what: "inet_protocols".to_owned(), value: protocols.join(", ") })?,
            default_process_limit: unsigned(config.int("default_process_limit")?),
            default_process_limit_is_set: config.is_set("default_process_limit"),
            throttle: config.time("service_throttle_time")?,
            daemon_timeout: config.time("daemon_timeout")?,
            has_maillog_file: !config.string("maillog_file")?.is_empty(),
            postlog_service: config.string("postlog_service_name")?,
            resolver_service: config.string("resolver_service_name")?,
            environment: environment(config)?,
            fixed,
        })
    }

    /// Parameters that were changed although that has no effect before a restart: name, old and new value.
    #[must_use]
    pub(crate) fn ignored_changes<'a>(&'a self, newer: &'a Settings) -> Vec<(&'static str, &'a str, &'a str)> {
        let pairs = self.fixed.iter().zip(&newer.fixed);
        pairs.filter(|(old, new)| old.1 != new.1).map(|(old, new)| (old.0, old.1.as_str(), new.1.as_str())).collect()
    }

    /// These settings, with what cannot change taken from `older`.
    #[must_use]
    pub(crate) fn keeping_fixed(self, older: &Settings) -> Settings {
        Settings {
            queue_directory: older.queue_directory.clone(),
            data_lock: older.data_lock.clone(),
            pid_file: older.pid_file.clone(),
            owner: older.owner,
            interfaces: older.interfaces.clone(),
            protocols: older.protocols,
            fixed: older.fixed.clone(),
            ..self
        }
    }
}

/// Where master's process id is, and the lock that says whether it runs.
pub(crate) fn pid_file(config: &Config) -> Result<PathBuf, config::Error> {
    let directory = PathBuf::from(config.string("queue_directory")?).join(config.string("process_id_directory")?);
    Ok(directory.join("master.pid"))
}

pub(crate) fn unsigned(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

fn owner(config: &Config) -> Result<Option<Owner>, Error> {
    if !sys::privileges::is_root() {
        return Ok(None);
    }
    let name = config.string("mail_owner")?;
    match sys::privileges::look_up(&name)? {
        Some(identity) => Ok(Some(Owner { uid: identity.uid, gid: identity.gid })),
        None => Err(Error::Value { what: "mail_owner".to_owned(), value: format!("{name} (unknown user)") }),
    }
}

/// `import_environment`: names that keep their value, `name=value` for others; nothing else is passed on.
fn environment(config: &Config) -> Result<Vec<CString>, Error> {
    let mut result = Vec::new();
    let mut add = |name: &str, value: &str| {
        if name != "MAIL_CONFIG"
            && let Ok(entry) = CString::new(format!("{name}={value}"))
        {
            result.push(entry);
        }
    };
    for word in config.list("import_environment")? {
        let word = config::list::braces(&word).map_or(word.as_str(), str::trim);
        match word.split_once('=') {
            Some((name, value)) => add(name.trim(), value.trim()),
            None => {
                if let Ok(value) = std::env::var(word) {
                    add(word, &value);
                }
            }
        }
    }
    let directory = config.directory().display();
    let entry = CString::new(format!("MAIL_CONFIG={directory}"));
    result.push(entry.map_err(|_| Error::Value { what: "config_directory".to_owned(), value: directory.to_string() })?);
    Ok(result)
}
