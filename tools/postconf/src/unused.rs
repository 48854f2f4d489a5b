//! Warnings behind the output: names that nothing uses, and names that should not be used any more.

use config::{Config, parameters};

use crate::Output;
use crate::catalogue::Catalogue;
use crate::master_entry::Entry;

pub(crate) fn warn(
    catalogue: &Catalogue,
    config: &Config,
    explicit: &[String],
    entries: &[Entry],
    output: &mut Output,
) {
    let directory = config.directory().display();
    for name in explicit {
        let value = config.written(name).unwrap_or_default();
        check(&format!("{directory}/main.cf"), name, value, catalogue.known.contains_key(name), output);
    }
    for (at, entry) in entries.iter().enumerate() {
        for (_, name, value) in entry.overrides() {
            let known =
                catalogue.known.contains_key(name) || catalogue.local.get(at).is_some_and(|own| own.contains(name));
            check(&format!("{directory}/master.cf"), name, value, known, output);
        }
    }
}

fn check(place: &str, name: &str, value: &str, known: bool, output: &mut Output) {
    match (known, parameters::deprecated(name)) {
        (true, None) => {}
        (false, None) => output.warn(&format!("{place}: unused parameter: {name}={value}")),
        (true, Some(instead)) => {
            output.warn(&format!("{place}: support for parameter \"{name}\" will be removed; instead, {instead}"))
        }
        (false, Some(instead)) => {
            output.warn(&format!("{place}: support for parameter \"{name}\" has been removed; instead, {instead}"))
        }
    }
}
