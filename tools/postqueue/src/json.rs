//! The listing as JSON: one object a line, one line a message.
//!
//! The text is written by hand: keys keep their order, and only quotes, backslashes and control bytes are escaped, as
//! programs that read this are used to. Bytes that are no UTF-8 become `?`, for JSON has none.

use std::io::{self, Write};

use queue::listing::{Entry, Reason};

/// Writes the listing as entries come.
#[derive(Debug, Default)]
pub struct Json {
    /// The last entry was a part of a message of which more comes.
    inside: bool,
    /// Recipients of this message have been written.
    comma: bool,
}

impl Json {
    /// Writes a message, or a part of one.
    ///
    /// # Errors
    /// Those of the output.
    pub fn entry(&mut self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        if !self.inside {
            self.comma = false;
            write!(
                out,
                "{{\"queue_name\": \"{}\", \"queue_id\": \"{}\", \"arrival_time\": {}, \"message_size\": {}, \
                 \"forced_expire\": {}, \"sender\": ",
                entry.directory.name(),
                entry.queue_id,
                entry.arrival,
                entry.size,
                entry.forced_expire,
            )?;
            string(&entry.sender, out)?;
            out.write_all(b", \"recipients\": [")?;
        }
        for recipient in &entry.recipients {
            out.write_all(if self.comma { b", {" } else { b"{" })?;
            self.comma = true;
            if !recipient.original.is_empty() {
                out.write_all(b"\"orig_address\": ")?;
                string(&recipient.original, out)?;
                out.write_all(b", ")?;
            }
            out.write_all(b"\"address\": ")?;
            string(&recipient.address, out)?;
            let (name, reason) = match &recipient.reason {
                Reason::None => ("", None),
                Reason::Delay(reason) => ("delay_reason", Some(reason)),
                Reason::Bounce(reason) => ("bounce_reason", Some(reason)),
            };
            if let Some(reason) = reason {
                write!(out, ", \"{name}\": ")?;
                string(reason, out)?;
            }
            out.write_all(b"}")?;
        }
        self.inside = !entry.complete;
        if entry.complete { out.write_all(b"]}\n") } else { Ok(()) }
    }
}

fn string(text: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"\"")?;
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(|c: char| c.is_ascii_control() || matches!(c, '"' | '\\')) {
            out.write_all(&rest.as_bytes()[..at])?;
            let byte = rest.as_bytes()[at];
            if byte.is_ascii_control() {
                write!(out, "\\u{byte:04X}")?;
            } else {
                out.write_all(&[b'\\', byte])?;
            }
            rest = &rest[at + 1..];
        }
        out.write_all(rest.as_bytes())?;
        for _ in chunk.invalid() {
            out.write_all(b"?")?;
        }
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn as_the_reference_shows_it() {
        let mut out = Vec::new();
        let mut json = Json::default();
        for entry in samples() {
            json.entry(&entry, &mut out).expect("memory");
        }
        let expected = "{\"queue_name\": \"active\", \"queue_id\": \"B1E725B00F7\", \"arrival_time\": 1795222553, \
            \"message_size\": 277, \"forced_expire\": true, \"sender\": \"s@from.test\", \"recipients\": [\
            {\"orig_address\": \"o@x\", \"address\": \"b@other.test\", \"delay_reason\": \"defer why\"}, \
            {\"address\": \"c@other.test\", \"delay_reason\": \"defer why\"}, {\"address\": \"a@site.test\"}]}\n\
            {\"queue_name\": \"deferred\", \"queue_id\": \"839E45B0003\", \"arrival_time\": 1795222553, \
            \"message_size\": 5276, \"forced_expire\": false, \"sender\": \"MAILER-DAEMON\", \"recipients\": [\
            {\"address\": \"l1@site.test\"}, {\"address\": \"l2@site.test\"}]}\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn strings() {
        let cases: [(&[u8], &str); 4] = [
            (b"\"q q\"@x", r#""\"q q\"@x""#),
            (b"a\\b/c", r#""a\\b/c""#),
            (b"\x01\n\x7f", r#""\u0001\u000A\u007F""#),
            (b"\xc3\xa9\xff.", "\"\u{e9}?.\""),
        ];
        for (text, expected) in cases {
            let mut out = Vec::new();
            string(text, &mut out).expect("memory");
            assert_eq!(String::from_utf8(out).expect("text"), expected);
        }
    }
}
