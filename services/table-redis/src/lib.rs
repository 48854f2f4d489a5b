//! `redis:`: a command to a Redis or Valkey server. docs/tables.md has the settings.

mod resp;

use std::time::Duration;

use bstr::BString;
use config::Config;
use table_server::{
    Attributes, Connector, Fault, Host, Pool, PoolSettings, TableType, Templates, Tls, TlsOptions, Trouble, Verify,
    Wire, verbatim,
};

use crate::resp::Reply;

/// For one server to answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The port when none is given.
const PORT: u16 = 6379;
/// The word of `update` that stands for the value.
const VALUE: &str = "{value}";

/// A table behind Redis servers.
pub struct Redis {
    title: String,
    query: Command,
    update: Option<Command>,
    delete: Option<Command>,
    pool: Pool<Servers>,
}

/// A command whose words are templates.
struct Command {
    templates: Templates,
    /// Which words stand for the value.
    values: Vec<bool>,
}

impl Command {
    fn load(attributes: &Attributes, text: &str) -> Result<Command, Fault> {
        let words = words(text).ok_or_else(|| Fault(format!("{}: unbalanced quotes: {text}", attributes.title())))?;
        if words.is_empty() {
            return Err(Fault(format!("{}: empty command", attributes.title())));
        }
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        let values = words.iter().map(|word| word == VALUE).collect();
        Ok(Command { templates: Templates::load(attributes, &texts)?, values })
    }

    /// The words for a key; `None` when the key is none for the table.
    async fn fill(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<Vec<u8>>>, Fault> {
        if !self.templates.takes(key).await? {
            return Ok(None);
        }
        let fill = |(at, is_value): (usize, &bool)| {
            if *is_value { Some(value.to_vec()) } else { self.templates.query(at, key, &verbatim) }
        };
        Ok(self.values.iter().enumerate().map(fill).collect())
    }
}

/// Words between blanks; a word in double quotes may contain blanks.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"')?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

struct Servers {
    user: Option<String>,
    password: Option<String>,
    database: u32,
    tls: Option<Tls>,
}

impl Connector for Servers {
    type Connection = Wire;

    async fn connect(&self, host: &Host) -> Result<Wire, Fault> {
        let mut wire = Wire::connect(host, TIME_LIMIT).await.map_err(Fault::new)?;
        if let Some(tls) = &self.tls {
            let stream = wire.into_stream().map_err(Fault::new)?;
            wire = tls.wrap(stream, host.name()).await.map_err(|error| Fault(format!("TLS: {error}")))?;
        }
        if let Some(password) = &self.password {
            let mut words = vec![b"AUTH".to_vec()];
            words.extend(self.user.as_ref().map(|user| user.clone().into_bytes()));
            words.push(password.clone().into_bytes());
            resp::ask(&mut wire, &words).await.map_err(as_fault)?;
        }
        if self.database != 0 {
            let words = [b"SELECT".to_vec(), self.database.to_string().into_bytes()];
            resp::ask(&mut wire, &words).await.map_err(as_fault)?;
        }
        Ok(wire)
    }
}

fn as_fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Broken(text) | Trouble::Refused(text) | Trouble::Final(text) | Trouble::Unanswered(text) => {
            Fault(text)
        }
    }
}

impl TableType for Redis {
    const PROGRAM: &'static str = "table-redis";
    const KINDS: &'static [&'static str] = &["redis"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let title = attributes.title().to_owned();
        let mut hosts = Vec::new();
        for word in attributes.words("hosts", "127.0.0.1") {
            hosts.push(Host::parse(&word, PORT).map_err(|reason| Fault(format!("{title}: hosts: {reason}")))?);
        }
        let wants_tls = attributes.boolean("tls", false)?;
        let verify = if attributes.boolean("tls_verify_cert", true)? { Verify::ChainAndName } else { Verify::Nothing };
        let options = TlsOptions {
            ca_file: attributes.optional("tls_CAfile"),
            ca_path: attributes.optional("tls_CApath"),
            cert_file: attributes.optional("tls_cert_file"),
            key_file: attributes.optional("tls_key_file"),
            verify,
        };
        let servers = Servers {
            user: attributes.optional("user"),
            password: attributes.optional("password"),
            database: attributes.number("database", 0, 0)?,
            tls: if wants_tls { Some(Tls::load(&options)?) } else { None },
        };
        if servers.user.is_some() && servers.password.is_none() {
            return Err(Fault(format!("{title}: a user without a password")));
        }
        let mut settings = PoolSettings::load(&attributes, hosts, TIME_LIMIT)?;
        // Replicas come after the primary server.
        settings.random = attributes.boolean("random_host", false)?;
        let command = |name: &str| attributes.optional(name).map(|text| Command::load(&attributes, &text)).transpose();
        Ok(Redis {
            query: Command::load(&attributes, &attributes.optional("query").unwrap_or_else(|| "GET %s".to_owned()))?,
            update: command("update")?,
            delete: command("delete")?,
            pool: Pool::new(&title, servers, settings),
            title,
        })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        let Some(words) = self.query.fill(key, b"").await? else { return Ok(None) };
        let reply = self.ask(&words).await?;
        let mut results = self.query.templates.results(key);
        for value in reply.values {
            results.add(&value)?;
        }
        Ok(results.finish())
    }

    async fn update(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let Some(update) = &self.update else { return Err(Fault(format!("{}: no \"update\" setting", self.title))) };
        let Some(words) = update.fill(key, value).await? else { return Err(Fault::new("not a key of this table")) };
        self.ask(&words).await.map(|_| ())
    }

    async fn delete(&self, key: &[u8]) -> Result<bool, Fault> {
        let Some(delete) = &self.delete else { return Err(Fault(format!("{}: no \"delete\" setting", self.title))) };
        let Some(words) = delete.fill(key, b"").await? else { return Ok(false) };
        Ok(self.ask(&words).await?.number.is_none_or(|count| count > 0))
    }

    fn changed(&self) -> bool {
        self.query.templates.changed()
    }
}

impl Redis {
    async fn ask(&self, words: &[Vec<u8>]) -> Result<Reply, Fault> {
        self.pool.ask(async |wire: &mut Wire| resp::ask(wire, words).await).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands() {
        let split = |text: &str| words(text).map(|words| words.join("|"));
        assert_eq!(split("HGET  users %s ").as_deref(), Some("HGET|users|%s"));
        assert_eq!(split("SET \"a b\" {value}").as_deref(), Some("SET|a b|{value}"));
        assert_eq!(split("GET \"a"), None);
    }
}
