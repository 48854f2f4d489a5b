//! What postlogd reads from the configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Config;

/// What postlogd reads from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `maillog_file`
    pub(crate) file: PathBuf,
    /// `maillog_file_prefixes`
    prefixes: Vec<String>,
    /// `maillog_file_permissions`
    pub(crate) permissions: u32,
    /// `postlogd_watchdog_timeout`
    pub(crate) watchdog: Duration,
}

/// Why the log file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the postlogd service is started, but maillog_file is empty")]
    NoFile,
    #[error("logfile '{}' must match one of {prefixes}", .file.display())]
    Prefix { file: PathBuf, prefixes: String },
    #[error("open logfile {}: {}", .file.display(), sys::reason(.source))]
    Open { file: PathBuf, source: std::io::Error },
}

impl Settings {
    pub(crate) fn load(config: &Config) -> Result<Settings, config::Error> {
        let permissions = config.string("maillog_file_permissions")?;
        Ok(Settings {
            file: PathBuf::from(config.string("maillog_file")?),
            prefixes: config.list("maillog_file_prefixes")?,
            permissions: log::file_permissions(&permissions),
            watchdog: config.time("postlogd_watchdog_timeout")?,
        })
    }

    /// A configuration mistake must not overwrite just any file.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.file.as_os_str().is_empty() {
            return Err(Error::NoFile);
        }
        // `/var/../etc/x` is below /var in name only.
        let plain = !self.file.components().any(|part| part == std::path::Component::ParentDir);
        if plain && self.prefixes.iter().any(|prefix| self.file.starts_with(Path::new(prefix))) {
            return Ok(());
        }
        Err(Error::Prefix { file: self.file.clone(), prefixes: self.prefixes.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_prefixes() {
        let cases = [
            ("/var/log/maillog", true),
            ("/dev/stdout", true),
            ("/variable", false),
            ("/etc/passwd", false),
            ("/var/../etc/passwd", false),
            ("", false),
            ("log", false),
        ];
        for (file, wanted) in cases {
            let config = Config::from_text(&format!("maillog_file = {file}\n")).expect("configuration");
            assert_eq!(Settings::load(&config).expect("settings").check().is_ok(), wanted, "{file}");
        }
    }

    #[test]
    fn the_refusal_names_file_and_prefixes() {
        let config = Config::from_text("maillog_file = /etc/x\n").expect("configuration");
        let error = Settings::load(&config).expect("settings").check().expect_err("refused");
        assert_eq!(error.to_string(), "logfile '/etc/x' must match one of /var, /dev/stdout");
    }
}
