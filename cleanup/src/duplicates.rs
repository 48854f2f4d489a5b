//! Recipients that a message already has (`duplicate_filter_limit`).

use std::collections::HashSet;

use bstr::BString;

/// Remembers up to a number of recipients; later ones are not remembered, so duplicates of them pass.
#[derive(Debug)]
pub(crate) struct Duplicates {
    seen: HashSet<BString>,
    limit: usize,
}

impl Duplicates {
    /// `limit` 0: without bound.
    pub(crate) fn new(limit: usize) -> Duplicates {
        Duplicates { seen: HashSet::new(), limit }
    }

    /// True when the parts, compared without regard to case, were here before.
    pub(crate) fn is_repeated(&mut self, parts: &[&[u8]]) -> bool {
        let mut key = BString::from(Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum()));
        for part in parts {
            key.extend_from_slice(&tables::fold::fold(part, true));
            key.push(b'\n');
        }
        if self.seen.contains(&key) {
            return true;
        }
        if self.limit == 0 || self.seen.len() < self.limit {
            self.seen.insert(key);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_up_to_the_limit() {
        let mut duplicates = Duplicates::new(2);
        assert!(!duplicates.is_repeated(&[b"a", b"x@y"]));
        assert!(duplicates.is_repeated(&[b"A", b"X@Y"]));
        assert!(!duplicates.is_repeated(&[b"b", b"x@y"]));
        assert!(!duplicates.is_repeated(&[b"c", b"x@y"]));
        assert!(!duplicates.is_repeated(&[b"c", b"x@y"]));
    }
}
