//! `name: value, value`, the line of postalias: RFC 822 tokens on both sides of the first colon.

use bstr::{BString, ByteSlice};

use super::logical_lines::is_space;

/// A name and the values after its colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasLine {
    /// The name in external form: quoted where a local part has to be.
    pub name: BString,
    /// The values in external form, separated by `, `.
    pub value: BString,
}

/// Why a line is not taken; the text of the warning about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// White space at the start of a logical line: a continuation of nothing.
    #[error("logical line must not start with whitespace: \"{0}\"")]
    LeadingSpace(String),
    /// Not UTF-8 where `smtputf8_enable` asks for it.
    #[error("non-UTF-8 input \"{0}\" -- ignoring this line")]
    NotUtf8(String),
    /// No colon after the first name, or nothing after it.
    #[error("need name:value pair")]
    Pair,
    /// An address with a domain, or something that is no name.
    #[error("name must be local")]
    NotLocal,
    /// A quoted string, comment or literal without an end.
    #[error("unbalanced quotes or parentheses")]
    Unbalanced,
}

/// A token of RFC 822 with its text as written, outer marks included.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Backslashes taken away.
    Atom(BString),
    /// Between the quotes, as written.
    Quoted(BString),
    /// A comment or address literal, as written.
    Whole(BString),
    Special(u8),
}

/// Takes source text apart.
fn tokens(text: &[u8]) -> Result<Vec<Token>, AliasError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        match byte {
            byte if is_space(byte) => at += 1,
            b'"' => {
                let end = closing(text, at, b'"', b'"')?;
                tokens.push(Token::Quoted(text[at + 1..end].into()));
                at = end + 1;
            }
            b'(' => {
                let end = closing(text, at, b'(', b')')?;
                tokens.push(Token::Whole(text[at..=end].into()));
                at = end + 1;
            }
            b'[' => {
                let end = closing(text, at, b'[', b']')?;
                tokens.push(Token::Whole(text[at..=end].into()));
                at = end + 1;
            }
            byte if is_special(byte) => {
                tokens.push(Token::Special(byte));
                at += 1;
            }
            _ => {
                let mut atom = Vec::new();
                while let Some(byte) = text.get(at).copied() {
                    match (byte, text.get(at + 1)) {
                        (b'\\', Some(next)) => {
                            atom.push(*next);
                            at += 1;
                        }
                        (byte, _) if is_space(byte) || is_special(byte) || b"\"([".contains(&byte) => break,
                        (byte, _) => atom.push(byte),
                    }
                    at += 1;
                }
                tokens.push(Token::Atom(atom.into()));
            }
        }
    }
    Ok(tokens)
}

/// Characters that are tokens of their own. A dot is none here: names with dots stay whole.
fn is_special(byte: u8) -> bool {
    b"<>@,;:".contains(&byte)
}

/// Index of the mark that ends what begins at `start`; comments nest.
fn closing(text: &[u8], start: usize, open: u8, close: u8) -> Result<usize, AliasError> {
    let (mut depth, mut at) = (0_usize, start);
    while let Some(byte) = text.get(at).copied() {
        if byte == b'\\' {
            at += 1;
        } else if byte == close && at > start {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return Ok(at);
            }
        } else if byte == open {
            depth += 1;
        }
        at += 1;
    }
    Err(AliasError::Unbalanced)
}

/// Puts tokens together again: a blank between words, before `<` and after a comma.
fn external(tokens: &[Token]) -> BString {
    let mut text = BString::default();
    for (index, token) in tokens.iter().enumerate() {
        let previous = index.checked_sub(1).map(|index| &tokens[index]);
        let after_word = matches!(previous, Some(Token::Atom(_) | Token::Quoted(_) | Token::Whole(_)));
        let after_angle = previous == Some(&Token::Special(b'>'));
        let is_word = !matches!(token, Token::Special(_));
        let opens = *token == Token::Special(b'<');
        if (is_word && (after_word || after_angle)) || (opens && after_word) {
            text.push(b' ');
        }
        match token {
            Token::Atom(atom) | Token::Whole(atom) => text.extend_from_slice(atom),
            Token::Quoted(quoted) => {
                text.push(b'"');
                text.extend_from_slice(quoted);
                text.push(b'"');
            }
            Token::Special(b',') => text.extend_from_slice(b", "),
            Token::Special(special) => text.push(*special),
        }
    }
    text
}

/// A quoted string without its backslashes.
fn unescaped(quoted: &[u8]) -> BString {
    let mut text = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        text.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    text.into()
}

/// Splits a logical line of an alias file.
///
/// # Errors
/// The line is to be ignored with a warning.
pub fn parse_alias(line: &[u8], utf8: bool) -> Result<AliasLine, AliasError> {
    let shown = || line[..line.len().min(100)].as_bstr().to_string();
    if line.first().is_some_and(|byte| is_space(*byte)) {
        return Err(AliasError::LeadingSpace(shown()));
    }
    if utf8 && line.to_str().is_err() {
        return Err(AliasError::NotUtf8(shown()));
    }
    let tokens = tokens(line)?;
    let colon = tokens.iter().position(|token| *token == Token::Special(b':')).ok_or(AliasError::Pair)?;
    let (name, value) = (&tokens[..colon], &tokens[colon + 1..]);
    if name.is_empty() || value.is_empty() || name.contains(&Token::Special(b',')) {
        return Err(AliasError::Pair);
    }
    let mut words: Vec<BString> = Vec::new();
    for token in name {
        match token {
            Token::Atom(atom) => words.push(atom.clone()),
            Token::Quoted(quoted) => words.push(unescaped(quoted)),
            Token::Whole(whole) if whole.starts_with(b"(") => {}
            Token::Special(b'<' | b'>') => {}
            Token::Whole(_) | Token::Special(_) => return Err(AliasError::NotLocal),
        }
    }
    let name = bstr::join(" ", words);
    if name.is_empty() {
        return Err(AliasError::Pair);
    }
    // The name is a local part as a whole, whatever is in it.
    let name = if address::is_dot_string(&name) {
        name.into()
    } else {
        let mut quoted = Vec::with_capacity(name.len() + 2);
        address::put_quoted(&mut quoted, &name);
        quoted.into()
    };
    Ok(AliasLine { name, value: external(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_written_in_one_way() {
        for (line, name, value) in [
            ("Root: bob", "Root", "bob"),
            (
                "bob: \"|/bin/cat x\", :include:/tmp/x,   Carl@Example.COM, /dev/null",
                "bob",
                "\"|/bin/cat x\", :include:/tmp/x, Carl@Example.COM, /dev/null",
            ),
            ("\"q r\": x", "\"q r\"", "x"),
            (
                "list-x: \"Joe B.\" <joe@x.org>, joe (comment) , a b@c",
                "list-x",
                "\"Joe B.\" <joe@x.org>, joe (comment), a b@c",
            ),
            ("x y: z", "\"x y\"", "z"),
            ("em2: ,", "em2", ", "),
            ("grp: g: a, b;", "grp", "g:a, b;"),
            (
                "sq: \\user, \"a,b\", 'x', \"a\\\"b\"@d, <c@d>, @r:u@d",
                "sq",
                "user, \"a,b\", 'x', \"a\\\"b\"@d, <c@d>, @r:u@d",
            ),
            ("first.last : a@[192.0.2.1]", "first.last", "a@[192.0.2.1]"),
            ("a (b:c): d", "a", "d"),
        ] {
            let parsed = parse_alias(line.as_bytes(), true).expect(line);
            assert_eq!((parsed.name, parsed.value), (name.into(), value.into()), "{line}");
        }
    }

    #[test]
    fn what_is_no_alias() {
        for (line, error) in [
            ("a,b: y", AliasError::Pair),
            ("noc x", AliasError::Pair),
            ("@: z", AliasError::NotLocal),
            ("empty:", AliasError::Pair),
            ("u@dom: x", AliasError::NotLocal),
            ("a: \"b", AliasError::Unbalanced),
            (": b", AliasError::Pair),
        ] {
            assert_eq!(parse_alias(line.as_bytes(), true), Err(error), "{line}");
        }
    }
}
