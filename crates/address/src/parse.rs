//! The paths of MAIL FROM and RCPT TO (RFC 5321 4.1.2).

use bstr::{BString, ByteSlice};

use crate::header::{AddressList, Token};

/// Lexical elements that a path may have before it is refused; far above what RFC 5321 4.5.3.1.3 allows.
const PATH_TOKEN_LIMIT: usize = 1000;

/// An address out of an SMTP command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Internal form, without source route; empty for `<>`.
    pub address: BString,
    /// The source route that stood before it, `@a,@b`; ignored as RFC 5321 appendix C wants.
    pub source_route: Option<BString>,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Nothing there at all, not even `<>`.
    #[error("no address")]
    Missing,
    /// More than one address.
    #[error("more than one address")]
    Several,
    /// Words or comments beside the address (strict_rfc821_envelopes).
    #[error("text beside the address")]
    Extra,
    /// No angle brackets around the address (strict_rfc821_envelopes).
    #[error("no angle brackets")]
    Brackets,
    /// A domain alone (strict_rfc821_envelopes).
    #[error("no local part")]
    NoLocalPart,
    /// A NUL, an escape or another control character, which no address may have (RFC 5321 4.1.2).
    #[error("control character")]
    Control,
    /// Longer or more complicated than any address.
    #[error("address too long")]
    TooLong,
}

/// Reads a path such as `<user@example.com>`.
///
/// Strict (strict_rfc821_envelopes): one address in angle brackets and nothing else. Otherwise the brackets may be
/// missing, and comments, a phrase or a group's name are ignored, as long as there is at most one address. Brackets
/// within brackets are taken off in both cases.
///
/// # Errors
/// See [`InvalidPath`].
pub fn path(text: &[u8], strict: bool) -> Result<Path, InvalidPath> {
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        return Err(InvalidPath::Missing);
    }
    if trimmed.iter().any(u8::is_ascii_control) {
        return Err(InvalidPath::Control);
    }
    if strict && !trimmed.starts_with(b"<") {
        return Err(InvalidPath::Brackets);
    }
    let list = list_in_path(trimmed);
    if list.is_truncated() {
        return Err(InvalidPath::TooLong);
    }
    let extra = list.tokens().iter().any(|token| match token {
        Token::Text { .. } => true,
        Token::Special { byte, .. } => !matches!(byte, b'<' | b'>'),
        Token::Address { .. } => false,
    });
    let mut addresses = list.into_addresses();
    let address = addresses.next();
    if addresses.next().is_some() {
        return Err(InvalidPath::Several);
    }
    if extra && strict {
        return Err(InvalidPath::Extra);
    }
    if strict && address.as_ref().is_some_and(|address| address.first() == Some(&b'@') && !address.contains(&b':')) {
        return Err(InvalidPath::NoLocalPart);
    }
    Ok(address.map(without_route).unwrap_or_default())
}

/// What a path holds. Between its brackets may stand a list or a group, in which there must be no second address;
/// without their separators, a colon belongs to the address, as in `<:include:/file@here>`.
fn list_in_path(path: &[u8]) -> AddressList {
    let parse = |text: &[u8]| AddressList::parse(text, PATH_TOKEN_LIMIT);
    let Some(mut inside) = path.strip_prefix(b"<").and_then(|path| path.strip_suffix(b">")) else { return parse(path) };
    while let Some(less) = inside.strip_suffix(b">").filter(|_| !inside.starts_with(b"<")) {
        inside = less;
    }
    let inner = parse(inside);
    if inside.starts_with(b"@") && inside.contains(&b':') {
        // The commas of a source route separate its hosts.
        return parse(path);
    }
    let is_list = inside.starts_with(b"<")
        || inner.tokens().iter().any(|token| matches!(token, Token::Special { byte: b',' | b';', .. }));
    if is_list { inner } else { parse(&[b"<", inside, b">"].concat()) }
}

/// Takes a source route (`@a,@b:`) off an address.
#[must_use]
pub fn without_route(address: BString) -> Path {
    if address.first() == Some(&b'@')
        && let Some(colon) = address.find_byte(b':')
    {
        return Path {
            address: BString::from(&address[colon + 1..]),
            source_route: Some(BString::from(&address[..colon])),
        };
    }
    Path { address, source_route: None }
}

/// Splits the argument of MAIL FROM: or RCPT TO: into the path and the ESMTP parameters after it.
///
/// A path in angle brackets ends with the `>` that is not in a quoted-string; one without ends at white space.
#[must_use]
pub fn split_argument(argument: &[u8]) -> (&[u8], &[u8]) {
    let argument = argument.trim_ascii_start();
    let bracketed = argument.starts_with(b"<");
    let (mut quoted, mut escaped) = (false, false);
    for (index, &byte) in argument.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if bracketed && !quoted => return (&argument[..=index], &argument[index + 1..]),
            b' ' | b'\t' if !bracketed && !quoted => return argument.split_at(index),
            _ => {}
        }
    }
    (argument, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_and_tolerant() {
        type Case = (&'static str, Result<&'static str, InvalidPath>, Result<&'static str, InvalidPath>);
        let cases: [Case; 27] = [
            ("<user@example.com>", Ok("user@example.com"), Ok("user@example.com")),
            ("<>", Ok(""), Ok("")),
            ("< user@x >", Ok("user@x"), Ok("user@x")),
            ("user@x", Err(InvalidPath::Brackets), Ok("user@x")),
            ("Joe <user@x>", Err(InvalidPath::Brackets), Ok("user@x")),
            ("<user@x> (Joe)", Err(InvalidPath::Extra), Ok("user@x")),
            ("<a@x>,<b@x>", Err(InvalidPath::Several), Err(InvalidPath::Several)),
            ("<\"a b\"@x>", Ok("a b@x"), Ok("a b@x")),
            ("<\"a>b\"@x>", Ok("a>b@x"), Ok("a>b@x")),
            ("<@a,@b:user@x>", Ok("user@x"), Ok("user@x")),
            ("<user@[IPv6:::1]>", Ok("user@[IPv6:::1]"), Ok("user@[IPv6:::1]")),
            ("<user", Ok("user"), Ok("user")),
            ("", Err(InvalidPath::Missing), Err(InvalidPath::Missing)),
            ("(x)", Err(InvalidPath::Brackets), Ok("")),
            ("<<user@x>>", Ok("user@x"), Ok("user@x")),
            ("<<>>", Ok(""), Ok("")),
            ("<user@x>>", Ok("user@x"), Ok("user@x")),
            ("<a@x,b@x>", Err(InvalidPath::Several), Err(InvalidPath::Several)),
            ("<a@x;b@x>", Err(InvalidPath::Several), Err(InvalidPath::Several)),
            ("<(a,b)c@d>", Err(InvalidPath::Extra), Ok("c@d")),
            ("<a,>", Err(InvalidPath::Extra), Ok("a")),
            ("<g:a@x;>", Err(InvalidPath::Extra), Ok("a@x")),
            ("<a:b@c>", Ok("a:b@c"), Ok("a:b@c")),
            ("<:include:/x@c>", Ok(":include:/x@c"), Ok(":include:/x@c")),
            ("<@x>", Err(InvalidPath::NoLocalPart), Ok("@x")),
            ("<a\0b@x>", Err(InvalidPath::Control), Err(InvalidPath::Control)),
            ("<\"a\x1b[2J\"@x>", Err(InvalidPath::Control), Err(InvalidPath::Control)),
        ];
        for (text, strict, tolerant) in cases {
            let address = |result: Result<Path, InvalidPath>| result.map(|path| path.address);
            assert_eq!(address(path(text.as_bytes(), true)), strict.map(BString::from), "strict {text}");
            assert_eq!(address(path(text.as_bytes(), false)), tolerant.map(BString::from), "tolerant {text}");
        }
        let routed = path(b"<@a,@b:user@x>", true).expect("a path");
        assert_eq!(routed.source_route, Some(BString::from("@a,@b")));
    }

    #[test]
    fn parameters_follow_the_path() {
        let cases = [
            ("<a@b> SIZE=1", "<a@b>", " SIZE=1"),
            ("a@b BODY=7BIT", "a@b", " BODY=7BIT"),
            ("<\"a>b\"@c>X", "<\"a>b\"@c>", "X"),
            (" <a@b>", "<a@b>", ""),
            ("<a b", "<a b", ""),
        ];
        for (argument, path, parameters) in cases {
            assert_eq!(split_argument(argument.as_bytes()), (path.as_bytes(), parameters.as_bytes()), "{argument}");
        }
    }
}
