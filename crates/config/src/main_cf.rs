//! The syntax of `main.cf`: `name = value`, one logical line each.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Origin, Warning};
use crate::logical_line::{LogicalLines, utf8};

/// One `name = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The parameter.
    pub name: String,
    /// Its text, not expanded, without blanks around it.
    pub value: String,
    /// First physical line, from 1.
    pub line: usize,
}

/// Reads the text of a `main.cf`.
///
/// # Errors
/// [`Error::Syntax`] for the first line that is not an assignment.
pub fn parse(text: &[u8], path: &Arc<Path>, warnings: &mut Vec<Warning>) -> Result<Vec<Assignment>, Error> {
    let mut assignments = Vec::new();
    for logical in LogicalLines::new(text) {
        let line = utf8(&logical, path, warnings);
        if line.starts_with(|c: char| c.is_ascii_whitespace()) {
            warnings.push(Warning::LeadingSpace { path: Arc::clone(path), text: line });
            continue;
        }
        let (name, value) = split_name_value(&line).map_err(|problem| Error::Syntax {
            path: Arc::clone(path),
            line: logical.line,
            problem,
            text: line.clone(),
        })?;
        assignments.push(Assignment { name: name.to_owned(), value: value.to_owned(), line: logical.line });
    }
    Ok(assignments)
}

/// Warnings for names that are set twice to different values, in order.
pub(crate) fn overriding(assignments: &[Assignment], path: &Arc<Path>, warnings: &mut Vec<Warning>) {
    let mut seen: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    for Assignment { name, value, line } in assignments {
        if let Some(old) = seen.insert(name, value)
            && old != value
        {
            warnings.push(Warning::Overriding {
                origin: Origin::File { path: Arc::clone(path), line: *line },
                name: name.clone(),
                old: old.to_owned(),
            });
        }
    }
}

/// Splits `name = value`; blanks around the `=` and at the ends do not count.
///
/// # Errors
/// What is wrong, in words.
pub fn split_name_value(text: &str) -> Result<(&str, &str), &'static str> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let end = text.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(text.len());
    let (name, behind) = text.split_at(end);
    if name.is_empty() {
        return Err("missing attribute name");
    }
    let value = behind
        .trim_start_matches(|c: char| c.is_ascii_whitespace())
        .strip_prefix('=')
        .ok_or("missing '=' after attribute name")?;
    Ok((name, value.trim_start_matches(|c: char| c.is_ascii_whitespace())))
}

/// Reads `name=value` or `{ name = value }`, as options such as `-o` have it.
///
/// Outside braces there may be no blanks around the name.
///
/// # Errors
/// [`Error::Assignment`].
pub fn assignment(text: &str) -> Result<(&str, &str), Error> {
    let bad = |problem| Error::Assignment { problem, text: text.to_owned() };
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    if trimmed.starts_with('{') {
        let closes = crate::expansion::balanced(trimmed.as_bytes(), b'{', b'}').ok_or_else(|| bad("missing '}'"))?;
        if closes != trimmed.len() {
            return Err(bad("syntax error after '}'"));
        }
        return split_name_value(&trimmed[1..closes - 1]).map_err(bad);
    }
    split_name_value(trimmed).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Result<Vec<(String, String, usize)>, String>, Vec<String>) {
        let path: Arc<Path> = Path::new("main.cf").into();
        let mut warnings = Vec::new();
        let result = parse(text.as_bytes(), &path, &mut warnings).inspect(|a| overriding(a, &path, &mut warnings));
        (
            result
                .map(|all| all.into_iter().map(|a| (a.name, a.value, a.line)).collect())
                .map_err(|error| error.to_string()),
            warnings.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn assignments() {
        let (all, warnings) = read("a=b\n\nc =\n  d\n # no\n  e  \nf=\n{g} = h\n-i=j k = l\n");
        let all = all.unwrap();
        let expected = [("a", "b", 1), ("c", "d  e", 3), ("f", "", 7), ("{g}", "h", 8), ("-i", "j k = l", 9)];
        assert_eq!(all, expected.map(|(n, v, l)| (n.to_owned(), v.to_owned(), l)));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let cases = [
            ("a = b\nfoo\n", "main.cf, line 2: missing '=' after attribute name: \"foo\""),
            ("a b = c\n", "main.cf, line 1: missing '=' after attribute name: \"a b = c\""),
            ("{ a = b }", "main.cf, line 1: missing '=' after attribute name: \"{ a = b }\""),
            ("= c\n", "main.cf, line 1: missing attribute name: \"= c\""),
        ];
        for (text, error) in cases {
            assert_eq!(read(text).0.unwrap_err(), error);
        }
    }

    #[test]
    fn warnings() {
        assert_eq!(read("a = b\na = b\na = c\n").1, ["main.cf, line 3: overriding earlier entry: a=b"]);
        assert_eq!(read("  a = b\n").1, ["main.cf: logical line must not start with whitespace: \"  a = b\""]);
        let path: Arc<Path> = Path::new("x").into();
        let mut warnings = Vec::new();
        assert_eq!(parse(b"a = \xff", &path, &mut warnings).unwrap()[0].value, "\u{fffd}");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn options() {
        assert_eq!(assignment("a=b c").unwrap(), ("a", "b c"));
        assert_eq!(assignment("{ a = b c }").unwrap(), ("a", "b c"));
        assert_eq!(assignment("a={b}").unwrap(), ("a", "{b}"));
        for bad in ["a", "{a=b", "{a=b}x", "=b", "{}", ""] {
            assert!(assignment(bad).is_err(), "{bad}");
        }
    }
}
