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

    #[test]
    fn no_numbers() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        // The C library's words, which are not everybody's.
        assert_eq!(reason(&io::Error::from_raw_os_error(libc::ELOOP)), "Too many levels of symbolic links");
        assert_eq!(reason(&io::Error::other("x")), "x");
        assert_eq!(reason(&io::ErrorKind::WouldBlock.into()), "operation would block");
    }
}
