//! What the caller reads: name and value pairs, each ended by NUL, lists ended by one NUL more.

use std::io::{self, Write};

use queue::QueueId;

/// How it ended, in the bits that callers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The message is on disk.
    Ok,
    /// The file could not be written.
    Write,
    /// The message is too large.
    Size,
}

impl Status {
    /// The number.
    pub(crate) fn number(self) -> u32 {
        match self {
            Status::Ok => 0,
            Status::Write => 2,
            Status::Size => 4,
        }
    }

    /// Also the exit status.
    pub(crate) fn exit_status(self) -> u8 {
        self.number() as u8
    }
}

/// Before the records are read.
pub(crate) fn begin(id: &QueueId) -> io::Result<()> {
    put(&[("protocol", "postdrop_protocol"), ("queue_id", id.as_str())])
}

/// After the message is on disk, or is not.
pub(crate) fn end(status: Status) -> io::Result<()> {
    put(&[("status", &status.number().to_string()), ("reason", "")])
}

fn put(pairs: &[(&str, &str)]) -> io::Result<()> {
    let mut text = Vec::new();
    for (name, value) in pairs {
        for part in [name, value] {
            text.extend_from_slice(part.as_bytes());
            text.push(0);
        }
    }
    text.push(0);
    let mut output = io::stdout().lock();
    output.write_all(&text)?;
    output.flush()
}
