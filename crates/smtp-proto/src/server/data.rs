//! The content of DATA (RFC 5321 4.5.2): from the wire's CRLF lines with doubled dots to lines that end in LF.
//!
//! Streaming: pieces come in and go out in slices, nothing is allocated per line, lines may be of any length. What counts
//! as the end is decided here and nowhere else (`smtpd_forbid_bare_newline`): with anything but `no`, a dot line ends the
//! content only when it ends in CRLF and so does the line before it. A dot line that does not end the content is dropped,
//! so that no further server can take it for the end.
//!
//! What precedes the header and comes from mailbox files is made harmless: a first line `From ` becomes a header
//! `X-Mailbox-Line:`; a first line that begins with a blank gets an empty line before it.

use bstr::ByteSlice;

use super::settings::BareNewline;

/// Longest beginning of a first line that is kept to see what it is.
const HEAD_LIMIT: usize = 256;
const MAILBOX_LINE: &[u8] = b"X-Mailbox-Line: ";

/// Whether LF without CR was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bare {
    /// Every line ended in CRLF.
    #[default]
    None,
    /// Some line did not.
    Seen,
}

/// What [`DataDecoder::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that were used.
    pub consumed: usize,
    /// The end of the content was among them.
    pub finished: bool,
}

/// Bytes that were read but whose meaning depends on the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// CR inside a line.
    Cr,
    /// `.` at the start of a line.
    Dot,
    /// `.` and CR at the start of a line.
    DotCr,
}

/// The decoder's state between two pieces.
#[derive(Clone, Debug)]
pub struct DataDecoder {
    standard_end: bool,
    at_start: bool,
    held: Held,
    /// The line before this one ended in CRLF; the DATA command's does for this purpose.
    after_crlf: bool,
    bare: Bare,
    /// No line of the message was put out yet.
    first: bool,
    /// The beginning of a first line that may be `From `.
    head: Vec<u8>,
    received: u64,
    written: u64,
}

impl DataDecoder {
    /// A decoder for one message.
    #[must_use]
    pub fn new(bare_newline: BareNewline) -> DataDecoder {
        DataDecoder {
            standard_end: bare_newline != BareNewline::Allow,
            at_start: true,
            held: Held::Nothing,
            after_crlf: true,
            bare: Bare::None,
            first: true,
            head: Vec::new(),
            received: 0,
            written: 0,
        }
    }

    /// Decodes a piece of what the client sent, and appends what it holds to `output`.
    pub fn decode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Decoded {
        let before = output.len();
        let decoded = self.run(input, output);
        self.received += decoded.consumed as u64;
        self.written += (output.len() - before) as u64;
        decoded
    }

    /// Whether a line ended without CR so far.
    #[must_use]
    pub fn bare(&self) -> Bare {
        self.bare
    }

    /// Bytes put out so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes taken in so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    fn run(&mut self, input: &[u8], output: &mut Vec<u8>) -> Decoded {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match (self.held, byte) {
                (Held::Nothing, b'.') if self.at_start => {
                    self.held = Held::Dot;
                    self.at_start = false;
                    at += 1;
                }
                (Held::Nothing, _) => at += self.line_part(&input[at..], output),
                (Held::Cr, b'\n') => {
                    self.held = Held::Nothing;
                    self.end_line(true, output);
                    at += 1;
                }
                (Held::Cr, _) => {
                    self.held = Held::Nothing;
                    self.put(b"\r", output);
                }
                (Held::Dot, b'\r') => {
                    self.held = Held::DotCr;
                    at += 1;
                }
                (Held::Dot | Held::DotCr, b'\n') => {
                    let crlf = self.held == Held::DotCr;
                    at += 1;
                    if !crlf {
                        self.bare = Bare::Seen;
                    }
                    if !self.standard_end || (crlf && self.after_crlf) {
                        self.finish(output);
                        return Decoded { consumed: at, finished: true };
                    }
                    self.held = Held::Nothing;
                    self.at_start = true;
                    self.after_crlf = crlf;
                }
                (Held::Dot, _) => self.held = Held::Nothing,
                (Held::DotCr, _) => {
                    // `.` CR and something else: the dot is stuffing, the CR is content or the next line end's.
                    self.held = Held::Cr;
                }
            }
        }
        Decoded { consumed: at, finished: false }
    }

    /// Takes the rest of the present line, or what there is of it; the number of bytes used.
    fn line_part(&mut self, input: &[u8], output: &mut Vec<u8>) -> usize {
        self.at_start = false;
        let Some(end) = input.find_byte(b'\n') else {
            let kept = input.strip_suffix(b"\r").unwrap_or(input);
            self.put(kept, output);
            if kept.len() < input.len() {
                self.held = Held::Cr;
            }
            return input.len();
        };
        let line = &input[..end];
        let (text, crlf) = line.strip_suffix(b"\r").map_or((line, false), |text| (text, true));
        self.put(text, output);
        self.end_line(crlf, output);
        end + 1
    }

    fn end_line(&mut self, crlf: bool, output: &mut Vec<u8>) {
        if self.first {
            self.settle_head(true, output);
        }
        output.push(b'\n');
        self.at_start = true;
        self.after_crlf = crlf;
        if !crlf {
            self.bare = Bare::Seen;
        }
    }

    fn put(&mut self, text: &[u8], output: &mut Vec<u8>) {
        if !self.first {
            output.extend_from_slice(text);
            return;
        }
        let room = HEAD_LIMIT.saturating_sub(self.head.len()).min(text.len());
        self.head.extend_from_slice(&text[..room]);
        if self.head.len() >= HEAD_LIMIT {
            self.settle_head(false, output);
            output.extend_from_slice(&text[room..]);
        }
    }

    /// Puts the kept beginning of a first line out, as what it turned out to be. After a `From ` line, the next line is
    /// looked at in the same way.
    fn settle_head(&mut self, line_ended: bool, output: &mut Vec<u8>) {
        let head = std::mem::take(&mut self.head);
        let unquoted = head.iter().position(|b| *b != b'>').map_or(&head[head.len()..], |at| &head[at..]);
        let mailbox = unquoted.starts_with(b"From ");
        if mailbox {
            output.extend_from_slice(MAILBOX_LINE);
        } else if head.first().is_some_and(|b| *b == b' ' || *b == b'\t') {
            output.push(b'\n');
        }
        output.extend_from_slice(&head);
        // A `From ` line that is longer than what was kept: its rest follows as it is, and it was the last that is looked at.
        self.first = mailbox && line_ended;
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        if self.first && !self.head.is_empty() {
            self.settle_head(false, output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `wire` in pieces of `cut`: the content, and what was left after its end, or none without an end.
    fn decode(wire: &[u8], mode: BareNewline, cut: usize) -> (Vec<u8>, Option<Vec<u8>>, Bare) {
        let (mut decoder, mut out, mut used) = (DataDecoder::new(mode), Vec::new(), 0);
        for piece in wire.chunks(cut) {
            let decoded = decoder.decode(piece, &mut out);
            used += decoded.consumed;
            if decoded.finished {
                return (out, Some(wire[used..].to_vec()), decoder.bare());
            }
            assert_eq!(decoded.consumed, piece.len());
        }
        (out, None, decoder.bare())
    }

    /// (wire, content, rest after the end or `None`)
    type Case = (&'static str, &'static str, Option<&'static str>);

    fn check(mode: BareNewline, cases: &[Case]) {
        for (wire, content, rest) in cases {
            for cut in 1..=wire.len() {
                let (out, left, _) = decode(wire.as_bytes(), mode, cut);
                assert_eq!(String::from_utf8_lossy(&out), *content, "{wire:?} by {cut}");
                assert_eq!(left.as_deref(), rest.map(str::as_bytes), "{wire:?} by {cut}");
            }
        }
    }

    #[test]
    fn standard_content() {
        let cases: [Case; 8] = [
            (".\r\n", "", Some("")),
            ("a\r\n.\r\nQUIT\r\n", "a\n", Some("QUIT\r\n")),
            ("..\r\n...a\r\n.b\r\n.\r\n", ".\n..a\nb\n", Some("")),
            ("\r\n\r\n.\r\n", "\n\n", Some("")),
            ("a\rb\r\r\n.\r\n", "a\rb\r\n", Some("")),
            ("a\r\n.\r", "a\n", None),
            ("a\r\n.\rb\r\n.\r\n", "a\n\rb\n", Some("")),
            ("a\r\n.\r\r\nb\r\n.\r\n", "a\n\r\nb\n", Some("")),
        ];
        for mode in [BareNewline::Allow, BareNewline::Normalize, BareNewline::Reject] {
            check(mode, &cases);
        }
    }

    #[test]
    fn smuggled_ends_are_no_ends() {
        check(
            BareNewline::Normalize,
            &[
                ("a\n.\nMAIL\r\n.\r\n", "a\nMAIL\n", Some("")),
                ("a\n.\r\nMAIL\r\n.\r\n", "a\nMAIL\n", Some("")),
                ("a\r\n.\nMAIL\r\n.\r\n", "a\nMAIL\n", Some("")),
                ("a\r.\r\nMAIL\r\n.\r\n", "a\r.\nMAIL\n", Some("")),
                ("a\r\n.\rMAIL\r\n.\r\n", "a\n\rMAIL\n", Some("")),
                ("a\n.\r\n.\r\nMAIL", "a\n", Some("MAIL")),
                (".\nMAIL\r\n.\r\n", "MAIL\n", Some("")),
                ("a\r\n.\n.\r\nb\r\n.\r\n", "a\nb\n", Some("")),
                ("a\n..\n.\r\n.\r\n", "a\n.\n", Some("")),
            ],
        );
    }

    #[test]
    fn bare_newlines_end_content_when_allowed() {
        check(
            BareNewline::Allow,
            &[
                ("a\n.\nMAIL\r\n", "a\n", Some("MAIL\r\n")),
                ("a\n.\r\nMAIL\r\n", "a\n", Some("MAIL\r\n")),
                ("a\r\n.\nMAIL\r\n", "a\n", Some("MAIL\r\n")),
                ("a\r.\r\n.\r\n", "a\r.\n", Some("")),
            ],
        );
    }

    #[test]
    fn mailbox_lines_and_leading_blanks() {
        check(
            BareNewline::Normalize,
            &[
                ("From a b\r\nS: x\r\n.\r\n", "X-Mailbox-Line: From a b\nS: x\n", Some("")),
                (
                    ">>From a\r\nFrom b\r\nS: x\r\nFrom c\r\n.\r\n",
                    "X-Mailbox-Line: >>From a\nX-Mailbox-Line: From b\nS: x\nFrom c\n",
                    Some(""),
                ),
                (" a\r\n b\r\n.\r\n", "\n a\n b\n", Some("")),
                ("From: x\r\n.\r\n", "From: x\n", Some("")),
            ],
        );
        let long = format!("From {}\r\nFrom x\r\n.\r\n", "y".repeat(600));
        let expected = format!("X-Mailbox-Line: From {}\nFrom x\n", "y".repeat(600));
        for cut in [1, 7, 255, 256, 257, 5000] {
            assert_eq!(decode(long.as_bytes(), BareNewline::Normalize, cut).0, expected.as_bytes());
        }
    }

    #[test]
    fn bare_newlines_are_noticed() {
        for (wire, bare) in [("a\r\n.\r\n", Bare::None), ("a\nb\r\n.\r\n", Bare::Seen), (".\n.\r\n", Bare::Seen)] {
            for cut in 1..=wire.len() {
                assert_eq!(decode(wire.as_bytes(), BareNewline::Reject, cut).2, bare, "{wire:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(wire in "[.aF>\r\n ]{0,80}", cut in 1usize..20) {
            for mode in [BareNewline::Allow, BareNewline::Normalize] {
                let whole = decode(wire.as_bytes(), mode, 1000);
                let pieces = decode(wire.as_bytes(), mode, cut);
                prop_assert_eq!(&whole.1, &pieces.1);
                if whole.1.is_some() {
                    prop_assert_eq!(whole, pieces);
                }
            }
        }

        /// The one end of content that every server agrees about.
        #[test]
        fn only_the_standard_end_counts(wire in "[.a\r\n]{0,60}") {
            let bytes = wire.as_bytes();
            let expected = if bytes.starts_with(b".\r\n") { Some(3) } else { bytes.find(b"\r\n.\r\n").map(|at| at + 5) };
            let rest = decode(bytes, BareNewline::Normalize, 7).1;
            prop_assert_eq!(rest.map(|rest| bytes.len() - rest.len()), expected);
        }
    }
}
