//! Changes `master.cf`: whole entries (`-M`), fields (`-F`), parameters that entries set (`-P`).
//!
//! What is not changed stays as it is written; a changed entry is written anew, in columns.

use std::path::Path;

use config::logical_line::is_ignored;
use config::main_cf;

use crate::Output;
use crate::error::Error;
use crate::master_entry::{Entry, FIELDS};
use crate::options::{Change, Target};
use crate::pattern::Pattern;
use crate::replace_file::Replacement;

/// One request.
struct Request {
    text: String,
    pattern: Pattern,
    what: What,
}

enum What {
    Entry(Entry),
    Exclude,
    CommentOut,
    Field(usize, String),
    Override(String, Option<String>),
}

/// Carries out the requests, one after the other.
///
/// # Errors
/// A request of the wrong form, an entry that cannot be read, or the file cannot be replaced.
pub(crate) fn edit(
    directory: &Path,
    target: Target,
    change: Change,
    operands: &[String],
    output: &mut Output,
) -> Result<(), Error> {
    let requests = operands.iter().map(|text| request(target, change, text)).collect::<Result<Vec<_>, _>>()?;
    let path = directory.join("master.cf");
    let replacement = Replacement::begin(&path)?;
    let old = replacement.present()?;
    let mut new = old.clone();
    for request in &requests {
        let (text, matched) = apply(&new, request, &path.display().to_string())?;
        new = text;
        if !matched && !matches!(request.what, What::Exclude | What::CommentOut) {
            output.warn(&format!("unmatched service_name/type: \"{}\"", request.text));
        }
    }
    if new == old {
        replacement.abandon();
        return Ok(());
    }
    replacement.commit(&new)
}

fn request(target: Target, change: Change, text: &str) -> Result<Request, Error> {
    let (name, value) = match change {
        Change::Set => {
            let (name, value) =
                main_cf::split_name_value(text).map_err(|problem| Error::Request(format!("{problem}: \"{text}\"")))?;
            (name, Some(value))
        }
        Change::Exclude | Change::CommentOut => (text.trim(), None),
    };
    let pattern = match target {
        Target::Main | Target::Entries => Pattern::parse(name, 2, 2, "-Me, -MX or -M# requires service_name/type")?,
        Target::Fields => Pattern::parse(name, 3, 3, "-Fe requires service_name/type/field")?,
        Target::Overrides => Pattern::parse(name, 3, 3, "-Pe or -PX requires service_name/type/parameter")?,
    };
    let bad = |problem: String| Error::Request(format!("{problem} in \"{text}\""));
    let what = match (target, change) {
        (Target::Main | Target::Entries, Change::Set) => What::Entry(
            Entry::parse(value.unwrap_or_default())
                .map_err(|problem| Error::Request(format!("{problem}: \"{text}\"")))?,
        ),
        (Target::Main | Target::Entries, Change::Exclude) => What::Exclude,
        (_, Change::CommentOut) => What::CommentOut,
        (Target::Fields, _) => {
            let name = pattern.name().unwrap_or_default();
            let at = FIELDS
                .iter()
                .position(|field| *field == name)
                .ok_or_else(|| Error::Request(format!("invalid service attribute name: \"{name}\"")))?;
            let value = value.unwrap_or_default().to_owned();
            // Tried on an entry that is right, so that a bad value shows before the file is touched.
            let mut probe = Entry::parse("probe unix - - - - - probe").map_err(bad)?;
            probe.set_field(at, &value).map_err(bad)?;
            What::Field(at, value)
        }
        (Target::Overrides, _) => {
            let name = pattern.name().unwrap_or_default().to_owned();
            What::Override(name, value.map(str::to_owned))
        }
    };
    Ok(Request { text: text.to_owned(), pattern, what })
}

/// Where an entry is in the file: lines from `first` on, of which those marked false are comments between.
struct Place<'a> {
    lines: Vec<(bool, &'a [u8])>,
}

/// The changed text, and whether an entry fitted (a new entry always does).
fn apply(old: &[u8], request: &Request, path: &str) -> Result<(Vec<u8>, bool), Error> {
    let mut new = Vec::with_capacity(old.len() + 256);
    let mut matched = false;
    for place in places(old) {
        let logical: Vec<u8> = place
            .lines
            .iter()
            .filter(|(part, _)| *part)
            .flat_map(|(_, line)| line.strip_suffix(b"\n").unwrap_or(line))
            .copied()
            .collect();
        let verbatim = |new: &mut Vec<u8>| place.lines.iter().for_each(|(_, line)| new.extend_from_slice(line));
        if logical.is_empty() {
            verbatim(&mut new);
            continue;
        }
        let text = String::from_utf8_lossy(&logical);
        let mut entry = Entry::parse(&text)
            .map_err(|problem| Error::Request(format!("{path}: {problem} in \"{}\"", text.trim())))?;
        if !request.pattern.selects(&entry) {
            verbatim(&mut new);
            continue;
        }
        matched = true;
        let before = entry.clone();
        match &request.what {
            What::CommentOut => {
                for (part, line) in &place.lines {
                    if *part {
                        new.push(b'#');
                    }
                    new.extend_from_slice(line);
                }
                continue;
            }
            What::Exclude => {
                put_comments(&mut new, &place);
                continue;
            }
            What::Entry(replacement) => entry = replacement.clone(),
            What::Field(at, value) => {
                entry.set_field(*at, value).map_err(|problem| Error::Request(format!("{path}: {problem}")))?;
            }
            What::Override(name, value) => {
                entry.set_override(name, value.as_deref());
            }
        }
        if entry == before {
            verbatim(&mut new);
        } else {
            put_entry(&mut new, &entry);
            put_comments(&mut new, &place);
        }
    }
    if let (What::Entry(entry), false, false) = (&request.what, matched, request.pattern.is_wild()) {
        if new.last().is_some_and(|last| *last != b'\n') {
            new.push(b'\n');
        }
        put_entry(&mut new, entry);
        matched = true;
    }
    Ok((new, matched))
}

fn put_entry(new: &mut Vec<u8>, entry: &Entry) {
    new.extend_from_slice(entry.show(true, &str::to_owned).as_bytes());
    new.push(b'\n');
}

fn put_comments(new: &mut Vec<u8>, place: &Place<'_>) {
    for (_, line) in place.lines.iter().filter(|(part, _)| !part) {
        new.extend_from_slice(line);
    }
}

/// Splits a file into entries and what is between them; comments behind an entry's last line are not part of it.
fn places(text: &[u8]) -> Vec<Place<'_>> {
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut pending: Vec<(bool, &[u8])> = Vec::new();
    let mut open = false;
    for line in text.split_inclusive(|b| *b == b'\n') {
        if is_ignored(line) {
            pending.push((false, line));
        } else if open && line[0].is_ascii_whitespace() {
            if let Some(place) = places.last_mut() {
                place.lines.append(&mut pending);
                place.lines.push((true, line));
            }
        } else {
            if !pending.is_empty() {
                places.push(Place { lines: std::mem::take(&mut pending) });
            }
            places.push(Place { lines: vec![(true, line)] });
            open = true;
        }
    }
    if !pending.is_empty() {
        places.push(Place { lines: pending });
    }
    places
}

#[cfg(test)]
mod tests;
