//! The protocol of Redis, version 2: commands are lists of byte strings, so that no key can become part of a command.

use std::future::Future;
use std::pin::Pin;

use bstr::{BString, ByteSlice};
use table_server::{Trouble, Wire};

/// Longest line, largest string, most elements, most bytes of an answer; how deep lists may nest.
const LONGEST_LINE: usize = 4096;
const LARGEST: usize = 1 << 20;
const MOST_ELEMENTS: usize = 100_000;
const MOST_BYTES: usize = 16 << 20;
const DEEPEST: usize = 4;

/// A command as it is sent.
pub(crate) fn command(words: &[Vec<u8>]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        text.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        text.extend_from_slice(word);
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// What a command gave: its strings, lists made flat, and whether there was anything at all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) values: Vec<BString>,
    /// A number was among them: for DEL, how many there were.
    pub(crate) number: Option<i64>,
}

/// Sends a command and takes its answer.
pub(crate) async fn ask(wire: &mut Wire, words: &[Vec<u8>]) -> Result<Reply, Trouble> {
    wire.write(&command(words)).await?;
    let mut reply = Reply::default();
    let mut bytes = 0;
    element(wire, &mut reply, &mut bytes, 0).await?;
    Ok(reply)
}

/// One element of an answer.
fn element<'w>(
    wire: &'w mut Wire,
    reply: &'w mut Reply,
    bytes: &'w mut usize,
    depth: usize,
) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + 'w>> {
    Box::pin(async move {
        let line = wire.read_line(LONGEST_LINE).await?;
        let malformed = || Trouble::Final("malformed answer from the server".to_owned());
        let (kind, rest) = line.split_first().ok_or_else(malformed)?;
        let number = || rest.to_str().ok().and_then(|text| text.parse::<i64>().ok()).ok_or_else(malformed);
        match kind {
            b'+' => reply.values.push(rest.into()),
            b'-' if depth == 0 => return Err(Trouble::Refused(rest.to_str_lossy().into_owned())),
            b'-' => return Err(Trouble::Final(rest.to_str_lossy().into_owned())),
            b':' => {
                reply.number = Some(number()?);
                reply.values.push(rest.into());
            }
            b'$' => {
                let length = number()?;
                if length >= 0 {
                    let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST);
                    let length = length.ok_or_else(|| Trouble::Final("an answer that is too large".to_owned()))?;
                    let text = wire.read(length + 2).await?;
                    reply.values.push(text.strip_suffix(b"\r\n").ok_or_else(malformed)?.into());
                    *bytes += length;
                }
            }
            b'*' => {
                let count = number()?;
                if depth >= DEEPEST || count > MOST_ELEMENTS as i64 {
                    return Err(Trouble::Final("an answer that is too large".to_owned()));
                }
                for _ in 0..count.max(0) {
                    element(wire, reply, bytes, depth + 1).await?;
                }
            }
            _ => return Err(malformed()),
        }
        *bytes += 32;
        if *bytes > MOST_BYTES || reply.values.len() > MOST_ELEMENTS {
            return Err(Trouble::Final("an answer that is too large".to_owned()));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn answers() {
        for (text, expected) in [
            ("$3\r\na\r\n\r\n", Ok(vec!["a\r\n"])),
            ("$-1\r\n", Ok(vec![])),
            ("$0\r\n\r\n", Ok(vec![""])),
            ("*3\r\n$1\r\na\r\n$-1\r\n:5\r\n", Ok(vec!["a", "5"])),
            ("*-1\r\n", Ok(vec![])),
            ("*1\r\n*1\r\n+x\r\n", Ok(vec!["x"])),
            ("+OK\r\n", Ok(vec!["OK"])),
            ("-ERR no\r\n", Err("ERR no")),
            ("$3\r\nabcd\r\n", Err("malformed")),
            ("$99999999999\r\n", Err("too large")),
            ("*99999999999\r\n", Err("too large")),
            ("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", Err("too large")),
            ("%1\r\n", Err("malformed")),
            ("$x\r\n", Err("malformed")),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(10_000);
            theirs.write_all(text.as_bytes()).await.expect("write");
            let outcome = ask(&mut Wire::new(ours), &[b"GET".to_vec()]).await;
            match (outcome, expected) {
                (Ok(reply), Ok(values)) => assert_eq!(reply.values, values, "{text:?}"),
                (Err(trouble), Err(part)) => assert!(format!("{trouble:?}").contains(part), "{text:?} {trouble:?}"),
                (outcome, _) => panic!("{text:?}: {outcome:?}"),
            }
        }
        let sent = command(&[b"GET".to_vec(), b"a\r\nDEL b".to_vec()]);
        assert_eq!(sent, b"*2\r\n$3\r\nGET\r\n$8\r\na\r\nDEL b\r\n");
    }
}
