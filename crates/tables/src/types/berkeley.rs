//! Berkeley DB files, read only: the hash (versions 7 to 10) and btree (versions 8 to 10) formats in which `hash:` and
//! `btree:` tables were written, without sub-databases, checksums or encryption.
//!
//! The file is locked (shared `flock(2)`) and read page by page for each lookup: who writes it holds the exclusive lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bstr::BString;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Fault};
use crate::table::EachEntry;

const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;

/// Page types.
const P_HASH_UNSORTED: u8 = 2;
const P_IBTREE: u8 = 3;
const P_LBTREE: u8 = 5;
const P_OVERFLOW: u8 = 7;
const P_HASH: u8 = 13;

/// Kinds of items in hash and btree pages.
const H_KEYDATA: u8 = 1;
const H_OFFPAGE: u8 = 3;
const B_KEYDATA: u8 = 1;
const B_OVERFLOW: u8 = 3;
const B_DELETED: u8 = 0x80;

/// Size of a page's header; the item offsets follow it.
const PAGE_HEADER: usize = 26;
/// Deepest tree and longest chain that a sound file has; a damaged one may go in circles.
const MOST_STEPS: usize = 1 << 20;
/// Longest item that is read.
const LONGEST_ITEM: usize = 64 << 20;

/// An open file.
pub(crate) struct Berkeley {
    file: File,
}

/// Something in the file contradicts the format.
fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged Berkeley DB file: {what}"))
}

/// The first page: where everything is.
struct Layout {
    swapped: bool,
    page_size: usize,
    last_page: u32,
    access: Access,
}

enum Access {
    Hash { max_bucket: u32, high_mask: u32, low_mask: u32, spares: [u32; 32], hash: Option<fn(&[u8]) -> u32> },
    Btree { root: u32 },
}

/// Chris Torek's hash (versions before 5 of the access method).
fn hash_torek(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(u32::from(*byte)))
}

/// Fowler/Noll/Vo with a start of 0.
fn hash_fnv(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash: u32, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

/// What the file's creator hashed to let us recognise its hash function.
const CHARKEY: &[u8] = b"%$sniglet^&\0";

fn bytes<const N: usize>(data: &[u8], at: usize) -> io::Result<[u8; N]> {
    data.get(at..at + N).and_then(|slice| slice.try_into().ok()).ok_or_else(|| damaged("short page"))
}

impl Layout {
    fn u32(&self, data: &[u8], at: usize) -> io::Result<u32> {
        let value = u32::from_ne_bytes(bytes(data, at)?);
        Ok(if self.swapped { value.swap_bytes() } else { value })
    }

    fn u16(&self, data: &[u8], at: usize) -> io::Result<usize> {
        let value = u16::from_ne_bytes(bytes(data, at)?);
        Ok(usize::from(if self.swapped { value.swap_bytes() } else { value }))
    }

    fn read(file: &File) -> io::Result<Self> {
        let mut page = [0; 512];
        file.read_exact_at(&mut page, 0)?;
        let magic = u32::from_ne_bytes(bytes(&page, 12)?);
        let swapped = ![HASH_MAGIC, BTREE_MAGIC].contains(&magic);
        let mut layout = Self { swapped, page_size: 0, last_page: 0, access: Access::Btree { root: 0 } };
        let (magic, version) = (layout.u32(&page, 12)?, layout.u32(&page, 16)?);
        layout.page_size = layout.u32(&page, 20)? as usize;
        if !layout.page_size.is_power_of_two() || !(512..=65536).contains(&layout.page_size) {
            return Err(damaged("page size"));
        }
        if page[24] != 0 || page[26] != 0 {
            return Err(damaged("encrypted, with checksums or partitioned"));
        }
        let length = file.metadata()?.len() / layout.page_size as u64;
        let pages = u32::try_from(length).map_err(|_| damaged("too long"))?;
        layout.last_page = pages.saturating_sub(1);
        layout.access = match (magic, version) {
            (HASH_MAGIC, 7..=10) => {
                let mut spares = [0; 32];
                for (index, spare) in spares.iter_mut().enumerate() {
                    *spare = layout.u32(&page, 96 + 4 * index)?;
                }
                let charkey = layout.u32(&page, 92)?;
                let known = [hash_fnv as fn(&[u8]) -> u32, hash_torek];
                Access::Hash {
                    max_bucket: layout.u32(&page, 72)?,
                    high_mask: layout.u32(&page, 76)?,
                    low_mask: layout.u32(&page, 80)?,
                    spares,
                    hash: known.into_iter().find(|hash| hash(CHARKEY) == charkey),
                }
            }
            (BTREE_MAGIC, 8..=10) => Access::Btree { root: layout.u32(&page, 88)? },
            (HASH_MAGIC | BTREE_MAGIC, version) => return Err(damaged(&format!("unknown version {version}"))),
            _ => return Err(damaged("no Berkeley DB hash or btree file")),
        };
        Ok(layout)
    }
}

/// A file under lock.
struct Reader<'f> {
    file: &'f File,
    layout: Layout,
}

/// A page in memory.
struct Page {
    data: Vec<u8>,
    kind: u8,
    entries: usize,
    next: u32,
}

impl Reader<'_> {
    fn page(&self, number: u32) -> io::Result<Page> {
        if number > self.layout.last_page {
            return Err(damaged("page number"));
        }
        let mut data = vec![0; self.layout.page_size];
        self.file.read_exact_at(&mut data, u64::from(number) * self.layout.page_size as u64)?;
        let (entries, next) = (self.layout.u16(&data, 20)?, self.layout.u32(&data, 16)?);
        Ok(Page { kind: data[25], entries, next, data })
    }

    fn offset(&self, page: &Page, index: usize) -> io::Result<usize> {
        self.layout.u16(&page.data, PAGE_HEADER + 2 * index)
    }

    /// An item kept on pages of its own.
    fn overflow(&self, mut number: u32, length: u32) -> io::Result<BString> {
        let length = length as usize;
        if length > LONGEST_ITEM {
            return Err(damaged("item length"));
        }
        let mut item = Vec::with_capacity(length);
        while item.len() < length {
            let page = self.page(number)?;
            let here = self.layout.u16(&page.data, 22)?;
            if page.kind != P_OVERFLOW || here == 0 {
                return Err(damaged("overflow page"));
            }
            item.extend_from_slice(
                page.data.get(PAGE_HEADER..PAGE_HEADER + here).ok_or_else(|| damaged("overflow page"))?,
            );
            number = page.next;
        }
        item.truncate(length);
        Ok(item.into())
    }

    /// Item `index` of a hash page; it reaches up to the item before it.
    fn hash_item(&self, page: &Page, index: usize) -> io::Result<BString> {
        let start = self.offset(page, index)?;
        let end = if index == 0 { self.layout.page_size } else { self.offset(page, index - 1)? };
        let item = page.data.get(start..end).ok_or_else(|| damaged("item offset"))?;
        match item.first() {
            Some(&H_KEYDATA) => Ok(item[1..].into()),
            Some(&H_OFFPAGE) => self.overflow(self.layout.u32(item, 4)?, self.layout.u32(item, 8)?),
            _ => Err(damaged("item type")),
        }
    }

    /// Item `index` of a btree leaf; `None` when it is deleted.
    fn leaf_item(&self, page: &Page, index: usize) -> io::Result<Option<BString>> {
        let start = self.offset(page, index)?;
        let item = page.data.get(start..).ok_or_else(|| damaged("item offset"))?;
        let kind = *item.get(2).ok_or_else(|| damaged("item"))?;
        if kind & B_DELETED != 0 {
            return Ok(None);
        }
        match kind {
            B_KEYDATA => {
                let length = self.layout.u16(item, 0)?;
                Ok(Some(item.get(3..3 + length).ok_or_else(|| damaged("item length"))?.into()))
            }
            B_OVERFLOW => self.overflow(self.layout.u32(item, 4)?, self.layout.u32(item, 8)?).map(Some),
            _ => Err(damaged("item type")),
        }
    }

    fn lookup(&self, key: &[u8]) -> io::Result<Option<BString>> {
        match &self.layout.access {
            Access::Btree { root } => self.btree_lookup(*root, key),
            Access::Hash { max_bucket, high_mask, low_mask, hash: Some(hash), .. } => {
                let mut bucket = hash(key) & high_mask;
                if bucket > *max_bucket {
                    bucket &= low_mask;
                }
                let mut found = None;
                self.bucket(bucket, &mut |item, value| {
                    let matches = item == key;
                    if matches {
                        found = Some(value()?);
                    }
                    Ok(!matches)
                })?;
                Ok(found)
            }
            Access::Hash { hash: None, .. } => {
                let mut found = None;
                self.each(&mut |item, value| {
                    if item == key {
                        found = Some(value.into());
                    }
                    Ok(())
                })?;
                Ok(found)
            }
        }
    }

    /// Goes through a bucket until `visit` says stop.
    fn bucket(&self, bucket: u32, visit: &mut VisitItem<'_>) -> io::Result<bool> {
        let Access::Hash { spares, .. } = &self.layout.access else { return Err(damaged("no hash")) };
        // Buckets lie in groups that double in number; a group's first page minus its first bucket is in `spares`.
        let group = bucket.saturating_add(1).next_power_of_two().trailing_zeros() as usize;
        let spare = spares.get(group).ok_or_else(|| damaged("bucket"))?;
        let mut number = bucket.checked_add(*spare).ok_or_else(|| damaged("bucket"))?;
        for _ in 0..MOST_STEPS {
            let page = self.page(number)?;
            match page.kind {
                P_HASH | P_HASH_UNSORTED => {}
                // A bucket that was never used is a page of zeros.
                0 if page.entries == 0 => return Ok(true),
                _ => return Err(damaged("bucket page")),
            }
            for index in (0..page.entries / 2).map(|pair| 2 * pair) {
                let key = self.hash_item(&page, index)?;
                if !visit(&key, &|| self.hash_item(&page, index + 1))? {
                    return Ok(false);
                }
            }
            if page.next == 0 {
                return Ok(true);
            }
            number = page.next;
        }
        Err(damaged("endless bucket"))
    }

    fn btree_lookup(&self, root: u32, key: &[u8]) -> io::Result<Option<BString>> {
        let mut number = root;
        for _ in 0..MOST_STEPS {
            let page = self.page(number)?;
            match page.kind {
                P_IBTREE => number = self.child(&page, key)?,
                P_LBTREE => {
                    let (mut low, mut high) = (0, page.entries / 2);
                    while low < high {
                        let middle = usize::midpoint(low, high);
                        // The order of keys needs the key, deleted or not.
                        let start = self.offset(&page, 2 * middle)?;
                        let here = self.tree_key(&page, start)?;
                        match here.as_slice().cmp(key) {
                            std::cmp::Ordering::Less => low = middle + 1,
                            std::cmp::Ordering::Greater => high = middle,
                            std::cmp::Ordering::Equal => {
                                if self.leaf_item(&page, 2 * middle)?.is_none() {
                                    return Ok(None);
                                }
                                return self.leaf_item(&page, 2 * middle + 1);
                            }
                        }
                    }
                    return Ok(None);
                }
                _ => return Err(damaged("tree page")),
            }
        }
        Err(damaged("endless tree"))
    }

    /// The key of a leaf item, whether or not it is deleted.
    fn tree_key(&self, page: &Page, start: usize) -> io::Result<BString> {
        let item = page.data.get(start..).ok_or_else(|| damaged("item offset"))?;
        match item.get(2).map(|kind| kind & !B_DELETED) {
            Some(B_KEYDATA) => {
                let length = self.layout.u16(item, 0)?;
                Ok(item.get(3..3 + length).ok_or_else(|| damaged("item length"))?.into())
            }
            Some(B_OVERFLOW) => self.overflow(self.layout.u32(item, 4)?, self.layout.u32(item, 8)?),
            _ => Err(damaged("item type")),
        }
    }

    /// The child of an internal page that may hold `key`: the last whose key is not greater. The first has no key.
    fn child(&self, page: &Page, key: &[u8]) -> io::Result<u32> {
        let item = |index: usize| -> io::Result<&[u8]> {
            page.data.get(self.offset(page, index)?..).ok_or_else(|| damaged("item offset"))
        };
        if page.entries == 0 {
            return Err(damaged("empty tree page"));
        }
        let (mut low, mut high) = (1, page.entries);
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = item(middle)?;
            let separator: BString = match entry.get(2).map(|kind| kind & !B_DELETED) {
                Some(B_KEYDATA) => {
                    let length = self.layout.u16(entry, 0)?;
                    entry.get(12..12 + length).ok_or_else(|| damaged("item length"))?.into()
                }
                // An overflow reference stands where the key would.
                Some(B_OVERFLOW) => self.overflow(self.layout.u32(entry, 16)?, self.layout.u32(entry, 20)?)?,
                _ => return Err(damaged("item type")),
            };
            if separator.as_slice() <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.layout.u32(item(low - 1)?, 4)
    }

    /// Every entry, in the file's order.
    fn each(&self, visit: &mut EachEntry<'_>) -> io::Result<()> {
        match &self.layout.access {
            Access::Hash { max_bucket, .. } => {
                for bucket in 0..=*max_bucket {
                    self.bucket(bucket, &mut |key, value| {
                        visit(key, &value()?)?;
                        Ok(true)
                    })?;
                }
                Ok(())
            }
            Access::Btree { root } => {
                let mut page = self.page(*root)?;
                for _ in 0..MOST_STEPS {
                    if page.kind == P_LBTREE {
                        break;
                    }
                    let first = page.data.get(self.offset(&page, 0)?..).ok_or_else(|| damaged("item offset"))?;
                    page = self.page(self.layout.u32(first, 4)?)?;
                }
                for _ in 0..MOST_STEPS {
                    for index in (0..page.entries / 2).map(|pair| 2 * pair) {
                        if let (Some(key), Some(value)) =
                            (self.leaf_item(&page, index)?, self.leaf_item(&page, index + 1)?)
                        {
                            visit(&key, &value)?;
                        }
                    }
                    if page.next == 0 {
                        return Ok(());
                    }
                    page = self.page(page.next)?;
                }
                Err(damaged("endless tree"))
            }
        }
    }
}

/// Sees a key and, when it asks, its value; `false` ends the search.
type VisitItem<'a> = dyn FnMut(&[u8], &dyn Fn() -> io::Result<BString>) -> io::Result<bool> + 'a;

impl Berkeley {
    /// Opens a file and checks what it is.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::OpenDatabase { path: path.to_owned(), source })?;
        let opened = Self { file };
        match opened.locked(|_| Ok(())) {
            Ok(()) => Ok(opened),
            Err(error) => Err(Error::Format { path: path.to_owned(), reason: error.to_string() }),
        }
    }

    /// The open descriptor, to watch the file with.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn locked<T>(&self, work: impl FnOnce(&Reader<'_>) -> io::Result<T>) -> io::Result<T> {
        let lock = Flock::lock(self.file.try_clone()?, FlockArg::LockShared).map_err(|(_, error)| error)?;
        let answer = Layout::read(&lock).and_then(|layout| work(&Reader { file: &lock, layout }));
        // The clone shares its lock with the file that stays open: release it, not just the clone.
        lock.unlock().map_err(|(_, error)| error)?;
        answer
    }

    /// The value of a key, both exactly as stored.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        Ok(self.locked(|reader| reader.lookup(key))?)
    }

    /// Every entry, exactly as stored.
    pub(crate) fn for_each(&self, each: &mut EachEntry<'_>) -> Result<(), Fault> {
        Ok(self.locked(|reader| reader.each(each))?)
    }
}
