//! `cdb:`: D. J. Bernstein's constant database, `{path}.cdb`.
//!
//! Layout: 256 pairs (position, slots) of hash tables; then records (key length, value length, key, value); then the
//! tables, whose slots are pairs (hash, position of the record). All numbers are 32 bits, little endian.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bstr::BString;

use super::lmdb::{Nul, without_nul};
use crate::error::{Error, Fault};
use crate::file_watch::FileWatch;
use crate::table::{EachEntry, Owner, Source};

const HEADER: u64 = 2048;

/// `{path}.cdb`.
pub(crate) fn file_name(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.cdb"))
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, byte| hash.wrapping_mul(33) ^ u32::from(*byte))
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "damaged cdb file")
}

/// An open file. It never changes: a new one takes its place by renaming.
pub(crate) struct Cdb {
    file: File,
    length: u64,
    nul: Cell<Nul>,
    watch: FileWatch,
}

impl Cdb {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let path = file_name(name);
        let failed = |source| Error::OpenDatabase { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length < HEADER {
            return Err(Error::Format { path, reason: "no cdb file".to_owned() });
        }
        let watch = FileWatch::by_content(&file).map_err(failed)?;
        crate::stale::warn_if_older_than_source(&file, &path, Path::new(name));
        Ok(Self { file, length, nul: Cell::new(Nul::Unknown), watch })
    }

    fn pair(&self, at: u64) -> io::Result<(u32, u32)> {
        let mut pair = [0; 8];
        self.file.read_exact_at(&mut pair, at)?;
        let [a, b, c, d, e, f, g, h] = pair;
        Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
    }

    fn bytes(&self, at: u64, length: u32) -> io::Result<Vec<u8>> {
        if at + u64::from(length) > self.length {
            return Err(damaged());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn get(&self, key: &[u8]) -> io::Result<Option<BString>> {
        let hash = hash(key);
        let (table, slots) = self.pair(u64::from(hash & 0xff) * 8)?;
        if slots == 0 {
            return Ok(None);
        }
        if u64::from(table) + u64::from(slots) * 8 > self.length {
            return Err(damaged());
        }
        let first = (hash >> 8) % slots;
        for step in 0..slots {
            let slot = (u64::from(first) + u64::from(step)) % u64::from(slots);
            let (stored, position) = self.pair(u64::from(table) + slot * 8)?;
            if position == 0 {
                return Ok(None);
            }
            if stored != hash {
                continue;
            }
            let (key_length, value_length) = self.pair(u64::from(position))?;
            let start = u64::from(position) + 8;
            if key_length as usize == key.len() && self.bytes(start, key_length)? == key {
                return Ok(Some(self.bytes(start + u64::from(key_length), value_length)?.into()));
            }
        }
        Ok(None)
    }
}

impl Source for Cdb {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if self.nul.get() != Nul::Without
            && let Some(value) = self.get(&[key, b"\0"].concat())?
        {
            self.nul.set(Nul::With);
            return Ok(Some(without_nul(&value).into()));
        }
        if self.nul.get() != Nul::With
            && let Some(value) = self.get(key)?
        {
            self.nul.set(Nul::Without);
            return Ok(Some(without_nul(&value).into()));
        }
        Ok(None)
    }

    fn has_changed(&self) -> bool {
        self.watch.has_changed()
    }

    fn owner(&self) -> Owner {
        self.watch.owner()
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        let mut list = || {
            // The first table begins where the records end.
            let mut end = self.length;
            for table in 0..256 {
                end = end.min(u64::from(self.pair(table * 8)?.0));
            }
            let mut at = HEADER;
            while at + 8 <= end {
                let (key_length, value_length) = self.pair(at)?;
                let key = self.bytes(at + 8, key_length)?;
                let value = self.bytes(at + 8 + u64::from(key_length), value_length)?;
                each(without_nul(&key), without_nul(&value))?;
                at += 8 + u64::from(key_length) + u64::from(value_length);
            }
            Ok(())
        };
        Some(list().map_err(|error: io::Error| Fault(error.to_string())))
    }
}

/// Writes a whole file to `output`. Entries must not repeat a key.
///
/// # Errors
/// Of the output, or the file would be longer than 4 GiB.
pub(crate) fn write<'e>(
    output: &mut impl Write,
    entries: impl Iterator<Item = (&'e [u8], &'e [u8])>,
) -> io::Result<()> {
    let too_long = || io::Error::new(io::ErrorKind::FileTooLarge, "a cdb file has at most 4 GiB");
    let mut records = Vec::new();
    let mut tables: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 256];
    for (key, value) in entries {
        let position = u32::try_from(HEADER as usize + records.len()).map_err(|_| too_long())?;
        let hash = hash(key);
        tables[(hash & 0xff) as usize].push((hash, position));
        for length in [key.len(), value.len()] {
            records.extend(u32::try_from(length).map_err(|_| too_long())?.to_le_bytes());
        }
        records.extend_from_slice(key);
        records.extend_from_slice(value);
    }
    let mut position = HEADER as usize + records.len();
    let (mut header, mut tail) = (Vec::with_capacity(HEADER as usize), Vec::new());
    for table in &tables {
        let slots = table.len() * 2;
        header.extend(u32::try_from(position).map_err(|_| too_long())?.to_le_bytes());
        header.extend(u32::try_from(slots).map_err(|_| too_long())?.to_le_bytes());
        let mut filled = vec![(0, 0); slots];
        for (hash, record) in table {
            let mut slot = (hash >> 8) as usize % slots;
            while filled[slot].1 != 0 {
                slot = (slot + 1) % slots;
            }
            filled[slot] = (*hash, *record);
        }
        for (hash, record) in filled {
            tail.extend(u32::to_le_bytes(hash));
            tail.extend(u32::to_le_bytes(record));
        }
        position += slots * 8;
    }
    u32::try_from(position).map_err(|_| too_long())?;
    output.write_all(&header)?;
    output.write_all(&records)?;
    output.write_all(&tail)
}
