//! Mail addresses: the two forms they come in, their grammar, their parts, and the domains behind them.
//!
//! Inside the suite an address is in *internal* form: the mailbox name itself, without RFC 5321 quoting, then `@` and
//! the domain. On the wire, in headers and in logs it is in *external* form, where a local part that is no dot-string is
//! a quoted-string. [`external`] and [`internal`] go from one to the other.
//!
//! * [`parse`] reads the paths of MAIL FROM and RCPT TO;
//! * [`header`] reads the address lists of headers into tokens that can be changed and written back;
//! * [`lexical`] finds where quoted-strings and comments end;
//! * [`split`] and [`Delimiters`] take addresses apart;
//! * [`domain`] checks and compares host names and address literals.

pub mod domain;
mod extension;
pub mod header;
pub mod lexical;
pub mod parse;
mod quote;

pub use extension::{Delimiters, Unsplittable};
pub use quote::{external, internal, is_dot_string, put_external, put_quoted};

use bstr::{BString, ByteSlice};

/// Splits an address in internal form at its last `@`: the local part, and the domain when there is an `@`.
///
/// `user@` has an empty domain; `user` has none.
#[must_use]
pub fn split(address: &[u8]) -> (&[u8], Option<&[u8]>) {
    match address.rfind_byte(b'@') {
        Some(at) => (&address[..at], Some(&address[at + 1..])),
        None => (address, None),
    }
}

/// Puts an address together again.
#[must_use]
pub fn join(localpart: &[u8], domain: Option<&[u8]>) -> BString {
    let mut address = BString::from(localpart);
    if let Some(domain) = domain {
        address.push(b'@');
        address.extend_from_slice(domain);
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_sign_counts() {
        let cases: [(&str, &str, Option<&str>); 5] = [
            ("user@example.com", "user", Some("example.com")),
            ("a@b@c", "a@b", Some("c")),
            ("user", "user", None),
            ("user@", "user", Some("")),
            ("", "", None),
        ];
        for (address, localpart, domain) in cases {
            assert_eq!(split(address.as_bytes()), (localpart.as_bytes(), domain.map(str::as_bytes)), "{address}");
            assert_eq!(join(localpart.as_bytes(), domain.map(str::as_bytes)), address);
        }
    }
}
