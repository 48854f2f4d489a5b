//! Logical lines: what `main.cf`, `master.cf` and lookup table sources are made of.
//!
//! A line that begins with white space continues the line before. Blank lines and lines whose first visible character
//! is `#` are not there at all, not even between a line and its continuation.

use crate::error::{Origin, Warning};
use std::path::Path;
use std::sync::Arc;

/// One logical line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalLine<'a> {
    /// The first physical line, from 1.
    pub line: usize,
    /// The last physical line that belongs to it, from 1.
    pub last: usize,
    /// The physical lines joined, without line ends, otherwise as they stand.
    pub text: std::borrow::Cow<'a, [u8]>,
}

/// Splits `text` into logical lines.
#[derive(Clone, Debug)]
pub struct LogicalLines<'a> {
    rest: &'a [u8],
    next: usize,
}

impl<'a> LogicalLines<'a> {
    /// All logical lines of `text`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> LogicalLines<'a> {
        LogicalLines { rest: text, next: 1 }
    }

    fn physical(&self) -> Option<(&'a [u8], &'a [u8])> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, behind) = match self.rest.iter().position(|b| *b == b'\n') {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        Some((line.strip_suffix(b"\r").unwrap_or(line), behind))
    }
}

/// True for a blank line and for a comment.
#[must_use]
pub fn is_ignored(line: &[u8]) -> bool {
    line.iter().find(|b| !b.is_ascii_whitespace()).is_none_or(|b| *b == b'#')
}

impl<'a> Iterator for LogicalLines<'a> {
    type Item = LogicalLine<'a>;

    fn next(&mut self) -> Option<LogicalLine<'a>> {
        let mut found: Option<LogicalLine<'a>> = None;
        while let Some((line, behind)) = self.physical() {
            if !is_ignored(line) {
                match &mut found {
                    None => found = Some(LogicalLine { line: self.next, last: self.next, text: line.into() }),
                    Some(logical) if line[0].is_ascii_whitespace() => {
                        logical.text.to_mut().extend_from_slice(line);
                        logical.last = self.next;
                    }
                    Some(_) => break,
                }
            }
            self.rest = behind;
            self.next += 1;
        }
        found
    }
}

/// The text of a logical line as UTF-8; anything else is replaced, with a warning.
pub(crate) fn utf8(logical: &LogicalLine<'_>, path: &Arc<Path>, warnings: &mut Vec<Warning>) -> String {
    match std::str::from_utf8(&logical.text) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let origin = Origin::File { path: Arc::clone(path), line: logical.line };
            warnings.push(Warning::NotUtf8 { origin });
            String::from_utf8_lossy(&logical.text).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, usize, String)> {
        LogicalLines::new(text.as_bytes())
            .map(|l| (l.line, l.last, String::from_utf8(l.text.into_owned()).unwrap()))
            .collect()
    }

    #[test]
    fn comments_and_blank_lines_do_not_end_a_logical_line() {
        let text = "# head\n\na = b\n  # inside\n\n   more\n\t \nc = d\n  end";
        assert_eq!(lines(text), [(3, 6, "a = b   more".to_owned()), (8, 9, "c = d  end".to_owned())]);
    }

    #[test]
    fn a_backslash_means_nothing() {
        assert_eq!(lines("a=b \\\n  \n d=e\n"), [(1, 3, "a=b \\ d=e".to_owned())]);
    }

    #[test]
    fn leading_white_space_starts_a_line_when_there_is_none_to_continue() {
        assert_eq!(lines("  a = b\n c"), [(1, 2, "  a = b c".to_owned())]);
        assert_eq!(lines(""), []);
    }
}
