//! Warnings behind the output: names that nothing uses, and names that should not be used any more.

use config::{Config, parameters};

use crate::Output;
use crate::catalogue::Catalogue;
use crate::master_entry::Entry;

/// About the names that `main.cf` sets.
pub(crate) fn warn_main(catalogue: &Catalogue, config: &Config, explicit: &[String], output: &mut Output) {
    let place = format!("{}/main.cf", config.directory().display());
    for name in explicit {
        let value = config.written(name).unwrap_or_default();
        check(&place, name, value, catalogue.known.contains_key(name), output);
    }
}

/// About the names that `-o` options in `master.cf` set.
pub(crate) fn warn_master(catalogue: &Catalogue, config: &Config, entries: &[Entry], output: &mut Output) {
    let place = format!("{}/master.cf", config.directory().display());
    for (at, entry) in entries.iter().enumerate() {
        let own = catalogue.local.get(at);
        for (_, name, value) in entry.overrides() {
            let known = catalogue.known.contains_key(name) || own.is_some_and(|own| own.contains(name));
            check(&place, name, value, known, output);
        }
    }
}

fn check(place: &str, name: &str, value: &str, known: bool, output: &mut Output) {
    match (known, parameters::deprecated(name)) {
        (true, None) => {}
        (false, None) => output.warn(&format!("{place}: unused parameter: {name}={value}")),
        (true, Some(instead)) => {
            output.warn(&format!("{place}: support for parameter \"{name}\" will be removed; instead, {instead}"));
        }
        (false, Some(instead)) => {
            output.warn(&format!("{place}: support for parameter \"{name}\" has been removed; instead, {instead}"));
        }
    }
}
