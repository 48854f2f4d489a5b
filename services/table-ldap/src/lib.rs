//! `ldap:`: a search in a directory, and what its entries lead to.
//!
//! The protocol (RFC 4511) is spoken here: the little that tables need, with a bound on everything that a server may send.

mod ber;
mod connection;
mod dn;
mod filter;
mod settings;
mod url;

use bstr::{BString, ByteSlice};
use config::Config;
use table_server::{Attributes, Connector, Fault, Host, Pool, PoolSettings, Results, TableType, Trouble, Wire};

use crate::connection::{Bind, Connection, Entry, Found, Login, Scope, Search};
use crate::settings::{BASE, FILTER, Settings};
use crate::url::Url;

/// How far referrals are followed from server to server.
const MOST_HOPS: usize = 5;
/// Most searches for one key: entries may lead to entries, but not for ever.
const MOST_SEARCHES: usize = 20_000;
/// The filter that every entry fits.
const ANY: &[u8] = b"\x87\x0bobjectClass";

/// A table behind directory servers.
pub struct Ldap {
    settings: Settings,
    pool: Pool<Servers>,
}

struct Servers {
    hosts: Vec<(Host, bool)>,
    login: Login,
    timeout: std::time::Duration,
}

impl Connector for Servers {
    type Connection = Connection;

    async fn connect(&self, host: &Host) -> Result<Connection, Fault> {
        let tls = self.hosts.iter().any(|(there, tls)| there == host && *tls);
        let wire = Wire::connect(host, self.timeout).await.map_err(Fault::new)?;
        Connection::start(host, tls, &self.login, wire).await
    }
}

/// A search that an entry gives rise to.
struct Next {
    base: Vec<u8>,
    scope: Scope,
    filter: Vec<u8>,
    attributes: Vec<String>,
    depth: usize,
}

impl TableType for Ldap {
    const PROGRAM: &'static str = "table-ldap";
    const KINDS: &'static [&'static str] = &["ldap"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let settings = Settings::load(&attributes)?;
        let hosts = settings.hosts.iter().map(|(host, _)| host.clone()).collect();
        let mut pool = PoolSettings::load(&attributes, hosts, settings.timeout)?;
        pool.random = false;
        let servers =
            Servers { hosts: settings.hosts.clone(), login: settings.login.clone(), timeout: settings.timeout };
        Ok(Ldap { pool: Pool::new(&settings.title, servers, pool), settings })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        let settings = &self.settings;
        // The protocol's texts are UTF-8.
        if !settings.templates.takes(key).await? || key.to_str().is_err() {
            return Ok(None);
        }
        let filter = settings.templates.query(FILTER, key, &filter::quote);
        let base = settings.templates.query(BASE, key, &dn::quote);
        let (Some(filter), Some(base)) = (filter, base) else { return Ok(None) };
        let Some(filter) = filter::encode(&filter) else {
            return Err(Fault(format!("{}: bad search filter", settings.title)));
        };
        let attributes = settings.selection.all.clone();
        let mut searches = vec![Next { base, scope: settings.scope, filter, attributes, depth: 0 }];
        let mut results = settings.templates.results(key);
        let mut count = 0;
        while let Some(search) = searches.pop() {
            count += 1;
            if count > MOST_SEARCHES {
                return Err(Fault(format!("{}: too many searches for one key", settings.title)));
            }
            let entries = self.search(&search).await?;
            let mut further = Vec::new();
            for entry in &entries {
                self.take(entry, &search, &mut results, &mut further)?;
            }
            // Depth first, in the order of the values.
            searches.extend(further.into_iter().rev());
        }
        Ok(results.finish())
    }

    fn changed(&self) -> bool {
        self.settings.templates.changed()
    }
}

impl Ldap {
    async fn search(&self, next: &Next) -> Result<Vec<Entry>, Fault> {
        let settings = &self.settings;
        let search = Search {
            base: &next.base,
            scope: next.scope,
            dereference: settings.dereference,
            size_limit: settings.size_limit,
            time_limit: u32::try_from(settings.timeout.as_secs()).unwrap_or(u32::MAX).max(1),
            filter: &next.filter,
            attributes: &next.attributes,
        };
        let found = self.pool.ask(async |connection: &mut Connection| connection.search(&search).await).await?;
        if found.no_base {
            let base = next.base.as_bstr();
            if next.depth == 0 {
                return Err(Fault(format!("{}: search base {base} does not exist", settings.title)));
            }
            // A group that names somebody who has left is no reason to keep its mail.
            log::warning!("{}: entry {base} does not exist", settings.title);
        }
        if !settings.chase_referrals || found.referrals.is_empty() {
            return Ok(found.entries);
        }
        self.chase(&search, found).await
    }

    /// Asks the servers that the first one names. They are strangers: nobody logs in with a name and a password.
    async fn chase(&self, search: &Search<'_>, found: Found) -> Result<Vec<Entry>, Fault> {
        let settings = &self.settings;
        let mut entries = found.entries;
        let mut referrals: Vec<(String, usize)> = found.referrals.into_iter().map(|url| (url, 1)).collect();
        let anonymous = Bind::Simple { dn: String::new(), password: String::new() };
        let login = Login { bind: anonymous, ..settings.login.clone() };
        let mut asked = 0;
        while let Some((text, hops)) = referrals.pop() {
            asked += 1;
            let url = Url::parse(&text, 389).filter(|url| matches!(url.host, Some(Host::Inet(..))));
            let Some(Url { host: Some(host), tls, base, scope, filter, .. }) = url else { continue };
            if hops > MOST_HOPS || asked > MOST_HOPS * MOST_HOPS {
                return Err(Fault(format!("{}: too many referrals", settings.title)));
            }
            let filter = match filter {
                Some(filter) => filter::encode(filter.as_bytes()).unwrap_or_else(|| search.filter.to_vec()),
                None => search.filter.to_vec(),
            };
            let base = if base.is_empty() { search.base.to_vec() } else { base.into_bytes() };
            let again = Search { base: &base, scope: scope.unwrap_or(search.scope), filter: &filter, ..search.clone() };
            let asking = async {
                let wire = Wire::connect(&host, settings.timeout).await.map_err(Fault::new)?;
                let mut connection = Connection::start(&host, tls, &login, wire).await?;
                connection.search(&again).await.map_err(|trouble| match trouble {
                    Trouble::Broken(text)
                    | Trouble::Refused(text)
                    | Trouble::Final(text)
                    | Trouble::Unanswered(text) => Fault(text),
                })
            };
            let asked = within(settings.timeout, asking).await;
            let more = asked.map_err(|fault| Fault(format!("referral {text}: {fault}")))?;
            entries.extend(more.entries);
            referrals.extend(more.referrals.into_iter().map(|url| (url, hops + 1)));
        }
        Ok(entries)
    }

    /// Takes the results of an entry, and what it leads to.
    fn take(
        &self,
        entry: &Entry,
        search: &Next,
        results: &mut Results<'_>,
        further: &mut Vec<Next>,
    ) -> Result<(), Fault> {
        let selection = &self.settings.selection;
        let asked = |name: &&String| search.attributes.iter().any(|there| there.eq_ignore_ascii_case(name));
        let values = |names: &[String]| -> Vec<BString> {
            names.iter().filter(asked).flat_map(|name| entry.values(name)).cloned().collect()
        };
        let terminal = values(&selection.terminal);
        if !terminal.is_empty() {
            return terminal.iter().try_for_each(|value| results.add(value));
        }
        let special = values(&selection.special);
        values(&selection.ordinary).iter().try_for_each(|value| results.add(value))?;
        if special.is_empty() {
            return values(&selection.leaf).iter().try_for_each(|value| results.add(value));
        }
        if search.depth + 1 > self.settings.recursion_limit {
            let limit = self.settings.recursion_limit;
            return Err(Fault(format!("{}: recursion level {limit} exceeded", self.settings.title)));
        }
        for value in special {
            further.extend(self.next(&value, search.depth + 1));
        }
        Ok(())
    }

    /// The search for what a distinguished name or URL leads to.
    fn next(&self, value: &[u8], depth: usize) -> Option<Next> {
        let all = &self.settings.selection.all;
        let text = value.to_str().ok()?;
        let url = Url::parse(text, 389);
        let Some(url) = url else {
            let base = value.to_vec();
            return Some(Next { base, scope: Scope::Base, filter: ANY.to_vec(), attributes: all.clone(), depth });
        };
        // Only attributes that the URL and the table both name.
        let named = |name: &&String| url.attributes.iter().any(|there| there.eq_ignore_ascii_case(name));
        let attributes: Vec<String> =
            if url.attributes.is_empty() { all.clone() } else { all.iter().filter(named).cloned().collect() };
        if attributes.is_empty() {
            return None;
        }
        let filter = match &url.filter {
            Some(filter) => filter::encode(filter.as_bytes())?,
            None => ANY.to_vec(),
        };
        let scope = url.scope.unwrap_or(Scope::Base);
        Some(Next { base: url.base.into_bytes(), scope, filter, attributes, depth })
    }
}

async fn within<T>(limit: std::time::Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Fault::new("timeout")),
    }
}
