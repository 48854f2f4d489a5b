//! `inline:{ key=value, { key = text with blanks } }`.

use std::collections::HashMap;

use bstr::BString;

use crate::error::Fault;
use crate::flags::Flags;
use crate::fold;
use crate::list;
use crate::table::{EachEntry, Source};

/// The pairs in the order written; the last of two equal keys wins.
pub(crate) struct Inline {
    values: HashMap<BString, BString>,
    order: Vec<BString>,
}

impl Inline {
    pub(crate) fn parse(name: &str, flags: Flags, utf8: bool) -> Result<Self, String> {
        let need = "need \"inline:{name=value...}\"";
        let pairs = list::braced(name).filter(|text| !text.is_empty()).ok_or_else(|| need.to_owned())?;
        let mut table = Self { values: HashMap::new(), order: Vec::new() };
        for element in list::split(pairs) {
            let pair = if element.starts_with('{') {
                list::braced(element).ok_or_else(|| format!("unbalanced braces in \"{element}\"; {need}"))?
            } else {
                element
            };
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("missing '=' after attribute name: \"{pair}\"; {need}"))?;
            let key = key.trim_end();
            if key.is_empty() {
                return Err(format!("missing attribute name: \"{pair}\"; {need}"));
            }
            let key = if flags.contains(Flags::NO_FOLD) { key.into() } else { fold::fold(key.as_bytes(), utf8) };
            let value = value.trim_start();
            let value = if flags.contains(Flags::FILE_VALUES) {
                crate::file_values::encode(value.as_bytes())?
            } else {
                value.into()
            };
            if table.values.insert(key.clone(), value).is_none() {
                table.order.push(key);
            }
        }
        if table.order.is_empty() {
            return Err(need.to_owned());
        }
        Ok(table)
    }
}

impl Source for Inline {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(self.values.get(bstr::BStr::new(key)).cloned())
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        Some(self.order.iter().try_for_each(|key| each(key, &self.values[key])).map_err(Fault::from))
    }
}
