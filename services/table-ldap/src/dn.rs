//! Text within distinguished names (RFC 4514 2.4).

/// Adds a key as it is written in a distinguished name.
pub(crate) fn quote(text: &[u8], into: &mut Vec<u8>) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.iter().enumerate() {
        let edge = (*byte == b' ' && (at == 0 || at == last)) || (*byte == b'#' && at == 0);
        if edge || matches!(byte, b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' | 0) {
            into.extend_from_slice(format!("\\{byte:02X}").as_bytes());
        } else {
            into.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        for (text, expected) in
            [("a,b=c", "a\\2Cb\\3Dc"), (" a b ", "\\20a b\\20"), ("#a#", "\\23a#"), ("", ""), ("ä\\", "ä\\5C")]
        {
            let mut into = Vec::new();
            quote(text.as_bytes(), &mut into);
            assert_eq!(String::from_utf8_lossy(&into), expected);
        }
    }
}
