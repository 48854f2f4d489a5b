//! `sqlite:`: a query in a database file.
//!
//! The library blocks, so that each query runs on a thread; as many connections are open as queries were seen at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bstr::BString;
use config::Config;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, InterruptHandle, OpenFlags};
use table_server::{Attributes, Fault, TableType, Templates};

/// Longest wait for a writer.
const BUSY: Duration = Duration::from_secs(10);
/// Longest query.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Most rows that are looked at: more cannot be meant.
const MOST_ROWS: usize = 100_000;

/// A table in a database file.
#[derive(Debug)]
pub struct Sqlite {
    title: String,
    path: String,
    templates: Templates,
    timeout: Duration,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// Stops a query whose asker is gone.
struct Interrupt(Option<InterruptHandle>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.interrupt();
        }
    }
}

/// As `'` is written within quotes in SQL.
fn quote(text: &[u8], into: &mut Vec<u8>) {
    for byte in text {
        into.push(*byte);
        if *byte == b'\'' {
            into.push(b'\'');
        }
    }
}

impl TableType for Sqlite {
    const PROGRAM: &'static str = "table-sqlite";
    const KINDS: &'static [&'static str] = &["sqlite"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let table = Sqlite {
            title: attributes.title().to_owned(),
            path: attributes.required("dbpath")?,
            templates: Templates::load(&attributes, &[&attributes.sql_query()?])?,
            timeout: attributes.time("timeout", TIME_LIMIT)?,
            idle: Arc::default(),
        };
        // A file that only root may read stays readable through the connection that is made now.
        match table.connect() {
            Ok(connection) => table.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection),
            Err(error) => return Err(Fault(format!("open {}: {error}", table.path))),
        }
        Ok(table)
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if !self.templates.takes(key).await? {
            return Ok(None);
        }
        let Some(query) = self.templates.query(0, key, &quote) else { return Ok(None) };
        // SQL is text; what is not cannot be in the database either.
        let Ok(query) = String::from_utf8(query) else { return Ok(None) };
        let known = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let failed = |error: rusqlite::Error| Fault(format!("{}: {error}", self.path));
        let connection = match known {
            Some(connection) => connection,
            None => self.connect().map_err(failed)?,
        };
        let mut interrupt = Interrupt(Some(connection.get_interrupt_handle()));
        let idle = Arc::clone(&self.idle);
        let running = tokio::task::spawn_blocking(move || {
            let rows = rows(&connection, &query);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            rows
        });
        let finished = tokio::time::timeout(self.timeout, running).await;
        let rows = match finished {
            Ok(Ok(rows)) => {
                // There is nothing to stop any more, and the connection may have the next question already.
                interrupt.0 = None;
                rows.map_err(failed)?
            }
            Ok(Err(_)) => return Err(Fault(format!("{}: internal error", self.title))),
            Err(_) => return Err(Fault(format!("{}: query timed out", self.path))),
        };
        let mut results = self.templates.results(key);
        for value in &rows {
            results.add(value)?;
        }
        Ok(results.finish())
    }

    fn changed(&self) -> bool {
        self.templates.changed()
    }
}

impl Sqlite {
    fn connect(&self) -> Result<Connection, rusqlite::Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    }
}

/// The first column of each row.
fn rows(connection: &Connection, query: &str) -> Result<Vec<BString>, rusqlite::Error> {
    let mut statement = connection.prepare(query)?;
    let mut found = Vec::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match row.get_ref(0)? {
            ValueRef::Null => {}
            ValueRef::Integer(number) => found.push(number.to_string().into()),
            ValueRef::Real(number) => found.push(number.to_string().into()),
            ValueRef::Text(text) | ValueRef::Blob(text) => found.push(text.into()),
        }
        if found.len() > MOST_ROWS {
            return Err(rusqlite::Error::ToSqlConversionFailure("too many rows".into()));
        }
    }
    Ok(found)
}
