//! Queries and listings.

use std::io::{self, BufRead};
use std::rc::Rc;

use bstr::{BStr, BString};

use super::output::Output;
use super::{Command, EachKey, Failure, Options};
use crate::flags::Flags;
use crate::open;
use crate::settings::Settings;
use crate::table::Table;

/// Opens the tables of the command line.
fn tables(options: &Options, settings: &Settings) -> Result<Vec<Rc<Table>>, Failure> {
    let mut flags = Flags::EMPTY_VALUES;
    if !options.fold {
        flags = flags | Flags::NO_FOLD;
    }
    if options.file_values {
        flags = flags | Flags::FILE_VALUES;
    }
    let mut tables = Vec::new();
    for name in &options.tables {
        let full;
        let name = if name.contains(':') {
            name
        } else {
            full = format!("{}:{name}", settings.default_database_type);
            &full
        };
        tables.push(open::open(name, settings, flags)?);
    }
    Ok(tables)
}

/// The first answer of the tables.
fn ask(tables: &[Rc<Table>], key: &[u8]) -> Result<Option<BString>, Failure> {
    for table in tables {
        if let Some(value) = table.lookup(key)? {
            if value.is_empty() {
                log::warning!("table {}: key {}: empty string result is not allowed", table.name(), BStr::new(key));
                log::warning!("table {} should return NO RESULT in case of NOT FOUND", table.name());
            }
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// `-q`: whether any key was found.
pub(super) fn query(command: &Command, options: &Options, settings: &Settings, key: &BString) -> Result<bool, Failure> {
    let tables = tables(options, settings)?;
    let mut output = Output::new(command, options);
    let mut any = false;
    if key == "-" {
        let mut each = |key: &[u8]| {
            if let Some(value) = ask(&tables, key)? {
                any = true;
                output.pair(key, &value)?;
            }
            Ok(())
        };
        let mut input = io::stdin().lock();
        match command.message_keys {
            Some(keys) if options.takes_message() => keys(&mut input, options, &mut each)?,
            _ => each_line(&mut input, &mut each)?,
        }
    } else if let Some(value) = ask(&tables, key)? {
        any = true;
        output.value(key, &value)?;
    }
    output.flush()?;
    Ok(any)
}

/// Each line of the input, without its end.
pub(super) fn each_line(input: &mut dyn BufRead, each: &mut EachKey<'_>) -> Result<(), Failure> {
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        each(line.strip_suffix(b"\n").unwrap_or(&line))?;
        line.clear();
    }
    Ok(())
}

/// `-s`: every entry of every table.
pub(super) fn list(command: &Command, options: &Options, settings: &Settings) -> Result<bool, Failure> {
    let mut output = Output::new(command, options);
    for table in tables(options, settings)? {
        // The table's own form of values, decoded as in queries.
        let decode = options.file_values;
        let listed = table.entries(&mut |key, value| {
            if decode && let Some(content) = crate::base64::decode(value) {
                return output.pair(key, &content);
            }
            output.pair(key, value)
        });
        listed.ok_or_else(|| Failure::NotListable(table.name().to_owned()))??;
    }
    output.flush()?;
    Ok(true)
}
