//! An SMTP client that does exactly what a test says, right or wrong.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::PATIENCE;

/// A connection to a server.
#[derive(Debug)]
pub struct SmtpClient {
    reader: BufReader<TcpStream>,
}

impl SmtpClient {
    /// Takes a connection that is there already.
    #[must_use]
    pub fn over(stream: TcpStream) -> SmtpClient {
        stream.set_read_timeout(Some(PATIENCE)).expect("time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("time limit");
        stream.set_nodelay(true).expect("no delay");
        SmtpClient { reader: BufReader::new(stream) }
    }

    /// Connects to a port on 127.0.0.1; the greeting is not read.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(port: u16) -> SmtpClient {
        SmtpClient::over(TcpStream::connect(("127.0.0.1", port)).expect("connect"))
    }

    /// Connects, reads the greeting and says EHLO.
    #[must_use]
    pub fn greeted(port: u16) -> SmtpClient {
        let mut client = SmtpClient::connect(port);
        client.expect(220);
        client.command("EHLO client.example", 250);
        client
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the server has closed.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("send");
    }

    /// The next reply, all its lines without line ends; empty when the server has closed.
    pub fn reply(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return lines,
                Ok(_) => {}
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// The next reply, which must have this code.
    ///
    /// # Panics
    /// When it has another.
    pub fn expect(&mut self, code: u16) -> String {
        let reply = self.reply().join("\n");
        assert!(reply.lines().last().is_some_and(|line| line.starts_with(&code.to_string())), "not {code}: {reply:?}");
        reply
    }

    /// Sends a command line and expects a reply with this code.
    pub fn command(&mut self, line: &str, code: u16) -> String {
        self.send(format!("{line}\r\n"));
        let reply = self.reply().join("\n");
        assert!(
            reply.lines().last().is_some_and(|line| line.starts_with(&code.to_string())),
            "{line}: not {code}: {reply:?}"
        );
        reply
    }

    /// Sends a whole message and returns the queue id from the reply; `content` has CRLF line ends and no final dot.
    pub fn message(&mut self, sender: &str, recipients: &[&str], content: &str) -> String {
        self.message_bytes(sender, recipients, content.as_bytes())
    }

    /// The same with content that is not text.
    pub fn message_bytes(&mut self, sender: &str, recipients: &[&str], content: &[u8]) -> String {
        self.command(&format!("MAIL FROM:<{sender}>"), 250);
        for recipient in recipients {
            self.command(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.data(content)
    }

    /// Sends DATA and the content, and returns the queue id from the reply.
    pub fn data(&mut self, content: &[u8]) -> String {
        self.command("DATA", 354);
        let mut bytes = Vec::with_capacity(content.len() + 16);
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                bytes.push(b'.');
            }
            bytes.extend_from_slice(line);
        }
        bytes.extend_from_slice(if content.is_empty() || content.ends_with(b"\r\n") { b".\r\n" } else { b"\r\n.\r\n" });
        self.send(bytes);
        let reply = self.expect(250);
        reply.split("queued as ").nth(1).unwrap_or_default().to_owned()
    }

    /// Everything until the server closes.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.reader.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
