//! tcp_table: `get key` and `200 value`, `500 no such key`, `400 try later`, a line each, `%XX` for what does not print.

use std::fmt::Write;

use bstr::{BString, ByteSlice};
use table_server::{Trouble, Wire};

/// Longest request and reply, with the end of the line.
const LONGEST: usize = 4096;

/// The request; `None` for a key that does not fit.
pub(crate) fn request(key: &[u8]) -> Option<Vec<u8>> {
    let mut line = String::from("get ");
    for byte in key {
        if byte.is_ascii_graphic() && *byte != b'%' {
            line.push(char::from(*byte));
        } else {
            // Into a string this cannot fail.
            let _ = write!(line, "%{byte:02X}");
        }
    }
    line.push('\n');
    (line.len() <= LONGEST).then(|| line.into_bytes())
}

/// One question and its answer.
pub(crate) async fn ask(wire: &mut Wire, request: &[u8]) -> Result<Option<BString>, Trouble> {
    wire.write(request).await?;
    let line = wire.read_line(LONGEST).await?;
    let malformed = || Trouble::Broken(format!("malformed reply: \"{}\"", line[..line.len().min(40)].as_bstr()));
    let (status, text) = line.split_once_str(" ").ok_or_else(malformed)?;
    match status {
        b"200" => Ok(Some(decode(text).ok_or_else(malformed)?.into())),
        b"400" => Err(Trouble::Unanswered(decode(text).ok_or_else(malformed)?.to_str_lossy().into_owned())),
        b"500" => Ok(None),
        _ => Err(malformed()),
    }
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            decoded.push(*byte);
            rest = after;
            continue;
        }
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        decoded.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &after[2..];
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn replies() {
        for (reply, expected) in [
            ("200 a%20b\n", Ok(Some("a b"))),
            ("200 a b\n", Ok(Some("a b"))),
            ("500 none\n", Ok(None)),
            ("400 later%21\n", Err("later!")),
            ("200 %4\n", Err("malformed")),
            ("200 %zz\n", Err("malformed")),
            ("200\n", Err("malformed")),
            ("hello world\n", Err("malformed")),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            theirs.write_all(reply.as_bytes()).await.expect("write");
            let mut wire = Wire::new(ours);
            match (ask(&mut wire, b"").await, expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected.map(BString::from), "{reply}"),
                (Err(trouble), Err(part)) => assert!(format!("{trouble:?}").contains(part), "{reply} {trouble:?}"),
                (outcome, _) => panic!("{reply}: {outcome:?}"),
            }
        }
        assert_eq!(request(b"a b%\n"), Some(b"get a%20b%25%0A\n".to_vec()));
        assert_eq!(request(&[b'x'; 5000]), None);
    }
}
