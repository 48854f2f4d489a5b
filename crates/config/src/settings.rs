//! [`Config`]: values from `main.cf` and from options, over the table's defaults.

mod read;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ExpansionError, Origin, Warning};
use crate::expansion::{self, Names};
use crate::host::{self, Host, Interface};
use crate::level::Level;
use crate::{main_cf, parameters};

/// Where `main.cf` is when nobody says otherwise.
pub const DEFAULT_CONFIG_DIRECTORY: &str = "/etc/postfix";

/// `main.cf`, options and defaults together. Cheap to clone.
///
/// Nothing is expanded before it is read, so that an option may change what other values refer to.
#[derive(Clone, Debug)]
pub struct Config {
    directory: Arc<Path>,
    values: Arc<HashMap<String, Value>>,
    warnings: Arc<[Warning]>,
    host: Host,
}

#[derive(Clone, Debug)]
struct Value {
    text: String,
    origin: Origin,
}

thread_local! {
    /// Names whose default is being computed.
    static COMPUTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Computes the default of `name`, which depends on other values; where these depend on it in turn
/// (`myhostname = mx.$mydomain` alone), it is empty for them.
fn computed(name: &str, default: impl FnOnce() -> Result<String, Error>) -> Result<String, Error> {
    if COMPUTED.with_borrow(|names| names.iter().any(|one| one == name)) {
        return Ok(String::new());
    }
    COMPUTED.with_borrow_mut(|names| names.push(name.to_owned()));
    let outcome = default();
    COMPUTED.with_borrow_mut(Vec::pop);
    outcome
}

impl Config {
    /// Reads `directory/main.cf`.
    ///
    /// # Errors
    /// The file cannot be read, or has a line that is no assignment.
    pub fn load(directory: &Path) -> Result<Config, Error> {
        let path = directory.join("main.cf");
        let text = read_file(&path)?;
        Config::parse(&text, directory, &path)
    }

    /// A configuration without a file: `text` is a `main.cf`. For tests; `config_directory` leads nowhere.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(text: &str) -> Result<Config, Error> {
        let directory = Path::new("/nonexistent");
        Config::parse(text.as_bytes(), directory, &directory.join("main.cf"))
    }

    /// The defaults alone, as if `directory/main.cf` were empty.
    #[must_use]
    pub fn defaults(directory: &Path) -> Config {
        let mut config = Config {
            directory: directory.into(),
            values: Arc::default(),
            warnings: Arc::new([]),
            host: Host::default(),
        };
        config.set_process_facts();
        config
    }

    fn parse(text: &[u8], directory: &Path, path: &Path) -> Result<Config, Error> {
        let path: Arc<Path> = path.into();
        let mut warnings = Vec::new();
        let assignments = main_cf::parse(text, &path, &mut warnings)?;
        main_cf::overriding(&assignments, &path, &mut warnings);
        let values = assignments
            .into_iter()
            .map(|a| {
                let origin = Origin::File { path: Arc::clone(&path), line: a.line };
                (a.name, Value { text: a.value, origin })
            })
            .collect();
        let mut config = Config { values: Arc::new(values), warnings: warnings.into(), ..Config::defaults(directory) };
        config.set_process_facts();
        Ok(config)
    }

    /// `config_directory`, `process_name` and `process_id` are what they are, whatever the file says.
    fn set_process_facts(&mut self) {
        let directory = self.directory.display().to_string();
        self.set("config_directory", directory);
        self.set("process_id", std::process::id().to_string());
        let name = std::env::args_os().next().map(PathBuf::from);
        let name = name.as_deref().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
        self.set("process_name", name.unwrap_or_default());
    }

    /// The same configuration on another machine, for tests of what depends on name and interfaces.
    #[must_use]
    pub fn with_host(mut self, host: Host) -> Config {
        self.host = host;
        self
    }

    /// What was odd about the file, in its order; a program logs them once at its start.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The directory of `main.cf` and `master.cf`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Sets a value over all others: `-o name=value`, and what a program knows better (`process_name`, `stress`).
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = Value { text: value.into(), origin: Origin::Override };
        Arc::make_mut(&mut self.values).insert(name.into(), value);
    }

    /// Sets `name=value` or `{ name = value }` over all others.
    ///
    /// # Errors
    /// [`Error::Assignment`].
    pub fn set_option(&mut self, option: &str) -> Result<(), Error> {
        let (name, value) = main_cf::assignment(option)?;
        self.set(name, value);
        Ok(())
    }

    /// True when the file or an option sets `name`.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Names that the file or an option sets, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.values.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The text of a value as it was written, from the file or an option only.
    #[must_use]
    pub fn written(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.text.as_str())
    }

    /// Where the value of `name` comes from.
    #[must_use]
    pub fn origin(&self, name: &str) -> Origin {
        self.values.get(name).map_or(Origin::Default, |value| value.origin.clone())
    }

    /// The level that `compatibility_level` gives.
    ///
    /// # Errors
    /// [`Error::Expansion`].
    pub fn compatibility_level(&self) -> Result<Level, Error> {
        let name = "compatibility_level";
        self.string(name)?.parse().map_err(|reason| self.expansion_error(name, reason))
    }

    /// True when `name` is not set and its default is an old one because of `compatibility_level`, so that the program
    /// that acts on it says "using backwards-compatible default setting".
    #[must_use]
    pub fn is_backwards_compatible_default(&self, name: &str) -> bool {
        let default = parameters::find(name).map_or("", |row| row.default);
        if self.is_set(name) || !default.starts_with("${{$compatibility_level} <level {") {
            return false;
        }
        let newest = self.clone().with_override("compatibility_level", "9999");
        self.string(name).ok() != newest.string(name).ok()
    }

    fn with_override(mut self, name: &str, value: &str) -> Config {
        self.set(name, value);
        self
    }

    /// The text of `name`, not expanded: written, or the default.
    fn text(&self, name: &str) -> Result<Option<String>, Error> {
        if let Some(value) = self.values.get(name) {
            return Ok(Some(value.text.clone()));
        }
        match name {
            "myhostname" => computed(name, || self.default_hostname()).map(Some),
            "mydomain" => computed(name, || self.default_domain()).map(Some),
            "mynetworks" => computed(name, || self.default_networks()).map(Some),
            _ => Ok(parameters::find(name).map(|row| row.default.to_owned())),
        }
    }

    /// The system's name, made complete with `mydomain` when it has no domain.
    fn default_hostname(&self) -> Result<String, Error> {
        let name = self.host.name()?;
        if name.contains('.') {
            return Ok(name.to_owned());
        }
        match self.written("mydomain") {
            Some(_) => Ok(format!("{name}.{}", self.string("mydomain")?)),
            None => Ok(format!("{name}.localdomain")),
        }
    }

    fn default_domain(&self) -> Result<String, Error> {
        let name = match self.written("myhostname") {
            Some(_) => self.string("myhostname")?,
            None => self.host.name()?.to_owned(),
        };
        Ok(match name.split_once('.') {
            Some((_, domain)) if !domain.is_empty() => domain.to_owned(),
            _ => "localdomain".to_owned(),
        })
    }

    /// Debian's Postfix reads `myorigin` from a file when it is the name of one (`/etc/mailname`), and its installation
    /// sets it so: the first line counts.
    fn origin_domain(text: String) -> Result<String, Error> {
        if !text.starts_with('/') {
            return Ok(text);
        }
        let content = read_file(Path::new(&text))?;
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match std::str::from_utf8(line).map(str::trim) {
            Ok(domain) if !domain.is_empty() => Ok(domain.to_owned()),
            _ => Err(Error::Host { name: "myorigin", reason: format!("no domain in the first line of {text}") }),
        }
    }

    fn default_networks(&self) -> Result<String, Error> {
        host::mynetworks(&self.own_interfaces()?, &self.string("mynetworks_style")?)
    }

    /// The interface addresses that `inet_interfaces` and `inet_protocols` select.
    ///
    /// # Errors
    /// [`Error::Host`]; an address in `inet_interfaces` that no interface has.
    pub fn own_interfaces(&self) -> Result<Vec<Interface>, Error> {
        let protocols = self.list("inet_protocols")?;
        let all = protocols.iter().any(|word| word.eq_ignore_ascii_case("all"));
        let speaks = |version: &str| all || protocols.iter().any(|word| word.eq_ignore_ascii_case(version));
        let (v4, v6) = (speaks("ipv4"), speaks("ipv6"));
        let present: Vec<Interface> =
            self.host.interfaces()?.iter().filter(|one| if one.address.is_ipv4() { v4 } else { v6 }).copied().collect();
        let mut chosen: Vec<Interface> = Vec::new();
        for word in self.list("inet_interfaces")? {
            if word.eq_ignore_ascii_case("all") {
                return Ok(present);
            }
            if word.eq_ignore_ascii_case("loopback-only") {
                chosen.extend(present.iter().filter(|one| one.address.is_loopback()));
                continue;
            }
            for address in crate::host::addresses_of(&word)? {
                let usable = if address.is_ipv4() { v4 } else { v6 };
                if !usable || chosen.iter().any(|one| one.address == address) {
                    continue;
                }
                let found = present.iter().find(|one| one.address == address).ok_or_else(|| Error::Host {
                    name: "inet_interfaces",
                    reason: format!("no local interface found for {address}"),
                })?;
                chosen.push(*found);
            }
        }
        Ok(chosen)
    }

    fn expansion_error(&self, name: &str, reason: ExpansionError) -> Error {
        Error::Expansion { origin: self.origin(name), name: name.to_owned(), reason }
    }

    /// Expands `text` with parameters behind the names, as the value of `name` would be.
    fn expanded(&self, name: &str, text: &str) -> Result<String, Error> {
        if expansion::is_plain(text.as_bytes()) {
            return Ok(text.to_owned());
        }
        let mut names = Parameters { config: self, failed: None };
        match expansion::expand(text.as_bytes(), &mut names) {
            // Cut only at ASCII bytes, so it is still UTF-8.
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(reason) => Err(names.failed.unwrap_or_else(|| self.expansion_error(name, reason))),
        }
    }
}

/// Parameters as names of an expansion.
struct Parameters<'a> {
    config: &'a Config,
    failed: Option<Error>,
}

impl Names for Parameters<'_> {
    fn value(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExpansionError> {
        let text = self.config.text(name);
        let text =
            if name == "myorigin" { text.and_then(|text| text.map(Config::origin_domain).transpose()) } else { text };
        match text {
            Ok(text) => Ok(text.map(String::into_bytes)),
            Err(error) => {
                let reason = ExpansionError::Nesting(name.to_owned());
                self.failed = Some(error);
                Err(reason)
            }
        }
    }

    fn nested(&self) -> bool {
        true
    }
}

/// Reads a configuration file whole.
///
/// # Errors
/// [`Error::Open`], [`Error::Read`].
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let mut file = std::fs::File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(text)
}

#[cfg(test)]
mod tests;
