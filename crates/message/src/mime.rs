//! MIME structure (RFC 2045, 2046), line by line.
//!
//! [`Parser::step`] takes one line and says what it completed: the logical header before it, the end of the headers, a
//! body line. Header lines are collected until the next line shows that the header is complete.

mod content;

pub(crate) use content::{Encoding, Entity, Major};

use crate::Name;
use crate::header::name_length;

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `header_size_limit`: bytes of one logical header; the rest is dropped.
    pub header_size: usize,
    /// `mime_boundary_length_limit`: bytes of a boundary that count.
    pub boundary_length: usize,
    /// `mime_nesting_limit`: levels of multipart.
    pub nesting: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { header_size: 102_400, boundary_length: 2048, nesting: 100 }
    }
}

/// Whose header it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Of the message.
    Primary,
    /// Of a part of a multipart.
    Part,
    /// Of a message inside the message.
    Nested,
}

/// A logical header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whose it is.
    pub class: Class,
    /// Which one it is, if known.
    pub name: Option<Name>,
    /// Its lines, with LF between them, none at the end.
    pub text: &'a [u8],
}

/// How a block of headers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfHeaders {
    /// With an empty line; it is this step's body line.
    EmptyLine(Class),
    /// With something else: the body begins without an empty line, or a boundary follows, or the input is over.
    Other(Class),
}

/// A line that is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without line end.
    pub text: &'a [u8],
    /// False for a piece that is continued by the next line.
    pub complete: bool,
    /// Bytes of this part's body before this line (line ends not counted).
    pub offset: u64,
    /// It is a boundary of a multipart.
    pub boundary: bool,
}

/// What a line completed, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step<'a> {
    /// The header that was being collected.
    pub header: Option<Header<'a>>,
    /// Headers are over.
    pub end_of_headers: Option<EndOfHeaders>,
    /// The line itself, when it is no header.
    pub line: Option<Line<'a>>,
    /// What the headers that ended here say about their part.
    pub(crate) declared: Option<(Encoding, Major)>,
}

/// Something that strict settings refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Problem {
    /// Deeper than `mime_nesting_limit`.
    Nesting = 1,
    /// A header longer than `header_size_limit`.
    TruncatedHeader = 2,
    /// 8-bit bytes in a header.
    EightBitHeader = 4,
    /// 8-bit bytes in a body that says it has none.
    EightBitBody = 8,
    /// A multipart or message entity with an encoding that is not allowed for it (RFC 2045 6.4).
    EncodingDomain = 16,
}

impl Problem {
    /// The text that goes into logs and replies.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Problem::Nesting => "MIME nesting exceeds safety limit",
            Problem::TruncatedHeader => "message header length exceeds safety limit",
            Problem::EightBitHeader => "improper use of 8-bit data in message header",
            Problem::EightBitBody => "improper use of 8-bit data in message body",
            Problem::EncodingDomain => "invalid message/* or multipart/* encoding domain",
        }
    }

    /// The enhanced status code of a refusal.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Problem::Nesting | Problem::TruncatedHeader | Problem::EightBitHeader | Problem::EightBitBody => "5.6.0",
            Problem::EncodingDomain => "5.6.0",
        }
    }
}

/// The problems found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Problems(u8);

impl Problems {
    /// True when it was found.
    #[must_use]
    pub fn contains(self, problem: Problem) -> bool {
        self.0 & problem as u8 != 0
    }

    fn note(&mut self, problem: Problem) {
        self.0 |= problem as u8;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Headers(Class),
    Body,
}

/// An enclosing multipart.
#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    /// What parts without a Content-Type are.
    default: Entity,
}

/// The state of one message.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    structure: bool,
    state: State,
    /// The header being collected, and the one handed out by the last step.
    collecting: Vec<u8>,
    finished: Vec<u8>,
    in_header: bool,
    /// The last line was a piece; the next belongs to it.
    continued: bool,
    levels: Vec<Level>,
    entity: Entity,
    offset: u64,
    problems: Problems,
}

impl Parser {
    /// A parser at the beginning of a message. Without `structure` (disable_mime_input_processing) everything after the
    /// first headers is plain body.
    #[must_use]
    pub fn new(limits: Limits, structure: bool) -> Parser {
        Parser {
            limits,
            structure,
            state: State::Headers(Class::Primary),
            collecting: Vec::new(),
            finished: Vec::new(),
            in_header: false,
            continued: false,
            levels: Vec::new(),
            entity: Entity::default(),
            offset: 0,
            problems: Problems::default(),
        }
    }

    /// True while the primary headers are being read.
    #[must_use]
    pub fn in_primary_headers(&self) -> bool {
        self.state == State::Headers(Class::Primary)
    }

    /// True when nothing that follows can be a header or boundary any more.
    #[must_use]
    pub fn is_opaque(&self) -> bool {
        self.state == State::Body && self.levels.is_empty()
    }

    /// What was found that strict settings refuse.
    #[must_use]
    pub fn problems(&self) -> Problems {
        self.problems
    }

    /// Takes a line.
    pub fn step<'a>(&'a mut self, text: &'a [u8], complete: bool) -> Step<'a> {
        let continues = std::mem::replace(&mut self.continued, !complete);
        if continues {
            if self.in_header {
                self.collect(text);
                return Step::default();
            }
            return Step { line: Some(self.body_line(text, complete, false)), ..Step::default() };
        }
        match self.state {
            State::Headers(class) => self.header_line(class, text, complete),
            State::Body => self.line_of_body(text, complete),
        }
    }

    /// The input is over.
    pub fn finish(&mut self) -> Step<'_> {
        let State::Headers(class) = self.state else { return Step::default() };
        let had_header = self.end_header();
        self.state = State::Body;
        Step {
            header: had_header.map(|name| Header { class, name, text: &self.finished }),
            end_of_headers: Some(EndOfHeaders::Other(class)),
            line: None,
            declared: Some((self.entity.encoding, self.entity.major)),
        }
    }

    fn header_line<'a>(&'a mut self, class: Class, text: &'a [u8], complete: bool) -> Step<'a> {
        if self.in_header && matches!(text.first(), Some(b' ' | b'\t')) {
            self.collect(b"\n");
            self.collect(text);
            return Step::default();
        }
        let had_header = self.end_header();
        if let Some(length) = name_length(text).filter(|_| !self.looks_like_boundary(text)) {
            self.in_header = true;
            // RFC 822 allowed blanks between name and colon; RFC 5322 does not.
            let blanks = text[length..].iter().take_while(|byte| **byte != b':').count();
            self.collect(&text[..length]);
            self.collect(&text[length + blanks..]);
            return Step {
                header: had_header.map(|name| Header { class, name, text: &self.finished }),
                ..Step::default()
            };
        }
        let declared = Some((self.entity.encoding, self.entity.major));
        let boundary = self.enter_body(text);
        let empty = text.is_empty() && complete;
        let end = if empty { EndOfHeaders::EmptyLine(class) } else { EndOfHeaders::Other(class) };
        // The empty line is not yet part of the body.
        let line = if empty {
            Line { text, complete, offset: 0, boundary: false }
        } else {
            self.body_line(text, complete, boundary)
        };
        Step {
            header: had_header.map(|name| Header { class, name, text: &self.finished }),
            end_of_headers: Some(end),
            line: Some(line),
            declared,
        }
    }

    fn line_of_body<'a>(&'a mut self, text: &'a [u8], complete: bool) -> Step<'a> {
        let boundary = self.is_boundary(text);
        Step { line: Some(self.body_line(text, complete, boundary)), ..Step::default() }
    }

    fn body_line<'a>(&mut self, text: &'a [u8], complete: bool, boundary: bool) -> Line<'a> {
        if !boundary && self.structure && self.entity.encoding == Encoding::SevenBit && !text.is_ascii() {
            self.problems.note(Problem::EightBitBody);
        }
        let offset = self.offset;
        if !boundary {
            self.offset += text.len() as u64;
        }
        Line { text, complete, offset, boundary }
    }

    /// Headers are over: what kind of body follows?
    fn enter_body(&mut self, first_line: &[u8]) -> bool {
        self.offset = 0;
        if !self.structure {
            self.state = State::Body;
            return false;
        }
        if self.entity.is_structured() && self.entity.encoding == Encoding::Other {
            self.problems.note(Problem::EncodingDomain);
        }
        self.state = State::Body;
        match self.entity.major {
            Major::Multipart => {
                if self.levels.len() >= self.limits.nesting {
                    self.problems.note(Problem::Nesting);
                } else if let Some(boundary) = self.entity.boundary.take() {
                    let default = if self.entity.digest { Entity::message() } else { Entity::default() };
                    self.levels.push(Level { boundary, default });
                }
                self.is_boundary(first_line)
            }
            // Only message/rfc822 and its like hold another message; partial and external-body are opaque.
            Major::Message if self.entity.holds_message && first_line.is_empty() => {
                self.state = State::Headers(Class::Nested);
                self.entity = Entity { encoding: Encoding::SevenBit, ..Entity::default() };
                false
            }
            _ => self.is_boundary(first_line),
        }
    }

    /// Boundaries may contain colons.
    fn looks_like_boundary(&self, line: &[u8]) -> bool {
        line.strip_prefix(b"--").is_some_and(|rest| self.levels.iter().any(|level| rest.starts_with(&level.boundary)))
    }

    /// Looks for a boundary, innermost first; moves to the part that follows it.
    fn is_boundary(&mut self, line: &[u8]) -> bool {
        let Some(rest) = line.strip_prefix(b"--") else { return false };
        let Some(at) = self.levels.iter().rposition(|level| rest.starts_with(&level.boundary)) else { return false };
        let last = rest[self.levels[at].boundary.len()..].starts_with(b"--");
        self.levels.truncate(at + 1);
        self.offset = 0;
        if last {
            self.levels.pop();
            self.entity = Entity { encoding: Encoding::EightBit, ..Entity::default() };
            self.state = State::Body;
        } else {
            self.entity = self.levels[at].default.clone();
            self.state = State::Headers(Class::Part);
        }
        true
    }

    fn collect(&mut self, text: &[u8]) {
        let room = self.limits.header_size.saturating_sub(self.collecting.len());
        if text.len() > room {
            self.problems.note(Problem::TruncatedHeader);
        }
        self.collecting.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// Closes the header being collected; the outer `None` says that there was none.
    #[expect(clippy::option_option, reason = "no header, and a header that is not known, are two things")]
    fn end_header(&mut self) -> Option<Option<Name>> {
        if !std::mem::take(&mut self.in_header) {
            return None;
        }
        self.finished.clear();
        std::mem::swap(&mut self.finished, &mut self.collecting);
        if !self.finished.is_ascii() {
            self.problems.note(Problem::EightBitHeader);
        }
        let name = crate::name_length(&self.finished).and_then(|length| Name::of(&self.finished[..length]));
        if self.structure {
            match name {
                Some(Name::ContentType) => self.entity.set_type(crate::body_of(&self.finished), self.limits),
                Some(Name::ContentTransferEncoding) => self.entity.set_encoding(crate::body_of(&self.finished)),
                _ => {}
            }
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests;
