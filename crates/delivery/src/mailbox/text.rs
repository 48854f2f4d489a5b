//! The message as it goes into a mailbox.

use std::io::Write;

use bstr::{BString, ByteVec};

use super::Error;
use crate::Content;

/// Header lines that delivery puts on top.
#[derive(Clone, Debug, Default)]
pub struct Prepended {
    /// Envelope sender, external form; empty for the null sender.
    pub sender: BString,
    /// `Return-Path:` is written.
    pub return_path: bool,
    /// `X-Original-To:`, external form.
    pub original_to: Option<BString>,
    /// `Delivered-To:`, external form.
    pub delivered_to: Option<BString>,
}

impl Prepended {
    /// The lines, each ended by LF.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut output = Vec::new();
        let mut line = |name: &str, value: &[u8]| {
            output.push_str(name);
            output.extend(value.iter().map(|b| if b.is_ascii_control() { b'?' } else { *b }));
            output.push(b'\n');
        };
        if self.return_path {
            line("Return-Path: ", &[b"<", self.sender.as_slice(), b">"].concat());
        }
        if let Some(original) = &self.original_to {
            line("X-Original-To: ", original);
        }
        if let Some(delivered) = &self.delivered_to {
            line("Delivered-To: ", delivered);
        }
        output
    }
}

/// How content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// As it is.
    Plain,
    /// For an mbox: `From ` at the beginning of a line becomes `>From `, and an empty line follows the message.
    Mbox,
}

impl Copy {
    /// Writes the content; the result is the number of bytes.
    ///
    /// # Errors
    /// The error of the file, or of the queue file.
    pub fn write(self, content: &mut Content, output: &mut impl Write) -> Result<u64, Error> {
        const CHUNK: usize = 64 << 10;
        let mut buffer = Vec::with_capacity(CHUNK);
        let mut written = 0;
        let mut at_line_start = true;
        loop {
            buffer.clear();
            let more = match self {
                Copy::Plain => content.read_into(&mut buffer, CHUNK, b"\n")?,
                Copy::Mbox => escape(content, &mut buffer, CHUNK, &mut at_line_start)?,
            };
            output.write_all(&buffer).map_err(Error::system("write"))?;
            written += buffer.len() as u64;
            if !more {
                return Ok(written);
            }
        }
    }
}

fn escape(
    content: &mut Content,
    buffer: &mut Vec<u8>,
    limit: usize,
    at_line_start: &mut bool,
) -> Result<bool, queue::Error> {
    while buffer.len() < limit {
        let Some(line) = content.next_line()? else {
            if !*at_line_start {
                buffer.push(b'\n');
            }
            buffer.push(b'\n');
            return Ok(false);
        };
        if *at_line_start && line.bytes.starts_with(b"From ") {
            buffer.push(b'>');
        }
        buffer.extend_from_slice(line.bytes);
        if line.complete {
            buffer.push(b'\n');
        }
        *at_line_start = line.complete;
    }
    Ok(true)
}
