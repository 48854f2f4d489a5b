//! What happens in an SMTP session (smtpd).

use std::fmt;

use super::put_transaction;
use crate::framing::show;

/// `connect from name[address]`.
pub fn connect(client: &str) {
    crate::info!("connect from {client}");
}

/// One kind of command of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCount {
    /// Lower-case name; `unknown` collects what is no command.
    pub name: &'static str,
    /// Those that were accepted.
    pub accepted: u32,
    /// All of them.
    pub total: u32,
}

/// `disconnect from name[address] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4`: the commands that were used, in the
/// order of `counts` (helo ehlo xclient xforward starttls auth mail rcpt data bdat rset noop vrfy etrn quit help unknown).
pub fn disconnect(client: &str, counts: &[CommandCount]) {
    crate::info!("disconnect from {client}{}", Counts(counts));
}

struct Counts<'a>(&'a [CommandCount]);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = CommandCount { name: "commands", accepted: 0, total: 0 };
        for count in self.0.iter().filter(|count| count.total > 0) {
            all.accepted = all.accepted.saturating_add(count.accepted);
            all.total = all.total.saturating_add(count.total);
            write_count(f, *count)?;
        }
        write_count(f, all)
    }
}

fn write_count(f: &mut fmt::Formatter<'_>, count: CommandCount) -> fmt::Result {
    let CommandCount { name, accepted, total } = count;
    if accepted == total && total > 0 { write!(f, " {name}={total}") } else { write!(f, " {name}={accepted}/{total}") }
}

/// Who hands in a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientLine<'a> {
    /// Queue id.
    pub queue_id: &'a str,
    /// `name[address]`.
    pub client: &'a str,
    /// SASL mechanism.
    pub sasl_method: Option<&'a str>,
    /// SASL login name.
    pub sasl_username: Option<&'a [u8]>,
    /// `AUTH=` of MAIL.
    pub sasl_sender: Option<&'a [u8]>,
    /// XFORWARD IDENT.
    pub original_queue_id: Option<&'a str>,
    /// XFORWARD NAME and ADDR, as `name[address]`.
    pub original_client: Option<&'a str>,
}

/// `queue_id: client=name[address], ...`.
pub fn client(line: &ClientLine<'_>) {
    crate::info!("{line}");
}

impl fmt::Display for ClientLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: client={}", self.queue_id, self.client)?;
        if let Some(method) = self.sasl_method {
            write!(f, ", sasl_method={}", show(method))?;
        }
        if let Some(name) = self.sasl_username {
            write!(f, ", sasl_username={}", show(name))?;
        }
        if let Some(sender) = self.sasl_sender {
            write!(f, ", sasl_sender={}", show(sender))?;
        }
        if let Some(queue_id) = self.original_queue_id {
            write!(f, ", orig_queue_id={}", show(queue_id))?;
        }
        if let Some(client) = self.original_client {
            write!(f, ", orig_client={}", show(client))?;
        }
        Ok(())
    }
}

/// An access decision that is logged: a rejection, a hold, a milter's verdict, ...
#[derive(Clone, Copy, Debug, Default)]
pub struct Rejection<'a> {
    /// `reject`, `reject_warning`, `hold`, `discard`, `milter-reject`, `proxy-reject`, ...
    pub action: &'a str,
    /// Queue id, when there is one already.
    pub queue_id: Option<&'a str>,
    /// `CONNECT`, `HELO`, `MAIL`, `RCPT`, `END-OF-MESSAGE`, ...
    pub stage: &'a str,
    /// `name[address]`.
    pub client: &'a str,
    /// The SMTP reply, or what else there is to say.
    pub text: &'a [u8],
    /// Envelope sender, once known.
    pub sender: Option<&'a [u8]>,
    /// The recipient at hand.
    pub recipient: Option<&'a [u8]>,
    /// `SMTP` or `ESMTP`, once known.
    pub protocol: Option<&'a str>,
    /// HELO argument, once known.
    pub helo: Option<&'a [u8]>,
    /// SASL mechanism.
    pub sasl_method: Option<&'a str>,
    /// SASL login name.
    pub sasl_username: Option<&'a [u8]>,
    /// `AUTH=` of MAIL.
    pub sasl_sender: Option<&'a [u8]>,
}

/// `NOQUEUE: reject: RCPT from name[address]: 554 5.7.1 ...; from=<..> to=<..> proto=ESMTP helo=<..>`.
pub fn decision(rejection: &Rejection<'_>) {
    crate::info!("{rejection}");
}

impl fmt::Display for Rejection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue_id = self.queue_id.unwrap_or("NOQUEUE");
        write!(f, "{queue_id}: {}: {} from {}: {};", self.action, self.stage, self.client, show(self.text))?;
        if let Some(sender) = self.sender {
            write!(f, " from=<{}>", show(sender))?;
        }
        put_transaction(f, self.recipient, self.protocol, self.helo)?;
        if let Some(method) = self.sasl_method {
            write!(f, " sasl_method={}", show(method))?;
        }
        if let Some(name) = self.sasl_username {
            write!(f, " sasl_username={}", show(name))?;
        }
        if let Some(sender) = self.sasl_sender {
            write!(f, " sasl_sender={}", show(sender))?;
        }
        Ok(())
    }
}

/// `NOQUEUE: lost connection after CMD [(n bytes) ]from name[address]`; `bytes` of content for DATA and BDAT.
pub fn lost_connection(queue_id: Option<&str>, command: &str, bytes: Option<u64>, client: &str) {
    broken("lost connection", queue_id, command, bytes, client);
}

/// `NOQUEUE: timeout after CMD [(n bytes) ]from name[address]`.
pub fn timeout(queue_id: Option<&str>, command: &str, bytes: Option<u64>, client: &str) {
    broken("timeout", queue_id, command, bytes, client);
}

/// `NOQUEUE: too many errors after CMD from name[address]`.
pub fn too_many_errors(queue_id: Option<&str>, command: &str, client: &str) {
    broken("too many errors", queue_id, command, None, client);
}

fn broken(what: &str, queue_id: Option<&str>, command: &str, bytes: Option<u64>, client: &str) {
    let queue_id = queue_id.unwrap_or("NOQUEUE");
    match bytes {
        Some(n) => crate::info!("{queue_id}: {what} after {command} ({n} bytes) from {client}"),
        None => crate::info!("{queue_id}: {what} after {command} from {client}"),
    }
}

/// `improper command pipelining after CMD from name[address]: text`; `text` is escaped by the caller and cut at 100.
pub fn improper_pipelining(command: &str, client: &str, text: &[u8]) {
    crate::info!("improper command pipelining after {command} from {client}: {}", show(&text[..text.len().min(100)]));
}

/// `warning: non-SMTP command from name[address]: text`.
pub fn non_smtp_command(client: &str, text: &[u8]) {
    crate::warning!("non-SMTP command from {client}: {}", show(&text[..text.len().min(100)]));
}

/// `SSL_accept error from name[address]: lost connection`; `-1` when the cause follows in a line of its own.
pub fn handshake_error(client: &str, cause: &str) {
    crate::info!("SSL_accept error from {client}: {cause}");
}

/// `Anonymous TLS connection established from name[address][ to name]: TLSv1.3 with cipher ...`.
pub fn tls_established(status: &str, client: &str, name: Option<&str>, summary: &str) {
    match name {
        Some(name) => {
            crate::info!("{status} TLS connection established from {client} to {}: {summary}", show(name));
        }
        None => crate::info!("{status} TLS connection established from {client}: {summary}"),
    }
}

/// `NOQUEUE: abort: TLS from name[address]: reason`: a client whose certificate does not do.
pub fn tls_abort(client: &str, reason: &str) {
    crate::info!("NOQUEUE: abort: TLS from {client}: {reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_commands_are_counted() {
        let count = |name, accepted, total| CommandCount { name, accepted, total };
        let counts =
            [count("helo", 0, 0), count("ehlo", 1, 1), count("mail", 1, 1), count("rcpt", 0, 2), count("quit", 1, 1)];
        assert_eq!(Counts(&counts).to_string(), " ehlo=1 mail=1 rcpt=0/2 quit=1 commands=3/5");
        assert_eq!(Counts(&[]).to_string(), " commands=0/0");
        assert_eq!(Counts(&counts[1..3]).to_string(), " ehlo=1 mail=1 commands=2");
    }

    #[test]
    fn a_rejection_names_what_is_known() {
        let mut line = Rejection {
            action: "reject",
            stage: "RCPT",
            client: "unknown[192.0.2.7]",
            text: b"554 5.7.1 <a@b.c>: Relay access denied",
            sender: Some(b""),
            recipient: Some(b"a@b.c"),
            protocol: Some("ESMTP"),
            helo: Some(b"x\ny"),
            ..Rejection::default()
        };
        assert_eq!(
            line.to_string(),
            "NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 <a@b.c>: Relay access denied; from=<> to=<a@b.c> \
             proto=ESMTP helo=<x?y>"
        );
        line = Rejection { queue_id: Some("ABC"), helo: None, sasl_username: Some(b"u"), ..line };
        assert!(line.to_string().starts_with("ABC: reject: RCPT from "));
        assert!(line.to_string().ends_with(" proto=ESMTP sasl_username=u"));
    }

    #[test]
    fn a_client_with_its_past() {
        let line = ClientLine {
            queue_id: "ABC",
            client: "h[192.0.2.1]",
            sasl_method: Some("PLAIN"),
            sasl_username: Some(b"u"),
            original_queue_id: Some("DEF"),
            original_client: Some("g[192.0.2.2]"),
            ..ClientLine::default()
        };
        assert_eq!(
            line.to_string(),
            "ABC: client=h[192.0.2.1], sasl_method=PLAIN, sasl_username=u, orig_queue_id=DEF, orig_client=g[192.0.2.2]"
        );
    }

    #[test]
    fn broken_sessions() {
        crate::capture();
        lost_connection(None, "CONNECT", None, "unknown[192.0.2.1]");
        timeout(Some("ABC"), "DATA", Some(42), "unknown[192.0.2.1]");
        non_smtp_command("unknown[192.0.2.1]", b"GET / HTTP/1.1\r");
        assert_eq!(
            crate::capture(),
            [
                "NOQUEUE: lost connection after CONNECT from unknown[192.0.2.1]",
                "ABC: timeout after DATA (42 bytes) from unknown[192.0.2.1]",
                "warning: non-SMTP command from unknown[192.0.2.1]: GET / HTTP/1.1?",
            ]
        );
    }
}
