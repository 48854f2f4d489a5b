//! What the command line asks for.

use std::ffi::OsString;

use config::getopt::{Getopt, OptionError};

/// What is shown, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each option letter")]
pub struct Options {
    /// `-e`
    pub envelope: bool,
    /// `-h`
    pub header: bool,
    /// `-b`
    pub body: bool,
    /// `-d`
    pub decimal_types: bool,
    /// `-f`
    pub file_names: bool,
    /// `-o`
    pub offsets: bool,
    /// `-q`
    pub search: bool,
    /// `-r`
    pub raw: bool,
    /// `-s`
    pub start: u64,
    /// `-v`
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            envelope: true,
            header: true,
            body: true,
            decimal_types: false,
            file_names: false,
            offsets: false,
            search: false,
            raw: false,
            start: 0,
            verbose: false,
        }
    }
}

/// The option letters, for getopt.
pub(crate) const LETTERS: &str = "bc:defhoqrs:v";

/// A mistake on the command line.
#[derive(Debug, thiserror::Error)]
pub enum Usage {
    /// An unknown letter, or a missing value.
    #[error(
        "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] [-f (file \
         name)] [-h (header text)] [-o (record offset)] [-q (access queue)] [-r (file order)] [-s offset] [-v] [file(s)...]"
    )]
    Option(OptionError),
    /// `-s` without a number.
    #[error("bad offset: {0}")]
    Offset(String),
}

impl Options {
    /// Reads the command line: options, `-c`, files.
    ///
    /// # Errors
    /// See [`Usage`].
    pub fn parse(mut arguments: Getopt) -> Result<(Options, Option<OsString>, Vec<String>), Usage> {
        let none = Options { envelope: false, header: false, body: false, ..Options::default() };
        let mut options = none;
        let mut directory = None;
        while let Some(option) = arguments.next_option().map_err(Usage::Option)? {
            match option.letter {
                'b' => options.body = true,
                'd' => options.decimal_types = true,
                'e' => options.envelope = true,
                'f' => options.file_names = true,
                'h' => options.header = true,
                'o' => options.offsets = true,
                'q' => options.search = true,
                'r' => options.raw = true,
                's' => options.start = option.text().parse().map_err(|_| Usage::Offset(option.text()))?,
                'v' => options.verbose = true,
                _ => directory = option.value,
            }
        }
        if !(options.envelope || options.header || options.body) {
            (options.envelope, options.header, options.body) = (true, true, true);
        }
        let files = arguments.operands().iter().map(|file| file.to_string_lossy().into_owned()).collect();
        Ok((options, directory, files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<(Options, Option<OsString>, Vec<String>), Usage> {
        Options::parse(Getopt::new(words.iter().map(OsString::from), LETTERS))
    }

    #[test]
    fn command_lines() {
        let (options, directory, files) = parse(&["-qvc/x", "-s12", "A", "B"]).expect("good");
        let expected = Options { search: true, verbose: true, start: 12, ..Options::default() };
        assert_eq!(options, expected);
        assert_eq!(directory, Some("/x".into()));
        assert_eq!(files, ["A", "B"]);
        let (options, ..) = parse(&["-bh"]).expect("good");
        assert!(options.body && options.header && !options.envelope);
        for bad in [&["-x"][..], &["-s", "x"], &["-s", "-1"], &["-c"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
