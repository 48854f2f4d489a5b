//! The basic encoding rules (X.690), as far as LDAP uses them (RFC 4511 5.1): one byte of tag, definite lengths.

/// Universal tags.
pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Appends an element.
pub(crate) fn put(into: &mut Vec<u8>, tag: u8, content: &[u8]) {
    into.push(tag);
    let length = content.len();
    if length < 0x80 {
        into.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let skip = bytes.iter().take_while(|byte| **byte == 0).count();
        into.push(0x80 | (bytes.len() - skip) as u8);
        into.extend_from_slice(&bytes[skip..]);
    }
    into.extend_from_slice(content);
}

/// Appends a number.
pub(crate) fn put_number(into: &mut Vec<u8>, tag: u8, number: i32) {
    let bytes = number.to_be_bytes();
    // A leading byte that only repeats the sign is left out.
    let mut skip = 0;
    while skip < 3 && ((bytes[skip] == 0 && bytes[skip + 1] < 0x80) || (bytes[skip] == 0xff && bytes[skip + 1] >= 0x80))
    {
        skip += 1;
    }
    put(into, tag, &bytes[skip..]);
}

/// An element that `fill` makes.
pub(crate) fn nested(into: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    fill(&mut content);
    put(into, tag, &content);
}

/// Takes elements apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    /// The next element.
    pub(crate) fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = if *first < 0x80 {
            (usize::from(*first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element, which has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'b [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The next element, a number with this tag.
    pub(crate) fn number(&mut self, tag: u8) -> Option<i64> {
        let content = self.expect(tag)?;
        let first = content.first()?;
        if content.len() > 8 {
            return None;
        }
        let start = if *first >= 0x80 { -1i64 } else { 0 };
        Some(content.iter().fold(start, |number, byte| number << 8 | i64::from(*byte)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        for number in [0, 1, 127, 128, 255, 256, 65_535, i32::MAX, -1, -128, -129, i32::MIN] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, INTEGER, number);
            assert_eq!(Reader(&bytes).number(INTEGER), Some(i64::from(number)), "{number}");
        }
    }

    proptest! {
        #[test]
        fn elements_come_back(content in prop::collection::vec(any::<u8>(), 0..70_000), tag: u8) {
            let mut bytes = Vec::new();
            put(&mut bytes, tag, &content);
            let mut reader = Reader(&bytes);
            prop_assert_eq!(reader.next(), Some((tag, content.as_slice())));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn nonsense_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut reader = Reader(&bytes);
            while reader.next().is_some() {}
        }
    }
}
