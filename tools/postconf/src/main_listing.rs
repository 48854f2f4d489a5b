//! Shows parameters of `main.cf`.

use config::{Config, parameters};

use crate::Output;
use crate::catalogue::{Catalogue, Source};
use crate::error::Error;
use crate::line;
use crate::master_entry::{self, Entry};
use crate::options::Options;
use crate::unused;

/// What the listings have in common: the files, and what their names mean.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) entries: Vec<Entry>,
    pub(crate) catalogue: Catalogue,
    /// Names that the files or options set, sorted.
    pub(crate) explicit: Vec<String>,
}

/// Reads both files. `needs_master` makes a missing `master.cf` an error instead of a warning.
///
/// # Errors
/// A file cannot be read or is wrong.
pub(crate) fn load(options: &Options, needs_master: bool, output: &mut Output) -> Result<Loaded, Error> {
    let directory = options.directory()?;
    let config = if options.defaults {
        let mut defaults = Config::defaults(&directory);
        defaults.set("process_name", "postconf");
        defaults
    } else {
        crate::load(options, output)?
    };
    let entries = match master_entry::load(&directory) {
        Err(Error::File { path, source, .. }) if !needs_master => {
            output.warn(&format!("open {path}: {}", sys::reason(&source)));
            Vec::new()
        }
        other => other?,
    };
    let facts = ["config_directory", "process_id", "process_name"];
    let explicit: Vec<String> =
        config.names().into_iter().filter(|name| !facts.contains(name)).map(str::to_owned).collect();
    let mut catalogue = Catalogue::new(&entries);
    if !options.defaults {
        catalogue.add_users(&config, &explicit, &entries);
        for warning in std::mem::take(&mut catalogue.warnings) {
            output.warn(&warning);
        }
    }
    Ok(Loaded { config, entries, catalogue, explicit })
}

impl Loaded {
    /// The text to show for a name; `None` when the name means nothing.
    pub(crate) fn value(&self, name: &str, options: &Options) -> Result<Option<String>, Error> {
        let Some(text) = self.catalogue.text(name, &self.config) else { return Ok(None) };
        let text = match name {
            // The table's word, not this run's.
            "config_directory" if options.defaults => config::DEFAULT_CONFIG_DIRECTORY.to_owned(),
            _ => text,
        };
        // Raw parameters are expanded when they are used, with names that only exist then.
        let raw = parameters::find(name).is_some_and(|row| row.kind == parameters::Kind::Raw);
        if !options.expand || raw {
            return Ok(Some(text));
        }
        Ok(self.config.optional_string(name)?.or(Some(text)))
    }

    /// The same configuration, with the defaults of service parameters filled in, so that values may refer to them.
    fn complete(&mut self) {
        for (name, known) in &self.catalogue.known {
            if known.source == Source::Service && !self.config.is_set(name) && parameters::find(name).is_none() {
                self.config.set(name.clone(), known.default.clone());
            }
        }
    }

    fn is_explicit(&self, name: &str) -> bool {
        name == "config_directory" || self.explicit.binary_search_by(|known| known.as_str().cmp(name)).is_ok()
    }
}

pub(crate) fn show(options: &Options, output: &mut Output) -> Result<(), Error> {
    let mut loaded = load(options, false, output)?;
    loaded.complete();
    if options.operands.is_empty() {
        let names: Vec<String> = loaded
            .catalogue
            .known
            .iter()
            .filter(|(name, known)| {
                let class = match known.source {
                    Source::Builtin => options.classes.builtin,
                    Source::Service => options.classes.service,
                    Source::User => options.classes.user && !options.defaults,
                    Source::Silent => options.classes.user && !options.defaults && loaded.is_explicit(name),
                };
                class && (!options.only_set || loaded.is_explicit(name))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            show_one(&loaded, &name, options, output)?;
        }
    } else {
        for name in &options.operands {
            if options.only_set && loaded.catalogue.known.contains_key(name) && !loaded.is_explicit(name) {
                continue;
            }
            show_one(&loaded, name, options, output)?;
        }
    }
    if !options.defaults && !options.quiet {
        unused::warn_main(&loaded.catalogue, &loaded.config, &loaded.explicit, output);
        unused::warn_master(&loaded.catalogue, &loaded.config, &loaded.entries, output);
    }
    Ok(())
}

fn show_one(loaded: &Loaded, name: &str, options: &Options, output: &mut Output) -> Result<(), Error> {
    if !loaded.catalogue.known.contains_key(name) {
        output.warn(&format!("{name}: unknown parameter"));
        return Ok(());
    }
    let Some(value) = loaded.value(name, options)? else { return Ok(()) };
    if options.json {
        output.line(&serde_json::json!({ "name": name, "value": value }).to_string());
    } else {
        output.line(&line::parameter(name, &value, options.fold, options.no_name, options.no_value));
    }
    Ok(())
}
