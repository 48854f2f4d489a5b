//! `static:`: the same value for every key.

use std::fs;

use bstr::BString;

use crate::error::Fault;
use crate::flags::Flags;
use crate::list;
use crate::table::Source;

/// `static:text`, `static:{ text with blanks }` or `static:{file:/path}`.
pub(crate) struct Static(BString);

impl Static {
    pub(crate) fn parse(name: &str, flags: Flags) -> Result<Self, String> {
        let value = Self::value(name)?;
        Ok(Self(if flags.contains(Flags::FILE_VALUES) { crate::file_values::encode(&value)? } else { value }))
    }

    fn value(name: &str) -> Result<BString, String> {
        if !name.starts_with('{') {
            return Ok(name.into());
        }
        let text = list::braced(name).ok_or_else(|| "bad static:name syntax: unbalanced braces".to_owned())?;
        match text.strip_prefix("file:") {
            Some(path) => {
                let content = fs::read(path.trim()).map_err(|error| format!("open {path}: {error}"))?;
                Ok(content.into())
            }
            None => Ok(text.into()),
        }
    }
}

impl Source for Static {
    fn lookup(&self, _key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(Some(self.0.clone()))
    }
}
