//! Encoded words for names beyond ASCII (RFC 2047).

/// Longest encoded word (RFC 2047 2).
const MAX_WORD: usize = 75;

/// A name as a sequence of `=?charset?Q?...?=` words with a space between them; for use as a phrase (RFC 2047 5.3).
///
/// Words are cut between UTF-8 characters.
#[must_use]
pub fn phrase(name: &[u8], charset: &str) -> Vec<u8> {
    let room = MAX_WORD.saturating_sub(charset.len() + 7).max(12);
    let (mut output, mut word) = (Vec::new(), Vec::new());
    let finish = |word: &mut Vec<u8>, output: &mut Vec<u8>| {
        if !output.is_empty() {
            output.push(b' ');
        }
        output.extend_from_slice(b"=?");
        output.extend_from_slice(charset.as_bytes());
        output.extend_from_slice(b"?Q?");
        output.append(word);
        output.extend_from_slice(b"?=");
    };
    for character in characters(name) {
        let encoded: Vec<u8> = character.iter().flat_map(|byte| encode(*byte)).collect();
        if !word.is_empty() && word.len() + encoded.len() > room {
            finish(&mut word, &mut output);
        }
        word.extend_from_slice(&encoded);
    }
    if !word.is_empty() {
        finish(&mut word, &mut output);
    }
    output
}

fn encode(byte: u8) -> Vec<u8> {
    match byte {
        b' ' => vec![b'_'],
        _ if byte.is_ascii_alphanumeric() || b"!*+-/".contains(&byte) => vec![byte],
        _ => format!("={byte:02X}").into_bytes(),
    }
}

/// The UTF-8 characters of a text; bytes that are none stand alone.
fn characters(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let continuation = rest[1..].iter().take(3).take_while(|byte| *byte & 0xC0 == 0x80).count();
        let length = if first >= 0xC0 { 1 + continuation } else { 1 };
        let (character, tail) = rest.split_at(length);
        rest = tail;
        Some(character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_names() {
        assert_eq!(phrase("Jürgen Q. Groß".as_bytes(), "utf-8"), b"=?utf-8?Q?J=C3=BCrgen_Q=2E_Gro=C3=9F?=");
        let long = phrase("ü".repeat(20).as_bytes(), "utf-8");
        let words: Vec<&[u8]> = long.split(|byte| *byte == b' ').collect();
        assert_eq!(words.len(), 2);
        assert!(words.iter().all(|word| word.len() <= MAX_WORD && word.ends_with(b"=C3=BC?=")));
        assert_eq!(phrase(b"", "utf-8"), b"");
    }
}
