//! `environ:`: the process's environment.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bstr::BString;

use crate::error::Fault;
use crate::table::Source;

/// The key is the variable's name.
pub(crate) struct Environ;

impl Source for Environ {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if key.is_empty() || key.contains(&b'=') || key.contains(&0) {
            return Ok(None);
        }
        Ok(std::env::var_os(OsStr::from_bytes(key)).map(|value| value.into_vec().into()))
    }
}
