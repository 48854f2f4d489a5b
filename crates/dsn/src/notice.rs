//! Delivery status notifications: `multipart/report` messages (RFC 3462, RFC 3464), written piece by piece.
//!
//! [`Notice::put_head`] writes everything up to the returned message, which the caller copies behind it;
//! [`Notice::put_end`] closes the last part.

use bstr::{BString, ByteSlice, ByteVec};

use crate::{Action, Dsn};

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Mail could not be delivered.
    Failure,
    /// Mail is still being tried.
    Delay,
    /// Mail was delivered, relayed or expanded.
    Success,
    /// Answer to a probe (`sendmail -bv`).
    Verify,
}

/// How much of the message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// All of it.
    Full,
    /// Its headers.
    Headers,
    /// Nothing: it can no longer be read.
    Unavailable,
}

/// One recipient of a notice.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// External form.
    pub address: BString,
    /// Before aliases, external form, when it differs.
    pub original: Option<BString>,
    /// `ORCPT=` as the sender gave it: `type;address`.
    pub dsn_original: Option<BString>,
    /// What happened.
    pub action: Action,
    /// Why.
    pub dsn: Dsn,
}

/// A notice without the returned message.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What it is about.
    pub kind: Kind,
    /// A copy for the postmaster: other Subject, `auto-generated`.
    pub postmaster_copy: bool,
    /// RFC 5322 date of the notice.
    pub date: String,
    /// From header value.
    pub from: String,
    /// Subject header value.
    pub subject: String,
    /// To header value: the address to which the notice goes, external form.
    pub to: BString,
    /// Message-ID of the returned message, for References and In-Reply-To.
    pub message_id: Option<BString>,
    /// Character set of the text.
    pub charset: String,
    /// The text for people, from the template; lines end in LF.
    pub text: BString,
    /// MIME boundary; must not occur in the message.
    pub boundary: String,
    /// Reporting MTA.
    pub myhostname: String,
    /// `mail_name`, in the names of our own fields.
    pub mail_name: String,
    /// The message's queue id.
    pub queue_id: String,
    /// Envelope sender of the message, external form; empty for the null sender.
    pub sender: BString,
    /// `ENVID=`, encoded as xtext.
    pub envelope_id: Option<BString>,
    /// RFC 5322 date of arrival.
    pub arrival: String,
    /// RFC 5322 date until which a delayed message is tried.
    pub retry_until: Option<String>,
    /// The recipients.
    pub recipients: Vec<Recipient>,
    /// How much of the message comes back.
    pub returned: Returned,
    /// The message needs SMTPUTF8: `message/global` types and `utf-8` addresses (RFC 6533).
    pub smtputf8: bool,
    /// The returned message has 8-bit content.
    pub eight_bit: bool,
}

/// Longest line of the text for people.
const TEXT_WIDTH: usize = 79;
/// Indentation of continued lines.
const TEXT_INDENT: usize = 4;

impl Notice {
    /// Writes headers, text, delivery report and the beginning of the returned message, lines ended by LF.
    pub fn put_head(&self, output: &mut Vec<u8>) {
        self.put_headers(output);
        self.put_text(output);
        self.put_report(output);
        self.put_returned_head(output);
    }

    /// Closes the returned message.
    pub fn put_end(&self, output: &mut Vec<u8>) {
        if self.returned == Returned::Unavailable {
            output.push_str("\t--- ");
            output.push_str(self.undelivered("message unavailable"));
            output.push_str(" ---\n");
        }
        output.push_str(format!("\n--{}--\n", self.boundary));
    }

    fn put_headers(&self, output: &mut Vec<u8>) {
        let auto = if self.postmaster_copy { "auto-generated" } else { "auto-replied" };
        output.push_str(format!("Date: {}\nFrom: {}\nSubject: {}\nTo: ", self.date, self.from, self.subject));
        output.push_str(&self.to);
        output.push(b'\n');
        if let Some(id) = &self.message_id {
            for name in ["References: ", "In-Reply-To: "] {
                output.push_str(name);
                output.push_str(id);
                output.push(b'\n');
            }
        }
        output.push_str(format!(
            "Auto-Submitted: {auto}\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status;\n\
             \tboundary=\"{}\"\n",
            self.boundary
        ));
        if self.eight_bit || !self.text.is_ascii() {
            output.push_str("Content-Transfer-Encoding: 8bit\n");
        }
        output.push_str("\nThis is a MIME-encapsulated message.\n");
    }

    fn put_text(&self, output: &mut Vec<u8>) {
        self.put_boundary(output);
        let charset = if self.needs_utf8_text() { "utf-8" } else { &self.charset };
        output.push_str(format!("Content-Description: Notification\nContent-Type: text/plain; charset={charset}\n"));
        if charset == "utf-8" {
            output.push_str("Content-Transfer-Encoding: 8bit\n");
        }
        output.push(b'\n');
        output.push_str(&self.text);
        for recipient in &self.recipients {
            output.push(b'\n');
            let mut line = BString::from(format!("<{}>", recipient.address));
            if let Some(original) = &recipient.original {
                line.push_str(format!(" (expanded from <{original}>)"));
            }
            line.push_str(": ");
            line.push_str(&recipient.dsn.reason);
            put_wrapped(&line, output);
        }
        output.push(b'\n');
    }

    fn needs_utf8_text(&self) -> bool {
        !self.text.is_ascii() || self.recipients.iter().any(|r| !r.address.is_ascii() || !r.dsn.reason.is_ascii())
    }

    fn put_report(&self, output: &mut Vec<u8>) {
        self.put_boundary(output);
        let kind = if self.smtputf8 { "message/global-delivery-status" } else { "message/delivery-status" };
        output.push_str(format!("Content-Description: Delivery report\nContent-Type: {kind}\n"));
        if self.smtputf8 {
            output.push_str("Content-Transfer-Encoding: 8bit\n");
        }
        output.push_str(format!("\nReporting-MTA: dns; {}\n", self.myhostname));
        if let Some(id) = &self.envelope_id {
            output.push_str("Original-Envelope-Id: ");
            output.push_str(id);
            output.push(b'\n');
        }
        let mail_name = &self.mail_name;
        output.push_str(format!("X-{mail_name}-Queue-ID: {}\n", self.queue_id));
        if !self.sender.is_empty() {
            output.push_str(format!("X-{mail_name}-Sender: {}; ", self.address_type(&self.sender)));
            output.push_str(&self.sender);
            output.push(b'\n');
        }
        output.push_str(format!("Arrival-Date: {}\n", self.arrival));
        for recipient in &self.recipients {
            self.put_recipient(recipient, output);
        }
    }

    fn put_recipient(&self, recipient: &Recipient, output: &mut Vec<u8>) {
        output.push(b'\n');
        let mut field = |name: &str, value: &[u8]| {
            output.push_str(name);
            output.push_str(": ");
            output.extend(value.iter().map(|b| if b.is_ascii_control() { b' ' } else { *b }));
            output.push(b'\n');
        };
        let typed = |address: &BString| [self.address_type(address).as_bytes(), b"; ", address.as_slice()].concat();
        field("Final-Recipient", &typed(&recipient.address));
        if let Some(original) = &recipient.dsn_original {
            field("Original-Recipient", original);
        } else if let Some(original) = &recipient.original {
            field("Original-Recipient", &[b"rfc822;", original.as_slice()].concat());
        }
        let action = if self.kind == Kind::Failure { Action::Failed } else { recipient.action };
        field("Action", action.word().as_bytes());
        field("Status", recipient.dsn.status.to_string().as_bytes());
        if let Some((kind, name)) = &recipient.dsn.remote_mta {
            field("Remote-MTA", &[kind.as_bytes(), b"; ", name.as_slice()].concat());
        }
        match &recipient.dsn.diagnostic {
            Some((kind, text)) => field("Diagnostic-Code", &[kind.as_bytes(), b"; ", text.as_slice()].concat()),
            None => {
                let value = format!("X-{}; {}", self.mail_name, recipient.dsn.reason.to_str_lossy());
                field("Diagnostic-Code", value.as_bytes());
            }
        }
        if let Some(until) = self.retry_until.as_ref().filter(|_| self.kind == Kind::Delay) {
            field("Will-Retry-Until", until.as_bytes());
        }
    }

    fn put_returned_head(&self, output: &mut Vec<u8>) {
        self.put_boundary(output);
        let (what, kind) = match (self.returned, self.smtputf8) {
            (Returned::Headers, false) => ("Message Headers", "text/rfc822-headers"),
            (Returned::Headers, true) => ("Message Headers", "message/global-headers"),
            (_, false) => ("Message", "message/rfc822"),
            (_, true) => ("Message", "message/global"),
        };
        let description = match self.kind {
            Kind::Failure | Kind::Delay => format!("Undelivered {what}"),
            Kind::Success | Kind::Verify => what.to_owned(),
        };
        output.push_str(format!("Content-Description: {description}\nContent-Type: {kind}\n"));
        if self.eight_bit {
            output.push_str("Content-Transfer-Encoding: 8bit\n");
        }
        output.push_str("\nReturn-Path: <");
        output.push_str(&self.sender);
        output.push_str(">\n");
    }

    fn undelivered(&self, what: &str) -> String {
        match self.kind {
            Kind::Failure | Kind::Delay => format!("Undelivered {what}"),
            Kind::Success | Kind::Verify => format!("Delivered {what}"),
        }
    }

    fn put_boundary(&self, output: &mut Vec<u8>) {
        output.push_str(format!("\n--{}\n", self.boundary));
    }

    fn address_type(&self, address: &BString) -> &'static str {
        if self.smtputf8 && !address.is_ascii() { "utf-8" } else { "rfc822" }
    }
}

/// Breaks a line at blanks so that none is longer than 79 characters; continued lines are indented.
fn put_wrapped(text: &[u8], output: &mut Vec<u8>) {
    let mut column = 0;
    for word in text.fields_with(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
        if column > 0 && column + 1 + word.len() > TEXT_WIDTH {
            output.push(b'\n');
            output.extend(std::iter::repeat_n(b' ', TEXT_INDENT));
            column = TEXT_INDENT;
        } else if column > 0 {
            output.push(b' ');
            column += 1;
        }
        output.push_str(word);
        column += word.len();
    }
    output.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    fn notice(kind: Kind) -> Notice {
        Notice {
            kind,
            postmaster_copy: false,
            date: "Fri, 20 Nov 2026 10:00:00 +0000 (UTC)".into(),
            from: "MAILER-DAEMON@mail.example (Mail Delivery System)".into(),
            subject: "Undelivered Mail Returned to Sender".into(),
            to: "s@x.example".into(),
            message_id: Some("<1@x.example>".into()),
            charset: "us-ascii".into(),
            text: "Sorry.\n".into(),
            boundary: "ABC.123/mail.example".into(),
            myhostname: "mail.example".into(),
            mail_name: "Posthouse".into(),
            queue_id: "ABC".into(),
            sender: "s@x.example".into(),
            envelope_id: None,
            arrival: "Fri, 20 Nov 2026 09:00:00 +0000 (UTC)".into(),
            retry_until: Some("Wed, 25 Nov 2026 09:00:00 +0000 (UTC)".into()),
            recipients: vec![Recipient {
                address: "r@y.example".into(),
                original: Some("alias@x.example".into()),
                dsn_original: None,
                action: Action::Delayed,
                dsn: Dsn {
                    status: Status::permanent(1, 1),
                    reason: "host mx.y.example[192.0.2.1] said: 550 5.1.1 no such user here at all, really none (in reply to RCPT TO command)".into(),
                    diagnostic: Some(("smtp".into(), "550 5.1.1 no such user\r\nBcc: evil".into())),
                    remote_mta: Some(("dns".into(), "mx.y.example".into())),
                },
            }],
            returned: Returned::Full,
            smtputf8: false,
            eight_bit: false,
        }
    }

    fn text(notice: &Notice) -> String {
        let mut output = Vec::new();
        notice.put_head(&mut output);
        output.extend_from_slice(b"Subject: x\n\nbody\n");
        notice.put_end(&mut output);
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn failure_notice() {
        let text = text(&notice(Kind::Failure));
        for part in [
            "To: s@x.example\nReferences: <1@x.example>\nIn-Reply-To: <1@x.example>\nAuto-Submitted: auto-replied\n",
            "\n--ABC.123/mail.example\nContent-Description: Notification\nContent-Type: text/plain; charset=us-ascii\n\nSorry.\n",
            "\nFinal-Recipient: rfc822; r@y.example\nOriginal-Recipient: rfc822;alias@x.example\nAction: failed\nStatus: 5.1.1\n",
            "Remote-MTA: dns; mx.y.example\nDiagnostic-Code: smtp; 550 5.1.1 no such user  Bcc: evil\n",
            "Content-Description: Undelivered Message\nContent-Type: message/rfc822\n\nReturn-Path: <s@x.example>\nSubject: x\n",
            "\n--ABC.123/mail.example--\n",
        ] {
            assert!(text.contains(part), "{part}\n--- in ---\n{text}");
        }
        assert!(!text.contains("Will-Retry-Until"));
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }

    #[test]
    fn delay_notice() {
        let mut notice = notice(Kind::Delay);
        notice.returned = Returned::Headers;
        let text = text(&notice);
        assert!(text.contains("Action: delayed\n") && text.contains("Will-Retry-Until: Wed, 25 Nov 2026"));
        assert!(text.contains("Content-Description: Undelivered Message Headers\nContent-Type: text/rfc822-headers\n"));
    }

    #[test]
    fn reasons_are_wrapped() {
        let mut output = Vec::new();
        put_wrapped(&b"word ".repeat(40), &mut output);
        let text = String::from_utf8(output).expect("text");
        assert!(text.lines().count() > 2);
        assert!(text.lines().all(|line| line.len() <= TEXT_WIDTH), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word")));
    }
}
