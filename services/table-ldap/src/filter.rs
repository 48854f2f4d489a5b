//! Search filters: from text (RFC 4515) to their encoding (RFC 4511 4.5.1.7).

use crate::ber;

/// How deep filters may nest.
const DEEPEST: usize = 50;

/// Adds a key as it is written in a filter: what has a meaning there becomes `\XX`.
pub(crate) fn quote(text: &[u8], into: &mut Vec<u8>) {
    for byte in text {
        if matches!(byte, b'*' | b'(' | b')' | b'\\' | 0) {
            into.extend_from_slice(format!("\\{byte:02x}").as_bytes());
        } else {
            into.push(*byte);
        }
    }
}

/// The encoding of a filter; one without parentheses around it is taken, too. `None` when it makes no sense.
pub(crate) fn encode(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let mut encoded = Vec::new();
    if text.starts_with(b"(") {
        let rest = filter(text, &mut encoded, 0)?;
        rest.trim_ascii().is_empty().then_some(encoded)
    } else {
        let rest = component(text, &mut encoded, 0)?;
        rest.is_empty().then_some(encoded)
    }
}

/// `(...)`; what follows it.
fn filter<'t>(text: &'t [u8], into: &mut Vec<u8>, depth: usize) -> Option<&'t [u8]> {
    if depth > DEEPEST {
        return None;
    }
    let rest = component(text.trim_ascii_start().strip_prefix(b"(")?, into, depth)?;
    rest.trim_ascii_start().strip_prefix(b")")
}

fn component<'t>(text: &'t [u8], into: &mut Vec<u8>, depth: usize) -> Option<&'t [u8]> {
    let text = text.trim_ascii_start();
    let tag = match text.first()? {
        b'&' => 0xa0,
        b'|' => 0xa1,
        b'!' => {
            let mut content = Vec::new();
            let rest = filter(&text[1..], &mut content, depth + 1)?;
            ber::put(into, 0xa2, &content);
            return Some(rest);
        }
        _ => return item(text, into),
    };
    let mut rest = text[1..].trim_ascii_start();
    let mut content = Vec::new();
    while rest.starts_with(b"(") {
        rest = filter(rest, &mut content, depth + 1)?.trim_ascii_start();
    }
    ber::put(into, tag, &content);
    Some(rest)
}

/// `attribute=value` and its relatives, up to the closing parenthesis.
fn item<'t>(text: &'t [u8], into: &mut Vec<u8>) -> Option<&'t [u8]> {
    let end = text.iter().position(|byte| matches!(byte, b'(' | b')')).unwrap_or(text.len());
    let (item, rest) = text.split_at(end);
    let equals = item.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&item[..equals], &item[equals + 1..]);
    let value = value.trim_ascii_start();
    let (kind, name) = match name.split_last() {
        Some((kind @ (b'~' | b'<' | b'>' | b':'), name)) => (*kind, name),
        _ => (b'=', name),
    };
    let name = name.trim_ascii();
    let simple = |into: &mut Vec<u8>, tag: u8| -> Option<()> {
        let value = unescape(value)?;
        ber::nested(into, tag, |content| {
            ber::put(content, ber::OCTETS, name);
            ber::put(content, ber::OCTETS, &value);
        });
        Some(())
    };
    if kind != b':' && !is_attribute(name) {
        return None;
    }
    match kind {
        b'~' => simple(into, 0xa8)?,
        b'>' => simple(into, 0xa5)?,
        b'<' => simple(into, 0xa6)?,
        b':' => extensible(name, &unescape(value)?, into)?,
        _ if value == b"*" => ber::put(into, 0x87, name),
        _ if value.contains(&b'*') => substrings(name, value, into)?,
        _ => simple(into, 0xa3)?,
    }
    Some(rest)
}

fn is_attribute(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b';' | b'_'))
}

fn substrings(name: &[u8], value: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let pieces: Vec<&[u8]> = value.split(|byte| *byte == b'*').collect();
    let last = pieces.len() - 1;
    let mut content = Vec::new();
    for (number, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
        let tag = match number {
            0 => 0x80,
            number if number == last => 0x82,
            _ => 0x81,
        };
        ber::put(&mut content, tag, &unescape(piece)?);
    }
    if content.is_empty() {
        // `**`
        ber::put(into, 0x87, name);
        return Some(());
    }
    ber::nested(into, 0xa4, |substrings| {
        ber::put(substrings, ber::OCTETS, name);
        ber::put(substrings, ber::SEQUENCE, &content);
    });
    Some(())
}

/// `attribute:dn:rule:=value`
fn extensible(name: &[u8], value: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let mut parts = name.split(|byte| *byte == b':');
    let attribute = parts.next()?;
    let mut rest: Vec<&[u8]> = parts.collect();
    let dn = rest.first().is_some_and(|word| word.eq_ignore_ascii_case(b"dn"));
    if dn {
        rest.remove(0);
    }
    let rule = rest.pop();
    let bad = !rest.is_empty() || (attribute.is_empty() && rule.is_none());
    if bad || (!attribute.is_empty() && !is_attribute(attribute)) || rule.is_some_and(|rule| !is_attribute(rule)) {
        return None;
    }
    ber::nested(into, 0xa9, |content| {
        if let Some(rule) = rule {
            ber::put(content, 0x81, rule);
        }
        if !attribute.is_empty() {
            ber::put(content, 0x82, attribute);
        }
        ber::put(content, 0x83, value);
        if dn {
            ber::put(content, 0x84, &[0xff]);
        }
    });
    Some(())
}

/// `\XX` as the byte that it stands for.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'\\' {
            plain.push(*byte);
            rest = after;
            continue;
        }
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        plain.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &after[2..];
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encodings() {
        for (text, expected) in [
            ("(a=b)", &b"\xa3\x06\x04\x01a\x04\x01b"[..]),
            ("a=b", b"\xa3\x06\x04\x01a\x04\x01b"),
            ("(a=*)", b"\x87\x01a"),
            ("(&(a=b)(c=*))", b"\xa0\x0b\xa3\x06\x04\x01a\x04\x01b\x87\x01c"),
            ("(!(a=*))", b"\xa2\x03\x87\x01a"),
            ("(a=x*y*z)", b"\xa4\x0e\x04\x01a\x30\x09\x80\x01x\x81\x01y\x82\x01z"),
            ("(a>=b)", b"\xa5\x06\x04\x01a\x04\x01b"),
            ("(a=\\2a\\28)", b"\xa3\x07\x04\x01a\x04\x02*("),
            ("(a:dn:2.4:=b)", b"\xa9\x0e\x81\x032.4\x82\x01a\x83\x01b\x84\x01\xff"),
            (" ( | (a=b) ) ", b"\xa1\x08\xa3\x06\x04\x01a\x04\x01b"),
        ] {
            assert_eq!(encode(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        for bad in ["", "(", "(a=b", "(a=b))", "a", "(a)", "(=b)", "(a=\\2)", "(a=\\zz)", "(a b=c)", "(a=b)(c=d)"] {
            assert_eq!(encode(bad.as_bytes()), None, "{bad}");
        }
        let deep = [vec![b'('; 1], b"!(".repeat(5_000), b"a=b".to_vec(), vec![b')'; 5_001]].concat();
        assert_eq!(encode(&deep), None);
    }

    proptest! {
        /// Whatever the key, it is compared as a whole.
        #[test]
        fn keys_stay_values(key in prop::collection::vec(any::<u8>(), 1..50)) {
            prop_assume!(!key[0].is_ascii_whitespace());
            let mut text = b"(mail=".to_vec();
            quote(&key, &mut text);
            text.push(b')');
            let mut expected = Vec::new();
            ber::nested(&mut expected, 0xa3, |content| {
                ber::put(content, ber::OCTETS, b"mail");
                ber::put(content, ber::OCTETS, &key);
            });
            prop_assert_eq!(encode(&text), Some(expected));
        }
    }
}
