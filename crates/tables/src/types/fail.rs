//! `fail:`: every lookup is a temporary error, to test what follows from one.

use bstr::BString;

use crate::error::Fault;
use crate::table::Source;

/// Knows nothing and says so loudly.
pub(crate) struct Fail;

impl Source for Fail {
    fn lookup(&self, _key: &[u8]) -> Result<Option<BString>, Fault> {
        Err(Fault("this table always fails".to_owned()))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}
