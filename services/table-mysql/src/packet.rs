//! Packets (three bytes of length, a number, a body) and what is in them.

use bstr::{BString, ByteSlice};
use table_server::{Trouble, Wire};

/// Largest packet that is taken.
const LARGEST: usize = 4 << 20;

/// The next packet; `sequence` is the number that it should have, and becomes that of our next.
pub(crate) async fn read(wire: &mut Wire, sequence: &mut u8) -> Result<Vec<u8>, Trouble> {
    let header = wire.read(4).await?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
    let number = header[3];
    if length > LARGEST {
        return Err(Trouble::Final(format!("packet of {length} bytes from the server")));
    }
    if number != *sequence {
        return Err(Trouble::Broken("packets out of order".to_owned()));
    }
    *sequence = sequence.wrapping_add(1);
    Ok(wire.read(length).await?.to_vec())
}

/// Sends a packet.
pub(crate) async fn write(wire: &mut Wire, sequence: &mut u8, body: &[u8]) -> Result<(), Trouble> {
    if body.len() > LARGEST {
        return Err(Trouble::Unanswered("query too large".to_owned()));
    }
    let length = (body.len() as u32).to_le_bytes();
    let packet = [&[length[0], length[1], length[2], *sequence], body].concat();
    *sequence = sequence.wrapping_add(1);
    Ok(wire.write(&packet).await?)
}

/// Takes a packet apart.
pub(crate) struct Reader<'p>(pub(crate) &'p [u8]);

impl<'p> Reader<'p> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    /// Up to a NUL, which is taken too.
    pub(crate) fn until_nul(&mut self) -> Option<&'p [u8]> {
        let end = self.0.find_byte(0)?;
        let text = self.bytes(end)?;
        self.byte()?;
        Some(text)
    }

    /// A number in one, three, four or nine bytes. NULL has none.
    pub(crate) fn length(&mut self) -> Option<Option<u64>> {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        Some(match self.byte()? {
            0xfb => None,
            0xfc => Some(number(self.bytes(2)?)),
            0xfd => Some(number(self.bytes(3)?)),
            0xfe => Some(number(self.bytes(8)?)),
            0xff => return None,
            small => Some(u64::from(small)),
        })
    }

    /// A text with its length before it, or NULL.
    pub(crate) fn text(&mut self) -> Option<Option<&'p [u8]>> {
        match self.length()? {
            None => Some(None),
            Some(length) => self.bytes(usize::try_from(length).ok()?).map(Some),
        }
    }
}

/// The columns of a row that are not NULL.
pub(crate) fn row(body: &[u8], columns: u64) -> Option<Vec<BString>> {
    let mut reader = Reader(body);
    let mut values = Vec::new();
    for _ in 0..columns {
        values.extend(reader.text()?.map(BString::from));
    }
    reader.0.is_empty().then_some(values)
}

/// The text of an error packet.
pub(crate) fn error_text(body: &[u8]) -> String {
    read_error(body).unwrap_or_else(|| "malformed error packet".to_owned())
}

fn read_error(body: &[u8]) -> Option<String> {
    let mut reader = Reader(body);
    reader.byte()?;
    let code = reader.u16()?;
    // A state of SQL may come before the text.
    let text = if reader.0.starts_with(b"#") { reader.0.get(6..)? } else { reader.0 };
    Some(format!("{} ({code})", text.to_str_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_errors() {
        assert_eq!(row(b"\x01a\xfb\xfc\x02\0bc", 3), Some(vec!["a".into(), "bc".into()]));
        for (body, columns) in [
            (&b"\x05ab"[..], 1),
            (b"\x01a", 2),
            (b"\x01ab", 1),
            (b"\xff", 1),
            (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", 1),
        ] {
            assert_eq!(row(body, columns), None, "{body:?}");
        }
        assert_eq!(error_text(b"\xff\x15\x04#28000Access denied"), "Access denied (1045)");
        assert_eq!(error_text(b"\xff"), "malformed error packet");
    }
}
