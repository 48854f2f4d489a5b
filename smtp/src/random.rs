//! Randomness for the order of equal addresses; nothing here is secret.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Puts the items into random order.
pub fn shuffle<T>(items: &mut [T]) {
    let source = RandomState::new();
    for upper in (1..items.len()).rev() {
        let mut hasher = source.build_hasher();
        hasher.write_usize(upper);
        let pick = usize::try_from(hasher.finish() % (upper as u64 + 1)).unwrap_or(0);
        items.swap(upper, pick);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_stays_and_every_order_comes_up() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..400 {
            let mut items = [1, 2, 3];
            shuffle(&mut items);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
