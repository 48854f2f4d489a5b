//! `virtual_alias_maps`: one recipient becomes many.

use std::collections::HashSet;

use bstr::BString;
use tables::Maps;

use super::{Mapping, Unmapped};

/// The tables and their bounds.
pub(super) struct VirtualAliases {
    pub(super) maps: Maps,
    pub(super) propagate: bool,
    /// `virtual_alias_expansion_limit`
    pub(super) expansion_limit: usize,
    /// `virtual_alias_recursion_limit`
    pub(super) recursion_limit: usize,
    /// `virtual_alias_address_length_limit`
    pub(super) length_limit: usize,
}

impl VirtualAliases {
    /// The first result takes the place of the address, the others go to the end; each is looked up again, until it is in
    /// no table. An address may expand to itself, once.
    pub(super) async fn expand(&self, mapping: &Mapping, recipient: &[u8]) -> Result<Vec<BString>, Unmapped> {
        let mut list = vec![BString::from(recipient)];
        if self.maps.is_empty() {
            return Ok(list);
        }
        let title = self.maps.title();
        let problem = || BString::from(recipient);
        let mut final_addresses: HashSet<BString> = HashSet::new();
        let mut at = 0;
        while at < list.len() {
            if list.len() > self.expansion_limit {
                return Err(Unmapped::Expansion { title, address: problem() });
            }
            let mut nesting = 0;
            while !final_addresses.contains(&tables::fold::fold(&list[at], true)) {
                if nesting >= self.recursion_limit {
                    return Err(Unmapped::Nesting { title, address: problem() });
                }
                nesting += 1;
                let results = mapping.first_result(&self.maps, &list[at], self.propagate).await?;
                if results.is_empty() {
                    break;
                }
                let key = list[at].clone();
                for (index, result) in results.into_iter().enumerate() {
                    if result.len() > self.length_limit {
                        let start = BString::from(&result[..result.len().min(300)]);
                        return Err(Unmapped::Length { title, address: problem(), result: start });
                    }
                    if result.eq_ignore_ascii_case(&key) {
                        final_addresses.insert(tables::fold::fold(&key, true));
                    }
                    if index == 0 {
                        list[at] = result;
                    } else {
                        list.push(result);
                    }
                }
            }
            at += 1;
        }
        Ok(list)
    }
}
