//! postlogd: writes the log lines that all programs send to `public/postlog` to `maillog_file` or standard output.
//!
//! A datagram holds one or more whole lines, which the senders have framed. What has come in during a turn leaves in
//! one write.

mod file;
mod settings;

use std::time::Duration;

use server::{Account, DatagramService, StartError, Startup};

use crate::file::LogFile;
use crate::settings::Settings;

/// What is collected before it is written, at most.
const WRITE_AT: usize = 256 << 10;

/// The service.
pub struct Postlogd {
    settings: Settings,
    file: LogFile,
    lines: Vec<u8>,
}

impl DatagramService for Postlogd {
    const PROGRAM: &'static str = "postlogd";
    const ACCOUNT: Account = Account::MailOwner;

    fn prepare(start: &Startup) -> Result<Postlogd, StartError> {
        // postlogd's own trouble goes to syslog: sent to itself, it would never be read.
        let mut options = log::Options::from_config(&start.config, &start.program)?;
        options.sink = log::Options::before_configuration(&start.program).sink;
        log::init(options);
        let settings = Settings::load(&start.config)?;
        settings.check().map_err(StartError::service)?;
        let file = LogFile::open(&settings).map_err(StartError::service)?;
        Ok(Postlogd { settings, file, lines: Vec::new() })
    }

    fn datagram(&mut self, bytes: &[u8]) {
        append_lines(&mut self.lines, bytes);
        if self.lines.len() >= WRITE_AT {
            self.end_of_turn();
        }
    }

    fn end_of_turn(&mut self) {
        self.file.write(&self.lines);
        self.lines.clear();
        self.lines.shrink_to(WRITE_AT);
    }

    fn reload_needed(&mut self) -> bool {
        self.file.was_replaced()
    }

    fn watchdog_timeout(&self) -> Option<Duration> {
        Some(self.settings.watchdog)
    }
}

/// Appends the lines of a datagram: ended by LF, empty ones left out, without control characters whoever sent them.
fn append_lines(output: &mut Vec<u8>, datagram: &[u8]) {
    for line in datagram.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        output.extend(line.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
        output.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_printable() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"one\n", b"one\n"),
            (b"one", b"one\n"),
            (b"one\ntwo\n", b"one\ntwo\n"),
            (b"\n\n", b""),
            (b"a\x1b[2Jb\rc\0\n", b"a?[2Jb?c?\n"),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}\n".as_bytes()),
        ];
        for (datagram, wanted) in cases {
            let mut lines = Vec::new();
            append_lines(&mut lines, datagram);
            assert_eq!(lines, wanted);
        }
    }
}
