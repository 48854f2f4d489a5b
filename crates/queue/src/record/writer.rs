//! Writing records through one buffer.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::{POINTER_DATA, RecordType};

/// Longest data of a record: four groups of seven bits.
const LONGEST: usize = (1 << 28) - 1;

/// Bytes that wait before they are written: a message smaller than this is one `write(2)`.
const BLOCK: usize = 64 << 10;

/// Appends one record to `out`.
///
/// # Panics
/// For data of 2^28 bytes or more; lines are split and everything else is bounded long before.
pub fn put(out: &mut Vec<u8>, kind: RecordType, data: &[u8]) {
    put_parts(out, kind, &[data]);
}

/// Appends one record whose data comes in pieces.
///
/// # Panics
/// As [`put`].
pub fn put_parts(out: &mut Vec<u8>, kind: RecordType, parts: &[&[u8]]) {
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= LONGEST, "a record of {length} bytes");
    out.reserve(length + 5);
    out.push(kind.byte());
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(low);
            break;
        }
        out.push(low | 0x80);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends a pointer record; a `target` of 0 keeps the room for a later one.
pub fn put_pointer(out: &mut Vec<u8>, target: u64) {
    put(out, RecordType::Pointer, format!("{target:>POINTER_DATA$}").as_bytes());
}

/// Writes records to a new file. Nothing reaches the file before [`Writer::flush`] or before 64 KB wait, and what still
/// waits can be changed without another system call.
#[derive(Debug)]
pub struct Writer {
    file: Arc<File>,
    buffer: Vec<u8>,
    /// File offset of `buffer[0]`.
    base: u64,
}

impl Writer {
    /// Writes to `file`, from its beginning.
    #[must_use]
    pub fn new(file: Arc<File>) -> Writer {
        Writer::append(file, 0)
    }

    /// Writes to `file` from `offset` on.
    #[must_use]
    pub fn append(file: Arc<File>, offset: u64) -> Writer {
        Writer { file, buffer: Vec::with_capacity(8 << 10), base: offset }
    }

    /// Where the next record goes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// The file; what waits in the buffer is not in it yet.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Writes a record; returns its offset.
    ///
    /// # Errors
    /// The error of `pwrite(2)`.
    pub fn put(&mut self, kind: RecordType, data: &[u8]) -> io::Result<u64> {
        self.put_parts(kind, &[data])
    }

    /// Writes a record whose data comes in pieces; returns its offset.
    ///
    /// # Errors
    /// The error of `pwrite(2)`.
    pub fn put_parts(&mut self, kind: RecordType, parts: &[&[u8]]) -> io::Result<u64> {
        let offset = self.offset();
        put_parts(&mut self.buffer, kind, parts);
        if self.buffer.len() >= BLOCK {
            self.flush()?;
        }
        Ok(offset)
    }

    /// Writes a pointer record; returns its offset.
    ///
    /// # Errors
    /// The error of `pwrite(2)`.
    pub fn put_pointer(&mut self, target: u64) -> io::Result<u64> {
        let offset = self.offset();
        put_pointer(&mut self.buffer, target);
        if self.buffer.len() >= BLOCK {
            self.flush()?;
        }
        Ok(offset)
    }

    /// Overwrites bytes that were put before, in the buffer when they are still there.
    ///
    /// # Errors
    /// The error of `pwrite(2)`.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let waiting = offset.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        match waiting.and_then(|at| self.buffer.get_mut(at..at + bytes.len())) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Ok(())
            }
            None => {
                // Rare: the place lies across the border, or before it.
                self.flush()?;
                self.file.write_all_at(bytes, offset)
            }
        }
    }

    /// Writes out what waits.
    ///
    /// # Errors
    /// The error of `pwrite(2)`; what waits is dropped, the file is of no further use.
    pub fn flush(&mut self) -> io::Result<()> {
        let result = self.file.write_all_at(&self.buffer, self.base);
        self.base += self.buffer.len() as u64;
        self.buffer.clear();
        result
    }

    /// Writes out what waits and gives the file back.
    ///
    /// # Errors
    /// The error of `pwrite(2)`.
    pub fn finish(mut self) -> io::Result<Arc<File>> {
        self.flush()?;
        Ok(self.file)
    }
}
