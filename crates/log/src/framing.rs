//! What surrounds the text of a line, and what may be in it.

use std::fmt::{self, Write};
use std::io::Write as _;

use sys::clock;

/// How bad it is. Only the bad ones show in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Normal activity; has no word in the line.
    Info,
    /// `warning:`
    Warning,
    /// `error:`
    Error,
    /// `fatal:`
    Fatal,
    /// `panic:`
    Panic,
}

impl Severity {
    /// What stands before the text.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Severity::Info => "",
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
            Severity::Fatal => "fatal: ",
            Severity::Panic => "panic: ",
        }
    }

    /// The syslog level (RFC 5424 6.2.1): informational, warning, error, critical.
    pub(crate) fn level(self) -> u8 {
        match self {
            Severity::Info => 6,
            Severity::Warning => 4,
            Severity::Error => 3,
            Severity::Fatal | Severity::Panic => 2,
        }
    }

    /// The severity that `postlog -p` and scripts call `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Severity> {
        Some(match name {
            "info" => Severity::Info,
            "warn" | "warning" => Severity::Warning,
            "error" => Severity::Error,
            "fatal" => Severity::Fatal,
            "panic" => Severity::Panic,
            _ => return None,
        })
    }
}

/// Most bytes of text in a line; the rest is cut off. As the reference has it.
pub const TEXT_LIMIT: usize = 2000;

/// Bytes for a line: what is neither printable ASCII nor UTF-8 text shows as `?`.
#[must_use]
pub fn show<T: AsRef<[u8]> + ?Sized>(bytes: &T) -> Shown<'_> {
    Shown(bytes.as_ref())
}

/// See [`show`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_printable(f, chunk.valid())?;
            for _ in chunk.invalid() {
                f.write_char('?')?;
            }
        }
        Ok(())
    }
}

/// True for characters that a line must not hold: controls, and what turns the direction of text.
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn write_printable(output: &mut impl Write, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.find(is_hidden) {
        output.write_str(&rest[..at])?;
        output.write_char('?')?;
        let mut characters = rest[at..].chars();
        characters.next();
        rest = characters.as_str();
    }
    output.write_str(rest)
}

/// Collects the text of a line: printable, and no longer than [`TEXT_LIMIT`].
pub(crate) struct Text<'a> {
    pub(crate) output: &'a mut Vec<u8>,
    pub(crate) room: usize,
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all text is clean ASCII, which is copied as it is.
        if text.len() <= self.room && text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            self.output.extend_from_slice(text.as_bytes());
            self.room -= text.len();
            return Ok(());
        }
        for c in text.chars() {
            let c = if is_hidden(c) { '?' } else { c };
            if self.room < c.len_utf8() {
                self.room = 0;
                break;
            }
            self.output.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            self.room -= c.len_utf8();
        }
        Ok(())
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Mon DD HH:MM:SS`, made once per second.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    second: Option<i64>,
    text: Vec<u8>,
}

impl Stamp {
    pub(crate) fn at(&mut self, seconds: i64) -> &[u8] {
        if self.second != Some(seconds) {
            let t = clock::local(seconds);
            self.text.clear();
            // Writing to a vector cannot fail.
            let _ = write!(self.text, "{} {:2} {:02}:{:02}:{:02}", MONTHS[t.month], t.day, t.hour, t.minute, t.second);
            self.second = Some(seconds);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[&str]) -> String {
        let mut output = Vec::new();
        let mut text = Text { output: &mut output, room: TEXT_LIMIT };
        for part in parts {
            text.write_str(part).expect("write");
        }
        String::from_utf8(output).expect("utf-8")
    }

    #[test]
    fn control_characters_do_not_pass() {
        let cases: [(&str, &str); 6] = [
            ("plain text", "plain text"),
            ("a\nb\r\n", "a?b??"),
            ("\u{1}\t\u{7f}", "???"),
            ("caf\u{e9}", "caf\u{e9}"),
            ("x\u{85}\u{202e}y", "x??y"),
            ("", ""),
        ];
        for (given, wanted) in cases {
            assert_eq!(text(&[given]), wanted);
            assert_eq!(text(&[&show(given.as_bytes()).to_string()]), wanted);
        }
        assert_eq!(show(b"a\xff\xfeb\xc3").to_string(), "a??b?");
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(text(&[&"x".repeat(5000), "y"]).len(), TEXT_LIMIT);
        let cut = text(&[&"x".repeat(TEXT_LIMIT - 1), "\u{e9}", "z"]);
        assert_eq!(cut.len(), TEXT_LIMIT - 1);
    }

    #[test]
    fn the_day_is_padded_with_a_blank() {
        let mut stamp = Stamp::default();
        let text = String::from_utf8(stamp.at(1_700_000_000).to_vec()).expect("ascii");
        assert_eq!(text.len(), 15);
        assert!(text.starts_with("Nov 14 ") || text.starts_with("Nov 15 "), "{text}");
        let early = String::from_utf8(stamp.at(1_701_600_000).to_vec()).expect("ascii");
        assert!(early.starts_with("Dec  3 "), "{early}");
    }
}
