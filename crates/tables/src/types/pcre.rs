//! `pcre:`: Perl-compatible regular expressions (PCRE2), ignoring case and with `.` matching newlines by default.

use bstr::BString;
use sys::pcre::{Options, Pcre};

use super::pattern::prefilter::Dialect;
use super::pattern::{Engine, Rules};
use super::rule_text::RuleText;
use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::flags::Flags;
use crate::table::{Owner, Source};

impl Engine for Pcre {
    const KIND: &'static str = "pcre";
    const SECOND_PATTERN: bool = false;
    type Subject<'s> = &'s [u8];

    fn compile(pattern: &[u8], flags: &[u8], utf8: bool) -> Result<Self, String> {
        Self::compile(pattern, options(flags, utf8)?)
            .map_err(|error| format!("error in regex at offset {}: {}", error.offset, error.message))
    }

    fn dialect(flags: &[u8]) -> Option<Dialect> {
        options(flags, false).ok().filter(|options| !options.extended).map(|_| Dialect::Perl)
    }

    fn groups(&self) -> usize {
        self.groups()
    }

    fn subject(key: &[u8]) -> &[u8] {
        key
    }

    fn is_match(&self, subject: &&[u8]) -> Result<bool, String> {
        self.is_match(subject)
    }

    fn captures(&self, subject: &&[u8]) -> Result<Option<Vec<usize>>, String> {
        self.matches(subject, <[usize]>::to_vec)
    }
}

/// The defaults, changed by flag letters.
fn options(flags: &[u8], utf8: bool) -> Result<Options, String> {
    let mut options = Options { caseless: true, dot_all: true, utf: utf8, ..Options::default() };
    for flag in flags {
        let option = match flag {
            b'i' => &mut options.caseless,
            b'm' => &mut options.multi_line,
            b's' => &mut options.dot_all,
            b'x' => &mut options.extended,
            b'A' => &mut options.anchored,
            b'E' => &mut options.dollar_end_only,
            b'U' => &mut options.ungreedy,
            // Strict about unknown escapes, as PCRE2 always is.
            b'X' => continue,
            flag => return Err(format!("unknown regexp option \"{}\"", char::from(*flag))),
        };
        *option = !*option;
    }
    Ok(options)
}

/// The table.
pub(crate) struct PcreTable {
    rules: Rules<Pcre>,
    utf8: bool,
    watch: Option<FileWatch>,
}

impl PcreTable {
    pub(crate) fn open(name: &str, flags: Flags, utf8: bool) -> Result<Self, Error> {
        let text = RuleText::read("pcre", name)?;
        let rules = Rules::compile(name, &text.lines, utf8, !flags.contains(Flags::NO_REGSUB));
        Ok(Self { rules, utf8, watch: text.watch })
    }
}

impl Source for PcreTable {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(self.rules.lookup(key, self.utf8))
    }

    fn is_fixed(&self) -> bool {
        false
    }

    fn has_changed(&self) -> bool {
        self.watch.as_ref().is_some_and(FileWatch::has_changed)
    }

    fn owner(&self) -> Owner {
        self.watch.as_ref().map_or(Owner::Root, FileWatch::owner)
    }
}
