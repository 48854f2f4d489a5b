//! Logical lines: a line that starts with white space continues the one before; `#` lines and blank lines are passed
//! over, also between continued lines.

use std::io::{self, BufRead};

use bstr::{BString, ByteSlice};

/// Longest logical line; beyond it the input is no table.
const LONGEST: usize = 16 << 20;

/// A logical line without its newlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalLine {
    /// The text; the white space at the start of continuation lines is kept.
    pub text: BString,
    /// Number of its first physical line, from 1.
    pub line: usize,
}

/// Reads logical lines.
pub struct LogicalLines<R> {
    input: R,
    line: usize,
    next: Option<LogicalLine>,
    ended: bool,
}

impl<R: BufRead> LogicalLines<R> {
    /// Starts at line 1.
    pub fn new(input: R) -> Self {
        Self { input, line: 0, next: None, ended: false }
    }

    /// The next physical line with something on it, without its newline.
    fn physical(&mut self) -> io::Result<Option<BString>> {
        loop {
            let mut buffer = Vec::new();
            let limit = LONGEST as u64;
            if io::Read::take(&mut self.input, limit).read_until(b'\n', &mut buffer)? == 0 {
                return Ok(None);
            }
            if buffer.len() >= LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {} is too long", self.line + 1)));
            }
            self.line += 1;
            if buffer.last() == Some(&b'\n') {
                buffer.pop();
            }
            // Text ends at a NUL, as it does for every program that made such files.
            if let Some(end) = buffer.find_byte(0) {
                buffer.truncate(end);
            }
            let first = buffer.iter().find(|byte| !is_space(**byte));
            if !matches!(first, None | Some(b'#')) {
                return Ok(Some(buffer.into()));
            }
        }
    }

    fn logical(&mut self) -> io::Result<Option<LogicalLine>> {
        let mut current = self.next.take();
        while !self.ended {
            let Some(text) = self.physical()? else {
                self.ended = true;
                break;
            };
            let line = self.line;
            match &mut current {
                Some(current) if is_space(text[0]) => {
                    if current.text.len() + text.len() > LONGEST {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is too long")));
                    }
                    current.text.extend_from_slice(&text);
                }
                Some(_) => {
                    self.next = Some(LogicalLine { text, line });
                    break;
                }
                None => current = Some(LogicalLine { text, line }),
            }
        }
        Ok(current)
    }
}

impl<R: BufRead> Iterator for LogicalLines<R> {
    type Item = io::Result<LogicalLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.logical().transpose()
    }
}

/// `isspace(3)` in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_over_comments() {
        let text = b"a b\n# c\n\n c d\n  # in\n\te f\n#\nx y\n   \n\nlast" as &[u8];
        let lines: Vec<(String, usize)> = LogicalLines::new(text)
            .map(|line| line.map(|line| (line.text.to_string(), line.line)).expect("memory"))
            .collect();
        assert_eq!(lines, [("a b c d\te f".into(), 1), ("x y".into(), 8), ("last".into(), 11)]);
    }

    #[test]
    fn a_first_line_may_start_with_white_space() {
        let lines: Vec<_> = LogicalLines::new(b" a\nb\0c\n" as &[u8]).map(|line| line.expect("memory").text).collect();
        assert_eq!(lines, [" a", "b"]);
    }
}
