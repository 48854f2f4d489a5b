//! Tables made of tables: `pipemap:`, `unionmap:`, `debug:`; and `randmap:`.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use bstr::BString;

use crate::error::{Error, Fault};
use crate::flags::Flags;
use crate::list;
use crate::open;
use crate::settings::Settings;
use crate::table::{EachEntry, LaterAnswer, Owner, Patience, Source, Table, at_once, shown};

/// The elements between the braces of `{a, b}`.
fn elements<'n>(kind: &str, name: &'n str, what: &str) -> Result<Vec<&'n str>, Error> {
    let elements: Vec<&str> = list::braced(name).map(|text| list::split(text).collect()).unwrap_or_default();
    if elements.is_empty() {
        let reason = format!("bad syntax; need \"{kind}:{{{what}...}}\"");
        return Err(Error::Name { name: format!("{kind}:{name}"), reason });
    }
    Ok(elements)
}

fn members(kind: &str, name: &str, settings: &Settings, flags: Flags) -> Result<Vec<Rc<Table>>, Error> {
    elements(kind, name, "type:name")?.into_iter().map(|member| open::open(member, settings, flags)).collect()
}

async fn ask(table: &Table, key: &[u8], patience: Patience) -> Result<Option<BString>, Fault> {
    table.ask(key, patience).await.map_err(|error| Fault(error.to_string()))
}

/// `pipemap:{type:name, ...}`: the value of one table is the key of the next.
pub(crate) struct Pipe(Vec<Rc<Table>>);

impl Pipe {
    pub(crate) fn open(name: &str, settings: &Settings, flags: Flags) -> Result<Self, Error> {
        Ok(Self(members("pipemap", name, settings, flags)?))
    }

    async fn search(&self, key: &[u8], patience: Patience) -> Result<Option<BString>, Fault> {
        let mut value = BString::from(key);
        for table in &self.0 {
            match ask(table, &value, patience).await? {
                Some(next) => value = next,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }
}

impl Source for Pipe {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        at_once(self.search(key, Patience::Blocks))
    }

    fn is_remote(&self) -> bool {
        self.0.iter().any(|table| table.is_remote())
    }

    fn lookup_later<'a>(&'a self, key: &'a [u8]) -> LaterAnswer<'a> {
        Box::pin(self.search(key, Patience::Waits))
    }

    fn is_fixed(&self) -> bool {
        // The key is seen by the first table only.
        self.0.iter().all(|table| table.is_fixed())
    }

    fn has_changed(&self) -> bool {
        self.0.iter().any(|table| table.changed())
    }

    fn owner(&self) -> Owner {
        self.0.iter().fold(Owner::Root, |owner, table| owner.and(table.owner()))
    }
}

/// `unionmap:{type:name, ...}`: the values of all tables, joined by commas.
pub(crate) struct Union(Vec<Rc<Table>>);

impl Union {
    pub(crate) fn open(name: &str, settings: &Settings, flags: Flags) -> Result<Self, Error> {
        Ok(Self(members("unionmap", name, settings, flags)?))
    }

    async fn search(&self, key: &[u8], patience: Patience) -> Result<Option<BString>, Fault> {
        let mut all: Option<BString> = None;
        for table in &self.0 {
            if let Some(value) = ask(table, key, patience).await? {
                match &mut all {
                    None => all = Some(value),
                    Some(all) => {
                        all.push(b',');
                        all.extend_from_slice(&value);
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Source for Union {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        at_once(self.search(key, Patience::Blocks))
    }

    fn is_remote(&self) -> bool {
        self.0.iter().any(|table| table.is_remote())
    }

    fn lookup_later<'a>(&'a self, key: &'a [u8]) -> LaterAnswer<'a> {
        Box::pin(self.search(key, Patience::Waits))
    }

    fn is_fixed(&self) -> bool {
        self.0.iter().all(|table| table.is_fixed())
    }

    fn has_changed(&self) -> bool {
        self.0.iter().any(|table| table.changed())
    }

    fn owner(&self) -> Owner {
        self.0.iter().fold(Owner::Root, |owner, table| owner.and(table.owner()))
    }
}

/// `randmap:{value, ...}`: one of the values, by chance.
pub(crate) struct Random {
    values: Vec<BString>,
    state: Cell<u64>,
}

impl Random {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let values: Vec<BString> = elements("randmap", name, "value")?.into_iter().map(BString::from).collect();
        // The standard library's hasher is seeded by the system; nothing here needs more than an even spread.
        Ok(Self { values, state: Cell::new(RandomState::new().hash_one(0) | 1) })
    }
}

impl Source for Random {
    fn lookup(&self, _key: &[u8]) -> Result<Option<BString>, Fault> {
        // xorshift64 (Marsaglia 2003).
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        let index = (u128::from(state) * self.values.len() as u128) >> 64;
        Ok(Some(self.values[index as usize].clone()))
    }

    fn is_fixed(&self) -> bool {
        false
    }
}

fn outcome_text(changed: &Result<bool, Fault>) -> String {
    match changed {
        Ok(true) => "success".to_owned(),
        Ok(false) => "not_found".to_owned(),
        Err(fault) => format!("error: {fault}"),
    }
}

/// `debug:type:name`: writes every lookup to the log.
pub(crate) struct Debug(Rc<Table>);

impl Debug {
    pub(crate) fn open(name: &str, settings: &Settings, flags: Flags) -> Result<Self, Error> {
        Ok(Self(open::open(name, settings, flags)?))
    }

    async fn search(&self, key: &[u8], patience: Patience) -> Result<Option<BString>, Fault> {
        let answer = ask(&self.0, key, patience).await;
        let (name, key) = (self.0.name(), shown(key));
        match &answer {
            Ok(Some(value)) => log::info!("{name} lookup: \"{key}\" = \"{value}\""),
            Ok(None) => log::info!("{name} lookup: \"{key}\" = \"not_found\""),
            Err(fault) => log::info!("{name} lookup: \"{key}\" = \"error: {fault}\""),
        }
        answer
    }
}

impl Source for Debug {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        at_once(self.search(key, Patience::Blocks))
    }

    fn is_remote(&self) -> bool {
        self.0.is_remote()
    }

    fn lookup_later<'a>(&'a self, key: &'a [u8]) -> LaterAnswer<'a> {
        Box::pin(self.search(key, Patience::Waits))
    }

    fn change(&self, key: &[u8], value: Option<&[u8]>) -> Option<Result<bool, Fault>> {
        let changed = self.0.change(key, value)?.map_err(|error| Fault(error.to_string()));
        let what = if value.is_some() { "update" } else { "delete" };
        log::info!("{} {what}: \"{}\" = \"{}\"", self.0.name(), shown(key), outcome_text(&changed));
        Some(changed)
    }

    fn is_fixed(&self) -> bool {
        self.0.is_fixed()
    }

    fn has_changed(&self) -> bool {
        self.0.changed()
    }

    fn owner(&self) -> Owner {
        self.0.owner()
    }

    fn entries(&self, each: &mut EachEntry<'_>) -> Option<Result<(), Fault>> {
        Some(self.0.entries(each)?.map_err(|error| Fault(error.to_string())))
    }
}
