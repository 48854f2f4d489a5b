//! Case folding of lookup keys: ASCII lower case, or Unicode full case folding when `smtputf8_enable` asks for UTF-8.
//!
//! The folding has to be the one that built the table (ICU's default folding in the reference), or keys outside ASCII
//! would not be found in files that the other suite wrote.

mod exceptions;

use bstr::{BString, ByteSlice};

/// Longest key that is folded without touching the heap; mail addresses and host names rarely come near it.
const ON_STACK: usize = 256;

/// Folds one character.
fn fold_character(character: char, into: &mut Vec<u8>) {
    let mut buffer = [0; 4];
    if let Ok(index) = exceptions::EXCEPTIONS.binary_search_by_key(&character, |entry| entry.0) {
        into.extend_from_slice(exceptions::EXCEPTIONS[index].1.as_bytes());
    } else {
        for lower in character.to_lowercase() {
            into.extend_from_slice(lower.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

/// Case-folds `key`: Unicode folding when `utf8` is set and the key is UTF-8, else ASCII lower case.
#[must_use]
pub fn fold(key: &[u8], utf8: bool) -> BString {
    if utf8
        && !key.is_ascii()
        && let Ok(text) = key.to_str()
    {
        let mut folded = Vec::with_capacity(key.len() + 8);
        for character in text.chars() {
            fold_character(character, &mut folded);
        }
        return folded.into();
    }
    key.to_ascii_lowercase().into()
}

/// Calls `with` with the folded key; a key that is short and ASCII (or already folded) costs no allocation.
pub(crate) fn with_folded<T>(key: &[u8], utf8: bool, with: impl FnOnce(&[u8]) -> T) -> T {
    if !key.is_ascii() && utf8 {
        return with(&fold(key, true));
    }
    if !key.iter().any(u8::is_ascii_uppercase) {
        return with(key);
    }
    if key.len() <= ON_STACK {
        let mut buffer = [0; ON_STACK];
        let folded = &mut buffer[..key.len()];
        folded.copy_from_slice(key);
        folded.make_ascii_lowercase();
        with(folded)
    } else {
        with(&key.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_is_the_full_unicode_folding() {
        for (key, utf8, folded) in [
            ("Bob@Example.COM", false, "bob@example.com"),
            ("Bob@Example.COM", true, "bob@example.com"),
            ("STRASSE Straße", true, "strasse strasse"),
            ("ΑΣ ς", true, "ασ σ"),
            ("Ä", false, "Ä"),
            ("Ä", true, "ä"),
            ("ﬀ", true, "ff"),
        ] {
            assert_eq!(fold(key.as_bytes(), utf8), folded, "{key}");
            assert_eq!(with_folded(key.as_bytes(), utf8, <[u8]>::to_vec), folded.as_bytes(), "{key}");
        }
        assert_eq!(fold(b"A\xff", true), b"a\xff".as_bstr());
        let long = vec![b'A'; 300];
        assert_eq!(with_folded(&long, true, <[u8]>::to_vec), vec![b'a'; 300]);
    }

    #[test]
    fn the_exceptions_are_sorted() {
        assert!(exceptions::EXCEPTIONS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
