//! An ordered list of tables, as in `alias_maps = lmdb:/etc/aliases, regexp:/etc/more`.

use std::rc::Rc;

use bstr::BString;
use config::Config;

use crate::error::{Error, LookupError};
use crate::flags::Flags;
use crate::list;
use crate::open;
use crate::settings::Settings;
use crate::table::{Owner, Patience, Table, at_once, shown};

/// A value and the table that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// The value; empty only with [`Flags::EMPTY_VALUES`].
    pub value: BString,
    /// `type:name`.
    pub table: &'a str,
}

/// A table, or why it is not there: then every lookup that reaches it is a temporary error.
enum Member {
    Open(Rc<Table>),
    Broken { name: String, reason: String },
}

/// An ordered list of tables; the first that knows the key answers.
pub struct Maps {
    title: &'static str,
    flags: Flags,
    members: Vec<Member>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").field("title", &self.title).field("tables", &self.members.len()).finish_non_exhaustive()
    }
}

impl Maps {
    /// [`Self::open_with`] and the settings of `config`.
    ///
    /// # Errors
    /// A parameter that tables depend on has a bad value; and as [`Self::open_with`].
    pub fn open(spec: &str, config: &Config, title: &'static str, flags: Flags) -> Result<Self, Error> {
        if spec.trim().is_empty() {
            return Ok(Self::empty(title));
        }
        Self::open_with(spec, &Settings::for_spec(config, spec)?, title, flags)
    }

    /// Opens every table of `spec` (comma and white space separated); an empty `spec` is a list that knows nothing.
    ///
    /// A table that cannot be opened is warned about now, and each lookup that reaches it is a temporary error.
    ///
    /// # Errors
    /// Only with `daemon_table_open_error_is_fatal`: the first table that cannot be opened.
    pub fn open_with(spec: &str, settings: &Settings, title: &'static str, flags: Flags) -> Result<Self, Error> {
        let mut members = Vec::new();
        for name in list::split(spec) {
            members.push(match open::open(name, settings, flags) {
                Ok(table) => Member::Open(table),
                Err(error) if settings.open_error_is_fatal => return Err(error),
                Err(error) => {
                    log::warning!("{title}: {name} is unavailable. {error}");
                    Member::Broken { name: name.to_owned(), reason: format!("table is unavailable. {error}") }
                }
            });
        }
        Ok(Self { title, flags, members })
    }

    /// A list without tables.
    #[must_use]
    pub fn empty(title: &'static str) -> Self {
        Self { title, flags: Flags::DEFAULT, members: Vec::new() }
    }

    /// Whether there is no table in the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The parameter that the list came from.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.title
    }

    /// `type:name` of each table.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| match member {
            Member::Open(table) => table.name(),
            Member::Broken { name, .. } => name,
        })
    }

    /// Whose word the values of the table of a [`Hit`] are.
    #[must_use]
    pub fn owner(&self, table: &str) -> Owner {
        let owner = self.members.iter().find_map(|member| match member {
            Member::Open(open) if open.name() == table => Some(open.owner()),
            _ => None,
        });
        owner.unwrap_or(Owner::Unknown)
    }

    /// Looks a whole key up in every table.
    ///
    /// # Errors
    /// A table has no answer now (logged here): a temporary error.
    pub fn lookup_blocking(&self, key: &[u8]) -> Result<Option<Hit<'_>>, LookupError> {
        at_once(self.find(key, false, Patience::Blocks))
    }

    /// Looks a derived key (a parent domain, a network, an address without extension) up: pattern tables are passed over.
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub fn lookup_partial_blocking(&self, key: &[u8]) -> Result<Option<Hit<'_>>, LookupError> {
        at_once(self.find(key, true, Patience::Blocks))
    }

    /// [`Self::lookup_blocking`] for the event loop: waits for tables that other processes serve. Local tables answer at once.
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub async fn lookup(&self, key: &[u8]) -> Result<Option<Hit<'_>>, LookupError> {
        self.find(key, false, Patience::Waits).await
    }

    /// [`Self::lookup_partial_blocking`] for the event loop.
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub async fn lookup_partial(&self, key: &[u8]) -> Result<Option<Hit<'_>>, LookupError> {
        self.find(key, true, Patience::Waits).await
    }

    pub(crate) async fn find(
        &self,
        key: &[u8],
        partial: bool,
        patience: Patience,
    ) -> Result<Option<Hit<'_>>, LookupError> {
        // An empty key comes from a partial address; `static:` and patterns would answer it with nonsense.
        if key.is_empty() {
            return Ok(None);
        }
        for member in &self.members {
            let table = match member {
                Member::Open(table) => table,
                Member::Broken { name, reason } => {
                    let error = LookupError { table: name.clone(), key: shown(key), reason: reason.clone() };
                    log::warning!("{}: {error}", self.title);
                    return Err(error);
                }
            };
            if partial && !table.is_fixed() {
                continue;
            }
            match table.ask(key, patience).await {
                Ok(None) => {}
                Ok(Some(value)) if value.is_empty() && !self.flags.contains(Flags::EMPTY_VALUES) => {
                    log::warning!("{} lookup of {} returns an empty string result", self.title, shown(key));
                    log::warning!("{} should return NO RESULT in case of NOT FOUND", self.title);
                    return Err(LookupError {
                        table: table.name().to_owned(),
                        key: shown(key),
                        reason: "empty string result".to_owned(),
                    });
                }
                Ok(Some(value)) => return Ok(Some(Hit { value, table: table.name() })),
                Err(error) => {
                    log::warning!("{}: {error}", self.title);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Whether a table's file changed: the worker drains and is replaced.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.members.iter().any(|member| matches!(member, Member::Open(table) if table.changed()))
    }

    /// The first changed table as the log line shows it: `lmdb:/etc/aliases(0,lock|fold_fix|utf8_request)`.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        self.members.iter().find_map(|member| match member {
            Member::Open(table) if table.changed() => Some(table.log_name()),
            _ => None,
        })
    }
}

/// A list that decides a match element by one table.
impl Maps {
    /// A list of one table that is open already.
    #[must_use]
    pub fn of_table(table: Rc<Table>, title: &'static str) -> Self {
        Self { title, flags: Flags::DEFAULT, members: vec![Member::Open(table)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps(spec: &str, flags: Flags) -> Maps {
        Maps::open_with(spec, &Settings::default(), "test_maps", flags).expect("never fatal")
    }

    #[test]
    fn the_first_table_that_knows_answers() {
        let maps = maps("inline:{a=1} inline:{a=2, b=3}, static:{rest of all}", Flags::DEFAULT);
        for (key, value) in [("A", "1"), ("b", "3"), ("c", "rest of all")] {
            assert_eq!(maps.lookup_blocking(key.as_bytes()).map(|hit| hit.expect("hit").value), Ok(value.into()));
        }
        assert_eq!(maps.lookup_blocking(b""), Ok(None));
    }

    #[test]
    fn a_broken_table_is_a_temporary_error_when_it_is_reached() {
        let maps = maps("inline:{a=1} texthash:/nonexistent/file", Flags::DEFAULT);
        assert!(maps.lookup_blocking(b"a").is_ok());
        assert!(maps.lookup_blocking(b"b").is_err());
        let fatal = Settings { open_error_is_fatal: true, ..Settings::default() };
        assert!(Maps::open_with("texthash:/nonexistent/file", &fatal, "x", Flags::DEFAULT).is_err());
    }

    #[test]
    fn empty_values_are_errors_unless_asked_for() {
        assert!(maps("inline:{a=}", Flags::DEFAULT).lookup_blocking(b"a").is_err());
        let maps = maps("inline:{a=}", Flags::EMPTY_VALUES);
        assert_eq!(maps.lookup_blocking(b"a").map(|hit| hit.expect("hit").value), Ok("".into()));
    }

    #[test]
    fn malformed_utf8_is_not_found_as_key_and_an_error_as_value() {
        assert_eq!(maps("static:x", Flags::DEFAULT).lookup_blocking(b"\xff"), Ok(None));
        assert!(maps("static:x", Flags::NO_UTF8).lookup_blocking(b"\xff").is_ok_and(|hit| hit.is_some()));
    }
}
