//! From source text to entries to an indexed file.

use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;

use bstr::{BString, ByteSlice};

use super::owner::AsOwner;
use super::target::{Entry, Target, WriteOptions};
use crate::error::Error;
use crate::file_values;
use crate::fold;
use crate::settings::Settings;
use crate::source::{LogicalLines, parse_alias, parse_map_line};

/// Which source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `key value` (postmap).
    Map,
    /// `name: value, value` (postalias).
    Alias,
}

/// How source text becomes a table; the tools' options.
#[derive(Clone, Copy, Debug)]
pub struct CompileOptions {
    /// The source's syntax.
    pub syntax: Syntax,
    /// Keys are case-folded (`-f` clears it).
    pub fold: bool,
    /// UTF-8 is checked and folded (`smtputf8_enable`; `-u` clears it).
    pub utf8: bool,
    /// Values name files whose contents are stored (`-F`).
    pub file_values: bool,
    /// Root does not become the source's owner (`-o`).
    pub keep_root: bool,
    /// A new file gets the source's permissions (`-p` clears it).
    pub copy_permissions: bool,
    /// How entries are stored; `mode` is chosen here.
    pub write: WriteOptions,
}

impl CompileOptions {
    /// What holds without options.
    #[must_use]
    pub fn new(syntax: Syntax, settings: &Settings) -> Self {
        Self {
            syntax,
            fold: true,
            utf8: settings.utf8,
            file_values: false,
            keep_root: false,
            copy_permissions: true,
            write: WriteOptions::default(),
        }
    }
}

/// Reads source text; lines that make no sense are warned about and left out. `name` is for the warnings.
///
/// # Errors
/// The source cannot be read.
pub fn read_entries(input: impl BufRead, name: &str, options: &CompileOptions) -> Result<Vec<Entry>, Error> {
    let failed = |source| Error::Open { path: name.into(), source };
    let mut entries = Vec::new();
    for line in LogicalLines::new(input) {
        let line = line.map_err(failed)?;
        let parsed = match options.syntax {
            Syntax::Map => parse_map_line(&line.text, options.utf8)
                .map(|(key, value, like_alias)| {
                    if like_alias {
                        log::warning!(
                            "{name}, line {}: record is in \"key: value\" format; is this an alias file?",
                            line.line
                        );
                    }
                    (key.to_owned(), value.to_owned())
                })
                .map_err(|error| error.to_string()),
            Syntax::Alias => parse_alias(&line.text, options.utf8)
                .map(|alias| (alias.name, alias.value))
                .map_err(|error| error.to_string()),
        };
        match parsed {
            Err(reason) => log::warning!("{name}, line {}: {reason}", line.line),
            Ok((key, value)) => {
                let value = if options.file_values {
                    match file_values::encode(&value) {
                        Ok(encoded) => encoded,
                        Err(reason) => {
                            log::warning!("{name}, line {}: {reason}: skipping this entry", line.line);
                            continue;
                        }
                    }
                } else {
                    value
                };
                entries.push((folded(key, options), value));
            }
        }
    }
    if options.syntax == Syntax::Alias {
        // Tells those who share aliases over the network that the table is whole.
        entries.push(("@".into(), "@".into()));
    }
    Ok(entries)
}

/// A key as it is stored and looked up.
fn folded(key: BString, options: &CompileOptions) -> BString {
    if options.fold { fold::fold(key.as_bstr(), options.utf8) } else { key }
}

/// Permissions of a new table: those of its source, as far as reading by group and others goes.
fn mode(source: &Metadata, options: &CompileOptions) -> u32 {
    if options.copy_permissions { 0o600 | (source.mode() & 0o044) } else { 0o644 }
}

/// Builds the table from its source file (`postmap lmdb:/etc/postfix/virtual`).
///
/// # Errors
/// The source cannot be read or the table cannot be written; then the old table is still there.
pub fn compile(target: &Target, settings: &Settings, options: &CompileOptions) -> Result<(), Error> {
    target.can_be_built()?;
    let failed = |source| Error::Open { path: target.source().to_owned(), source };
    let source = File::open(target.source()).map_err(failed)?;
    let metadata = source.metadata().map_err(failed)?;
    let name = target.source().display().to_string();
    let entries = read_entries(BufReader::new(source), &name, options)?;
    let write = WriteOptions { mode: mode(&metadata, options), ..options.write };
    let _owner = if options.keep_root { None } else { AsOwner::of(&metadata).map_err(failed)? };
    target.rebuild(&entries, settings, &write)
}

/// Adds entries from source text that is no file (`-i`) to the table; the source file decides whose it is.
///
/// # Errors
/// The table cannot be written; then nothing is changed.
pub fn compile_entries(
    target: &Target,
    input: impl BufRead,
    settings: &Settings,
    options: &CompileOptions,
) -> Result<(), Error> {
    let entries = read_entries(input, "stdin", options)?;
    let source = std::fs::metadata(target.source()).or_else(|_| std::fs::metadata(target.file()));
    let write = WriteOptions { mode: source.as_ref().map_or(0o644, |source| mode(source, options)), ..options.write };
    let _owner = match &source {
        Ok(source) if !options.keep_root => {
            AsOwner::of(source).map_err(|source| Error::Write { path: target.file(), source })?
        }
        _ => None,
    };
    target.update(&entries, settings, &write)
}
