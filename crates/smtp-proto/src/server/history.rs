//! The transcript of a session, for the mail that `notify_classes` asks for.

use bstr::{BString, ByteSlice};

/// Longest line that is kept.
const LINE_LIMIT: usize = 512;

/// What was said, in either direction. Holds memory only while something was said.
#[derive(Clone, Debug, Default)]
pub struct History {
    lines: Vec<BString>,
}

impl History {
    /// The client said this.
    pub(super) fn input(&mut self, line: &[u8], threshold: usize) {
        self.add(b" In:  ", line, threshold);
    }

    /// We said this; several lines are kept as such.
    pub(super) fn output(&mut self, reply: &[u8], threshold: usize) {
        for line in reply.lines() {
            self.add(b" Out: ", line, threshold);
        }
    }

    fn add(&mut self, direction: &[u8], line: &[u8], threshold: usize) {
        // As smtpd_history_flush_threshold says: what is older than that many lines is forgotten.
        if self.lines.len() >= threshold.max(1) {
            self.lines.clear();
        }
        let mut entry = BString::from(direction);
        entry.extend(line.iter().take(LINE_LIMIT).map(|b| if (32..127).contains(b) { *b } else { b'?' }));
        self.lines.push(entry);
    }

    /// The lines so far.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(|line| line.as_slice())
    }

    pub(super) fn clear(&mut self) {
        self.lines = Vec::new();
    }
}
