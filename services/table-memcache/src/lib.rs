//! `memcache:`: a cache, with or without a table behind it that is asked when the cache has nothing.

mod protocol;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest;
use bstr::BString;
use config::Config;
use table_server::{
    Attributes, Connector, Fault, Host, Pool, PoolSettings, TableType, Templates, Trouble, Wire, verbatim,
};
use tables::build::{Duplicates, Target, WriteOptions};
use tables::{Flags, Settings, Table};

use crate::protocol::{LONGEST_KEY, Limits, fits};

/// The port when none is given.
const PORT: u16 = 11211;

/// A table in a cache.
pub struct Memcache {
    title: String,
    templates: Templates,
    digest: &'static digest::Algorithm,
    flags: u32,
    ttl: u32,
    limits: Limits,
    max_try: u32,
    retry_pause: Duration,
    backup: Option<Backup>,
    /// The cache does not work, and it was said.
    complained: Cell<bool>,
    pool: Pool<Servers>,
}

/// The table that keeps what the cache may forget.
struct Backup {
    name: String,
    table: Rc<Table>,
    settings: Settings,
}

struct Servers(Duration);

impl Connector for Servers {
    type Connection = Wire;

    async fn connect(&self, host: &Host) -> Result<Wire, Fault> {
        Wire::connect(host, self.0).await.map_err(Fault::new)
    }
}

impl TableType for Memcache {
    const PROGRAM: &'static str = "table-memcache";
    const KINDS: &'static [&'static str] = &["memcache"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let title = attributes.title().to_owned();
        let address = attributes.text("memcache", "inet:localhost:11211");
        let host = Host::parse(&address, PORT).map_err(|reason| Fault(format!("{title}: memcache: {reason}")))?;
        let timeout = attributes.time("timeout", Duration::from_secs(2))?;
        let mut settings = PoolSettings::load(&attributes, vec![host], timeout)?;
        settings.timeout = timeout;
        settings.retry_interval = Duration::from_secs(1);
        let digests: [(&str, &'static digest::Algorithm); 4] = [
            ("sha1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
            ("sha256", &digest::SHA256),
            ("sha384", &digest::SHA384),
            ("sha512", &digest::SHA512),
        ];
        let backup = match attributes.optional("backup") {
            None => None,
            Some(name) => {
                let settings = Settings::load(config).map_err(Fault::new)?;
                let table = tables::open::open(&name, &settings, Flags::DEFAULT).map_err(Fault::new)?;
                Some(Backup { name, table, settings })
            }
        };
        let size = |name: &str, default: u32| attributes.number(name, default, 1).map(|size| size as usize);
        Ok(Memcache {
            templates: Templates::load(&attributes, &[&attributes.text("key_format", "%s")])?,
            digest: attributes.choice("key_digest", &digests, &digest::SHA256)?,
            flags: attributes.number("flags", 0, 0)?,
            ttl: attributes.number("ttl", 3600, 0)?,
            limits: Limits { line: size("line_size_limit", 1024)?, data: size("data_size_limit", 10_240)? },
            max_try: attributes.number("max_try", 2, 1)?,
            retry_pause: attributes.time("retry_pause", Duration::from_secs(1))?,
            backup,
            complained: Cell::new(false),
            pool: Pool::new(&title, Servers(timeout), settings),
            title,
        })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if !self.templates.takes(key).await? {
            return Ok(None);
        }
        let cache_key = self.cache_key(key);
        let cached = match &cache_key {
            Some(cache_key) => {
                self.ask(async |wire: &mut Wire| protocol::get(wire, cache_key, &self.limits).await).await
            }
            None => Ok(None),
        };
        let Some(backup) = &self.backup else { return cached };
        match cached {
            Ok(Some(value)) => return Ok(Some(value)),
            Ok(None) => self.complained.set(false),
            // The table behind knows as much; a cache that does not work costs time, not mail.
            Err(reason) if !self.complained.replace(true) => log::warning!("{}: {reason}", self.title),
            Err(_) => {}
        }
        let found = backup.table.lookup_async(key).await.map_err(|error| Fault(error.to_string()))?;
        if let (Some(cache_key), Some(value)) = (&cache_key, &found) {
            self.store(cache_key, value).await;
        }
        Ok(found)
    }

    async fn update(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let takes = self.templates.takes(key).await?;
        let Some(cache_key) = self.cache_key(key).filter(|_| takes) else {
            log::warning!("{}: update skipped for key {}", self.title, log::show(key));
            return Ok(());
        };
        if let Some(backup) = &self.backup {
            backup.change(key, Some(value)).await?;
            self.store(&cache_key, value).await;
            return Ok(());
        }
        self.ask(async |wire: &mut Wire| self.set(wire, &cache_key, value).await).await
    }

    async fn delete(&self, key: &[u8]) -> Result<bool, Fault> {
        if !self.templates.takes(key).await? {
            return Ok(false);
        }
        let there = match &self.backup {
            Some(backup) => Some(backup.change(key, None).await?),
            None => None,
        };
        let Some(cache_key) = self.cache_key(key) else { return Ok(there.unwrap_or(false)) };
        let deleted = self.ask(async |wire: &mut Wire| protocol::delete(wire, &cache_key, &self.limits).await).await;
        // What is still in the cache would be found again: an error in either case.
        Ok(there.unwrap_or(false) | deleted?)
    }

    fn changed(&self) -> bool {
        self.templates.changed() || self.backup.as_ref().is_some_and(|backup| backup.table.changed())
    }
}

impl Memcache {
    /// The key in the cache, or the digest of one that is too long; `None` for what cannot be said in the protocol.
    fn cache_key(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key = self.templates.query(0, key, &verbatim)?;
        if key.len() > LONGEST_KEY {
            let digest = digest::digest(self.digest, &key);
            return Some(digest.as_ref().iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
        }
        fits(&key).then_some(key)
    }

    async fn set(&self, wire: &mut Wire, key: &[u8], value: &[u8]) -> Result<(), Trouble> {
        protocol::set(wire, key, value, self.flags, self.ttl, &self.limits).await
    }

    /// Puts what the table behind said into the cache. If that fails it will be asked again.
    async fn store(&self, key: &[u8], value: &[u8]) {
        if value.len() <= self.limits.data
            && let Err(reason) = self.ask(async |wire: &mut Wire| self.set(wire, key, value).await).await
            && !self.complained.replace(true)
        {
            log::warning!("{}: {reason}", self.title);
        }
    }

    /// Asks up to `max_try` times.
    async fn ask<R>(&self, question: impl AsyncFn(&mut Wire) -> Result<R, Trouble>) -> Result<R, Fault> {
        let mut outcome = self.pool.ask(&question).await;
        for _ in 1..self.max_try {
            match &outcome {
                // A server that takes no connection is not asked again.
                Err(Fault(reason)) if !reason.contains("connect to server") => {
                    tokio::time::sleep(self.retry_pause).await;
                    outcome = self.pool.ask(&question).await;
                }
                _ => break,
            }
        }
        outcome
    }
}

impl Backup {
    /// Stores or removes; whether the key was there.
    async fn change(&self, key: &[u8], value: Option<&[u8]>) -> Result<bool, Fault> {
        if self.table.is_remote() {
            // Asked in a blocking way: changes are rare, and the server at the other end is our own.
            return match self.table.change(key, value) {
                Some(changed) => changed.map_err(|error| Fault(error.to_string())),
                None => Err(Fault(format!("{}: map type does not support updates", self.name))),
            };
        }
        let target = Target::parse(&self.name, &self.settings.default_database_type).map_err(Fault::new)?;
        let (key, value, settings) = (BString::from(key), value.map(BString::from), self.settings.clone());
        let written = tokio::task::spawn_blocking(move || match value {
            None => target.delete(&[key], &settings),
            Some(value) => {
                let options = WriteOptions { duplicates: Duplicates::Replace, ..WriteOptions::default() };
                target.update(&[(key, value)], &settings, &options).map(|()| true)
            }
        });
        match written.await {
            Ok(outcome) => outcome.map_err(Fault::new),
            Err(_) => Err(Fault::new("internal error")),
        }
    }
}
