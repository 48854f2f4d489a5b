//! The process environment, which may be changed only while there is one thread.

use std::ffi::OsString;

/// Replaces the whole environment. For the first lines of `main`, before any thread exists.
pub fn replace(variables: &[(OsString, OsString)]) {
    let usable = |name: &OsString| {
        let bytes = name.as_encoded_bytes();
        !bytes.is_empty() && !bytes.contains(&b'=') && !bytes.contains(&0)
    };
    let present: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).filter(usable).collect();
    for name in present {
        // SAFETY: the caller's promise: no other thread reads or writes the environment.
        unsafe { std::env::remove_var(name) };
    }
    for (name, value) in variables {
        if usable(name) && !value.as_encoded_bytes().contains(&0) {
            // SAFETY: as above.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
