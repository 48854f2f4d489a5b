//! The words of a command line. A word ends at a blank that is not inside `<...>` or a quoted-string.

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// The word, brackets included.
    pub text: &'a [u8],
    /// False when a bracket or quote stays open at the end of the line.
    pub complete: bool,
}

/// The words of `line`.
pub(super) fn tokens(line: &[u8]) -> impl Iterator<Item = Token<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return None;
        }
        let end = path_prefix(rest).unwrap_or_else(|| word(rest).0);
        let (text, tail) = rest.split_at(end);
        let complete = word(text).1;
        rest = tail;
        Some(Token { text, complete })
    })
}

/// The line from the first blank-separated word on, without that word: the arguments as they were typed.
pub(super) fn after_first(line: &[u8]) -> &[u8] {
    let line = skip_blanks(line);
    let end = word(line).0;
    line[end..].trim_ascii()
}

/// `FROM:` and `TO:` are words of their own, even when the path follows at once.
fn path_prefix(text: &[u8]) -> Option<usize> {
    ["from:", "to:"].iter().map(|prefix| prefix.len()).find(|&length| {
        text.get(..length).is_some_and(|head| head.eq_ignore_ascii_case(b"from:") || head.eq_ignore_ascii_case(b"to:"))
    })
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    &text[start..]
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Where the word at the start of `text` ends, and whether everything in it is closed.
fn word(text: &[u8]) -> (usize, bool) {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted || depth > 0 => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'<' => depth += 1,
            b'>' => depth = depth.saturating_sub(1),
            _ if depth == 0 && is_blank(byte) => return (at, true),
            _ => {}
        }
    }
    (text.len(), depth == 0 && !quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        tokens(line.as_bytes())
            .map(|token| format!("{}{}", String::from_utf8_lossy(token.text), if token.complete { "" } else { "!" }))
            .collect()
    }

    #[test]
    fn table() {
        let cases: [(&str, &[&str]); 13] = [
            ("", &[]),
            ("  ", &[]),
            ("NOOP", &["NOOP"]),
            (" mail  from:<a@b>  X=1 ", &["mail", "from:", "<a@b>", "X=1"]),
            ("RCPT TO: a@b", &["RCPT", "TO:", "a@b"]),
            ("RCPT TO :<a@b>", &["RCPT", "TO", ":<a@b>"]),
            ("MAIL FROM:<a b@c> Y", &["MAIL", "FROM:", "<a b@c>", "Y"]),
            ("MAIL FROM:<\"a >b\"@c>", &["MAIL", "FROM:", "<\"a >b\"@c>"]),
            ("MAIL FROM:<a@b>x", &["MAIL", "FROM:", "<a@b>x"]),
            ("MAIL FROM:<a@b", &["MAIL", "FROM:", "<a@b!"]),
            ("MAIL FROM:<<a@b>>", &["MAIL", "FROM:", "<<a@b>>"]),
            ("MAIL FROM:\"a b\"@c", &["MAIL", "FROM:", "\"a b\"@c"]),
            ("MAIL FROM:<\"a@b>", &["MAIL", "FROM:", "<\"a@b>!"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line), expected, "{line}");
        }
        assert_eq!(after_first(b" VRFY  a b "), b"a b");
        assert_eq!(after_first(b"VRFY"), b"");
    }
}
