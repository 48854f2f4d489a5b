//! Reading records through one buffer.

use std::io;

use super::{AnyRecord, ReadAt, Record, RecordType, number};
use crate::error::{Error, Problem};

/// Longest record that a reader accepts unless told otherwise, in bytes: far above any line_length_limit in use.
pub const DEFAULT_RECORD_LIMIT: usize = 16 << 20;

/// Most jumps backward in one file; files that milters have edited have a few.
const BACKWARD_LIMIT: u32 = 10_000;

/// Usual size of the buffer, and so of one read.
const BLOCK: usize = 64 << 10;

/// Type byte and four length bytes.
const LONGEST_HEADER: usize = 5;

/// Reads records from an offset onwards. Memory is bounded by the buffer, or by the longest record that is really there.
#[derive(Debug)]
pub struct Reader<S> {
    source: S,
    buffer: Vec<u8>,
    /// File offset of `buffer[0]`.
    base: u64,
    /// Valid bytes in `buffer`.
    filled: usize,
    /// Start of the next record in `buffer`.
    position: usize,
    backward: u32,
    last_target: u64,
    record_limit: usize,
}

/// A record's place in the buffer.
struct Extent {
    byte: u8,
    offset: u64,
    from: usize,
    to: usize,
}

impl Extent {
    fn kind(&self) -> Result<RecordType, Error> {
        RecordType::from_byte(self.byte).ok_or_else(|| Error::malformed(self.offset, Problem::UnknownType(self.byte)))
    }
}

impl<S: ReadAt> Reader<S> {
    /// Reads `source` from `offset` on, 64 KB at a time.
    pub fn new(source: S, offset: u64) -> Reader<S> {
        Reader::with_buffer(source, offset, vec![0; BLOCK])
    }

    /// As [`Reader::new`] with a buffer from an earlier reader; its length is the size of a read (at least 512 bytes).
    pub fn with_buffer(source: S, offset: u64, mut buffer: Vec<u8>) -> Reader<S> {
        if buffer.len() < 512 {
            buffer.resize(512, 0);
        }
        Reader {
            source,
            buffer,
            base: offset,
            filled: 0,
            position: 0,
            backward: 0,
            last_target: 0,
            record_limit: DEFAULT_RECORD_LIMIT,
        }
    }

    /// Longest record that is accepted, in bytes.
    pub fn set_record_limit(&mut self, limit: usize) {
        self.record_limit = limit;
    }

    /// The buffer, for another reader.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Where the next record starts in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.base + self.position as u64
    }

    /// Backward jumps so far, and the last pointer's target: for a reader that takes up where this one stopped.
    #[must_use]
    pub(crate) fn jumps(&self) -> (u32, u64) {
        (self.backward, self.last_target)
    }

    pub(crate) fn set_jumps(&mut self, (backward, last_target): (u32, u64)) {
        self.backward = backward;
        self.last_target = last_target;
    }

    /// Goes to another place; what the buffer holds already is not read again.
    pub fn seek(&mut self, offset: u64) {
        match offset.checked_sub(self.base).and_then(|skip| usize::try_from(skip).ok()) {
            Some(skip) if skip <= self.filled => self.position = skip,
            _ => {
                self.base = offset;
                self.filled = 0;
                self.position = 0;
            }
        }
    }

    /// The next record as it is in the file, pointers and padding included; `None` at the end of the file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Malformed`] for anything that is no record.
    pub fn read_raw(&mut self) -> Result<Option<Record<'_>>, Error> {
        let Some(extent) = self.advance()? else { return Ok(None) };
        let kind = extent.kind()?;
        Ok(Some(self.record(kind, &extent)))
    }

    /// As [`Reader::read_raw`], but with any type byte: for showing files that may be broken.
    ///
    /// # Errors
    /// As [`Reader::read_raw`], unknown types excepted.
    pub fn read_any(&mut self) -> Result<Option<AnyRecord<'_>>, Error> {
        let Some(extent) = self.advance()? else { return Ok(None) };
        let data = &self.buffer[extent.from..extent.to];
        Ok(Some(AnyRecord { byte: extent.byte, offset: extent.offset, data }))
    }

    /// The type byte of the next record; `None` at the end of the file.
    ///
    /// # Errors
    /// The error of `pread(2)`.
    pub fn peek(&mut self) -> Result<Option<u8>, Error> {
        if self.filled == self.position {
            self.fill(1)?;
        }
        Ok(self.buffer[self.position..self.filled].first().copied())
    }

    /// The next record that means something: pointers are followed, padding is skipped.
    ///
    /// # Errors
    /// As [`Reader::read_raw`]; [`Problem::PointerLoop`] after 10,000 jumps backward.
    pub fn read(&mut self) -> Result<Option<Record<'_>>, Error> {
        loop {
            let Some(extent) = self.advance()? else { return Ok(None) };
            match extent.kind()? {
                RecordType::Pointer => self.jump(&extent)?,
                RecordType::Padding => {}
                kind => return Ok(Some(self.record(kind, &extent))),
            }
        }
    }

    /// Follows a pointer record that [`Reader::read_raw`] gave; a target of 0 goes nowhere.
    ///
    /// # Errors
    /// [`Problem::Pointer`] and [`Problem::PointerLoop`].
    pub fn follow(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let target = number(data).and_then(|target| u64::try_from(target).ok());
        let target = target.ok_or_else(|| Error::malformed(offset, Problem::Pointer))?;
        if target == 0 {
            return Ok(());
        }
        if target <= self.last_target {
            self.backward += 1;
            if self.backward > BACKWARD_LIMIT {
                return Err(Error::malformed(offset, Problem::PointerLoop));
            }
        }
        self.last_target = target;
        self.seek(target);
        Ok(())
    }

    fn jump(&mut self, extent: &Extent) -> Result<(), Error> {
        let mut data = [0u8; 32];
        let length = extent.to - extent.from;
        let Some(copy) = data.get_mut(..length) else {
            return Err(Error::malformed(extent.offset, Problem::Pointer));
        };
        copy.copy_from_slice(&self.buffer[extent.from..extent.to]);
        self.follow(extent.offset, &data[..length])
    }

    fn record(&self, kind: RecordType, extent: &Extent) -> Record<'_> {
        Record { kind, offset: extent.offset, data: &self.buffer[extent.from..extent.to] }
    }

    /// Steps over the next record.
    fn advance(&mut self) -> Result<Option<Extent>, Error> {
        // Near the end of a file there is often less than the longest header, and it is enough.
        let have = &self.buffer[self.position..self.filled];
        let is_whole = have.get(1..).is_some_and(|length| length.iter().take(4).any(|byte| byte & 0x80 == 0));
        if !is_whole && have.len() < LONGEST_HEADER && !self.fill(LONGEST_HEADER)? && self.filled == self.position {
            return Ok(None);
        }
        let offset = self.offset();
        let header = &self.buffer[self.position..self.filled];
        let byte = header[0];
        let mut length = 0usize;
        let mut used = 1;
        loop {
            let Some(bits) = header.get(used) else {
                return Err(Error::malformed(offset, Problem::TruncatedRecord));
            };
            length |= usize::from(bits & 0x7f) << (7 * (used - 1));
            used += 1;
            if bits & 0x80 == 0 {
                break;
            }
            if used == LONGEST_HEADER {
                return Err(Error::malformed(offset, Problem::LengthBits));
            }
        }
        if length > self.record_limit {
            return Err(Error::malformed(offset, Problem::RecordTooLong(length)));
        }
        if self.filled - self.position < used + length && !self.fill(used + length)? {
            return Err(Error::malformed(offset, Problem::TruncatedRecord));
        }
        let from = self.position + used;
        let to = from + length;
        self.position = to;
        Ok(Some(Extent { byte, offset, from, to }))
    }

    /// Reads until `needed` bytes follow the position; false at the end of the file.
    fn fill(&mut self, needed: usize) -> Result<bool, Error> {
        if self.position > 0 {
            self.buffer.copy_within(self.position..self.filled, 0);
            self.base += self.position as u64;
            self.filled -= self.position;
            self.position = 0;
        }
        while self.filled < needed {
            if self.filled == self.buffer.len() {
                // Grown only for bytes that are really there: a length field alone costs nothing.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            let at = self.base + self.filled as u64;
            match self.source.read_at(&mut self.buffer[self.filled..], at) {
                Ok(0) => return Ok(false),
                Ok(n) => self.filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
