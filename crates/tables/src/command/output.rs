//! Keys and values on standard output.

use std::io::{self, Write};

use super::{Command, Options};

/// Prints pairs in the command's style or as JSON.
pub(super) struct Output<'c> {
    command: &'c Command,
    json: bool,
    output: io::BufWriter<io::StdoutLock<'static>>,
}

impl<'c> Output<'c> {
    pub(super) fn new(command: &'c Command, options: &Options) -> Self {
        Self { command, json: options.json, output: io::BufWriter::new(io::stdout().lock()) }
    }

    /// One pair per line.
    pub(super) fn pair(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.json {
            let text = |bytes: &[u8]| serde_json::to_string(&String::from_utf8_lossy(bytes)).map_err(io::Error::from);
            return writeln!(self.output, "{{{}: {}}}", text(key)?, text(value)?);
        }
        self.output.write_all(key)?;
        self.output.write_all(self.command.separator.as_bytes())?;
        self.output.write_all(value)?;
        self.output.write_all(b"\n")
    }

    /// A value alone, the answer to one key.
    pub(super) fn value(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.json {
            return self.pair(key, value);
        }
        self.output.write_all(value)?;
        self.output.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
