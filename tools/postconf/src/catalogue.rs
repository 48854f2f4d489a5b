//! Which parameter names mean something: the table's, those of services in `master.cf`, and the user's own.
//!
//! A name of the user's own means something when a value refers to it, or when it is a restriction class. A name that
//! nothing refers to is unused; a reference to a name that nothing defines is undefined.

use std::collections::{BTreeMap, BTreeSet};

use config::parameters::{self, Class, Kind};
use config::{Config, expansion};

use crate::database;
use crate::master_entry::Entry;

/// Where a name comes from, as `-C` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Builtin,
    /// Made from a service of `master.cf`.
    Service,
    /// Defined in `main.cf`.
    User,
    /// Means something, but is shown only when it is set: old names, and our own per-service settings.
    Silent,
}

/// A name and its default, not expanded.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) source: Source,
    pub(crate) default: String,
}

/// All names that mean something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) known: BTreeMap<String, Known>,
    /// Names that mean something within one service only, by its place in `master.cf`.
    pub(crate) local: Vec<BTreeSet<String>>,
    /// In the order found.
    pub(crate) warnings: Vec<String>,
}

/// Programs that deliver mail, and so have all the scheduler's parameters per service.
const DELIVERY_AGENTS: [&str; 6] = ["local", "virtual", "smtp", "lmtp", "pipe", "error"];
/// Programs that run commands, and so have `<service>_time_limit`.
const COMMAND_RUNNERS: [&str; 2] = ["pipe", "spawn"];

impl Catalogue {
    /// The table's names and those of the services.
    pub(crate) fn new(entries: &[Entry]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for row in parameters::all() {
            let source = match row.class {
                Class::Builtin | Class::Ours => Source::Builtin,
                // A default of its own: the parameter exists without the service.
                Class::Service if !row.default.starts_with('$') => Source::Builtin,
                Class::Legacy => Source::Silent,
                Class::Service | Class::Pattern | Class::Obsolete => continue,
            };
            catalogue.add(row.name, source, row.default);
        }
        for entry in entries {
            catalogue.add_service(entry);
        }
        catalogue
    }

    fn add(&mut self, name: &str, source: Source, default: &str) {
        self.known.entry(name.to_owned()).or_insert_with(|| Known { source, default: default.to_owned() });
    }

    fn add_service(&mut self, entry: &Entry) {
        let program = entry.command().rsplit('/').next().unwrap_or_default();
        for (suffix, row) in parameters::patterns() {
            let source = match suffix {
                "session_limit" => Source::Silent,
                _ if entry.kind() != "unix" => continue,
                "time_limit" if COMMAND_RUNNERS.contains(&program) => Source::Service,
                "time_limit" => continue,
                _ if DELIVERY_AGENTS.contains(&program) => Source::Service,
                _ => continue,
            };
            let name = format!("{}_{suffix}", entry.service());
            let default = parameters::find(&name).map_or(row.default, |own| own.default);
            self.known.insert(name, Known { source, default: default.to_owned() });
        }
    }

    /// Adds what `main.cf` and the `-o` options of `master.cf` define and use.
    pub(crate) fn add_users(&mut self, config: &Config, explicit: &[String], entries: &[Entry]) {
        let directory = config.directory().display().to_string();
        for entry in entries {
            let own: BTreeMap<&str, &str> =
                entry.overrides().into_iter().map(|(_, name, value)| (name, value)).collect();
            let mut names = BTreeSet::new();
            let mut scope = config.clone();
            for (name, value) in &own {
                scope.set(*name, *value);
            }
            if own.contains_key("smtpd_restriction_classes") {
                for class in scope.list("smtpd_restriction_classes").unwrap_or_default() {
                    self.refer(&class, config, Some((&own, &mut names)), &format!("{directory}/master.cf"));
                }
            }
            let scanned = |name: &str| parameters::find(name).is_none_or(|row| row.kind != Kind::Raw);
            for value in own.iter().filter(|(name, _)| scanned(name)).map(|(_, value)| *value) {
                for name in expansion::references(value.as_bytes()).unwrap_or_default() {
                    self.refer(&name, config, Some((&own, &mut names)), &format!("{directory}/master.cf"));
                }
                for name in database::names(value, &own.keys().copied()) {
                    names.insert(name);
                }
            }
            self.local.push(names);
        }
        let place = format!("{directory}/main.cf");
        for class in config.list("smtpd_restriction_classes").unwrap_or_default() {
            self.refer(&class, config, None, &place);
        }
        for name in explicit {
            // A raw parameter refers to names that only exist when it is used.
            if parameters::find(name).is_some_and(|row| row.kind == Kind::Raw) {
                continue;
            }
            let value = config.written(name).unwrap_or_default();
            match expansion::references(value.as_bytes()) {
                Ok(references) => references.iter().for_each(|name| self.refer(name, config, None, &place)),
                Err(error) => self.warnings.push(format!("{}: parameter {name}: {error}", config.origin(name))),
            }
            let text = config.optional_string(name).ok().flatten().unwrap_or_default();
            for name in database::names(&text, &explicit.iter().map(String::as_str)) {
                self.add(&name, Source::User, "");
            }
            database::check_files(&text, &mut self.warnings);
        }
    }

    /// A value refers to `name`.
    fn refer(
        &mut self,
        name: &str,
        config: &Config,
        local: Option<(&BTreeMap<&str, &str>, &mut BTreeSet<String>)>,
        place: &str,
    ) {
        if self.known.contains_key(name) {
            return;
        }
        let mut found = false;
        if let Some((own, names)) = local
            && own.contains_key(name)
        {
            names.insert(name.to_owned());
            found = true;
        }
        if config.is_set(name) {
            self.add(name, Source::User, "");
            found = true;
        }
        if !found {
            self.warnings.push(format!("{place}: undefined parameter: {name}"));
        }
    }

    /// The text of a name before expansion: written, or the default.
    pub(crate) fn text(&self, name: &str, config: &Config) -> Option<String> {
        if let Some(written) = config.written(name) {
            return Some(written.to_owned());
        }
        let known = self.known.get(name)?;
        // The machine's own facts have no default in the table.
        match name {
            "myhostname" | "mydomain" | "mynetworks" => config.string(name).ok(),
            _ => Some(known.default.clone()),
        }
    }
}
