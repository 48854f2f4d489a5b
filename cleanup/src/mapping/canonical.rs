//! `canonical_maps`, `sender_canonical_maps`, `recipient_canonical_maps`.

use bstr::BString;
use tables::Maps;

use super::{Class, Mapping, Unmapped};

/// How often a result is looked up again.
const MAX_NESTING: usize = 10;

/// One of the three parameters.
pub(super) struct Canonical {
    maps: Maps,
    classes: u8,
    propagate: bool,
}

impl Canonical {
    pub(super) fn new(maps: Maps, classes: u8, propagate: bool) -> Canonical {
        Canonical { maps, classes, propagate }
    }

    pub(super) fn maps(&self) -> &Maps {
        &self.maps
    }

    pub(super) fn applies(&self, class: Class) -> bool {
        !self.maps.is_empty() && self.classes & class.bit() != 0
    }

    /// Replaces the address by what the tables have for it, and that again, until there is nothing more or the address
    /// maps to itself.
    pub(super) async fn map(&self, mapping: &Mapping, address: &mut BString, class: Class) -> Result<(), Unmapped> {
        if !self.applies(class) {
            return Ok(());
        }
        for _ in 0..MAX_NESTING {
            let results = mapping.first_result(&self.maps, address, self.propagate).await?;
            if results.len() > 1 {
                log::warning!("multi-valued {} entry for {}", self.maps.title(), address);
            }
            let Some(result) = results.into_iter().next() else { return Ok(()) };
            let itself = result.eq_ignore_ascii_case(address);
            *address = result;
            if itself {
                return Ok(());
            }
        }
        Err(Unmapped::Nesting { title: self.maps.title(), address: address.clone() })
    }
}
