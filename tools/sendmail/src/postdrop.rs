//! The pipe to postdrop.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use bstr::ByteSlice;

use crate::Fatal;

/// Longest answer of postdrop that is read.
const LONGEST_ANSWER: u64 = 64 << 10;

/// A running postdrop.
pub(crate) struct Postdrop {
    child: Child,
    input: Option<ChildStdin>,
}

impl Postdrop {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Result<Postdrop, Fatal> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| Fatal::Execute(name, error))?;
        let input = child.stdin.take();
        Ok(Postdrop { child, input })
    }

    /// Sends it records.
    pub(crate) fn write(&mut self, records: &[u8]) -> io::Result<()> {
        match &mut self.input {
            Some(input) => input.write_all(records),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Reads how it ended; the text is for the user.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        self.input = None;
        let mut answer = Vec::new();
        if let Some(output) = self.child.stdout.take() {
            // What cannot be read is no success either.
            let _ = output.take(LONGEST_ANSWER).read_to_end(&mut answer);
        }
        let ended = self.child.wait().map_err(|error| format!("postdrop: {}", sys::reason(&error)))?;
        match status_of(&answer) {
            Some(0) if ended.success() => Ok(()),
            Some(status) if status != 0 => Err(text_of(status).to_owned()),
            _ => Err("unable to submit mail: postdrop has failed".to_owned()),
        }
    }

    /// Closes the pipe before the end of the message: postdrop removes what it wrote.
    pub(crate) fn abandon(&mut self) {
        self.input = None;
        // Its complaint about the premature end says nothing new; how it ends does not matter.
        let _ = self.child.wait();
    }
}

/// The `status` of the second list; none when postdrop did not get that far.
fn status_of(answer: &[u8]) -> Option<u32> {
    let mut parts = answer.split_str("\0");
    while let Some(part) = parts.next() {
        if part == b"status" {
            return parts.next()?.to_str().ok()?.parse().ok();
        }
    }
    None
}

/// What the status bits mean, the gravest first.
fn text_of(status: u32) -> &'static str {
    match status {
        status if status & 2 != 0 => "queue file write error",
        status if status & 4 != 0 => "message file too big",
        status if status & 512 != 0 => "service denied",
        _ => "internal protocol error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(status_of(b"protocol\0postdrop_protocol\0queue_id\0AB\0\0status\x004\0reason\0\0\0"), Some(4));
        assert_eq!(status_of(b"protocol\0postdrop_protocol\0queue_id\0AB\0\0"), None);
        assert_eq!(text_of(4), "message file too big");
    }
}
