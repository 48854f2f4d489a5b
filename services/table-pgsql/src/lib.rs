//! `pgsql:`: a query to a PostgreSQL server.
//!
//! The protocol (version 3) is spoken here: the little that tables need, with a bound on everything that a server may send.

mod message;
mod session;
mod target;

use std::time::Duration;

use bstr::{BString, ByteSlice};
use config::Config;
use table_server::{Attributes, Connector, Fault, Host, Pool, PoolSettings, TableType, Templates, Trouble};

use crate::session::Session;
use crate::target::Target;

/// For one server to answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// A table behind PostgreSQL servers.
pub struct Pgsql {
    templates: Templates,
    utf8: bool,
    pool: Pool<Targets>,
}

/// Where connections lead: the hosts of the pool are those of the targets, in order.
struct Targets(Vec<(Host, Target)>);

impl Connector for Targets {
    type Connection = Session;

    async fn connect(&self, host: &Host) -> Result<Session, Fault> {
        // The same host may be there twice, with other parameters; then the first one counts.
        let target = self.0.iter().find(|(there, _)| there == host).map(|(_, target)| target);
        target.ok_or_else(|| Fault::new("no such server"))?.connect(host, TIME_LIMIT).await
    }
}

/// As text is written within quotes: backslashes mean something only where the server is set up in the old way.
fn quote(text: &[u8], into: &mut Vec<u8>, backslashes: bool) {
    for byte in text {
        if *byte == b'\'' || (backslashes && *byte == b'\\') {
            into.push(*byte);
        }
        into.push(*byte);
    }
}

impl TableType for Pgsql {
    const PROGRAM: &'static str = "table-pgsql";
    const KINDS: &'static [&'static str] = &["pgsql"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let encoding = attributes.text("encoding", "UTF8");
        let mut targets = Vec::new();
        for word in attributes.words("hosts", "localhost") {
            targets.extend(Target::parse(&word, &attributes, &encoding)?);
        }
        let hosts = targets.iter().map(|(host, _)| host.clone()).collect();
        let settings = PoolSettings::load(&attributes, hosts, TIME_LIMIT)?;
        Ok(Pgsql {
            templates: Templates::load(&attributes, &[&attributes.sql_query()?])?,
            utf8: encoding.eq_ignore_ascii_case("utf8") || encoding.eq_ignore_ascii_case("utf-8"),
            pool: Pool::new(attributes.title(), Targets(targets), settings),
        })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        // The server would refuse a query that is not in its encoding.
        if !self.templates.takes(key).await? || (self.utf8 && key.to_str().is_err()) {
            return Ok(None);
        }
        let rows = self
            .pool
            .ask(async |session: &mut Session| {
                let backslashes = session.escapes_with_backslashes();
                let quote = |text: &[u8], into: &mut Vec<u8>| quote(text, into, backslashes);
                let query = self.templates.query(0, key, &quote);
                let query = query.ok_or_else(|| Trouble::Unanswered("empty or oversized query".to_owned()))?;
                session.query(&query).await
            })
            .await?;
        let mut results = self.templates.results(key);
        for value in rows {
            results.add(&value)?;
        }
        Ok(results.finish())
    }

    fn changed(&self) -> bool {
        self.templates.changed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes() {
        for (text, plain, old) in
            [("a'b", "a''b", "a''b"), ("a\\'", "a\\''", "a\\\\''"), ("%_", "%_", "%_"), ("", "", "")]
        {
            for (backslashes, expected) in [(false, plain), (true, old)] {
                let mut into = Vec::new();
                quote(text.as_bytes(), &mut into, backslashes);
                assert_eq!(into.as_bstr(), expected, "{text}");
            }
        }
    }
}
