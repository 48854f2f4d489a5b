//! `header_checks`, `mime_header_checks`, `nested_header_checks`, `body_checks`: the tables and their actions.
//!
//! What an action means for the message is decided in the transaction; here is what a table said.

use bstr::{BStr, BString, ByteSlice};
use config::Config;
use message::{Class, Name};
use tables::{Flags, Maps};

use crate::mapping::Error;

/// The four parameters.
pub struct Checks {
    header: Maps,
    mime_header: Maps,
    nested_header: Maps,
    body: Maps,
}

/// What a table wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `BCC address`
    Bcc(BString),
    /// `DISCARD`
    Discard,
    /// `DUNNO`, `OK`
    Keep,
    /// `FILTER transport:nexthop`
    Filter(BString),
    /// `HOLD`
    Hold,
    /// `IGNORE`
    Ignore,
    /// `INFO`
    Info,
    /// `PASS`
    Pass,
    /// `PREPEND text`
    Prepend(BString),
    /// `REDIRECT address`
    Redirect(BString),
    /// `REJECT`
    Reject,
    /// `REPLACE text`
    Replace(BString),
    /// `STRIP`
    Strip,
    /// `WARN`
    Warn,
}

impl Action {
    /// Reads a table's value: the action, and the text after the action word.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    pub(crate) fn parse<'v>(value: &'v BStr, title: &str) -> Result<(Action, &'v [u8]), String> {
        let end = value.find_byteset(b" \t").unwrap_or(value.len());
        let text = value[end..].trim_ascii_start();
        let need = |action: Action, fits: bool, what: &str| {
            if fits { Ok((action, text)) } else { Err(format!("{what} in {title} map: {value}")) }
        };
        let word = value[..end].to_ascii_uppercase();
        match word.as_slice() {
            b"BCC" => need(Action::Bcc(text.into()), text.contains(&b'@'), "bad BCC address"),
            b"DISCARD" => Ok((Action::Discard, text)),
            b"DUNNO" | b"OK" => Ok((Action::Keep, text)),
            b"FILTER" => need(Action::Filter(text.into()), text.contains(&b':'), "bad FILTER command"),
            b"HOLD" => Ok((Action::Hold, text)),
            b"IGNORE" => Ok((Action::Ignore, text)),
            b"INFO" => Ok((Action::Info, text)),
            b"PASS" => Ok((Action::Pass, text)),
            b"PREPEND" => need(Action::Prepend(text.into()), !text.is_empty(), "PREPEND action without text"),
            b"REDIRECT" => need(Action::Redirect(text.into()), text.contains(&b'@'), "bad REDIRECT target"),
            b"REJECT" => Ok((Action::Reject, text)),
            b"REPLACE" => need(Action::Replace(text.into()), !text.is_empty(), "REPLACE action without text"),
            b"STRIP" => Ok((Action::Strip, text)),
            b"WARN" => Ok((Action::Warn, text)),
            _ => Err(format!("unknown command in {title} map: {value}")),
        }
    }
}

impl Checks {
    /// Opens the tables.
    ///
    /// # Errors
    /// A parameter, or a table where that is fatal.
    pub fn open(config: &Config) -> Result<Checks, Error> {
        let maps = |name: &'static str| -> Result<Maps, Error> {
            Ok(Maps::open(&config.string(name)?, config, name, Flags::NO_UTF8)?)
        };
        Ok(Checks {
            header: maps("header_checks")?,
            mime_header: maps("mime_header_checks")?,
            nested_header: maps("nested_header_checks")?,
            body: maps("body_checks")?,
        })
    }

    /// No tables.
    #[must_use]
    pub fn none() -> Checks {
        Checks {
            header: Maps::empty("header_checks"),
            mime_header: Maps::empty("mime_header_checks"),
            nested_header: Maps::empty("nested_header_checks"),
            body: Maps::empty("body_checks"),
        }
    }

    /// There is nothing to check in bodies, or in the headers inside them.
    #[must_use]
    pub(crate) fn only_primary(&self) -> bool {
        self.body.is_empty() && self.nested_header.is_empty() && self.mime_header.is_empty()
    }

    /// The tables for a header.
    pub(crate) fn for_header(&self, class: Class, name: Option<Name>) -> &Maps {
        match class {
            Class::Primary if name.is_some_and(Name::is_mime) => &self.mime_header,
            Class::Primary => &self.header,
            Class::Part => &self.mime_header,
            Class::Nested => &self.nested_header,
        }
    }

    /// The tables for body lines.
    pub(crate) fn for_body(&self) -> &Maps {
        &self.body
    }

    /// A table file changed since it was opened; its name as the log line has it.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        [&self.header, &self.mime_header, &self.nested_header, &self.body].into_iter().find_map(Maps::changed_table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions() {
        let parse = |value: &'static str| Action::parse(value.into(), "header_checks");
        assert_eq!(parse("reject  go away"), Ok((Action::Reject, &b"go away"[..])));
        assert_eq!(parse("DUNNO"), Ok((Action::Keep, &b""[..])));
        assert_eq!(parse("FILTER a:b"), Ok((Action::Filter("a:b".into()), &b"a:b"[..])));
        assert_eq!(parse("FILTER ab"), Err("bad FILTER command in header_checks map: FILTER ab".to_owned()));
        assert_eq!(
            parse("REDIRECT me").err().as_deref(),
            Some("bad REDIRECT target in header_checks map: REDIRECT me")
        );
        assert_eq!(parse("nonsense x").err().as_deref(), Some("unknown command in header_checks map: nonsense x"));
        assert!(parse("PREPEND").is_err());
    }
}
