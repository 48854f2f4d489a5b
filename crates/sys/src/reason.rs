//! Errors of the operating system in its own words.

use std::io;

/// What strerror(3) says: `Connection refused`, without the number that Rust puts behind it. Log lines and messages have
/// it in this form.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(code) = error.raw_os_error()
        && let Some(end) = text.strip_suffix(&format!(" (os error {code})")).map(str::len)
    {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fixed: the words were nix's own, which are others than the C library's for some errors.
    #[test]
    fn the_words_of_the_c_library_without_numbers() {
        for (code, text) in [
            (libc::ELOOP, "Too many levels of symbolic links"),
            (libc::ENOENT, "No such file or directory"),
            (libc::EAGAIN, "Resource temporarily unavailable"),
            (libc::EDQUOT, "Disk quota exceeded"),
            (libc::EHOSTUNREACH, "No route to host"),
        ] {
            assert_eq!(reason(&io::Error::from_raw_os_error(code)), text);
        }
        assert_eq!(reason(&io::Error::other("x (os error 1)")), "x (os error 1)");
    }
}
