//! `service/type/name` requests, with `*` for any part.

use crate::error::Error;
use crate::master_entry::Entry;

/// A request of up to three parts.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As it was given.
    pub(crate) text: String,
    parts: Vec<String>,
}

impl Pattern {
    /// Splits `text` at `/`; a service name that has slashes itself does not exist.
    ///
    /// # Errors
    /// More than `most` parts, or fewer than `least`; the message says `form`.
    pub(crate) fn parse(text: &str, least: usize, most: usize, form: &str) -> Result<Pattern, Error> {
        let parts: Vec<String> = text.split('/').map(|part| part.trim().to_owned()).collect();
        if parts.len() < least || parts.len() > most || parts.iter().any(String::is_empty) {
            return Err(Error::request(form));
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }

    fn part_matches(&self, at: usize, text: &str) -> bool {
        self.parts.get(at).is_none_or(|part| part == "*" || part == text)
    }

    /// True when service and type fit.
    pub(crate) fn selects(&self, entry: &Entry) -> bool {
        self.part_matches(0, entry.service()) && self.part_matches(1, entry.kind())
    }

    /// True when the third part fits.
    pub(crate) fn selects_name(&self, name: &str) -> bool {
        self.part_matches(2, name)
    }

    /// The third part.
    pub(crate) fn name(&self) -> Option<&str> {
        self.parts.get(2).map(String::as_str)
    }

    /// True when service or type is `*`.
    pub(crate) fn is_wild(&self) -> bool {
        self.parts.iter().take(2).any(|part| part == "*")
    }
}
