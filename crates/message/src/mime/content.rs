//! Content-Type and Content-Transfer-Encoding.

use address::lexical::{comment_length, enclosed_length};

use super::Limits;

/// The top-level type, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Major {
    Multipart,
    Message,
    #[default]
    Leaf,
}

/// Content-Transfer-Encoding (RFC 2045 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    SevenBit,
    EightBit,
    Binary,
    /// quoted-printable, base64, or one that is not known: the lines are 7-bit.
    Other,
}

/// What a part is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) major: Major,
    /// `message/rfc822`, `message/global`: another message with its headers follows.
    pub(crate) holds_message: bool,
    /// `multipart/digest`: parts are messages unless they say otherwise.
    pub(crate) digest: bool,
    pub(crate) boundary: Option<Vec<u8>>,
    pub(crate) encoding: Encoding,
}

impl Entity {
    pub(crate) fn message() -> Entity {
        Entity { major: Major::Message, holds_message: true, ..Entity::default() }
    }

    /// multipart or message: may only be 7bit, 8bit or binary.
    pub(crate) fn is_structured(&self) -> bool {
        self.major != Major::Leaf
    }

    pub(crate) fn set_encoding(&mut self, value: &[u8]) {
        let token = tokens(value).next().map(<[u8]>::to_ascii_lowercase).unwrap_or_default();
        self.encoding = match token.as_slice() {
            b"7bit" => Encoding::SevenBit,
            b"8bit" => Encoding::EightBit,
            b"binary" => Encoding::Binary,
            _ => Encoding::Other,
        };
    }

    pub(crate) fn set_type(&mut self, value: &[u8], limits: Limits) {
        let encoding = self.encoding;
        let mut words = tokens(value).peekable();
        let major = words.next().unwrap_or_default().to_ascii_lowercase();
        let slash = words.next_if(|token| *token == b"/").is_some();
        let minor = if slash { words.next().unwrap_or_default().to_ascii_lowercase() } else { Vec::new() };
        *self = Entity { encoding, ..Entity::default() };
        match major.as_slice() {
            b"multipart" => {
                self.major = Major::Multipart;
                self.digest = minor == b"digest";
                self.boundary = boundary(words, limits.boundary_length);
            }
            b"message" => {
                self.major = Major::Message;
                self.holds_message = matches!(minor.as_slice(), b"rfc822" | b"global" | b"news");
            }
            _ => {}
        }
    }
}

fn boundary<'a>(mut words: impl Iterator<Item = &'a [u8]>, limit: usize) -> Option<Vec<u8>> {
    while let Some(word) = words.next() {
        if word != b";" {
            continue;
        }
        let name = words.next()?;
        if !name.eq_ignore_ascii_case(b"boundary") {
            continue;
        }
        if words.next()? != b"=" {
            continue;
        }
        let mut text = unquote(words.next()?);
        text.truncate(limit);
        return (!text.is_empty()).then_some(text);
    }
    None
}

fn unquote(token: &[u8]) -> Vec<u8> {
    let Some(inner) = token.strip_prefix(b"\"") else { return token.to_vec() };
    let mut bytes = inner.strip_suffix(b"\"").unwrap_or(inner).iter();
    let mut output = Vec::with_capacity(inner.len());
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => output.extend(bytes.next()),
            b'\n' | b'\r' => {}
            other => output.push(other),
        }
    }
    output
}

/// The tokens of RFC 2045 5.1: words, quoted-strings (with their quotes), single specials; comments are skipped.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
            rest = &rest[start..];
            if rest[0] != b'(' {
                break;
            }
            rest = &rest[comment_length(rest)..];
        }
        let length = match rest[0] {
            b'"' => enclosed_length(rest, b'"'),
            byte if is_special(byte) => 1,
            _ => rest
                .iter()
                .position(|byte| is_special(*byte) || byte.is_ascii_whitespace() || b"(\"".contains(byte))
                .unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        rest = tail;
        Some(token)
    })
}

fn is_special(byte: u8) -> bool {
    b"()<>@,;:\\\"/[]?=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_boundaries() {
        let cases: [(&str, Major, Option<&str>); 8] = [
            ("text/plain; charset=utf-8", Major::Leaf, None),
            ("multipart/mixed; boundary=abc", Major::Multipart, Some("abc")),
            ("Multipart/Mixed (c);\n\tcharset=x; BOUNDARY=\"a b\\\"c\"", Major::Multipart, Some("a b\"c")),
            ("multipart/mixed", Major::Multipart, None),
            ("multipart/mixed; boundary=\"\"", Major::Multipart, None),
            ("message/rfc822", Major::Message, None),
            ("", Major::Leaf, None),
            ("multipart; boundary=x", Major::Multipart, Some("x")),
        ];
        for (value, major, boundary) in cases {
            let mut entity = Entity::default();
            entity.set_type(value.as_bytes(), Limits::default());
            assert_eq!(entity.major, major, "{value}");
            assert_eq!(entity.boundary.as_deref(), boundary.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn encodings() {
        let cases = [
            ("8BIT", Encoding::EightBit),
            (" (x) 7bit", Encoding::SevenBit),
            ("binary", Encoding::Binary),
            ("base64", Encoding::Other),
            ("x-odd", Encoding::Other),
        ];
        for (value, encoding) in cases {
            let mut entity = Entity::default();
            entity.set_encoding(value.as_bytes());
            assert_eq!(entity.encoding, encoding, "{value}");
        }
    }
}
