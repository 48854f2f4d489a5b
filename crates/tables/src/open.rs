//! From `type:name` to an open table. A table is opened once per thread, however many parameters name it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::error::Error;
use crate::flags::Flags;
use crate::settings::Settings;
use crate::table::{Source, Table};
use crate::types;

/// Types that the reference has on some systems and that have no place here.
const UNAVAILABLE: &[&str] = &["dbm", "netinfo", "nis", "nisplus", "sdbm"];

/// Types that are served in the process that asks.
pub const LOCAL: &[&str] = &[
    "btree", "cdb", "cidr", "debug", "environ", "fail", "hash", "inline", "internal", "lmdb", "pcre", "pipemap",
    "proxy", "randmap", "regexp", "static", "texthash", "unionmap", "unix",
];

/// All types that can be opened, sorted, those of table servers included whose programs `is_there`.
#[must_use]
pub fn available(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let remote = types::remote::REMOTE_TYPES.iter().filter(|remote| is_there(remote.program)).map(|remote| remote.name);
    let mut all: Vec<&str> = LOCAL.iter().copied().chain(remote).collect();
    all.sort_unstable();
    all
}

thread_local! {
    static OPEN: RefCell<HashMap<(String, Flags, bool), Weak<Table>>> = RefCell::new(HashMap::new());
}

/// Opens `type:name`, or shares the table that is already open under the same name and flags.
///
/// # Errors
/// Unknown type, bad name, unreadable or damaged file, type forbidden by `flags`.
pub fn open(name: &str, settings: &Settings, flags: Flags) -> Result<Rc<Table>, Error> {
    let key = (name.to_owned(), flags, settings.utf8);
    let shared = OPEN.with_borrow(|open| open.get(&key).and_then(Weak::upgrade));
    // A changed table is opened afresh; who still holds the old one goes on with it until it is drained.
    if let Some(table) = shared.filter(|table| !name.starts_with("internal:") && !table.changed()) {
        return Ok(table);
    }
    let utf8 = settings.utf8 && !flags.contains(Flags::NO_UTF8);
    let source = source(name, settings, flags, utf8)?;
    // Tables made of tables get values that their members have decoded.
    let decodes_itself = ["pipemap:", "unionmap:", "debug:"].iter().any(|kind| name.starts_with(kind));
    let own_flags = if decodes_itself { flags.without(Flags::FILE_VALUES) } else { flags };
    let table = Rc::new(Table::new(name.to_owned(), source, own_flags, utf8));
    OPEN.with_borrow_mut(|open| {
        open.retain(|_, table| table.strong_count() > 0);
        open.insert(key, Rc::downgrade(&table));
    });
    Ok(table)
}

/// Splits `type:name`.
///
/// # Errors
/// No colon, or nothing before or after it.
pub fn split(name: &str) -> Result<(&str, &str), Error> {
    match name.split_once(':') {
        Some((kind, rest)) if !kind.is_empty() && !rest.is_empty() => Ok((kind, rest)),
        Some((kind @ ("environ" | "fail" | "internal"), rest)) => Ok((kind, rest)),
        _ => Err(Error::Name { name: name.to_owned(), reason: "expecting \"type:name\" form".to_owned() }),
    }
}

/// Opens the table itself, without the layer that all types share.
pub(crate) fn source(name: &str, settings: &Settings, flags: Flags, utf8: bool) -> Result<Box<dyn Source>, Error> {
    let (kind, rest) = split(name)?;
    let bad = |reason: String| Error::Name { name: name.to_owned(), reason };
    Ok(match kind {
        "texthash" => Box::new(types::text_hash::TextHash::open(rest, flags, utf8)?),
        "inline" => Box::new(types::inline::Inline::parse(rest, flags, utf8).map_err(bad)?),
        "static" => Box::new(types::fixed_value::Static::parse(rest, flags).map_err(bad)?),
        "internal" => Box::new(types::internal::Internal::default()),
        "environ" => Box::new(types::environ::Environ),
        "unix" => Box::new(types::unix::Unix::open(rest).map_err(bad)?),
        "fail" => Box::new(types::fail::Fail),
        "cidr" => Box::new(types::cidr::Cidr::open(rest)?),
        "regexp" => Box::new(types::regexp::Regexp::open(rest, flags)?),
        "pcre" => Box::new(types::pcre::PcreTable::open(rest, flags, utf8)?),
        "pipemap" => Box::new(types::combined::Pipe::open(rest, settings, flags)?),
        "unionmap" => Box::new(types::combined::Union::open(rest, settings, flags)?),
        "randmap" => Box::new(types::combined::Random::open(rest)?),
        "debug" => Box::new(types::combined::Debug::open(rest, settings, flags)?),
        "lmdb" => Box::new(types::lmdb::Lmdb::open(rest, settings)?),
        "hash" | "btree" => types::hash::open(rest, settings)?,
        "cdb" => Box::new(types::cdb::Cdb::open(rest)?),
        "proxy" => types::proxy::open(rest, settings, flags)?,
        kind if UNAVAILABLE.contains(&kind) => return Err(Error::NotAvailable { kind: kind.to_owned() }),
        kind => match types::remote::find(kind) {
            Some(remote) => Box::new(types::remote::Remote::open(remote, rest, settings, flags)?),
            None => return Err(Error::UnknownType { kind: kind.to_owned() }),
        },
    })
}
