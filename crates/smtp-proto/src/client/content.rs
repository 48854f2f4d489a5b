//! Mail content as it goes over the wire (RFC 5321 4.5.2): CRLF line ends, dots doubled, the final dot.

use bstr::ByteSlice;

/// Turns content with LF line ends, cut anywhere, into the form of `DATA`.
#[derive(Clone, Debug)]
pub struct DotStuffer {
    /// Bytes of the present line that were put out already (before any break of ours).
    column: usize,
    limit: usize,
    broken: bool,
}

impl DotStuffer {
    /// `line_limit` is `smtp_line_length_limit`: longer lines are broken with `<CR><LF>` and a blank; 0 for no limit.
    #[must_use]
    pub fn new(line_limit: usize) -> DotStuffer {
        DotStuffer { column: 0, limit: line_limit, broken: false }
    }

    /// Appends the encoded form of `content` to `output`.
    pub fn encode(&mut self, content: &[u8], output: &mut Vec<u8>) {
        let mut rest = content;
        while !rest.is_empty() {
            let (line, ended, next) = match rest.find_byte(b'\n') {
                Some(at) => (&rest[..at], true, &rest[at + 1..]),
                None => (rest, false, &rest[rest.len()..]),
            };
            self.part(line, output);
            if ended {
                output.extend_from_slice(b"\r\n");
                self.column = 0;
            }
            rest = next;
        }
    }

    /// Appends the line end that the content lacks, if so, and the final `.`.
    pub fn finish(&mut self, output: &mut Vec<u8>) {
        if self.column > 0 {
            output.extend_from_slice(b"\r\n");
            self.column = 0;
        }
        output.extend_from_slice(b".\r\n");
    }

    /// True when a line was broken since the last call, for the log line about it.
    pub fn take_broken(&mut self) -> bool {
        std::mem::take(&mut self.broken)
    }

    fn part(&mut self, mut line: &[u8], output: &mut Vec<u8>) {
        if self.column == 0 && line.first() == Some(&b'.') {
            output.push(b'.');
        }
        while self.limit > 0 && self.column + line.len() > self.limit {
            let take = self.limit.saturating_sub(self.column).max(usize::from(self.column == 0));
            output.extend_from_slice(&line[..take]);
            output.extend_from_slice(b"\r\n ");
            self.broken = true;
            line = &line[take..];
            self.column = 1;
            if self.limit == 1 {
                break;
            }
        }
        output.extend_from_slice(line);
        self.column += line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(content: &[u8], cut: usize, limit: usize) -> Vec<u8> {
        let (mut stuffer, mut out) = (DotStuffer::new(limit), Vec::new());
        for piece in content.chunks(cut) {
            stuffer.encode(piece, &mut out);
        }
        stuffer.finish(&mut out);
        out
    }

    #[test]
    fn table() {
        for (content, wire) in [
            ("", ".\r\n"),
            ("\n", "\r\n.\r\n"),
            ("a\n", "a\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".\n..\na.b\n", "..\r\n...\r\na.b\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
        ] {
            for cut in 1..=content.len().max(1) {
                assert_eq!(encode(content.as_bytes(), cut, 998), wire.as_bytes(), "{content:?} {cut}");
            }
        }
        assert_eq!(encode(b"abcdefgh\n", 3, 4), b"abcd\r\n efg\r\n h\r\n.\r\n");
        assert_eq!(encode(b"abcd\nx", 3, 4), b"abcd\r\nx\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(content in "[.a\n]{0,60}", cut in 1usize..10, limit in 2usize..9) {
            let whole = encode(content.as_bytes(), 1000, limit);
            prop_assert_eq!(&encode(content.as_bytes(), cut, limit), &whole);
            let end = whole.find(b"\r\n.\r\n").map_or(whole.len(), |at| at + 5);
            prop_assert_eq!(end, whole.len());
            prop_assert!(whole.lines().all(|line| line.len() <= limit + 1));
        }
    }
}
