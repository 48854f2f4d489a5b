//! Internal form ↔ external form.

use bstr::{BString, ByteSlice};

/// The external form: a local part that is not a dot-string (RFC 5321 4.1.2) becomes a quoted-string.
///
/// Bytes above 127 need no quotes (RFC 6531). The null address stays empty.
#[must_use]
pub fn external(internal: &[u8]) -> BString {
    let mut output = BString::from(Vec::with_capacity(internal.len() + 2));
    put_external(&mut output, internal);
    output
}

/// Appends the external form of an address to `output`.
pub fn put_external(output: &mut Vec<u8>, internal: &[u8]) {
    let (localpart, rest) = match internal.rfind_byte(b'@') {
        Some(at) => internal.split_at(at),
        None => (internal, &internal[internal.len()..]),
    };
    if is_dot_string(localpart) || internal.is_empty() {
        output.extend_from_slice(internal);
    } else {
        put_quoted(output, localpart);
        output.extend_from_slice(rest);
    }
}

/// Appends `text` as a quoted-string, with `"`, `\` and line ends escaped.
pub fn put_quoted(output: &mut Vec<u8>, text: &[u8]) {
    output.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\' | b'\r' | b'\n') {
            output.push(b'\\');
        }
        output.push(byte);
    }
    output.push(b'"');
}

/// The internal form of an address in external form: the quotes and backslashes of the local part are taken away.
#[must_use]
pub fn internal(external: &[u8]) -> BString {
    let localpart_end = unquoted_at(external).unwrap_or(external.len());
    let mut output = Vec::with_capacity(external.len());
    let mut bytes = external[..localpart_end].iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => {}
            b'\\' => output.extend(bytes.next()),
            other => output.push(other),
        }
    }
    output.extend_from_slice(&external[localpart_end..]);
    BString::from(output)
}

/// Where the last `@` outside quotes is.
fn unquoted_at(external: &[u8]) -> Option<usize> {
    let (mut found, mut quoted, mut escaped) = (None, false, false);
    for (index, &byte) in external.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'@' if !quoted => found = Some(index),
            _ => {}
        }
    }
    found
}

/// True when a local part needs no quotes: atoms of RFC 5322 with single dots between them.
#[must_use]
pub fn is_dot_string(localpart: &[u8]) -> bool {
    !localpart.is_empty()
        && !localpart.starts_with(b".")
        && !localpart.ends_with(b".")
        && !localpart.windows(2).any(|pair| pair == b"..")
        && localpart.iter().all(|&byte| byte > 127 || is_atom_byte(byte) || byte == b'.')
}

/// The `atext` of RFC 5322 3.2.3.
pub(crate) fn is_atom_byte(byte: u8) -> bool {
    !byte.is_ascii_control() && !b" ()<>@,;:\\\".[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_what_is_no_dot_string() {
        let cases = [
            ("user@example.com", "user@example.com"),
            ("user", "user"),
            ("", ""),
            ("a b@x", "\"a b\"@x"),
            ("a@b@x", "\"a@b\"@x"),
            (".a@x", "\".a\"@x"),
            ("a.@x", "\"a.\"@x"),
            ("a..b@x", "\"a..b\"@x"),
            ("a\"b@x", "\"a\\\"b\"@x"),
            ("a\\b@x", "\"a\\\\b\"@x"),
            ("@x", "\"\"@x"),
            ("a+b=c!d%e@x", "a+b=c!d%e@x"),
            ("grün@x", "grün@x"),
        ];
        for (plain, quoted) in cases {
            assert_eq!(external(plain.as_bytes()), quoted, "{plain}");
            assert_eq!(internal(quoted.as_bytes()), plain, "{quoted}");
        }
    }

    #[test]
    fn the_domain_of_an_external_form_is_left_alone() {
        assert_eq!(internal(b"\"a\\@b\"@[1.2.3.4]"), "a@b@[1.2.3.4]");
        assert_eq!(internal(b"\"unbalanced@x"), "unbalanced@x");
        assert_eq!(internal(b"tail\\"), "tail");
    }

    proptest! {
        #[test]
        fn round_trip(localpart in proptest::collection::vec(any::<u8>(), 1..30), domain in "[a-z.]{1,20}") {
            let address = crate::join(&localpart, Some(domain.as_bytes()));
            prop_assert_eq!(internal(&external(&address)), address);
        }
    }
}
