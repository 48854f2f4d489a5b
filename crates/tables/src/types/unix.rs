//! `unix:passwd.byname` and `unix:group.byname`: the system's account databases.

use bstr::BString;
use sys::accounts::{self, Database};

use crate::error::Fault;
use crate::table::Source;

/// One of the two.
pub(crate) struct Unix(Database);

impl Unix {
    pub(crate) fn open(name: &str) -> Result<Self, String> {
        let database = match name {
            "passwd.byname" => Database::Passwd,
            "group.byname" => Database::Group,
            _ => return Err(format!("unknown table: unix:{name}")),
        };
        // A program that is about to enter a jail arranges for it.
        accounts::announce();
        Ok(Self(database))
    }
}

impl Source for Unix {
    fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        let Ok(name) = std::str::from_utf8(key) else { return Ok(None) };
        let entry = accounts::look_up(self.0, name).map_err(|error| Fault(format!("account lookup: {error}")))?;
        Ok(entry.map(BString::from))
    }

    /// Without the process that answers for a jail, another worker has to take over.
    fn has_changed(&self) -> bool {
        accounts::is_lost()
    }
}
