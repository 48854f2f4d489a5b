//! The options, as getopt(3) reads them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bstr::BString;
use config::getopt::Getopt;

use super::Command;
use crate::build::{Duplicates, Terminator, WriteOptions};
use crate::fold;
use crate::settings::Settings;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Build or extend tables.
    Build,
    /// `-q`; the key `-` means those on standard input.
    Query(BString),
    /// `-d`; the key `-` means those on standard input.
    Delete(BString),
    /// `-s`.
    List,
}

/// Wrong options.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// No such option, or no table.
    #[error("{reason}usage: {name} {usage}")]
    Usage {
        /// The command.
        name: &'static str,
        /// What it takes.
        usage: &'static str,
        /// What is wrong, when it can be said.
        reason: String,
    },
    /// Two things at a time.
    #[error("specify only one of -s -q or -d")]
    Conflict,
    /// Message options without a message.
    #[error("specify -b -h or -m only with \"-q -\"")]
    MessageWithoutQuery,
    /// A name that is no text.
    #[error("table names must be UTF-8")]
    NotText,
}

/// All options.
#[derive(Clone, Debug)]
pub struct Options {
    /// `-c`
    pub config_directory: Option<OsString>,
    /// `-q`, `-d`, `-s` or none of them.
    pub mode: Mode,
    /// `-b`: keys are the lines of a message's body.
    pub body: bool,
    /// `-h`: keys are a message's headers.
    pub headers: bool,
    /// `-m`: the message's MIME structure counts.
    pub mime: bool,
    /// `-f` clears it.
    pub fold: bool,
    /// `-F`
    pub file_values: bool,
    /// `-i`
    pub incremental: bool,
    /// `-j`
    pub json: bool,
    /// `-o`
    pub keep_root: bool,
    /// `-p` clears it.
    pub copy_permissions: bool,
    /// `-u`, and message queries without `-U`.
    pub no_utf8: bool,
    /// `-v`, how often.
    pub verbose: u32,
    /// `-n`, `-N`, `-r`, `-w`.
    pub write: WriteOptions,
    /// `[type:]name` each.
    pub tables: Vec<String>,
}

impl Options {
    pub(super) fn from_process(command: &Command) -> Result<Self, UsageError> {
        Self::parse(command, std::env::args_os().skip(1))
    }

    fn parse(command: &Command, arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let usage = |reason: String| UsageError::Usage { name: command.name, usage: command.usage, reason };
        let mut options = Self {
            config_directory: None,
            mode: Mode::Build,
            body: false,
            headers: false,
            mime: false,
            fold: true,
            file_values: false,
            incremental: false,
            json: false,
            keep_root: false,
            copy_permissions: true,
            no_utf8: false,
            verbose: 0,
            write: WriteOptions::default(),
            tables: Vec::new(),
        };
        let mut force_utf8 = false;
        let mut modes = 0;
        let mut getopt = Getopt::new(arguments, command.letters);
        while let Some(option) = getopt.next_option().map_err(|error| usage(format!("{error}; ")))? {
            let letter = option.letter;
            let value = || BString::from(option.clone().into_value().into_vec());
            match letter {
                'b' => options.body = true,
                'c' => options.config_directory = Some(option.into_value()),
                'd' | 'q' | 's' => {
                    modes += 1;
                    options.mode = match letter {
                        'd' => Mode::Delete(value()),
                        'q' => Mode::Query(value()),
                        _ => Mode::List,
                    };
                }
                'f' => options.fold = false,
                'F' => options.file_values = true,
                'h' => options.headers = true,
                'i' => options.incremental = true,
                'j' => options.json = true,
                'm' => options.mime = true,
                'n' => options.write.terminator = Terminator::None,
                'N' => options.write.terminator = Terminator::Nul,
                'o' => options.keep_root = true,
                'p' => options.copy_permissions = false,
                'r' => options.write.duplicates = Duplicates::Replace,
                'u' => options.no_utf8 = true,
                'U' => force_utf8 = true,
                'v' => options.verbose += 1,
                _ => options.write.duplicates = Duplicates::Ignore,
            }
        }
        for table in getopt.into_operands() {
            options.tables.push(table.into_string().map_err(|_| UsageError::NotText)?);
        }
        if modes > 1 {
            return Err(UsageError::Conflict);
        }
        if options.takes_message() {
            if options.mode != Mode::Query("-".into()) {
                return Err(UsageError::MessageWithoutQuery);
            }
            options.no_utf8 |= !force_utf8;
        }
        if options.tables.is_empty() {
            return Err(usage(String::new()));
        }
        Ok(options)
    }

    /// Keys come from a message.
    #[must_use]
    pub fn takes_message(&self) -> bool {
        self.body || self.headers || self.mime
    }

    /// A key as it is stored.
    pub(super) fn folded(&self, key: &[u8], settings: &Settings) -> BString {
        if self.fold { fold::fold(key, settings.utf8) } else { key.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Syntax;

    const COMMAND: Command = Command {
        name: "postmap",
        letters: "bc:d:fFhijmnNopq:rsuUvw",
        usage: "",
        syntax: Syntax::Map,
        separator: "\t",
        message_keys: None,
    };

    fn parse(line: &str) -> Result<Options, UsageError> {
        Options::parse(&COMMAND, line.split_whitespace().map(Into::into))
    }

    #[test]
    fn options() {
        let options = parse("-vvjq- -c /x a lmdb:b").expect("fits");
        assert_eq!((options.verbose, options.json, options.mode), (2, true, Mode::Query("-".into())));
        assert_eq!(options.tables, ["a", "lmdb:b"]);
        assert!(parse("-bhq - x").expect("fits").no_utf8);
        assert!(!parse("-bhUq - x").expect("fits").no_utf8);
        for wrong in ["", "-q a", "-x a", "-q a -d b x", "-s -q a x", "-b x", "-h -q a x", "-q"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
