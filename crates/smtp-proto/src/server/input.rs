//! Received bytes, cut into command lines. Holds memory only while bytes are waiting.

use bstr::ByteSlice;

/// A command line that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Without line end, cut at the limit.
    pub text: Vec<u8>,
    /// The line was longer than the limit.
    pub cut: bool,
    /// The line ended with LF that no CR stood before.
    pub bare_newline: bool,
}

/// Bytes that were received and not used yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// Bytes of the present line that were dropped because it is too long.
    dropped: usize,
    /// The last dropped byte was a CR.
    dropped_cr: bool,
}

impl Input {
    /// Adds received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What is waiting.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Drops the first `count` waiting bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count.min(self.bytes.len() - self.start);
        if self.start == self.bytes.len() {
            self.bytes = Vec::new();
            self.start = 0;
        }
    }

    /// The next whole line, cut at `limit` bytes. Memory stays bounded: what a line has beyond the limit is not kept.
    pub(super) fn line(&mut self, limit: usize) -> Option<Line> {
        let pending = &self.bytes[self.start..];
        let Some(end) = pending.find_byte(b'\n') else {
            if pending.len() > limit {
                self.dropped_cr = pending.last() == Some(&b'\r');
                self.dropped += pending.len() - limit;
                self.bytes.truncate(self.start + limit);
            }
            return None;
        };
        let text = &pending[..end];
        let crlf = if self.dropped > 0 && end <= limit { self.dropped_cr } else { text.last() == Some(&b'\r') };
        let length = self.dropped + end - usize::from(crlf);
        let line = Line { text: text[..length.min(end).min(limit)].to_vec(), cut: length > limit, bare_newline: !crlf };
        self.dropped = 0;
        self.dropped_cr = false;
        self.consume(end + 1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], cut: usize) -> Vec<(String, bool, bool)> {
        let mut input = Input::default();
        let mut out = Vec::new();
        for piece in bytes.chunks(cut) {
            input.receive(piece);
            while let Some(line) = input.line(10) {
                out.push((String::from_utf8_lossy(&line.text).into_owned(), line.cut, line.bare_newline));
            }
        }
        out
    }

    #[test]
    fn lines_cut_anywhere() {
        let bytes = b"NOOP\r\nRSET\n\r\n0123456789\r\n0123456789abcdefghijk\r\n0123456789abc\nend\r\r\n";
        let expected: Vec<(String, bool, bool)> = [
            ("NOOP", false, false),
            ("RSET", false, true),
            ("", false, false),
            ("0123456789", false, false),
            ("0123456789", true, false),
            ("0123456789", true, true),
            ("end\r", false, false),
        ]
        .map(|(text, cut, bare)| (text.to_owned(), cut, bare))
        .to_vec();
        for cut in 1..=bytes.len() {
            let found = lines(bytes, cut);
            assert_eq!(found, expected, "{cut}");
        }
    }

    #[test]
    fn an_endless_line_stays_small() {
        let mut input = Input::default();
        for _ in 0..1000 {
            input.receive(&[b'x'; 4096]);
            assert_eq!(input.line(2048), None);
            assert!(input.bytes.capacity() < 16 << 10);
        }
    }
}
