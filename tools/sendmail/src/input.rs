//! The message on standard input: lines without their ends.

use std::io::{self, BufRead};

use bstr::ByteSlice;

/// What to do with a CR before a line's end (`sendmail_fix_line_endings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEndings {
    /// It goes from every line.
    Always,
    /// It goes from every line when the first has it.
    Strict,
    /// It stays.
    Never,
}

impl LineEndings {
    /// Of the parameter's value.
    pub(crate) fn of(value: &str) -> LineEndings {
        match value {
            "strict" => LineEndings::Strict,
            "never" => LineEndings::Never,
            _ => LineEndings::Always,
        }
    }
}

/// A reader of lines, or of pieces of long ones.
pub(crate) struct Lines<R> {
    input: R,
    limit: usize,
    endings: LineEndings,
    strip_cr: Option<bool>,
    /// The last piece did not end its line.
    continued: bool,
    /// A `From ` line may still come.
    at_top: bool,
    dot_ends: bool,
    buffer: Vec<u8>,
    over: bool,
}

impl<R: BufRead> Lines<R> {
    /// `limit` is line_length_limit; with `dot_ends` a line with just a dot ends the message.
    pub(crate) fn new(input: R, limit: usize, endings: LineEndings, dot_ends: bool) -> Lines<R> {
        Lines {
            input,
            limit: limit.max(1),
            endings,
            strip_cr: None,
            continued: false,
            at_top: true,
            dot_ends,
            buffer: Vec::new(),
            over: false,
        }
    }

    /// The next piece, and whether its line ends there; `None` at the end.
    pub(crate) fn next_piece(&mut self) -> io::Result<Option<(&[u8], bool)>> {
        loop {
            if self.over {
                return Ok(None);
            }
            let Some(complete) = self.read()? else { return Ok(None) };
            let begins = !std::mem::replace(&mut self.continued, !complete);
            if begins && complete {
                if self.at_top && is_envelope_line(&self.buffer) {
                    continue;
                }
                if self.dot_ends && self.buffer == b"." {
                    self.over = true;
                    return Ok(None);
                }
            }
            self.at_top = false;
            return Ok(Some((&self.buffer, complete)));
        }
    }

    /// Fills the buffer up to a line end or the limit; whether the line ended, `None` when there is nothing left.
    fn read(&mut self) -> io::Result<Option<bool>> {
        self.buffer.clear();
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok((!self.buffer.is_empty()).then_some(false));
            }
            let room = self.limit - self.buffer.len();
            let newline = available.find_byte(b'\n');
            let taken = newline.unwrap_or(available.len()).min(room);
            self.buffer.extend_from_slice(&available[..taken]);
            let complete = newline.is_some_and(|newline| newline < room);
            self.input.consume(taken + usize::from(complete));
            if complete {
                self.fix_line_ending();
                return Ok(Some(true));
            }
            if self.buffer.len() == self.limit {
                return Ok(Some(false));
            }
        }
    }

    fn fix_line_ending(&mut self) {
        let has_cr = self.buffer.ends_with(b"\r");
        let strip = match self.endings {
            LineEndings::Always => true,
            LineEndings::Never => false,
            LineEndings::Strict => *self.strip_cr.get_or_insert(has_cr),
        };
        if strip && has_cr {
            self.buffer.pop();
        }
    }
}

/// `From sender date`, as mailbox files have before each message; also quoted with `>`.
fn is_envelope_line(line: &[u8]) -> bool {
    line.trim_start_with(|c| c == '>').starts_with(b"From ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(input: &str, limit: usize, endings: LineEndings, dot_ends: bool) -> Vec<String> {
        let mut lines = Lines::new(input.as_bytes(), limit, endings, dot_ends);
        let mut output = Vec::new();
        while let Some((text, complete)) = lines.next_piece().expect("no error") {
            output.push(format!("{}{}", String::from_utf8_lossy(text), if complete { "$" } else { "" }));
        }
        output
    }

    #[test]
    fn lines_and_pieces() {
        use LineEndings::{Always, Never, Strict};
        let cases: [(&str, usize, LineEndings, bool, &[&str]); 11] = [
            ("a\n\nb\n", 10, Always, true, &["a$", "$", "b$"]),
            ("a\nb", 10, Always, true, &["a$", "b"]),
            ("a\n.\nb\n", 10, Always, true, &["a$"]),
            ("a\n.\nb\n", 10, Always, false, &["a$", ".$", "b$"]),
            ("a\n..\n.x\n", 10, Always, true, &["a$", "..$", ".x$"]),
            ("From x\n>From y\nFrom: z\nFrom w\n", 10, Always, true, &["From: z$", "From w$"]),
            ("a\r\nb\n", 10, Always, true, &["a$", "b$"]),
            ("a\r\nb\r\n.\r\nc", 10, Strict, true, &["a$", "b$"]),
            ("a\nb\r\n", 10, Strict, true, &["a$", "b\r$"]),
            ("a\r\n", 10, Never, true, &["a\r$"]),
            ("abcdefgh\nabcd\n.\n", 4, Always, true, &["abcd", "efgh", "$", "abcd", "$"]),
        ];
        for (input, limit, endings, dot_ends, expected) in cases {
            assert_eq!(pieces(input, limit, endings, dot_ends), expected, "{input:?}");
        }
    }
}
