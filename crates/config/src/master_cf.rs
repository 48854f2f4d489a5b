//! `master.cf`: the services, one logical line each, in eight columns.
//!
//! `service type private unprivileged chroot wakeup process_limit command arguments...`; `-` stands for the default.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Origin, Warning};
use crate::level::Level;
use crate::logical_line::{LogicalLines, utf8};
use crate::settings::read_file;
use crate::{list, main_cf};

/// What kind of socket a service listens at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKind {
    /// TCP: the name is `[host:]port`.
    Inet,
    /// A stream socket in the file system, below `public/` or `private/`.
    Unix,
    /// A datagram socket in the file system.
    UnixDgram,
    /// A named pipe.
    Fifo,
    /// A stream socket in the file system over which another service passes open connections.
    Pass,
}

impl ServiceKind {
    /// The word in the second column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ServiceKind::Inet => "inet",
            ServiceKind::Unix => "unix",
            ServiceKind::UnixDgram => "unix-dgram",
            ServiceKind::Fifo => "fifo",
            ServiceKind::Pass => "pass",
        }
    }
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ServiceKind {
    type Err = ();

    fn from_str(text: &str) -> Result<ServiceKind, ()> {
        Ok(match text {
            "inet" => ServiceKind::Inet,
            "unix" => ServiceKind::Unix,
            "unix-dgram" => ServiceKind::UnixDgram,
            "fifo" => ServiceKind::Fifo,
            "pass" => ServiceKind::Pass,
            _ => return Err(()),
        })
    }
}

/// A service that is woken regularly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// Seconds between two wake-ups, at least 1.
    pub seconds: u32,
    /// `?`: only once somebody has used the service.
    pub only_if_used: bool,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// First column: a path below `public/` or `private/`, or `[host:]port`.
    pub name: String,
    /// Second column.
    pub kind: ServiceKind,
    /// Below `private/` rather than `public/`. Never true for `inet`.
    pub private: bool,
    /// Runs without root's privilege.
    pub unprivileged: bool,
    /// Runs with `queue_directory` as root directory; `None` for `-`, see [`Service::is_chroot`].
    pub chroot: Option<bool>,
    /// Sixth column; `None` for `0` and `-`.
    pub wakeup: Option<Wakeup>,
    /// Seventh column; `None` for `-` (`default_process_limit`), 0 for no limit.
    pub process_limit: Option<u32>,
    /// The program, relative to `daemon_directory`.
    pub command: String,
    /// Its arguments, `{long ones}` without their braces. The `-o` options are among them.
    pub arguments: Vec<String>,
    /// What the `-o` options set, in order.
    pub overrides: Vec<(String, String)>,
    /// First physical line of the entry, from 1.
    pub line: usize,
}

impl Service {
    /// Whether it runs in a jail: as the entry says, otherwise only below compatibility level 1.
    #[must_use]
    pub fn is_chroot(&self, level: Level) -> bool {
        self.chroot.unwrap_or(level < Level { major: 1, minor: 0, patch: 0 })
    }

    /// The value that this entry gives to a parameter with `-o`.
    #[must_use]
    pub fn value(&self, parameter: &str) -> Option<&str> {
        self.overrides.iter().rev().find(|(name, _)| name == parameter).map(|(_, value)| value.as_str())
    }
}

/// The services of a `master.cf`.
#[derive(Clone, Debug, Default)]
pub struct MasterCf {
    /// In the order of the file; of two with the same name and type only the last.
    pub services: Vec<Service>,
    /// What was odd.
    pub warnings: Vec<Warning>,
}

impl MasterCf {
    /// Reads `directory/master.cf`.
    ///
    /// # Errors
    /// The file cannot be read, or an entry is wrong; errors name file, line, field and value.
    pub fn load(directory: &Path) -> Result<MasterCf, Error> {
        let path = directory.join("master.cf");
        MasterCf::read(&read_file(&path)?, &path)
    }

    /// Reads the text of a `master.cf`, for tests.
    ///
    /// # Errors
    /// As [`MasterCf::load`].
    pub fn parse(text: &str) -> Result<MasterCf, Error> {
        MasterCf::read(text.as_bytes(), Path::new("master.cf"))
    }

    fn read(text: &[u8], path: &Path) -> Result<MasterCf, Error> {
        let path: Arc<Path> = path.into();
        let mut warnings = Vec::new();
        let mut services: Vec<Service> = Vec::new();
        for logical in LogicalLines::new(text) {
            let line = utf8(&logical, &path, &mut warnings);
            let service = parse_entry(&line, &path, logical.line)?;
            if let Some(at) = services.iter().position(|s| s.name == service.name && s.kind == service.kind) {
                warnings.push(Warning::DuplicateService {
                    origin: Origin::File { path: Arc::clone(&path), line: service.line },
                    name: service.name.clone(),
                    kind: service.kind.as_str(),
                });
                services.remove(at);
            }
            services.push(service);
        }
        Ok(MasterCf { services, warnings })
    }

    /// The service of this name and kind.
    #[must_use]
    pub fn find(&self, name: &str, kind: ServiceKind) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name && service.kind == kind)
    }
}

fn parse_entry(text: &str, path: &Arc<Path>, line: usize) -> Result<Service, Error> {
    let words = list::split_words(text);
    let syntax = |problem| Error::Syntax { path: Arc::clone(path), line, problem, text: text.trim().to_owned() };
    let [name, kind, private, unprivileged, chroot, wakeup, limit, command, arguments @ ..] = words.as_slice() else {
        return Err(syntax("bad field count"));
    };
    let bad = |field: &'static str, value: &str| Error::MasterField {
        path: Arc::clone(path),
        line,
        field,
        value: value.to_owned(),
    };
    let flag = |field, value: &str| match value {
        "-" => Ok(None),
        "y" => Ok(Some(true)),
        "n" => Ok(Some(false)),
        other => Err(bad(field, other)),
    };
    let kind: ServiceKind = kind.parse().map_err(|()| bad("type", kind))?;
    let private = flag("private", private)?;
    if kind == ServiceKind::Inet && private == Some(true) {
        return Err(bad("private", "y"));
    }
    if kind != ServiceKind::Inet && (name.contains('/') || name == "." || name == "..") {
        return Err(bad("service", name));
    }
    if command.contains('{') {
        return Err(bad("command", command));
    }
    let arguments = plain_arguments(arguments).map_err(|word| bad("argument", &word))?;
    let overrides = overrides(&arguments).map_err(|word| bad("-o", &word))?;
    Ok(Service {
        name: name.clone(),
        kind,
        private: private.unwrap_or(kind != ServiceKind::Inet),
        unprivileged: flag("unprivileged", unprivileged)?.unwrap_or(true),
        chroot: flag("chroot", chroot)?,
        wakeup: parse_wakeup(wakeup).ok_or_else(|| bad("wakeup", wakeup))?,
        process_limit: parse_limit(limit).ok_or_else(|| bad("process_limit", limit))?,
        command: command.clone(),
        arguments,
        overrides,
        line,
    })
}

fn parse_wakeup(text: &str) -> Option<Option<Wakeup>> {
    if text == "-" {
        return Some(None);
    }
    let (digits, only_if_used) = match text.strip_suffix('?') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let seconds = unsigned(digits)?;
    Some((seconds > 0).then_some(Wakeup { seconds, only_if_used }))
}

fn parse_limit(text: &str) -> Option<Option<u32>> {
    if text == "-" { Some(None) } else { unsigned(text).map(Some) }
}

fn unsigned(text: &str) -> Option<u32> {
    text.parse().ok().filter(|value| *value <= i32::MAX as u32 && !text.starts_with('+'))
}

/// Takes the braces off `{long arguments}`; the error is the argument that has only half of them.
fn plain_arguments(words: &[String]) -> Result<Vec<String>, String> {
    words
        .iter()
        .map(|word| match word.starts_with('{') {
            false => Ok(word.clone()),
            true => list::braces(word)
                .filter(|_| crate::expansion::balanced(word.as_bytes(), b'{', b'}') == Some(word.len()))
                .map(str::to_owned)
                .ok_or_else(|| word.clone()),
        })
        .collect()
}

/// What `-o name=value` and `-oname=value` set; the error is the option that sets nothing.
fn overrides(arguments: &[String]) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(glued) = argument.strip_prefix("-o") else {
            if argument == "--" || !argument.starts_with('-') {
                break;
            }
            continue;
        };
        let option = if glued.is_empty() { rest.next().ok_or_else(|| argument.clone())? } else { glued };
        let (name, value) = main_cf::split_name_value(option).map_err(|_| option.to_owned())?;
        found.push((name.to_owned(), value.to_owned()));
    }
    Ok(found)
}

/// `master_service_disable`: which services are not started.
#[derive(Clone, Debug, Default)]
pub struct Disabled {
    patterns: Vec<String>,
}

impl Disabled {
    /// From the elements of the parameter: `name/type` or `type`, with `!` in front for exceptions; the first that
    /// matches decides.
    #[must_use]
    pub fn new(patterns: Vec<String>) -> Disabled {
        Disabled { patterns }
    }

    /// True when the service must not be started.
    #[must_use]
    pub fn contains(&self, name: &str, kind: ServiceKind) -> bool {
        for pattern in &self.patterns {
            let (pattern, wanted) = match pattern.strip_prefix('!') {
                Some(pattern) => (pattern, false),
                None => (pattern.as_str(), true),
            };
            let matches = match pattern.rsplit_once('/') {
                Some((service, of)) => service.eq_ignore_ascii_case(name) && of.eq_ignore_ascii_case(kind.as_str()),
                None => pattern.eq_ignore_ascii_case(kind.as_str()),
            };
            if matches {
                return wanted;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
