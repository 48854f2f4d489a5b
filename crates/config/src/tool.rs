//! How command line tools start: which configuration directory, who may choose it, and what of the environment stays.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::list;
use crate::settings::{Config, DEFAULT_CONFIG_DIRECTORY};

/// Whose tool it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Real user.
    pub user: u32,
    /// The program has privileges that its caller does not (set-user-id or set-group-id).
    pub privileged: bool,
}

impl Caller {
    /// Of this process.
    #[must_use]
    pub fn current() -> Caller {
        let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
        let privileged = user != nix::unistd::geteuid() || group != nix::unistd::getegid();
        Caller { user: user.as_raw(), privileged }
    }

    /// A set-gid tool that somebody else than root runs: nothing that the caller says is believed.
    #[must_use]
    pub const fn is_untrusted(self) -> bool {
        self.privileged && self.user != 0
    }
}

/// The configuration directory: `-c`, else `MAIL_CONFIG`, else the default.
///
/// An untrusted caller may name only the default directory and those that the `main.cf` there lists in
/// `alternate_config_directories` or `multi_instance_directories`.
///
/// # Errors
/// [`Error::UnauthorizedDirectory`], or the default `main.cf` is wrong.
pub fn configuration_directory(
    option: Option<&OsStr>,
    environment: Option<&OsStr>,
    caller: Caller,
) -> Result<PathBuf, Error> {
    choose(option, environment, caller, Path::new(DEFAULT_CONFIG_DIRECTORY))
}

fn choose(
    option: Option<&OsStr>,
    environment: Option<&OsStr>,
    caller: Caller,
    default: &Path,
) -> Result<PathBuf, Error> {
    let chosen = option.or(environment.filter(|value| !value.is_empty())).map(Path::new);
    let Some(chosen) = chosen.filter(|chosen| *chosen != default) else { return Ok(default.to_owned()) };
    if !caller.is_untrusted() {
        return Ok(chosen.to_owned());
    }
    let authority = Config::load(default)?;
    for name in ["alternate_config_directories", "multi_instance_directories"] {
        if authority.list(name)?.iter().any(|directory| Path::new(directory) == chosen) {
            return Ok(chosen.to_owned());
        }
    }
    Err(Error::UnauthorizedDirectory(chosen.to_owned()))
}

/// Loads the configuration as every tool does: see [`configuration_directory`].
///
/// # Errors
/// As [`configuration_directory`] and [`Config::load`].
pub fn load(option_c: Option<&OsStr>) -> Result<Config, Error> {
    let environment = std::env::var_os("MAIL_CONFIG");
    Config::load(&configuration_directory(option_c, environment.as_deref(), Caller::current())?)
}

/// The environment that a list such as `import_environment` or `export_environment` lets through.
///
/// Elements are `name`, taken from `present`, or `name=value` (in braces where there are blanks), set to that value.
#[must_use]
pub fn selected_environment(
    elements: &[String],
    present: impl Fn(&str) -> Option<OsString>,
) -> Vec<(OsString, OsString)> {
    elements
        .iter()
        .filter_map(|element| {
            let inside = list::braces(element).unwrap_or(element);
            match inside.split_once('=') {
                Some((name, value)) => Some((name.trim().into(), value.trim().into())),
                None => Some((inside.into(), present(inside)?)),
            }
        })
        .collect()
}

/// Reduces this process's environment to what `import_environment` lets through; set-gid tools call it first.
///
/// # Errors
/// `import_environment` cannot be read.
pub fn clean_environment(config: &Config) -> Result<(), Error> {
    let selected = selected_environment(&config.list("import_environment")?, |name| std::env::var_os(name));
    sys::environment::replace(&selected);
    Ok(())
}

/// The environment for programs that are not ours (`export_environment`).
///
/// # Errors
/// `export_environment` cannot be read.
pub fn exported_environment(config: &Config) -> Result<Vec<(OsString, OsString)>, Error> {
    Ok(selected_environment(&config.list("export_environment")?, |name| std::env::var_os(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_choose_a_directory() {
        let default = tempfile::tempdir().unwrap();
        let main_cf = "alternate_config_directories = /a, /b\nmulti_instance_directories = /c\n";
        std::fs::write(default.path().join("main.cf"), main_cf).unwrap();
        let caller = |user, privileged| Caller { user, privileged };
        let ask = |option: Option<&str>, environment: Option<&str>, caller| {
            let chosen = choose(option.map(OsStr::new), environment.map(OsStr::new), caller, default.path());
            chosen.map(|path| if path == default.path() { "default".into() } else { path }).ok()
        };
        let stranger = caller(1000, true);
        assert_eq!(ask(None, None, stranger), Some("default".into()));
        assert_eq!(ask(None, Some(""), stranger), Some("default".into()));
        for good in ["/a", "/b", "/c"] {
            assert_eq!(ask(Some(good), None, stranger), Some(good.into()));
            assert_eq!(ask(None, Some(good), stranger), Some(good.into()));
        }
        assert_eq!(ask(Some("/d"), Some("/a"), stranger), None);
        assert_eq!(ask(Some("/a/../d"), None, stranger), None);
        assert_eq!(ask(Some("/d"), None, caller(1000, false)), Some("/d".into()));
        assert_eq!(ask(Some("/d"), Some("/e"), caller(0, true)), Some("/d".into()));
    }

    #[test]
    fn environment_lists() {
        let elements = list::split("TZ, LANG=C { X = y z } MISSING");
        let selected = selected_environment(&elements, |name| (name == "TZ").then(|| "UTC".into()));
        let expected = [("TZ", "UTC"), ("LANG", "C"), ("X", "y z")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(selected, expected);
    }
}
