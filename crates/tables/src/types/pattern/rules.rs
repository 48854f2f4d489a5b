//! The syntax of one rule: `/pattern/flags result`, `!/pattern/ result`, `if /pattern/`, `endif`.

use crate::types::rule_text::keyword;

/// A pattern as written.
pub(super) struct Pattern<'l> {
    /// Between the delimiters; a delimiter inside keeps its backslash.
    pub(super) text: &'l [u8],
    /// Letters after the closing delimiter.
    pub(super) flags: &'l [u8],
    /// An odd number of `!` before it.
    pub(super) negated: bool,
}

/// One line.
pub(super) enum Statement<'l> {
    If { pattern: Pattern<'l>, extra: &'l [u8] },
    EndIf { extra: &'l [u8] },
    Rule { pattern: Pattern<'l>, unless: Option<Pattern<'l>>, result: &'l [u8] },
}

/// Parses a logical line.
pub(super) fn parse(line: &[u8], second_pattern: bool) -> Result<Statement<'_>, String> {
    let line = line.trim_ascii();
    if let Some(extra) = keyword(line, "endif") {
        return Ok(Statement::EndIf { extra });
    }
    if let Some(rest) = keyword(line, "if") {
        let (pattern, extra) = pattern(rest, second_pattern)?;
        return Ok(Statement::If { pattern, extra: extra.trim_ascii() });
    }
    let (first, rest) = pattern(line, second_pattern)?;
    if second_pattern && rest.first() == Some(&b'!') {
        let (second, rest) = pattern(&rest[1..], second_pattern)?;
        if second.negated || first.negated {
            return Err("bad negation of one of two patterns".to_owned());
        }
        return Ok(Statement::Rule { pattern: first, unless: Some(second), result: rest.trim_ascii() });
    }
    Ok(Statement::Rule { pattern: first, unless: None, result: rest.trim_ascii() })
}

/// A pattern at the start of the text, and the text after its flags.
fn pattern(text: &[u8], second_pattern: bool) -> Result<(Pattern<'_>, &[u8]), String> {
    let mut rest = text;
    let mut negated = false;
    while let Some((b'!' | b' ' | b'\t', tail)) = rest.split_first() {
        negated ^= rest[0] == b'!';
        rest = tail;
    }
    let (delimiter, body) = rest.split_first().ok_or("no pattern")?;
    if delimiter.is_ascii_alphanumeric() || *delimiter == b'\\' {
        return Err(format!("bad pattern delimiter \"{}\"", char::from(*delimiter)));
    }
    let mut escaped = false;
    let end = body
        .iter()
        .position(|byte| {
            if std::mem::take(&mut escaped) {
                return false;
            }
            escaped = *byte == b'\\';
            byte == delimiter
        })
        .ok_or_else(|| format!("no closing regexp delimiter \"{}\"", char::from(*delimiter)))?;
    let after = &body[end + 1..];
    let ends = |byte: &u8| byte.is_ascii_whitespace() || (second_pattern && *byte == b'!');
    let flags = after.iter().position(ends).unwrap_or(after.len());
    Ok((Pattern { text: &body[..end], flags: &after[..flags], negated }, &after[flags..]))
}
