//! `internal:`: a table in this process's memory, for state that may be lost.

use bstr::BString;

use crate::error::Fault;
use crate::table::{EachEntry, Source};

/// Starts empty. Programs that keep state of their own in memory use their own maps; this is for lookups by name.
#[derive(Default)]
pub(crate) struct Internal {
    values: std::collections::BTreeMap<BString, BString>,
}

impl Source for Internal {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(self.values.get(bstr::BStr::new(key)).cloned())
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        Some(self.values.iter().try_for_each(|(key, value)| each(key, value)).map_err(Fault::from))
    }
}
