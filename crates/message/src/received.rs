//! The trace header of RFC 5321 4.4.

use bstr::{BStr, BString};

/// What a Received header says.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The lines of the `from` clause (`from helo (name [address])` and what follows it), without line ends; empty for
    /// local submission.
    pub from: &'a [BString],
    /// `myhostname`.
    pub by: &'a str,
    /// `mail_name`.
    pub mail_name: &'a str,
    /// `with` clause: `ESMTP`, ...; none for local submission.
    pub protocol: Option<&'a str>,
    /// Who submitted it locally.
    pub uid: Option<u32>,
    /// Queue id.
    pub id: &'a str,
    /// The recipient in external form, when it is the only one.
    pub recipient: Option<&'a BStr>,
    /// RFC 5322 date.
    pub date: &'a str,
}

impl Received<'_> {
    /// The header's lines, with LF between them and a TAB before all but the first; no final LF.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut output = Vec::with_capacity(256);
        output.extend_from_slice(b"Received: ");
        for line in self.from {
            output.extend_from_slice(line);
            output.extend_from_slice(b"\n\t");
        }
        let by = match (self.protocol, self.uid) {
            (Some(protocol), _) => format!("by {} ({}) with {protocol} id {}", self.by, self.mail_name, self.id),
            (None, Some(uid)) => format!("by {} ({}, from userid {uid})\n\tid {}", self.by, self.mail_name, self.id),
            (None, None) => format!("by {} ({})\n\tid {}", self.by, self.mail_name, self.id),
        };
        output.extend_from_slice(by.as_bytes());
        if let Some(recipient) = self.recipient {
            output.extend_from_slice(b"\n\tfor <");
            output.extend_from_slice(recipient);
            output.push(b'>');
        }
        output.extend_from_slice(b"; ");
        output.extend_from_slice(self.date.as_bytes());
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Fri, 20 Nov 2026 10:25:43 +0000 (UTC)";

    #[test]
    fn over_the_network_and_local() {
        let from = [BString::from("from h (n [192.0.2.1])")];
        let mut received = Received {
            from: &from,
            by: "mx.example",
            mail_name: "Posthouse",
            protocol: Some("ESMTP"),
            uid: None,
            id: "4X",
            recipient: Some("u@x".into()),
            date: DATE,
        };
        assert_eq!(
            BString::from(received.text()),
            format!(
                "Received: from h (n [192.0.2.1])\n\tby mx.example (Posthouse) with ESMTP id 4X\n\tfor <u@x>; {DATE}"
            )
        );
        received.recipient = None;
        assert_eq!(
            BString::from(received.text()),
            format!("Received: from h (n [192.0.2.1])\n\tby mx.example (Posthouse) with ESMTP id 4X; {DATE}")
        );
        let local = Received { from: &[], protocol: None, uid: Some(0), ..received };
        assert_eq!(
            BString::from(local.text()),
            format!("Received: by mx.example (Posthouse, from userid 0)\n\tid 4X; {DATE}")
        );
    }
}
