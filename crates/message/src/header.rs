//! Header lines.

/// The length of the header name that a line begins with, or `None` when the line does not begin a header.
///
/// Visible ASCII, then optional blanks (RFC 822 allowed them), then a colon.
#[must_use]
pub fn name_length(line: &[u8]) -> Option<usize> {
    let length = line.iter().position(|byte| !(33..=126).contains(byte) || *byte == b':')?;
    let blanks = line[length..].iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    (length > 0 && line[length + blanks] == b':').then_some(length)
}

/// True when the line begins a header.
#[must_use]
pub fn is_header(line: &[u8]) -> bool {
    name_length(line).is_some()
}

/// What stands after the colon of a logical header, leading white space included; `None` when it is no header.
#[must_use]
pub fn value(header: &[u8]) -> Option<&[u8]> {
    let length = name_length(header)?;
    let colon = header[length..].iter().position(|byte| *byte == b':')?;
    Some(&header[length + colon + 1..])
}

/// The value of a header without white space around it.
#[must_use]
pub fn body_of(header: &[u8]) -> &[u8] {
    value(header).unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_a_header() {
        let cases: [(&str, Option<usize>); 9] = [
            ("Subject: x", Some(7)),
            ("X:", Some(1)),
            ("Subject : x", Some(7)),
            ("no colon", None),
            ("Two words: x", None),
            (": x", None),
            (" folded: x", None),
            ("", None),
            ("Sübject: x", None),
        ];
        for (line, length) in cases {
            assert_eq!(name_length(line.as_bytes()), length, "{line}");
        }
        assert_eq!(value(b"Subject : x"), Some(&b" x"[..]));
        assert_eq!(body_of(b"A:  x\n\ty "), b"x\n\ty");
    }
}
