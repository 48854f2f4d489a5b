//! Replies (RFC 5321 4.2), single and multi-line, from bytes that may be cut anywhere.

use bstr::{BString, ByteSlice};
use dsn::{Class, Status};

/// Text of one reply that is kept; the rest of a longer reply is read and dropped.
const TEXT_LIMIT: usize = 16 << 10;
/// Bytes of one reply, all lines together, before the server is given up.
const REPLY_LIMIT: usize = 512 << 10;

/// A server's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits of the last line.
    pub code: u16,
    /// The lines as they came, code included, without line ends, separated by LF.
    pub text: BString,
}

impl Reply {
    /// 2xx or 3xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// 4xx.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The lines without code and separator. A line that has no code is given whole.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|b| *b == b'\n').map(|line| match line {
            [a, b, c, rest @ ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => rest.get(1..).unwrap_or_default(),
            other => other,
        })
    }

    /// The enhanced status code (RFC 2034) of the last line that has one in the class of the reply's code; otherwise the
    /// generic one of that class (`4.0.0`, `5.0.0`, `2.0.0`), as a notice or a log line needs it.
    #[must_use]
    pub fn status(&self) -> Status {
        let class = Class::from_digit((self.code / 100) as u8);
        let last = self.lines().last().and_then(Status::split_from).map(|(status, _)| status);
        match (last, class) {
            (Some(status), Some(class)) if status.class == class => status,
            (_, class) => Status { class: class.unwrap_or(Class::Permanent), subject: 0, detail: 0 },
        }
    }

    /// On one line, for log lines and notices: line ends become blanks.
    #[must_use]
    pub fn one_line(&self) -> BString {
        self.text.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect::<Vec<u8>>().into()
    }
}

/// The server does not speak SMTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A reply without end.
    #[error("reply longer than {0} bytes")]
    TooLong(usize),
}

/// Collects bytes into replies. A line that does not begin with three digits and a blank, `-` or the line's end belongs to
/// the reply, but does not end it; [`ReplyReader::take_malformed`] tells about it.
#[derive(Debug)]
pub struct ReplyReader {
    line_limit: usize,
    input: Vec<u8>,
    start: usize,
    line: Vec<u8>,
    text: Vec<u8>,
    read: usize,
    malformed: Option<BString>,
}

impl ReplyReader {
    /// A reader that cuts lines at `line_limit` bytes (`line_length_limit`).
    #[must_use]
    pub fn new(line_limit: usize) -> ReplyReader {
        ReplyReader {
            line_limit,
            input: Vec::new(),
            start: 0,
            line: Vec::new(),
            text: Vec::new(),
            read: 0,
            malformed: None,
        }
    }

    /// Takes bytes from the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.start == self.input.len() {
            self.input.clear();
            self.start = 0;
        }
        self.input.extend_from_slice(bytes);
    }

    /// The next whole reply, if it is there.
    ///
    /// # Errors
    /// See [`ReplyError`]; the connection is of no use afterwards.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let waiting = &self.input[self.start..];
            let (taken, complete) = match waiting.find_byte(b'\n') {
                Some(at) => (at + 1, true),
                None => (waiting.len(), false),
            };
            self.read += taken;
            if self.read > REPLY_LIMIT {
                return Err(ReplyError::TooLong(REPLY_LIMIT));
            }
            let room = self.line_limit.saturating_sub(self.line.len());
            self.line.extend_from_slice(&waiting[..taken.min(room)]);
            self.start += taken;
            if !complete {
                self.input.clear();
                self.start = 0;
                return Ok(None);
            }
            while matches!(self.line.last(), Some(b'\n' | b'\r')) {
                self.line.pop();
            }
            if let Some(code) = self.finish_line() {
                self.read = 0;
                return Ok(Some(Reply { code, text: std::mem::take(&mut self.text).into() }));
            }
        }
    }

    /// Bytes that belong to no returned reply yet are waiting: the server said something unasked, or has not finished.
    #[must_use]
    pub fn has_input(&self) -> bool {
        self.start < self.input.len() || self.read > 0
    }

    /// The last line that was not a reply line, for a warning.
    pub fn take_malformed(&mut self) -> Option<BString> {
        self.malformed.take()
    }

    /// Adds the line to the reply; the code when it was the last.
    fn finish_line(&mut self) -> Option<u16> {
        let line = std::mem::take(&mut self.line);
        let last = match line.as_slice() {
            [a, b, c, rest @ ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => match rest.first() {
                None | Some(b' ') => Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')),
                Some(b'-') => None,
                Some(_) => {
                    self.malformed = Some(line.clone().into());
                    None
                }
            },
            _ => {
                self.malformed = Some(line.clone().into());
                None
            }
        };
        if self.text.len() + line.len() < TEXT_LIMIT {
            if !self.text.is_empty() {
                self.text.push(b'\n');
            }
            self.text.extend_from_slice(&line);
        }
        self.line = line;
        self.line.clear();
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], cut: usize) -> Vec<(u16, String)> {
        let mut reader = ReplyReader::new(2048);
        let mut replies = Vec::new();
        for piece in bytes.chunks(cut) {
            reader.receive(piece);
            while let Some(reply) = reader.next_reply().expect("reply") {
                replies.push((reply.code, reply.text.to_string()));
            }
        }
        assert!(!reader.has_input());
        replies
    }

    #[test]
    fn reads_replies_cut_anywhere() {
        let bytes = b"220 host ESMTP\r\n250-host\r\n250-SIZE 1000\r\n250 DSN\r\n250\r\n354 go\n";
        let expected = vec![
            (220, "220 host ESMTP".to_owned()),
            (250, "250-host\n250-SIZE 1000\n250 DSN".to_owned()),
            (250, "250".to_owned()),
            (354, "354 go".to_owned()),
        ];
        for cut in 1..bytes.len() {
            assert_eq!(all(bytes, cut), expected);
        }
    }

    #[test]
    fn status_follows_the_code() {
        for (text, status) in [
            ("550 5.1.1 unknown", "5.1.1"),
            ("550 unknown", "5.0.0"),
            ("450 5.1.1 mixed", "4.0.0"),
            ("250 2.0.0 Ok: queued as X", "2.0.0"),
            ("550-5.1.1 a\n550 5.1.1 b", "5.1.1"),
        ] {
            let code = text[..3].parse().expect("digits");
            assert_eq!(Reply { code, text: text.into() }.status().to_string(), status, "{text}");
        }
    }

    #[test]
    fn odd_lines_do_not_end_a_reply() {
        let mut reader = ReplyReader::new(2048);
        reader.receive(b"hello\r\n250x\r\n250 fine\r\n");
        let reply = reader.next_reply().expect("reply").expect("complete");
        assert_eq!((reply.code, reply.text.to_string()), (250, "hello\n250x\n250 fine".to_owned()));
        assert_eq!(reader.take_malformed(), Some("250x".into()));
    }

    #[test]
    fn endless_replies_are_given_up_in_bounded_memory() {
        let mut reader = ReplyReader::new(2048);
        let mut outcome = Ok(None);
        for _ in 0..200 {
            reader.receive(&[b'x'; 8192]);
            outcome = reader.next_reply();
            assert!(reader.input.capacity() < 64 << 10 && reader.line.len() <= 2048);
            if outcome.is_err() {
                break;
            }
        }
        assert!(outcome.is_err());
        let mut reader = ReplyReader::new(2048);
        for _ in 0..100_000 {
            reader.receive(b"250-more\r\n");
            outcome = reader.next_reply();
            if outcome.is_err() {
                return;
            }
        }
        panic!("no end");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>, cut in 1usize..50) {
            let mut whole = ReplyReader::new(100);
            let mut pieces = ReplyReader::new(100);
            let (mut a, mut b) = (Vec::new(), Vec::new());
            whole.receive(&bytes);
            while let Ok(Some(reply)) = whole.next_reply() { a.push(reply); }
            for piece in bytes.chunks(cut) {
                pieces.receive(piece);
                while let Ok(Some(reply)) = pieces.next_reply() { b.push(reply); }
            }
            prop_assert_eq!(a, b);
        }
    }
}
