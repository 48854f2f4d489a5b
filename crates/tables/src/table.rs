//! One open table: what every type offers, and what is the same for all of them (folding, UTF-8 checks, change checks).

use std::cell::Cell;
use std::pin::Pin;

use bstr::{BString, ByteSlice};

use crate::error::{Fault, LookupError};
use crate::flags::Flags;
use crate::fold;

/// Longest part of a key that error messages show.
const SHOWN_KEY: usize = 100;

/// Receives the entries of a table, in the table's own order.
pub type EachEntry<'a> = dyn FnMut(&[u8], &[u8]) -> std::io::Result<()> + 'a;

/// Whose word the values of a table are: what they name is run and written with that account's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Root, or whoever writes the configuration.
    Root,
    /// The owner of the table's file, by user id.
    User(u32),
    /// Several accounts, or nobody knows.
    Unknown,
}

impl Owner {
    /// The owner of a value that two tables made together.
    #[must_use]
    pub fn and(self, other: Owner) -> Owner {
        match (self, other) {
            (Owner::Root, owner) | (owner, Owner::Root) => owner,
            (mine, other) if mine == other => mine,
            _ => Owner::Unknown,
        }
    }
}

/// An answer that may take a wait.
pub(crate) type LaterAnswer<'a> = Pin<Box<dyn Future<Output = Result<Option<BString>, Fault>> + 'a>>;

/// Whether a search may wait for table servers, or has to have its answer when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// On the event loop: lookups of remote tables are awaited.
    Waits,
    /// In blocking programs: such lookups block, and nothing is ever pending.
    Blocks,
}

/// What a table type implements. Keys arrive folded where the type and the flags ask for it.
pub(crate) trait Source {
    /// The value of `key`; an empty value is a value here.
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault>;

    /// Whether an answer may take a wait, so that the event loop has to use [`Self::lookup_later`].
    fn is_remote(&self) -> bool {
        false
    }

    /// [`Self::lookup`] without blocking; asked of remote types only.
    fn lookup_later<'a>(&'a self, key: &'a [u8]) -> LaterAnswer<'a> {
        Box::pin(std::future::ready(self.lookup(key)))
    }

    /// Stores a value in place of one that is there (`Some`), or removes the key (`None`); whether it was there. The outer
    /// `None`: the type cannot be changed entry by entry.
    fn change(&self, _key: &[u8], _value: Option<&[u8]>) -> Option<Result<bool, Fault>> {
        None
    }

    /// Whether keys are fixed strings; pattern tables see the original key only and are never asked for partial keys.
    fn is_fixed(&self) -> bool {
        true
    }

    /// Whether the backing file is no longer the one that was opened.
    fn has_changed(&self) -> bool {
        false
    }

    /// Whose word the values are; tables that are no files stand in the configuration.
    fn owner(&self) -> Owner {
        Owner::Root
    }

    /// Gives every entry to `each`; `None` when the type cannot list its entries.
    fn entries(&self, _each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        None
    }
}

/// An open table under its `type:name`.
pub struct Table {
    name: String,
    source: Box<dyn Source>,
    flags: Flags,
    utf8: bool,
    fixed: bool,
    remote: bool,
    changed: Cell<bool>,
}

impl Table {
    pub(crate) fn new(name: String, source: Box<dyn Source>, flags: Flags, utf8: bool) -> Self {
        let utf8 = utf8 && !flags.contains(Flags::NO_UTF8);
        let (fixed, remote) = (source.is_fixed(), source.is_remote());
        Self { name, source, flags, utf8, fixed, remote, changed: Cell::new(false) }
    }

    /// `type:name`, as configured.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether keys are fixed strings (so partial keys make sense) and not patterns.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Whether a lookup may take a wait: the table is served by another process.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote
    }

    /// Looks `key` up. An empty value is returned as it is; [`crate::Maps`] decides what it means.
    ///
    /// # Errors
    /// The table has no answer now; a temporary error.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<BString>, LookupError> {
        if self.is_malformed(key) {
            return Ok(None);
        }
        let answer = if self.folds() {
            fold::with_folded(key, self.utf8, |key| self.source.lookup(key))
        } else {
            self.source.lookup(key)
        };
        self.checked(key, answer)
    }

    /// [`Self::lookup`] for the event loop: waits where the table is served by another process.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub async fn lookup_async(&self, key: &[u8]) -> Result<Option<BString>, LookupError> {
        self.ask(key, Patience::Waits).await
    }

    /// Either of the two.
    pub(crate) async fn ask(&self, key: &[u8], patience: Patience) -> Result<Option<BString>, LookupError> {
        // Local tables answer at once, without anything being allocated for a wait that does not come.
        if !self.remote || patience == Patience::Blocks {
            return self.lookup(key);
        }
        if self.is_malformed(key) {
            return Ok(None);
        }
        let folded = if self.folds() { fold::fold(key, self.utf8) } else { key.into() };
        let answer = self.source.lookup_later(&folded).await;
        self.checked(key, answer)
    }

    /// Stores a value in place of one that is there (`Some`), or removes the key (`None`); whether it was there.
    ///
    /// # Errors
    /// The table cannot be changed now; or, as the outer `None`, cannot be changed entry by entry at all.
    pub fn change(&self, key: &[u8], value: Option<&[u8]>) -> Option<Result<bool, LookupError>> {
        let folded = if self.folds() { fold::fold(key, self.utf8) } else { key.into() };
        Some(self.source.change(&folded, value)?.map_err(|fault| self.error(key, &fault.0)))
    }

    fn is_malformed(&self, key: &[u8]) -> bool {
        let malformed = self.utf8 && !key.is_ascii() && key.to_str().is_err();
        if malformed {
            log::warning!("{} lookup: key \"{}\" is not UTF-8, treated as not found", self.name, shown(key));
        }
        malformed
    }

    fn folds(&self) -> bool {
        if self.fixed { !self.flags.contains(Flags::NO_FOLD) } else { self.flags.contains(Flags::FOLD_PATTERNS) }
    }

    fn checked(&self, key: &[u8], answer: Result<Option<BString>, Fault>) -> Result<Option<BString>, LookupError> {
        match answer {
            Ok(None) => Ok(None),
            Ok(Some(value)) => {
                if self.utf8 && !value.is_ascii() && value.to_str().is_err() {
                    return Err(self.error(key, "the value is not UTF-8"));
                }
                if self.flags.contains(Flags::FILE_VALUES) {
                    return match crate::base64::decode(&value) {
                        Some(decoded) => Ok(Some(decoded)),
                        None => Err(self.error(key, "malformed BASE64 value")),
                    };
                }
                Ok(Some(value))
            }
            Err(fault) => Err(self.error(key, &fault.0)),
        }
    }

    /// Whether the table's file was replaced or rewritten since it was opened. Looks each time, as a script may well build
    /// a table and send the mail that needs it in the next line: it costs one `fstat(2)`.
    #[must_use]
    pub fn changed(&self) -> bool {
        if !self.changed.get() {
            self.changed.set(self.source.has_changed());
        }
        self.changed.get()
    }

    /// Whose word the values are.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.source.owner()
    }

    /// `type:name(flags)` as in the log line about a changed table.
    #[must_use]
    pub fn log_name(&self) -> String {
        format!("{}({})", self.name, self.flags.log_names())
    }

    /// Gives every entry to `each`, in the table's order; `None` when the type cannot list its entries.
    pub fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), LookupError>> {
        Some(self.source.entries(each)?.map_err(|fault| self.error(b"", &fault.0)))
    }

    fn error(&self, key: &[u8], reason: &str) -> LookupError {
        LookupError { table: self.name.clone(), key: shown(key), reason: reason.to_owned() }
    }
}

/// The part of a key that messages show.
pub(crate) fn shown(key: &[u8]) -> BString {
    key[..key.len().min(SHOWN_KEY)].into()
}

/// The outcome of a search that was told to block ([`Patience::Blocks`]), which therefore never waits.
pub(crate) fn at_once<T>(search: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(search).poll(&mut context) {
        std::task::Poll::Ready(outcome) => outcome,
        // `Table::ask` is the only place where a search waits, and it does not when told to block.
        std::task::Poll::Pending => unreachable!("a blocking search waits for nothing"),
    }
}
