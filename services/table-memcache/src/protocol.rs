//! The text protocol of memcached.

use bstr::{BString, ByteSlice};
use table_server::{Trouble, Wire};

/// Longest key.
pub(crate) const LONGEST_KEY: usize = 250;

/// What the cache may say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `line_size_limit`
    pub(crate) line: usize,
    /// `data_size_limit`
    pub(crate) data: usize,
}

/// Whether a key can be said: a word of at most 250 bytes.
pub(crate) fn fits(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= LONGEST_KEY && key.iter().all(|byte| *byte > b' ' && *byte != 0x7f)
}

/// A line that is none of those that the request asks for.
fn unexpected(line: &[u8]) -> Trouble {
    Trouble::Broken(format!("unexpected reply: {}", line.as_bstr()))
}

pub(crate) async fn get(wire: &mut Wire, key: &[u8], limits: &Limits) -> Result<Option<BString>, Trouble> {
    wire.write(&[b"get ", key, b"\r\n"].concat()).await?;
    let line = wire.read_line(limits.line).await?;
    if line == b"END" {
        return Ok(None);
    }
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [b"VALUE", there, _, length, ..] = words[..] else { return Err(unexpected(line)) };
    let length: Option<usize> = length.to_str().ok().and_then(|text| text.parse().ok());
    let Some(length) = length.filter(|_| there == key) else { return Err(unexpected(line)) };
    if length > limits.data {
        return Err(Trouble::Final(format!("value of {length} bytes (data_size_limit: {})", limits.data)));
    }
    let value = wire.read(length + 2).await?;
    let value: BString = match value.strip_suffix(b"\r\n") {
        Some(value) => value.into(),
        None => return Err(Trouble::Broken("value without end".to_owned())),
    };
    let end = wire.read_line(limits.line).await?;
    if end == b"END" { Ok(Some(value)) } else { Err(unexpected(end)) }
}

pub(crate) async fn set(
    wire: &mut Wire,
    key: &[u8],
    value: &[u8],
    flags: u32,
    ttl: u32,
    limits: &Limits,
) -> Result<(), Trouble> {
    if value.len() > limits.data {
        return Err(Trouble::Unanswered(format!("value of {} bytes (data_size_limit: {})", value.len(), limits.data)));
    }
    let head = format!(" {flags} {ttl} {}\r\n", value.len());
    wire.write(&[b"set ", key, head.as_bytes(), value, b"\r\n"].concat()).await?;
    let line = wire.read_line(limits.line).await?;
    if line == b"STORED" { Ok(()) } else { Err(unexpected(line)) }
}

pub(crate) async fn delete(wire: &mut Wire, key: &[u8], limits: &Limits) -> Result<bool, Trouble> {
    wire.write(&[b"delete ", key, b"\r\n"].concat()).await?;
    match wire.read_line(limits.line).await? {
        b"DELETED" => Ok(true),
        b"NOT_FOUND" => Ok(false),
        line => Err(unexpected(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn replies() {
        let limits = Limits { line: 50, data: 10 };
        for (reply, expected) in [
            ("END\r\n", Ok(None)),
            ("VALUE k 0 3\r\na\nb\r\nEND\r\n", Ok(Some("a\nb"))),
            ("VALUE other 0 1\r\na\r\nEND\r\n", Err("unexpected")),
            ("VALUE k 0 11\r\n", Err("data_size_limit")),
            ("VALUE k 0 -1\r\n", Err("unexpected")),
            ("VALUE k 0 1\r\nab\r\nEND\r\n", Err("without end")),
            ("SERVER_ERROR out of memory\r\n", Err("unexpected reply: SERVER_ERROR")),
            ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Err("too long")),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            theirs.write_all(reply.as_bytes()).await.expect("write");
            match (get(&mut Wire::new(ours), b"k", &limits).await, expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected.map(BString::from), "{reply}"),
                (Err(trouble), Err(part)) => assert!(format!("{trouble:?}").contains(part), "{reply} {trouble:?}"),
                (outcome, _) => panic!("{reply}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn keys() {
        for (key, fitting) in [("a@b", true), ("ä", true), ("", false), ("a b", false), ("a\r\nset x", false)] {
            assert_eq!(fits(key.as_bytes()), fitting, "{key}");
        }
        assert!(!fits(&[b'x'; 251]));
    }
}
