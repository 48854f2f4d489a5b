//! The records of a submission.

use std::io::{self, BufRead};
use std::os::unix::ffi::OsStrExt;

use address::header::AddressList;
use bstr::BString;
use config::Config;
use message::{Limits, Parser};
use queue::record::{self, RecordType};

use crate::identity::User;
use crate::input::{LineEndings, Lines};
use crate::options::{Mode, Options};
use crate::postdrop::Postdrop;

/// Verification by a user: a report, no delivery.
const VERIFY: u32 = 512;
/// A report about the delivery.
const RECORD: u32 = 1024;

/// Why a submission fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("No recipient addresses found in message header")]
    NoRecipients,
    #[error("message file too big")]
    Size,
    #[error("error reading input: {}", sys::reason(.0))]
    Input(io::Error),
    #[error("queue file write error: {}", sys::reason(.0))]
    Pipe(io::Error),
}

/// Everything but the content.
pub(crate) struct Submission {
    /// Internal form.
    pub(crate) sender: BString,
    recipients: Vec<BString>,
    envelope: Vec<u8>,
    notify: Option<String>,
    extract: bool,
    verify: bool,
    dot_ends: bool,
    endings: LineEndings,
    line_limit: usize,
    size_limit: u64,
    limits: Limits,
    token_limit: usize,
}

impl Submission {
    /// Puts the envelope together.
    pub(crate) fn new(options: &Options, config: &Config, user: &User) -> Result<Submission, String> {
        let text = |error: config::Error| error.to_string();
        let size = |name: &str| config.int(name).map(|value| usize::try_from(value).unwrap_or(0)).map_err(text);
        let token_limit = size("header_address_token_limit")?;
        let verify = options.mode == Mode::Verify;
        let mut recipients = Vec::new();
        for operand in &options.operands {
            recipients.extend(addresses(operand.as_bytes(), token_limit));
        }
        let extract = options.extract && !verify;
        if recipients.is_empty() && !extract {
            return Err("Recipient addresses must be specified on the command line or via the -t option".to_owned());
        }
        let sender = match &options.sender {
            Some(given) => sender_of(given.as_bytes(), token_limit),
            None => user.name.as_str().into(),
        };
        let limits = Limits { header_size: size("header_size_limit")?, ..Limits::default() };
        let verp = match &options.verp {
            None => None,
            Some(None) => Some(config.string("default_verp_delimiters").map_err(text)?.into_bytes()),
            Some(Some(delimiters)) => Some(delimiters.as_bytes().to_vec()),
        };
        if let Some(verp) = &verp {
            let allowed = config.string("verp_delimiter_filter").map_err(text)?;
            if verp.len() != 2 || !verp.iter().all(|byte| allowed.as_bytes().contains(byte)) {
                return Err(format!("bad VERP delimiters: {}", String::from_utf8_lossy(verp)));
            }
        }
        Ok(Submission {
            envelope: envelope(options, user, &sender, verp.as_deref(), verify),
            sender,
            recipients,
            notify: (!options.notify.is_unspecified()).then(|| format!("notify_flags={}", options.notify.bits())),
            extract,
            verify,
            dot_ends: !options.dots_are_text,
            endings: LineEndings::of(&config.string("sendmail_fix_line_endings").map_err(text)?),
            line_limit: size("line_length_limit")?,
            size_limit: u64::try_from(config.long("message_size_limit").map_err(text)?).unwrap_or(0),
            limits,
            token_limit,
        })
    }

    /// Writes everything to postdrop.
    pub(crate) fn write(&self, input: &mut impl BufRead, postdrop: &mut Postdrop) -> Result<(), Error> {
        let mut output = self.envelope.clone();
        for recipient in &self.recipients {
            self.put_recipient(&mut output, recipient);
        }
        record::put(&mut output, RecordType::Message, b"");
        let extracted = if self.verify {
            self.put_probe(&mut output);
            Vec::new()
        } else {
            self.copy(input, &mut output, postdrop)?
        };
        record::put(&mut output, RecordType::Extracted, b"");
        for recipient in &extracted {
            self.put_recipient(&mut output, recipient);
        }
        if self.recipients.is_empty() && extracted.is_empty() {
            return Err(Error::NoRecipients);
        }
        record::put(&mut output, RecordType::End, b"");
        postdrop.write(&output).map_err(Error::Pipe)
    }

    fn put_recipient(&self, output: &mut Vec<u8>, recipient: &[u8]) {
        if let Some(notify) = &self.notify {
            record::put(output, RecordType::Attribute, notify.as_bytes());
        }
        record::put(output, RecordType::Recipient, recipient);
    }

    /// The message that `-bv` sends: it goes nowhere, the report quotes it.
    fn put_probe(&self, output: &mut Vec<u8>) {
        let mut from = b"From: ".to_vec();
        address::put_external(&mut from, &self.sender);
        record::put(output, RecordType::Text, &from);
        record::put(output, RecordType::Text, b"Subject: probe");
        record::put(output, RecordType::Continued, b"To:");
        let last = self.recipients.len().saturating_sub(1);
        for (index, recipient) in self.recipients.iter().enumerate() {
            let mut line = b"\t".to_vec();
            address::put_external(&mut line, recipient);
            if index < last {
                line.push(b',');
            }
            record::put(output, RecordType::Text, &line);
        }
    }

    /// Copies the content; the recipients that its headers name, when they are asked for.
    fn copy(
        &self,
        input: &mut impl BufRead,
        output: &mut Vec<u8>,
        postdrop: &mut Postdrop,
    ) -> Result<Vec<BString>, Error> {
        let mut lines = Lines::new(input, self.line_limit, self.endings, self.dot_ends);
        let mut headers = self.extract.then(|| Headers::new(self.limits, self.token_limit));
        let mut total = 0u64;
        while let Some((text, complete)) = lines.next_piece().map_err(Error::Input)? {
            total += text.len() as u64 + 2;
            if self.size_limit > 0 && total > self.size_limit {
                return Err(Error::Size);
            }
            let kind = if complete { RecordType::Text } else { RecordType::Continued };
            record::put(output, kind, text);
            if let Some(headers) = &mut headers {
                headers.line(text, complete);
            }
            if output.len() >= 60 << 10 {
                postdrop.write(output).map_err(Error::Pipe)?;
                output.clear();
            }
        }
        Ok(headers.map(Headers::finish).unwrap_or_default())
    }
}

/// The records before the recipients.
fn envelope(options: &Options, user: &User, sender: &[u8], verp: Option<&[u8]>, verify: bool) -> Vec<u8> {
    let mut output = Vec::new();
    let attribute = |output: &mut Vec<u8>, name: &str, value: &[u8]| {
        record::put_parts(output, RecordType::Attribute, &[name.as_bytes(), b"=", value]);
    };
    if let Some(bits) = options.send_options {
        let minus = "             -1 ".repeat(5);
        record::put(&mut output, RecordType::Size, format!("{minus}{bits:>15}").as_bytes());
    }
    if let Some(id) = &options.envelope_id {
        attribute(&mut output, "envelope_id", id.as_bytes());
    }
    if let Some(ret) = options.ret {
        attribute(&mut output, "ret_flags", ret.bits().to_string().as_bytes());
    }
    attribute(&mut output, "rewrite_context", if options.gateway { b"remote" } else { b"local" });
    if let Some(name) = user.full_name(options.full_name.as_ref().map(|name| name.as_bytes())) {
        record::put(&mut output, RecordType::FullName, &name);
    }
    record::put(&mut output, RecordType::Sender, sender);
    if let Some(encoding) = options.encoding {
        attribute(&mut output, "encoding", encoding.as_bytes());
    }
    let trace = if verify {
        VERIFY
    } else if options.verbose == 1 {
        RECORD
    } else {
        0
    };
    if trace != 0 {
        attribute(&mut output, "trace_flags", trace.to_string().as_bytes());
    }
    if let Some(verp) = verp {
        record::put(&mut output, RecordType::Verp, verp);
    }
    output
}

/// The addresses of an argument; an argument without any is the null address.
fn addresses(text: &[u8], token_limit: usize) -> Vec<BString> {
    let found: Vec<BString> = AddressList::parse(text, token_limit).into_addresses().collect();
    if found.is_empty() { vec![BString::default()] } else { found }
}

/// The first address of `-f`; anything more is pointed out.
fn sender_of(text: &[u8], token_limit: usize) -> BString {
    let mut found = AddressList::parse(text, token_limit).into_addresses();
    let first = found.next().unwrap_or_default();
    if found.next().is_some() {
        log::warning!("-f option specified malformed sender: {}", BString::from(text));
    }
    first
}

/// Looks for recipients in the headers.
struct Headers {
    parser: Parser,
    token_limit: usize,
    recipients: Vec<BString>,
    resent: Vec<BString>,
}

impl Headers {
    fn new(limits: Limits, token_limit: usize) -> Headers {
        Headers { parser: Parser::new(limits, false), token_limit, recipients: Vec::new(), resent: Vec::new() }
    }

    fn line(&mut self, text: &[u8], complete: bool) {
        if self.parser.is_opaque() {
            return;
        }
        let step = self.parser.step(text, complete);
        Headers::note(step.header, self.token_limit, &mut self.recipients, &mut self.resent);
    }

    fn note(
        header: Option<message::Header<'_>>,
        token_limit: usize,
        recipients: &mut Vec<BString>,
        resent: &mut Vec<BString>,
    ) {
        let Some(header) = header else { return };
        let Some(name) = header.name.filter(|name| name.is_extracted()) else { return };
        let list = AddressList::parse(message::value(header.text).unwrap_or_default(), token_limit);
        if name.is_resent() { resent } else { recipients }.extend(list.into_addresses());
    }

    /// Those of a resent message are the ones that count.
    fn finish(mut self) -> Vec<BString> {
        let step = self.parser.finish();
        Headers::note(step.header, self.token_limit, &mut self.recipients, &mut self.resent);
        if self.resent.is_empty() { self.recipients } else { self.resent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_of_headers() {
        let cases: [(&str, &[&str]); 4] = [
            ("To: x, y <z@w>\nBcc: q\nSubject: a, b\n\nTo: no", &["x", "z@w", "q"]),
            ("To: x\nResent-To: r,\n s\n", &["r", "s"]),
            ("To: x", &["x"]),
            ("\nTo: x", &[]),
        ];
        for (message, expected) in cases {
            let mut headers = Headers::new(Limits::default(), 1000);
            for line in message.lines() {
                headers.line(line.as_bytes(), true);
            }
            assert_eq!(headers.finish(), expected, "{message}");
        }
    }

    #[test]
    fn arguments() {
        assert_eq!(addresses(b"A (c) <w>", 100), ["w"]);
        assert_eq!(addresses(b"a, b", 100), ["a", "b"]);
        assert_eq!(addresses(b"", 100), [""]);
        assert_eq!(addresses(b"<>", 100), [""]);
        assert_eq!(sender_of(b"\"a b\"@c", 100), "a b@c");
        assert_eq!(sender_of(b"a b", 100), "a");
    }
}
