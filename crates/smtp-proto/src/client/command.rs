//! Commands as they go over the wire, appended to the output buffer with their CRLF, so that a pipelined batch is one
//! write. Addresses are given in external (quoted) form, without angle brackets.

use dsn::{Notify, Return};

use crate::xtext;

/// How the session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// `HELO`
    Helo,
    /// `EHLO`
    Ehlo,
    /// `LHLO` (RFC 2033)
    Lhlo,
}

/// `BODY=` (RFC 6152).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
}

/// `MAIL FROM` and its parameters; each only for servers that offer its extension.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mail<'a> {
    /// The sender; empty for the null sender.
    pub sender: &'a [u8],
    /// `SIZE=` (RFC 1870), in bytes.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Option<Body>,
    /// `RET=` (RFC 3461).
    pub ret: Option<Return>,
    /// `ENVID=`, not encoded.
    pub envelope_id: Option<&'a [u8]>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `REQUIRETLS` (RFC 8689).
    pub requiretls: bool,
    /// `AUTH=` (RFC 4954 5), not encoded; an empty one is sent as `<>`.
    pub auth: Option<&'a [u8]>,
}

/// `RCPT TO` and its parameters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recipient<'a> {
    /// The recipient.
    pub recipient: &'a [u8],
    /// `NOTIFY=`; not sent when unspecified.
    pub notify: Notify,
    /// `ORCPT=`: `type;address`, the address not encoded.
    pub original: Option<&'a [u8]>,
}

/// `HELO`, `EHLO` or `LHLO` with our name.
pub fn greet(output: &mut Vec<u8>, greeting: Greeting, name: &[u8]) {
    output.extend_from_slice(match greeting {
        Greeting::Helo => b"HELO ",
        Greeting::Ehlo => b"EHLO ",
        Greeting::Lhlo => b"LHLO ",
    });
    text(output, name);
    end(output);
}

/// `MAIL FROM:<sender>` with parameters.
pub fn mail(output: &mut Vec<u8>, mail: &Mail<'_>) {
    output.extend_from_slice(b"MAIL FROM:<");
    text(output, mail.sender);
    output.push(b'>');
    if let Some(size) = mail.size {
        parameter(output, "SIZE", size.to_string().as_bytes());
    }
    match mail.body {
        Some(Body::SevenBit) => parameter(output, "BODY", b"7BIT"),
        Some(Body::EightBitMime) => parameter(output, "BODY", b"8BITMIME"),
        None => {}
    }
    if let Some(ret) = mail.ret {
        parameter(output, "RET", ret.to_parameter().as_bytes());
    }
    if let Some(id) = mail.envelope_id.filter(|id| !id.is_empty()) {
        parameter(output, "ENVID", &xtext::encode(id));
    }
    if mail.smtputf8 {
        output.extend_from_slice(b" SMTPUTF8");
    }
    if mail.requiretls {
        output.extend_from_slice(b" REQUIRETLS");
    }
    match mail.auth {
        Some(b"") => parameter(output, "AUTH", b"<>"),
        Some(auth) => parameter(output, "AUTH", &xtext::encode(auth)),
        None => {}
    }
    end(output);
}

/// `RCPT TO:<recipient>` with parameters.
pub fn rcpt(output: &mut Vec<u8>, recipient: &Recipient<'_>) {
    output.extend_from_slice(b"RCPT TO:<");
    text(output, recipient.recipient);
    output.push(b'>');
    if let Some(notify) = recipient.notify.to_parameter() {
        parameter(output, "NOTIFY", notify.as_bytes());
    }
    if let Some(original) = recipient.original {
        let (kind, address) = match original.iter().position(|b| *b == b';') {
            Some(at) => (&original[..at], &original[at + 1..]),
            None => (&b"rfc822"[..], original),
        };
        output.extend_from_slice(b" ORCPT=");
        text(output, kind);
        output.push(b';');
        output.extend_from_slice(&xtext::encode(address));
    }
    end(output);
}

/// `XFORWARD` with attributes; values are encoded. The caller keeps the line within 512 bytes.
pub fn xforward(output: &mut Vec<u8>, attributes: &[(&str, &[u8])]) {
    output.extend_from_slice(b"XFORWARD");
    for (name, value) in attributes {
        parameter(output, name, &xtext::encode(value));
    }
    end(output);
}

/// `DATA`
pub fn data(output: &mut Vec<u8>) {
    output.extend_from_slice(b"DATA\r\n");
}

/// `RSET`
pub fn rset(output: &mut Vec<u8>) {
    output.extend_from_slice(b"RSET\r\n");
}

/// `QUIT`
pub fn quit(output: &mut Vec<u8>) {
    output.extend_from_slice(b"QUIT\r\n");
}

/// `STARTTLS` (RFC 3207)
pub fn starttls(output: &mut Vec<u8>) {
    output.extend_from_slice(b"STARTTLS\r\n");
}

fn parameter(output: &mut Vec<u8>, name: &str, value: &[u8]) {
    output.push(b' ');
    output.extend_from_slice(name.as_bytes());
    output.push(b'=');
    output.extend_from_slice(value);
}

/// Appends bytes from outside: CR, LF and NUL would end or cut the command, so they become `?`. A queue file may hold
/// them, an SMTP command cannot.
fn text(output: &mut Vec<u8>, bytes: &[u8]) {
    output.extend(bytes.iter().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b'?' } else { *b }));
}

fn end(output: &mut Vec<u8>) {
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch() {
        let mut out = Vec::new();
        greet(&mut out, Greeting::Lhlo, b"mx.example");
        let message = Mail {
            sender: b"\"a b\"@example.org",
            size: Some(1234),
            body: Some(Body::EightBitMime),
            ret: Some(Return::Headers),
            envelope_id: Some(b"x+y"),
            auth: Some(b""),
            ..Mail::default()
        };
        mail(&mut out, &message);
        mail(&mut out, &Mail::default());
        let notify = Notify::SUCCESS.union(Notify::DELAY);
        rcpt(&mut out, &Recipient { recipient: b"u@h", notify, original: Some(b"rfc822;u+v@h") });
        data(&mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "LHLO mx.example\r\n\
             MAIL FROM:<\"a b\"@example.org> SIZE=1234 BODY=8BITMIME RET=HDRS ENVID=x+2By AUTH=<>\r\n\
             MAIL FROM:<>\r\n\
             RCPT TO:<u@h> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;u+2Bv@h\r\n\
             DATA\r\n"
        );
        let mut out = Vec::new();
        rcpt(&mut out, &Recipient { recipient: b"u\r\nRSET@h", ..Recipient::default() });
        assert_eq!(String::from_utf8_lossy(&out), "RCPT TO:<u??RSET@h>\r\n");
    }
}
