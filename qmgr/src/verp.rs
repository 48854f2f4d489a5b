//! Variable envelope return paths: the recipient in the sender's address, so that a bounce tells who it is about.

use bstr::{BString, ByteSlice};

/// `owner-list@origin` for `user@domain` with delimiters `+=`: `owner-list+user=domain@origin`. A null sender stays one.
pub(crate) fn sender(sender: &[u8], delimiters: [u8; 2], recipient: &[u8]) -> BString {
    let (local, origin) = match sender.rfind_byte(b'@') {
        Some(at) => (&sender[..at], &sender[at..]),
        None => (sender, &b""[..]),
    };
    if sender.is_empty() {
        return BString::default();
    }
    let [first, second] = delimiters;
    let mut result = BString::from(local);
    result.push(first);
    match recipient.rfind_byte(b'@') {
        Some(at) => {
            result.extend_from_slice(&recipient[..at]);
            result.push(second);
            result.extend_from_slice(&recipient[at + 1..]);
        }
        None => result.extend_from_slice(recipient),
    }
    result.extend_from_slice(origin);
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn senders() {
        let cases: [(&str, &str, &str); 4] = [
            ("owner-list@origin.example", "user@domain.example", "owner-list+user=domain.example@origin.example"),
            ("owner-list@origin.example", "user", "owner-list+user@origin.example"),
            ("owner", "user@domain", "owner+user=domain"),
            ("", "user@domain", ""),
        ];
        for (sender, recipient, expected) in cases {
            assert_eq!(super::sender(sender.as_bytes(), *b"+=", recipient.as_bytes()), expected);
        }
    }
}
