//! `smtpd -S` (`sendmail -bs`): what the client submits goes to postdrop, since the user who runs this program may not talk
//! to cleanup. To the rest of the server it looks like cleanup: this module speaks that protocol's other side, and hands
//! over records.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use bstr::{BString, ByteSlice, ByteVec};
use config::Config;
use ipc::cleanup::{Begin, Encoding, FromCleanup, Recipient, Refusal, Sender, ToCleanup};
use ipc::{Connection, Kind};
use queue::QueueId;
use queue::record::{self, RecordType};
use tokio::net::UnixStream;

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 4096;

/// How to submit.
#[derive(Debug)]
pub(crate) struct Postdrop {
    program: PathBuf,
    config_directory: String,
    hostname: String,
    mail_name: String,
    line_limit: usize,
}

impl Postdrop {
    pub(crate) fn load(config: &Config) -> Result<Postdrop, config::Error> {
        Ok(Postdrop {
            program: PathBuf::from(config.string("command_directory")?).join("postdrop"),
            config_directory: config.string("config_directory")?,
            hostname: config.string("myhostname")?,
            mail_name: config.string("mail_name")?,
            line_limit: usize::try_from(config.int("line_length_limit")?).unwrap_or(2048).max(1),
        })
    }

    /// A connection that leads here instead of to cleanup.
    pub(crate) fn connect(self: &Rc<Postdrop>) -> io::Result<Connection> {
        let (ours, theirs) = UnixStream::pair()?;
        let postdrop = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(error) = postdrop.serve(Connection::new(theirs)).await {
                log::warning!("{}: {error}", postdrop.program.display());
            }
        });
        Ok(Connection::new(ours))
    }

    /// Transactions, one after the other. Writing to postdrop blocks: this process has one client.
    async fn serve(&self, mut connection: Connection) -> Result<(), ipc::Error> {
        while let Some(message) = connection.receive::<ToCleanup>().await? {
            let ToCleanup::Begin(begin) = message else {
                // What follows a transaction that could not be opened.
                continue;
            };
            let answer = match self.start() {
                Ok(running) => {
                    connection.send(&FromCleanup::Opened(running.queue_id.clone())).await?;
                    self.transaction(&mut connection, &begin, running).await?
                }
                Err(error) => {
                    log::warning!("{}: {error}", self.program.display());
                    Some(FromCleanup::Unavailable(Refusal::Write))
                }
            };
            if let Some(answer) = answer {
                connection.send(&answer).await?;
            }
        }
        Ok(())
    }

    /// One message; no answer when it was aborted.
    async fn transaction(
        &self,
        connection: &mut Connection,
        begin: &Begin,
        mut running: Running,
    ) -> Result<Option<FromCleanup>, ipc::Error> {
        let mut message = Message::new(begin);
        loop {
            let Some(frame) = connection.receive_frame().await? else {
                running.abandon();
                return Ok(None);
            };
            if frame.kind == Kind::Data {
                message.content(frame.payload, self.line_limit);
            } else {
                match frame.message::<ToCleanup>()? {
                    ToCleanup::Sender(sender) => message.sender(&sender, begin),
                    ToCleanup::Recipient(recipient) => message.recipient(recipient),
                    ToCleanup::Bcc(address) => message.recipient(Recipient { address, ..Recipient::default() }),
                    ToCleanup::Header(line) => message.headers.push(line),
                    ToCleanup::Content => {
                        let received = self.received(begin, &running.queue_id, message.only_recipient.as_ref());
                        message.begin_content(&received);
                    }
                    ToCleanup::End => {
                        message.end();
                        running.write(&message.output);
                        return Ok(Some(running.finish()));
                    }
                    ToCleanup::Abort => {
                        running.abandon();
                        return Ok(None);
                    }
                    // Access decisions are not made about users of this machine.
                    ToCleanup::Begin(_) | ToCleanup::Action(_) | ToCleanup::Attribute(..) => {}
                }
            }
            running.write(&message.output);
            message.output.clear();
        }
    }

    /// The lines of the Received header; pickup adds its own when it takes the message.
    fn received(&self, begin: &Begin, id: &QueueId, recipient: Option<&BString>) -> Vec<BString> {
        let Some(received) = &begin.received else { return Vec::new() };
        let mut lines: Vec<BString> = received.from.clone();
        let with = received.protocol.as_deref().unwrap_or("SMTP");
        lines.push(format!("by {} ({}) with {with} id {id}", self.hostname, self.mail_name).into());
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
        let offset = sys::clock::local(seconds).offset;
        let name = sys::clock::zone_name(seconds);
        let date = message::date::format(seconds, message::date::Zone { offset, name: &name });
        match recipient {
            Some(recipient) => {
                let mut line = BString::from("for <");
                line.extend_from_slice(&address::external(recipient));
                line.extend_from_slice(format!(">; {date}").as_bytes());
                lines.push(line);
            }
            None => {
                if let Some(last) = lines.last_mut() {
                    last.extend_from_slice(format!("; {date}").as_bytes());
                }
            }
        }
        for (number, line) in lines.iter_mut().enumerate() {
            line.insert_str(0, if number == 0 { "Received: " } else { "\t" });
        }
        lines
    }

    fn start(&self) -> io::Result<Running> {
        let mut command = Command::new(&self.program);
        command.arg("-r").env("MAIL_CONFIG", &self.config_directory);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        match read_list(&mut child).map(|list| field(&list, b"queue_id").and_then(|id| id.to_str().ok()?.parse().ok()))
        {
            Ok(Some(queue_id)) => Ok(Running { child, queue_id, broken: false }),
            failed => {
                drop(child.stdin.take());
                let status = child.wait()?;
                Err(failed.err().unwrap_or_else(|| io::Error::other(format!("no queue id: {status}"))))
            }
        }
    }
}

/// A postdrop that waits for records.
struct Running {
    child: Child,
    queue_id: QueueId,
    broken: bool,
}

impl Running {
    /// An error shows at the end.
    fn write(&mut self, records: &[u8]) {
        if !self.broken && !records.is_empty() {
            let written = self.child.stdin.as_mut().map(|input| input.write_all(records));
            self.broken = !matches!(written, Some(Ok(())));
        }
    }

    fn finish(mut self) -> FromCleanup {
        drop(self.child.stdin.take());
        let answer = read_list(&mut self.child);
        let ended = self.child.wait();
        let status = answer.ok().and_then(|list| field(&list, b"status")?.to_str().ok()?.parse::<u32>().ok());
        match status {
            Some(0) if !self.broken && ended.is_ok_and(|status| status.success()) => FromCleanup::Queued,
            Some(status) if status & 4 != 0 => FromCleanup::Refused(Refusal::Size),
            _ => FromCleanup::Refused(Refusal::Write),
        }
    }

    /// Closes the pipe before the end: postdrop removes what it wrote.
    fn abandon(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// One list of names and values, each ended by NUL; one NUL more ends the list.
fn read_list(child: &mut Child) -> io::Result<Vec<u8>> {
    let Some(output) = &mut child.stdout else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let mut list = Vec::new();
    let mut byte = [0];
    while !list.ends_with(b"\0\0") || list.ends_with(b"reason\0\0") {
        output.read_exact(&mut byte)?;
        list.push(byte[0]);
        if list.len() > LONGEST_ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(list)
}

/// The value behind a name.
fn field(list: &[u8], name: &[u8]) -> Option<BString> {
    let mut parts = list.split(|byte| *byte == 0);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        if key == name {
            return Some(value.into());
        }
    }
    None
}

/// Records of a message, in their order.
#[derive(Default)]
struct Message {
    output: Vec<u8>,
    headers: Vec<BString>,
    only_recipient: Option<BString>,
    recipients: usize,
    /// Content whose line end has not come yet.
    line: Vec<u8>,
    in_content: bool,
}

impl Message {
    fn new(begin: &Begin) -> Message {
        let mut message = Message::default();
        message.attribute("rewrite_context", if begin.rewrite_local { b"local" } else { b"remote" });
        message
    }

    fn attribute(&mut self, name: &str, value: &[u8]) {
        record::put_parts(&mut self.output, RecordType::Attribute, &[name.as_bytes(), b"=", value]);
    }

    fn sender(&mut self, sender: &Sender, begin: &Begin) {
        if let Some(id) = &sender.envelope_id {
            self.attribute("envelope_id", id);
        }
        if let Some(ret) = sender.ret {
            self.attribute("ret_flags", ret.bits().to_string().as_bytes());
        }
        record::put(&mut self.output, RecordType::Sender, &sender.address);
        match begin.encoding {
            Some(Encoding::SevenBit) => self.attribute("encoding", b"7bit"),
            Some(Encoding::EightBit) => self.attribute("encoding", b"8bit"),
            None => {}
        }
    }

    fn recipient(&mut self, recipient: Recipient) {
        if !recipient.notify.is_unspecified() {
            self.attribute("notify_flags", recipient.notify.bits().to_string().as_bytes());
        }
        if let Some(original) = &recipient.original {
            self.attribute("dsn_orig_rcpt", original);
        }
        record::put(&mut self.output, RecordType::Recipient, &recipient.address);
        self.recipients += 1;
        self.only_recipient = (self.recipients == 1).then_some(recipient.address);
    }

    fn begin_content(&mut self, received: &[BString]) {
        record::put(&mut self.output, RecordType::Message, b"");
        self.in_content = true;
        for line in self.headers.drain(..).chain(received.iter().cloned()) {
            record::put(&mut self.output, RecordType::Text, &line);
        }
    }

    fn content(&mut self, bytes: &[u8], limit: usize) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.line.extend_from_slice(end);
                    self.cut(limit);
                    record::put(&mut self.output, RecordType::Text, &self.line);
                    self.line.clear();
                }
                None => {
                    self.line.extend_from_slice(piece);
                    self.cut(limit);
                }
            }
        }
    }

    /// Writes what is longer than a record may be.
    fn cut(&mut self, limit: usize) {
        let mut from = 0;
        while self.line.len() - from > limit {
            record::put(&mut self.output, RecordType::Continued, &self.line[from..from + limit]);
            from += limit;
        }
        self.line.drain(..from);
    }

    fn end(&mut self) {
        if !self.in_content {
            record::put(&mut self.output, RecordType::Message, b"");
        }
        if !self.line.is_empty() {
            record::put(&mut self.output, RecordType::Text, &self.line);
        }
        record::put(&mut self.output, RecordType::Extracted, b"");
        record::put(&mut self.output, RecordType::End, b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_postdrop() {
        let list = b"protocol\0postdrop_protocol\0queue_id\0AB12\0\0";
        assert_eq!(field(list, b"queue_id"), Some("AB12".into()));
        assert_eq!(field(list, b"AB12"), None);
        assert_eq!(field(b"status\x004\0reason\0\0\0", b"status"), Some("4".into()));
    }

    #[test]
    fn content_becomes_records_wherever_it_is_cut() {
        let text = b"Subject: x\n\nabcdefghijkl\nlast";
        let mut whole = Message::default();
        whole.content(text, 5);
        whole.end();
        for cut in 0..text.len() {
            let mut message = Message::default();
            message.content(&text[..cut], 5);
            message.content(&text[cut..], 5);
            message.end();
            assert!(message.output == whole.output, "cut at {cut}");
        }
    }
}
