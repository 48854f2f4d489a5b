//! socketmap: netstrings (cr.yp.to/proto/netstrings.txt) with `name key` and `OK data`, `NOTFOUND `, `TEMP why`, ...

use bstr::{BString, ByteSlice};
use table_server::{Trouble, Wire};

/// `name key` as a netstring; `None` when it is longer than `socketmap_max_query_size`.
pub(crate) fn request(map: &str, key: &[u8], longest: usize) -> Option<Vec<u8>> {
    let length = map.len() + 1 + key.len();
    if length > longest {
        return None;
    }
    Some([length.to_string().as_bytes(), b":", map.as_bytes(), b" ", key, b","].concat())
}

/// One question and its answer.
pub(crate) async fn ask(wire: &mut Wire, request: &[u8], longest: usize) -> Result<Option<BString>, Trouble> {
    wire.write(request).await?;
    let mut length = 0usize;
    loop {
        match wire.read(1).await?[0] {
            digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            b':' => break,
            _ => return Err(Trouble::Broken("malformed reply: no netstring".to_owned())),
        }
        if length > longest {
            return Err(Trouble::Final(format!("reply of more than {longest} bytes")));
        }
    }
    let text = wire.read(length + 1).await?;
    let Some(reply) = text.strip_suffix(b",") else {
        return Err(Trouble::Broken("malformed reply: no netstring".to_owned()));
    };
    let (status, data) = reply.split_once_str(" ").unwrap_or((reply, b""));
    let refused = |what: &str| Trouble::Unanswered(format!("{what}: {}", data.as_bstr()));
    match status {
        b"OK" => Ok(Some(data.into())),
        b"NOTFOUND" => Ok(None),
        b"TEMP" => Err(refused("temporary error")),
        b"TIMEOUT" => Err(refused("timeout")),
        b"PERM" => Err(refused("permanent error")),
        _ => Err(Trouble::Broken(format!("malformed reply: \"{}\"", status[..status.len().min(40)].as_bstr()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn replies() {
        for (reply, expected) in [
            ("7:OK a, b,", Ok(Some("a, b"))),
            ("3:OK ,", Ok(Some(""))),
            ("9:NOTFOUND ,", Ok(None)),
            ("8:NOTFOUND,", Ok(None)),
            ("9:TEMP busy,", Err("temporary error: busy")),
            ("5:PERM ,", Err("permanent error: ")),
            ("9:TIMEOUT x,", Err("timeout: x")),
            ("4:OK a;", Err("malformed")),
            ("x", Err("malformed")),
            ("3:WAT,", Err("malformed")),
            ("999999999999:", Err("more than 20")),
            ("4:OK", Err("closed")),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1000);
            theirs.write_all(reply.as_bytes()).await.expect("write");
            let mut wire = Wire::new(ours);
            let asked = async {
                let asked = ask(&mut wire, b"", 20);
                theirs.shutdown().await.expect("shutdown");
                asked.await
            };
            match (asked.await, expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected.map(BString::from), "{reply}"),
                (Err(trouble), Err(part)) => assert!(format!("{trouble:?}").contains(part), "{reply} {trouble:?}"),
                (outcome, _) => panic!("{reply}: {outcome:?}"),
            }
        }
        assert_eq!(request("map", b"key", 7), Some(b"7:map key,".to_vec()));
        assert_eq!(request("map", b"key", 6), None);
    }
}
