//! Body lines.

use ipc::cleanup::Refusal;
use message::Line;
use message::downgrade::Converter;

use super::Transaction;
use super::check::Outcome;

/// Where the body is.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// The beginning of a line whose end has not come yet.
    pub(super) cut: Vec<u8>,
    /// Nothing in the rest of the message is of interest: it goes straight into the file.
    pub(super) is_plain: bool,
    /// `force_mime_input_conversion`
    pub(super) converter: Option<Converter>,
}

impl Transaction {
    /// No table, conversion or strict setting looks at what follows the headers.
    pub(super) fn body_needs_no_look(&self) -> bool {
        let settings = &self.service.settings;
        let strict = !settings.disable_mime
            && (settings.strict_body || settings.strict_headers || settings.strict_encoding_domain);
        let checked = self.checks_apply && !self.service.checks.only_primary();
        self.is_discarded() || (!checked && !strict && self.body.converter.is_none())
    }

    /// A line that is no header.
    pub(super) async fn body_line(&mut self, line: &Line<'_>) -> Result<(), Refusal> {
        match self.check_body(line).await? {
            Outcome::Keep => self.write_body(line.text, line.complete),
            Outcome::Replace(new) => self.write_body(&new, line.complete),
            Outcome::Drop => Ok(()),
        }
    }

    /// Writes text of the body, and the line end when it has one.
    pub(super) fn write_body(&mut self, text: &[u8], complete: bool) -> Result<(), Refusal> {
        if self.is_discarded() {
            return Ok(());
        }
        let written = self.writer.chunk(text).and_then(|()| if complete { self.writer.chunk(b"\n") } else { Ok(()) });
        written.map_err(|error| self.write_error(&error))
    }
}
