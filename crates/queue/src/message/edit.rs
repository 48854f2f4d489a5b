//! Changes inside a finished queue file. Each is one small write in place, so a crash leaves the old or the new state.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{Error, Problem};
use crate::record::{POINTER_DATA, RecordType};

/// Marks a recipient as done: its `R` becomes `D`. `offset` is [`super::Recipient::offset`].
///
/// The write is not flushed to disk: after a crash of the machine the recipient is tried again, which is what an outcome
/// that nobody has seen deserves.
///
/// # Errors
/// [`Problem::NotThere`] when there is no recipient at `offset`; the error of `pread(2)` or `pwrite(2)`.
pub fn mark_done(file: &File, offset: u64) -> Result<(), Error> {
    replace(file, offset, &[RecordType::Recipient, RecordType::Done], RecordType::Done)
}

/// Makes a named attribute count no longer, as `trace_flags` after its report was sent.
///
/// # Errors
/// As [`mark_done`].
pub fn kill_record(file: &File, offset: u64) -> Result<(), Error> {
    replace(file, offset, &[RecordType::Attribute, RecordType::Killed], RecordType::Killed)
}

/// Notes that the sender was told about the delay: the time of the `W` record at `offset` becomes -1.
///
/// # Errors
/// As [`mark_done`].
pub fn mark_warned(file: &File, offset: u64) -> Result<(), Error> {
    let mut header = [0u8; 2];
    file.read_exact_at(&mut header, offset)?;
    if header != [RecordType::Warning.byte(), POINTER_DATA as u8] {
        return Err(Error::malformed(offset, Problem::NotThere));
    }
    file.write_all_at(format!("{:>POINTER_DATA$}", -1).as_bytes(), offset + 2)?;
    Ok(())
}

fn replace(file: &File, offset: u64, expected: &[RecordType], new: RecordType) -> Result<(), Error> {
    let mut byte = [0u8; 1];
    file.read_exact_at(&mut byte, offset)?;
    if !expected.iter().any(|kind| kind.byte() == byte[0]) {
        return Err(Error::malformed(offset, Problem::NotThere));
    }
    if byte[0] != new.byte() {
        file.write_all_at(&[new.byte()], offset)?;
    }
    Ok(())
}
