//! Errors of the operating system in its own words.

use std::io;

use nix::errno::Errno;

/// What strerror(3) says: `Connection refused`, without the number that Rust puts behind it. Log lines and messages have
/// it in this form.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_numbers() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(reason(&io::Error::other("x")), "x");
    }
}
