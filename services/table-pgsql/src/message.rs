//! Messages of the protocol: a letter, a length that counts itself, a body.

use std::io;

use bstr::{BString, ByteSlice};
use table_server::{Trouble, Wire};

/// Largest message that is taken.
const LARGEST: usize = 4 << 20;

/// A message from the server.
pub(crate) struct Message {
    pub(crate) letter: u8,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) async fn read(wire: &mut Wire) -> Result<Message, Trouble> {
        let header = wire.read(5).await?;
        let letter = header[0];
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if !(4..=LARGEST).contains(&length) {
            return Err(Trouble::Final(format!("message of {length} bytes from the server")));
        }
        Ok(Message { letter, body: wire.read(length - 4).await?.to_vec() })
    }

    /// The text of an error or a notice, with its severity.
    pub(crate) fn error_text(&self) -> String {
        let field = |letter: u8| {
            let mut fields = self.body.split(|byte| *byte == 0);
            fields.find_map(|field| field.strip_prefix(&[letter])).map(|text| text.to_str_lossy().into_owned())
        };
        format!("{}: {}", field(b'S').unwrap_or_default(), field(b'M').unwrap_or_default())
    }

    /// The first number of the body.
    pub(crate) fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.body.get(..4)?.try_into().ok()?))
    }

    /// The columns of a row that are not NULL.
    pub(crate) fn columns(&self) -> Option<Vec<BString>> {
        let count = u16::from_be_bytes(self.body.get(..2)?.try_into().ok()?);
        let mut rest = self.body.get(2..)?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let (length, after) = rest.split_at_checked(4)?;
            rest = after;
            if let Ok(length) = usize::try_from(i32::from_be_bytes(length.try_into().ok()?)) {
                let (value, after) = rest.split_at_checked(length)?;
                columns.push(value.into());
                rest = after;
            }
        }
        rest.is_empty().then_some(columns)
    }
}

/// A message to the server; without a letter at the start of a connection.
pub(crate) fn message(letter: Option<u8>, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len() + 4).map_err(|_| io::Error::other("message too large"))?;
    let mut message = Vec::with_capacity(body.len() + 5);
    message.extend(letter);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let row = |body: &[u8]| Message { letter: b'D', body: body.to_vec() }.columns();
        assert_eq!(row(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"), Some(vec!["a".into()]));
        assert_eq!(row(b"\0\0"), Some(vec![]));
        for bad in [&b""[..], b"\0\x01", b"\0\x01\0\0\0\x05ab", b"\0\0x", b"\0\x01\x7f\xff\xff\xff"] {
            assert_eq!(row(bad), None, "{bad:?}");
        }
    }
}
