//! Shows `master.cf`: entries (`-M`), fields (`-F`), parameters that entries set (`-P`).

use std::collections::BTreeMap;

use config::Config;

use crate::Output;
use crate::error::Error;
use crate::line;
use crate::main_listing::{self, Loaded};
use crate::master_entry::{Entry, FIELDS};
use crate::options::{Options, Target};
use crate::pattern::Pattern;
use crate::unused;

pub(crate) fn show(options: &Options, output: &mut Output) -> Result<(), Error> {
    let (most, form) = match options.target {
        Target::Fields => (3, "-F option requires service_name[/type[/field]]"),
        Target::Overrides => (3, "-P option requires service_name[/type[/parameter]]"),
        Target::Entries | Target::Main => (2, "-M option requires service_name[/type]"),
    };
    let mut patterns =
        options.operands.iter().map(|text| Pattern::parse(text, 1, most, form)).collect::<Result<Vec<_>, _>>()?;
    if options.target == Target::Fields
        && let Some(field) = patterns.iter().filter_map(Pattern::name).find(|n| *n != "*" && !FIELDS.contains(n))
    {
        return Err(Error::Request(format!("invalid service attribute name: \"{field}\"")));
    }
    let loaded = main_listing::load(options, true, output)?;
    let asked = !patterns.is_empty();
    if !asked {
        patterns.push(Pattern::parse("*", 1, most, form)?);
    }
    for pattern in &patterns {
        let mut matched = false;
        for entry in loaded.entries.iter().filter(|entry| pattern.selects(entry)) {
            matched |= match options.target {
                Target::Fields => show_fields(&loaded, entry, pattern, options, output)?,
                Target::Overrides => show_overrides(&loaded, entry, pattern, options, output)?,
                Target::Entries | Target::Main => show_entry(&loaded, entry, options, output)?,
            };
        }
        if asked && !matched {
            output.warn(&format!("unmatched request: \"{}\"", pattern.text));
        }
    }
    if !options.quiet {
        unused::warn_master(&loaded.catalogue, &loaded.config, &loaded.entries, output);
    }
    Ok(())
}

/// The configuration as the service sees it.
fn scope(loaded: &Loaded, entry: &Entry) -> Config {
    let mut config = loaded.config.clone();
    config.set("service_name", entry.service());
    config.set("process_name", entry.command().rsplit('/').next().unwrap_or_default());
    for (_, name, value) in entry.overrides() {
        config.set(name, value);
    }
    config
}

/// The entry with its `-o` values expanded, when that is asked for.
fn expanded(loaded: &Loaded, entry: &Entry, options: &Options) -> Result<BTreeMap<String, String>, Error> {
    let mut values = BTreeMap::new();
    let config = options.expand.then(|| scope(loaded, entry));
    for (_, name, value) in entry.overrides() {
        let value = match &config {
            Some(config) => config.optional_string(name)?.unwrap_or_default(),
            None => value.to_owned(),
        };
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}

/// Looks up what a written `-o` value expands to.
fn by_text(loaded: &Loaded, entry: &Entry, options: &Options) -> Result<BTreeMap<String, String>, Error> {
    let values = expanded(loaded, entry, options)?;
    Ok(entry
        .overrides()
        .into_iter()
        .map(|(_, name, text)| (text.to_owned(), values.get(name).cloned().unwrap_or_default()))
        .collect())
}

fn show_entry(loaded: &Loaded, entry: &Entry, options: &Options, output: &mut Output) -> Result<bool, Error> {
    let texts = by_text(loaded, entry, options)?;
    let value = |text: &str| texts.get(text).cloned().unwrap_or_else(|| text.to_owned());
    if options.json {
        let fields = FIELDS.iter().enumerate().map(|(at, name)| {
            let text = if at == 7 { command(entry, false, &value) } else { entry.field(at) };
            ((*name).to_owned(), serde_json::Value::String(text))
        });
        output.line(&serde_json::Value::Object(fields.collect()).to_string());
    } else {
        output.line(&entry.show(options.fold, &value));
    }
    Ok(true)
}

fn command(entry: &Entry, fold: bool, value: &dyn Fn(&str) -> String) -> String {
    let mut line = line::Line::new(fold);
    entry.put_command(&mut line, value);
    line.finish()
}

fn show_fields(
    loaded: &Loaded,
    entry: &Entry,
    pattern: &Pattern,
    options: &Options,
    output: &mut Output,
) -> Result<bool, Error> {
    let texts = by_text(loaded, entry, options)?;
    let value = |text: &str| texts.get(text).cloned().unwrap_or_else(|| text.to_owned());
    let mut matched = false;
    for (at, field) in FIELDS.iter().enumerate().filter(|(_, field)| pattern.selects_name(field)) {
        matched = true;
        let label = format!("{}/{}/{field}", entry.service(), entry.kind());
        if options.json {
            let text = if at == 7 { command(entry, false, &value) } else { entry.field(at) };
            let object = serde_json::json!({
                "service": entry.service(), "type": entry.kind(), "field": field, "value": text
            });
            output.line(&object.to_string());
            continue;
        }
        let mut line = line::Line::new(options.fold);
        if options.no_value {
            line.put(&label);
        } else {
            if !options.no_name {
                line.put(&label);
                line.put(" =");
            }
            if at == 7 {
                entry.put_command(&mut line, &value);
            } else {
                line.word(&entry.field(at));
            }
        }
        output.line(&line.finish());
    }
    Ok(matched)
}

fn show_overrides(
    loaded: &Loaded,
    entry: &Entry,
    pattern: &Pattern,
    options: &Options,
    output: &mut Output,
) -> Result<bool, Error> {
    let mut matched = false;
    for (name, value) in expanded(loaded, entry, options)? {
        if !pattern.selects_name(&name) {
            continue;
        }
        matched = true;
        if options.json {
            let object = serde_json::json!({
                "service": entry.service(), "type": entry.kind(), "name": name, "value": value
            });
            output.line(&object.to_string());
            continue;
        }
        let label = format!("{}/{}/{name}", entry.service(), entry.kind());
        output.line(&line::parameter(&label, &value, options.fold, options.no_name, options.no_value));
    }
    Ok(matched)
}
