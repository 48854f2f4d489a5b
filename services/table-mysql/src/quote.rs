//! Text within quotes in a query.

/// Character sets in which the second byte of a character may look like a backslash.
const WITH_BACKSLASH_BYTES: &[&str] = &["big5", "cp932", "gb18030", "gbk", "sjis"];

/// Whether quoting byte by byte is right for the key: text in the connection's character set, or one that any byte may be in.
pub(crate) fn is_safe(key: &[u8], charset: &str) -> bool {
    let charset = charset.to_ascii_lowercase();
    if WITH_BACKSLASH_BYTES.contains(&charset.as_str()) {
        return key.is_ascii();
    }
    !charset.starts_with("utf8") || std::str::from_utf8(key).is_ok()
}

/// Adds the text as it is written within quotes; `backslashes` unless the server runs with `NO_BACKSLASH_ESCAPES`.
pub(crate) fn quote(text: &[u8], into: &mut Vec<u8>, backslashes: bool) {
    for byte in text {
        let escaped = match byte {
            b'\'' if !backslashes => b'\'',
            byte if !backslashes => {
                into.push(*byte);
                continue;
            }
            0 => b'0',
            b'\n' => b'n',
            b'\r' => b'r',
            0x1a => b'Z',
            byte @ (b'\\' | b'\'' | b'"') => *byte,
            byte => {
                into.push(*byte);
                continue;
            }
        };
        into.push(if backslashes { b'\\' } else { b'\'' });
        into.push(escaped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        for (text, with, without) in [
            ("o'k", "o\\'k", "o''k"),
            ("a\\", "a\\\\", "a\\"),
            ("\"\n\r\u{1a}\0", "\\\"\\n\\r\\Z\\0", "\"\n\r\u{1a}\0"),
            ("%_ä", "%_ä", "%_ä"),
        ] {
            for (backslashes, expected) in [(true, with), (false, without)] {
                let mut into = Vec::new();
                quote(text.as_bytes(), &mut into, backslashes);
                assert_eq!(into, expected.as_bytes(), "{text}");
            }
        }
        assert!(is_safe("ä".as_bytes(), "utf8mb4") && !is_safe(b"\xbf'", "utf8mb4"));
        assert!(is_safe(b"\xbf'", "latin1") && !is_safe(b"\xbf'", "GBK") && is_safe(b"a'", "gbk"));
    }
}
