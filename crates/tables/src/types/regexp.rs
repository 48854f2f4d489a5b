//! `regexp:`: POSIX regular expressions of the C library, ignoring case unless told otherwise.

use std::ffi::{CStr, CString};

use bstr::BString;
use sys::posix_regex::{Options, PosixRegex};

use super::pattern::prefilter::Dialect;
use super::pattern::{Engine, Rules};
use super::rule_text::RuleText;
use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::flags::Flags;
use crate::table::{Owner, Source};

impl Engine for PosixRegex {
    const KIND: &'static str = "regexp";
    const SECOND_PATTERN: bool = true;
    type Subject<'s> = CString;

    fn compile(pattern: &[u8], flags: &[u8], _utf8: bool) -> Result<Self, String> {
        let pattern = CString::new(pattern).map_err(|_| "NUL in the pattern".to_owned())?;
        Self::compile(&pattern, options(flags)?)
    }

    fn dialect(flags: &[u8]) -> Option<Dialect> {
        options(flags).ok().filter(|options| options.extended).map(|_| Dialect::Extended)
    }

    fn groups(&self) -> usize {
        self.groups()
    }

    fn subject(key: &[u8]) -> CString {
        // Text ends at a NUL, as it does for the library.
        let end = key.iter().position(|byte| *byte == 0).unwrap_or(key.len());
        CString::new(&key[..end]).unwrap_or_default()
    }

    fn is_match(&self, subject: &CString) -> Result<bool, String> {
        self.is_match(subject)
    }

    fn captures(&self, subject: &CString) -> Result<Option<Vec<usize>>, String> {
        let subject: &CStr = subject;
        let captures = self.captures(subject)?;
        Ok(captures.map(|groups| {
            groups
                .into_iter()
                .flat_map(|range| range.map_or([usize::MAX; 2], |range| [range.start, range.end]))
                .collect()
        }))
    }
}

/// The defaults, changed by flag letters.
fn options(flags: &[u8]) -> Result<Options, String> {
    let mut options = Options { extended: true, ignore_case: true, newline: false };
    for flag in flags {
        match flag {
            b'i' => options.ignore_case = !options.ignore_case,
            b'm' => options.newline = !options.newline,
            b'x' => options.extended = !options.extended,
            flag => return Err(format!("unknown regexp option \"{}\"", char::from(*flag))),
        }
    }
    Ok(options)
}

/// The table.
pub(crate) struct Regexp {
    rules: Rules<PosixRegex>,
    watch: Option<FileWatch>,
}

impl Regexp {
    pub(crate) fn open(name: &str, flags: Flags) -> Result<Self, Error> {
        let text = RuleText::read("regexp", name)?;
        let rules = Rules::compile(name, &text.lines, false, !flags.contains(Flags::NO_REGSUB));
        Ok(Self { rules, watch: text.watch })
    }
}

impl Source for Regexp {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(self.rules.lookup(key, false))
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
