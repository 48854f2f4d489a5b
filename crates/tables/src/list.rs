//! Splitting of configuration lists: comma and white space separate, braces protect.

/// Whether a byte separates list elements.
fn separates(byte: u8) -> bool {
    byte == b',' || byte.is_ascii_whitespace()
}

/// The elements of a list of tables or patterns; `inline:{ a = b, c = d }` is one element.
pub fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| c.is_ascii() && separates(c as u8));
        if rest.is_empty() {
            return None;
        }
        let mut depth = 0_usize;
        let end = rest
            .bytes()
            .position(|byte| {
                match byte {
                    b'{' => depth += 1,
                    b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && separates(byte)
            })
            .unwrap_or(rest.len());
        let (element, tail) = rest.split_at(end);
        rest = tail;
        Some(element)
    })
}

/// The text inside an element's outer braces, trimmed; `None` when it is not `{...}` as a whole.
#[must_use]
pub fn braced(element: &str) -> Option<&str> {
    let inner = element.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (index + 1 == inner.len()).then(|| inner[..index].trim());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_protect_separators() {
        let list = " hash:/a, inline:{ a=b, { c = d e } }\tstatic:{x y}  ,";
        let elements: Vec<&str> = split(list).collect();
        assert_eq!(elements, ["hash:/a", "inline:{ a=b, { c = d e } }", "static:{x y}"]);
        assert_eq!(split(" , ").count(), 0);
    }

    #[test]
    fn braced_is_the_whole_element_or_nothing() {
        for (element, inner) in
            [("{ a b }", Some("a b")), ("{}", Some("")), ("{a} {b}", None), ("{a", None), ("a", None), ("{a}}", None)]
        {
            assert_eq!(braced(element), inner, "{element}");
        }
    }
}
