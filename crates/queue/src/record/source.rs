//! Where records are read from.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes that can be read at any offset, without a cursor that others could move.
pub trait ReadAt {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 is end of file.
    ///
    /// # Errors
    /// The error of `pread(2)`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for BorrowedFd<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(nix::sys::uio::pread(self, buffer, offset)?)
    }
}

impl ReadAt for OwnedFd {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_fd().read_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|from| self.get(from..)).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Rc<T> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

/// A pipe or another stream that can only be read onwards: skipping forward works, going back is an error.
#[derive(Debug)]
pub struct Sequential<R>(RefCell<(R, u64)>);

impl<R: Read> Sequential<R> {
    /// Wraps a stream whose next byte is at offset 0.
    pub fn new(stream: R) -> Sequential<R> {
        Sequential(RefCell::new((stream, 0)))
    }
}

impl<R: Read> ReadAt for Sequential<R> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (stream, position) = &mut *self.0.borrow_mut();
        let skip = offset.checked_sub(*position).ok_or_else(|| io::Error::from(io::ErrorKind::NotSeekable))?;
        *position += io::copy(&mut stream.by_ref().take(skip), &mut io::sink())?;
        if *position < offset {
            return Ok(0);
        }
        let n = stream.read(buffer)?;
        *position += n as u64;
        Ok(n)
    }
}
