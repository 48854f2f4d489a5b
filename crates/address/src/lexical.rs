//! Where the enclosed elements of header values end (RFC 5322 3.2): quoted-strings, domain literals, comments.

/// Bytes of the quoted-string or domain literal that `text` begins with, up to and including `close`; all of it when
/// that is missing. A backslash takes the next byte with it.
#[must_use]
pub fn enclosed_length(text: &[u8], close: u8) -> usize {
    let mut index = 1;
    while let Some(&byte) = text.get(index) {
        match byte {
            b'\\' => index += 2,
            _ if byte == close => return index + 1,
            _ => index += 1,
        }
    }
    text.len()
}

/// Bytes of the comment that `text` begins with, with those inside it; all of it when it stays open.
#[must_use]
pub fn comment_length(text: &[u8]) -> usize {
    let (mut index, mut depth) = (0, 0_usize);
    while let Some(&byte) = text.get(index) {
        match byte {
            b'\\' => index += 1,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        index += 1;
        if depth == 0 {
            break;
        }
    }
    index.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let quoted: [(&str, usize); 5] = [("\"a\"b", 3), ("\"a\\\"b\"c", 6), ("\"a", 2), ("\"\\", 2), ("\"", 1)];
        for (text, length) in quoted {
            assert_eq!(enclosed_length(text.as_bytes(), b'"'), length, "{text}");
        }
        let comments: [(&str, usize); 5] = [("(a)b", 3), ("(a(b)c)d", 7), ("(a\\)b)c", 6), ("(a", 2), ("(\\", 2)];
        for (text, length) in comments {
            assert_eq!(comment_length(text.as_bytes()), length, "{text}");
        }
    }
}
