//! The message on its way to the wire: read from the queue file, converted where the server needs it, dots doubled.

use delivery::{Content, Job};
use message::downgrade::Converter;
use message::mime::Limits;
use smtp_proto::Keywords;
use smtp_proto::client::{Capabilities, DotStuffer};

use crate::settings::Settings;

/// What one write hands to the network at most, about.
const CHUNK: usize = 64 << 10;

/// Reads a message in the form of DATA.
#[derive(Debug)]
pub struct Encoder {
    content: Content,
    stuffer: DotStuffer,
    converter: Option<Converter>,
    eight_bit: bool,
    text: Vec<u8>,
}

impl Encoder {
    /// An encoder for a server: 8-bit mail is converted for those that do not take it (RFC 6152 3).
    #[must_use]
    pub fn new(job: &Job, capabilities: &Capabilities, settings: &Settings) -> Encoder {
        let declared = job.request.encoding == "8bit";
        let convert = declared && !capabilities.has(Keywords::EIGHTBITMIME) && !settings.disable_mime_output_conversion;
        Encoder {
            content: job.content(),
            stuffer: DotStuffer::new(settings.line_length_limit.unwrap_or(0)),
            converter: convert.then(|| Converter::new(Limits::default())),
            eight_bit: declared && !convert,
            text: Vec::new(),
        }
    }

    /// True when what is sent has 8-bit content (`BODY=8BITMIME`).
    #[must_use]
    pub fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// True when a line had to be broken since the last call.
    pub fn take_broken(&mut self) -> bool {
        self.stuffer.take_broken()
    }

    /// Appends the next chunk; with the last one the final dot, and then the answer is false.
    ///
    /// # Errors
    /// The queue file cannot be read.
    pub fn next(&mut self, output: &mut Vec<u8>) -> Result<bool, queue::Error> {
        self.text.clear();
        let more = match &mut self.converter {
            None => self.content.read_into(&mut self.text, CHUNK, b"\n")?,
            Some(converter) => convert(&mut self.content, converter, &mut self.text)?,
        };
        self.stuffer.encode(&self.text, output);
        if !more {
            self.stuffer.finish(output);
        }
        Ok(more)
    }
}

fn convert(content: &mut Content, converter: &mut Converter, text: &mut Vec<u8>) -> Result<bool, queue::Error> {
    while text.len() < CHUNK {
        match content.next_line()? {
            Some(line) => converter.push(line.bytes, line.complete, text),
            None => {
                converter.finish(text);
                return Ok(false);
            }
        }
    }
    Ok(true)
}
