//! `key whitespace value`, the line of postmap and texthash.

use bstr::{BStr, ByteSlice};

use super::logical_lines::is_space;

/// Why a line is not taken; the text of the warning about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapLineError {
    /// White space at the start of a logical line: a continuation of nothing.
    #[error("logical line must not start with whitespace: \"{0}\"")]
    LeadingSpace(String),
    /// Not UTF-8 where `smtputf8_enable` asks for it.
    #[error("non-UTF-8 input \"{0}\" -- ignoring this line")]
    NotUtf8(String),
    /// A double quote that does not end.
    #[error("unbalanced '\"' in '{0}' -- ignoring this line")]
    Unbalanced(String),
    /// No key or no value.
    #[error("expected format: key whitespace value")]
    Format,
}

/// A key and its value, and whether the line looks like an alias file's (`key: value`), worth a warning.
pub type MapLine<'a> = (&'a BStr, &'a BStr, bool);

/// Splits a logical line. The key ends at the first white space outside double quotes and is taken as written.
///
/// # Errors
/// The line is to be ignored with a warning.
pub fn parse_map_line(line: &[u8], utf8: bool) -> Result<MapLine<'_>, MapLineError> {
    let shown = || line[..line.len().min(100)].as_bstr().to_string();
    if line.first().is_some_and(|byte| is_space(*byte)) {
        return Err(MapLineError::LeadingSpace(shown()));
    }
    if utf8 && line.to_str().is_err() {
        return Err(MapLineError::NotUtf8(shown()));
    }
    let (mut quoted, mut escaped) = (false, false);
    let end = line
        .iter()
        .position(|byte| {
            if std::mem::take(&mut escaped) {
                return false;
            }
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = !quoted,
                byte => return !quoted && is_space(*byte),
            }
            false
        })
        .unwrap_or(line.len());
    if quoted {
        return Err(MapLineError::Unbalanced(shown()));
    }
    let (key, rest) = line.split_at(end);
    let value = rest.trim_with(|character| character.is_ascii() && is_space(character as u8));
    if key.is_empty() || value.is_empty() {
        return Err(MapLineError::Format);
    }
    let like_alias = key.ends_with(b":") || value.starts_with(b": ") || value == b":";
    Ok((key.as_bstr(), value.as_bstr(), like_alias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_reads_these_lines_so() {
        for (line, key, value) in [
            ("A b", "A", "b"),
            ("a   b c  ", "a", "b c"),
            ("\"q r\" v", "\"q r\"", "v"),
            ("\\ x y z", "\\ x", "y z"),
            ("bs\\ q  z", "bs\\ q", "z"),
            ("a\"b c\"d e", "a\"b c\"d", "e"),
            ("\"a\\\" b\" c", "\"a\\\" b\"", "c"),
            ("k:\tv", "k:", "v"),
        ] {
            let (parsed_key, parsed_value, _) = parse_map_line(line.as_bytes(), true).expect(line);
            assert_eq!((parsed_key, parsed_value), (key.into(), value.into()), "{line}");
        }
        for line in ["konly", " lead x", "\"q r v", "konly   "] {
            assert!(parse_map_line(line.as_bytes(), true).is_err(), "{line}");
        }
        assert!(parse_map_line(b"u\xff x", true).is_err());
        assert!(parse_map_line(b"u\xff x", false).is_ok());
    }

    #[test]
    fn lines_of_alias_files_are_recognised() {
        for (line, like_alias) in [("k: v", true), ("k : v", true), ("k v", false), ("k ::1", false), ("k :x", false)] {
            assert_eq!(parse_map_line(line.as_bytes(), true).map(|parsed| parsed.2), Ok(like_alias), "{line}");
        }
    }
}
