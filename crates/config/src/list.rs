//! Lists in values: separated by commas and white space; `{ ... }` keeps an element with blanks together.

/// Splits a list as most parameters have it. Elements in braces keep their braces.
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    split_at(text, |c| c == ',' || c.is_ascii_whitespace()).map(str::to_owned).collect()
}

/// Splits at white space only (command lines of `master.cf`); elements in braces keep their braces.
#[must_use]
pub fn split_words(text: &str) -> Vec<String> {
    split_at(text, |c: char| c.is_ascii_whitespace()).map(str::to_owned).collect()
}

fn split_at<'a>(text: &'a str, separator: impl Fn(char) -> bool + Copy + 'a) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(separator);
        if rest.is_empty() {
            return None;
        }
        let mut level = 0usize;
        let end = rest
            .char_indices()
            .find(|(_, c)| {
                match c {
                    '{' => level += 1,
                    '}' => level = level.saturating_sub(1),
                    _ => {}
                }
                level == 0 && separator(*c)
            })
            .map_or(rest.len(), |(at, _)| at);
        let (element, behind) = rest.split_at(end);
        rest = behind;
        Some(element)
    })
}

/// What is between the braces of `{ text }`, without blanks around it; `None` when `text` is not in braces.
#[must_use]
pub fn braces(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}').map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(split(" a, b\tc,,d "), ["a", "b", "c", "d"]);
        assert_eq!(split("inline:{ a=b, {c = d} }, static:{x y}"), ["inline:{ a=b, {c = d} }", "static:{x y}"]);
        assert_eq!(split("{ unclosed a, b"), ["{ unclosed a, b"]);
        assert_eq!(split_words("a,b {c d} -o {x = y}"), ["a,b", "{c d}", "-o", "{x = y}"]);
        assert!(split(" , ").is_empty());
        assert_eq!(braces("{ a b }"), Some("a b"));
        assert_eq!(braces("a"), None);
    }
}
