//! `xtext` (RFC 3461 4): arbitrary bytes as printable ASCII without blanks, `+` and `=`.

use bstr::BString;

/// Encodes bytes: everything outside `!`..`~`, and `+` and `=`, becomes `+XX`.
#[must_use]
pub fn encode(bytes: &[u8]) -> BString {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if byte == b'+' || byte == b'=' || !(33..=126).contains(&byte) {
            out.extend_from_slice(&[b'+', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(byte);
        }
    }
    out.into()
}

/// Decodes `xtext`; `None` when a `+` is not followed by two hexadecimal digits. Other bytes are taken as they are: how
/// strict a parameter is about them is its own matter.
#[must_use]
pub fn decode(text: &[u8]) -> Option<BString> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'+' {
            let (digits, tail) = rest.split_at_checked(2)?;
            out.push((hex(digits[0])? << 4) | hex(digits[1])?);
            rest = tail;
        } else {
            out.push(byte);
        }
    }
    Some(out.into())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        for (plain, encoded) in
            [("", ""), ("a@b", "a@b"), ("a+b=c d", "a+2Bb+3Dc+20d"), ("\u{e9}", "+C3+A9"), ("\n", "+0A")]
        {
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(decode(encoded.as_bytes()), Some(plain.into()));
        }
        for bad in ["+", "+4", "a+4", "+4g", "+-1", "a++41"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(decode(b"+c3+a9"), Some("\u{e9}".into()));
    }

    proptest! {
        #[test]
        fn round_trip(bytes: Vec<u8>) {
            let encoded = encode(&bytes);
            prop_assert!(encoded.iter().all(u8::is_ascii_graphic));
            let decoded = decode(&encoded);
            prop_assert_eq!(decoded, Some(bytes.into()));
        }
    }
}
