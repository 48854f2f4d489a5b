//! Content: from frames to lines, from lines to headers and body.

use std::borrow::Cow;
use std::rc::Rc;

use bstr::{BString, ByteSlice};
use ipc::cleanup::Refusal;
use message::received::Received;
use message::{Class, EndOfHeaders, Step};

use super::{Phase, Transaction};
use crate::clock;

impl Transaction {
    /// The envelope is over; headers of our own come first.
    pub(crate) async fn begin_content(&mut self) -> Result<(), Refusal> {
        if self.phase != Phase::Recipients {
            return Err(Refusal::Protocol);
        }
        self.phase = Phase::Content;
        self.begin_recipients().await?;
        self.writer.begin_content().map_err(|error| self.write_error(&error))?;
        if self.service.settings.force_conversion && !self.service.settings.disable_mime {
            self.body.converter = Some(message::downgrade::Converter::new(self.service.settings.limits));
        }
        for header in std::mem::take(&mut self.prepended) {
            self.write_header(header.trim_end_with(|c| c == '\n' || c == '\r'))?;
        }
        self.write_received()
    }

    fn write_received(&mut self) -> Result<(), Refusal> {
        let Some(received) = self.begin.received.take() else { return Ok(()) };
        self.headers.hops += 1;
        let recipient = self
            .first_recipient
            .as_ref()
            .filter(|_| self.client_recipients == 1 && received.protocol.is_some())
            .map(|recipient| address::external(recipient));
        let settings = &self.service.settings;
        let text = Received {
            from: &received.from,
            by: &settings.myhostname,
            mail_name: &settings.mail_name,
            protocol: received.protocol.as_deref(),
            uid: received.uid,
            id: &self.id,
            recipient: recipient.as_ref().map(|recipient| recipient.as_bstr()),
            date: &clock::date(self.arrival.0),
        }
        .text();
        self.write_header(&text)
    }

    /// Content as it comes: lines that end in LF, cut anywhere.
    pub(crate) async fn data(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.phase != Phase::Content {
            return Err(Refusal::Protocol);
        }
        let cleaned = self.clean(bytes)?;
        let mut rest: &[u8] = &cleaned;
        let limit = self.service.settings.line_length_limit;
        while !rest.is_empty() {
            if self.body.is_plain {
                self.plain(rest)?;
                break;
            }
            let Some(end) = rest.find_byte(b'\n') else {
                self.body.cut.extend_from_slice(rest);
                while self.body.cut.len() >= limit {
                    let piece: Vec<u8> = self.body.cut.drain(..limit).collect();
                    self.line(&piece, false).await?;
                }
                break;
            };
            let (line, more) = (&rest[..end], &rest[end + 1..]);
            rest = more;
            if self.body.cut.is_empty() {
                self.whole_line(line).await?;
            } else {
                let mut whole = std::mem::take(&mut self.body.cut);
                whole.extend_from_slice(line);
                self.whole_line(&whole).await?;
            }
        }
        self.check_size()
    }

    /// Body that nothing looks at, straight into the file.
    fn plain(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.is_discarded() {
            return Ok(());
        }
        // A line may have been begun while there still was something to look at.
        let cut = std::mem::take(&mut self.body.cut);
        let written = self.writer.chunk(&cut).and_then(|()| self.writer.chunk(bytes));
        written.map_err(|error| self.write_error(&error))
    }

    /// What is not wanted in content (`cleanup_replace_stray_cr_lf`, `message_strip_characters`,
    /// `message_reject_characters`). Content that has none of it is not copied.
    fn clean<'b>(&self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, Refusal> {
        let settings = &self.service.settings;
        if !settings.reject_characters.is_empty()
            && let Some(at) = bytes.find_byteset(&settings.reject_characters)
        {
            let start = bytes[..at].rfind_byte(b'\n').map_or(0, |newline| newline + 1);
            let end = bytes[at..].find_byte(b'\n').map_or(bytes.len(), |newline| at + newline);
            self.log_verdict("reject", "content", &bytes[start..end], b"disallowed character");
            return Err(Refusal::Content("550 5.7.1 disallowed character".into()));
        }
        let mut output = Cow::Borrowed(bytes);
        if settings.replace_stray_cr && bytes.contains(&b'\r') {
            for byte in output.to_mut() {
                if *byte == b'\r' {
                    *byte = b' ';
                }
            }
        }
        if !settings.strip_characters.is_empty() && output.find_byteset(&settings.strip_characters).is_some() {
            output.to_mut().retain(|byte| *byte == b'\n' || !settings.strip_characters.contains(byte));
        }
        Ok(output)
    }

    /// A line of any length, in pieces of `line_length_limit`.
    async fn whole_line(&mut self, mut line: &[u8]) -> Result<(), Refusal> {
        let limit = self.service.settings.line_length_limit;
        while line.len() >= limit {
            let (piece, rest) = line.split_at(limit);
            self.line(piece, false).await?;
            line = rest;
        }
        self.line(line, true).await
    }

    /// One line, or a piece of one.
    async fn line(&mut self, text: &[u8], complete: bool) -> Result<(), Refusal> {
        let Some(converter) = self.body.converter.as_mut() else { return self.structure(text, complete).await };
        let mut output = Vec::with_capacity(text.len() + 64);
        converter.push(text, complete, &mut output);
        self.converted(&output).await
    }

    async fn converted(&mut self, output: &[u8]) -> Result<(), Refusal> {
        let mut rest = output;
        while !rest.is_empty() {
            let (line, complete, more) = match rest.find_byte(b'\n') {
                Some(end) => (&rest[..end], true, &rest[end + 1..]),
                None => (rest, false, &rest[rest.len()..]),
            };
            self.structure(line, complete).await?;
            rest = more;
        }
        Ok(())
    }

    async fn structure(&mut self, text: &[u8], complete: bool) -> Result<(), Refusal> {
        let Some(mut parser) = self.parser.take() else { return Err(Refusal::Protocol) };
        let outcome = self.step(parser.step(text, complete)).await;
        self.parser = Some(parser);
        outcome
    }

    async fn step(&mut self, step: Step<'_>) -> Result<(), Refusal> {
        if let Some(header) = step.header {
            match header.class {
                Class::Primary => self.primary_header(header.name, header.text).await?,
                Class::Part | Class::Nested => self.inner_header(&header).await?,
            }
        }
        match step.end_of_headers {
            Some(EndOfHeaders::EmptyLine(Class::Primary)) => return self.end_primary_headers(true, false).await,
            Some(EndOfHeaders::Other(Class::Primary)) => {
                self.end_primary_headers(step.line.is_some(), step.line.is_some()).await?;
            }
            Some(EndOfHeaders::EmptyLine(_) | EndOfHeaders::Other(_)) | None => {}
        }
        match step.line {
            Some(line) => self.body_line(&line).await,
            None => Ok(()),
        }
    }

    /// The last line may lack its end.
    pub(super) async fn end_of_input(&mut self) -> Result<(), Refusal> {
        if self.body.is_plain {
            self.plain(b"")?;
        }
        let cut = std::mem::take(&mut self.body.cut);
        if !cut.is_empty() {
            self.line(&cut, false).await?;
        }
        if let Some(mut converter) = self.body.converter.take() {
            let mut output = Vec::new();
            converter.finish(&mut output);
            self.converted(&output).await?;
        }
        let Some(mut parser) = self.parser.take() else { return Err(Refusal::Protocol) };
        let outcome = self.step(parser.finish()).await;
        self.parser = Some(parser);
        outcome
    }

    /// Writes a header of the message itself: lines with LF between them.
    pub(super) fn write_header(&mut self, text: &[u8]) -> Result<(), Refusal> {
        if self.is_discarded() {
            return Ok(());
        }
        self.writer.header(text).map_err(|error| self.write_error(&error))?;
        self.check_size()
    }

    /// A header that a table or we ourselves add, as a bytes string.
    pub(super) fn write_generated(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let mut text = BString::from(name);
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        self.write_header(&text)
    }

    /// The service, to be used beside `&mut self`.
    pub(super) fn service(&self) -> Rc<crate::service::Service> {
        Rc::clone(&self.service)
    }
}
