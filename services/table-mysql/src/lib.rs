//! `mysql:`: a query to a MySQL or MariaDB server.
//!
//! The protocol is spoken here: the little that tables need, with a bound on everything that a server may send.

mod authentication;
mod option_file;
mod packet;
mod quote;
mod session;

use std::path::Path;
use std::time::Duration;

use bstr::BString;
use config::Config;
use table_server::{
    Attributes, Connector, Fault, Host, Pool, PoolSettings, TableType, Templates, Tls, TlsOptions, Trouble, Verify,
    Wire,
};

use crate::option_file::Options;
use crate::session::{Login, Session};

/// For one server to answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The port when none is given.
const PORT: u16 = 3306;
/// Where servers listen on this machine.
const SOCKETS: &[&str] =
    &["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/var/run/mysql/mysql.sock", "/tmp/mysql.sock"];

/// A table behind MySQL servers.
pub struct Mysql {
    templates: Templates,
    require_result_set: bool,
    charset: String,
    pool: Pool<Servers>,
}

/// How connections are made.
struct Servers {
    login: Login,
    tls: Tls,
    /// The configuration has TLS settings: without encryption there is no connection.
    tls_required: bool,
}

impl Connector for Servers {
    type Connection = Session;

    async fn connect(&self, host: &Host) -> Result<Session, Fault> {
        let wire = async || Wire::connect(host, TIME_LIMIT).await.map_err(Fault::new);
        let local = matches!(host, Host::Unix(_));
        if local && !self.tls_required {
            return Session::start(wire().await?, &self.login, None, host, false).await;
        }
        match Session::start(wire().await?, &self.login, Some(&self.tls), host, self.tls_required).await {
            // Servers whose encryption is older than ours.
            Err(Fault(reason)) if !self.tls_required && reason.starts_with("TLS:") => {
                Session::start(wire().await?, &self.login, None, host, false).await
            }
            outcome => outcome,
        }
    }
}

impl TableType for Mysql {
    const PROGRAM: &'static str = "table-mysql";
    const KINDS: &'static [&'static str] = &["mysql"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let attributes = Attributes::load(kind, name, config)?;
        let options =
            Options::load(attributes.optional("option_file").as_deref(), &attributes.text("option_group", "client"))?;
        let own = |name: &str, option: &str| attributes.optional(name).or_else(|| options.value(option));
        let charset = attributes.text("charset", "utf8mb4");
        if charset.is_empty() || !charset.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(Fault(format!("{}: bad charset \"{charset}\"", attributes.title())));
        }
        let tls = TlsOptions {
            ca_file: own("tls_CAfile", "ssl-ca"),
            ca_path: own("tls_CApath", "ssl-capath"),
            cert_file: own("tls_cert_file", "ssl-cert"),
            key_file: own("tls_key_file", "ssl-key"),
            verify: Verify::Nothing,
        };
        let checks_name = attributes.boolean("tls_verify_cert", options.is_on("ssl-verify-server-cert"))?;
        let has_authorities = tls.ca_file.is_some() || tls.ca_path.is_some();
        let verify = match (checks_name, has_authorities) {
            (true, _) => Verify::ChainAndName,
            (false, true) => Verify::Chain,
            (false, false) => Verify::Nothing,
        };
        let ciphers = attributes.optional("tls_ciphers");
        if let Some(ciphers) = &ciphers {
            log::warning!(
                "{}: tls_ciphers = {ciphers} is ignored: all ciphers of the TLS library are good",
                attributes.title()
            );
        }
        let tls_required = verify != Verify::Nothing || tls.cert_file.is_some() || ciphers.is_some();
        let socket = options
            .value("socket")
            .or_else(|| SOCKETS.iter().find(|path| Path::new(path).exists()).map(|path| (*path).to_owned()));
        let default_host = options.value("host").unwrap_or_else(|| "localhost".to_owned());
        let mut hosts = Vec::new();
        for word in attributes.words("hosts", &default_host) {
            let port = options.value("port").and_then(|port| port.parse().ok()).unwrap_or(PORT);
            let host =
                Host::parse(&word, port).map_err(|reason| Fault(format!("{}: hosts: {reason}", attributes.title())))?;
            // As the client library has it: localhost means the socket.
            hosts.push(match host {
                Host::Inet(name, _) if name == "localhost" => {
                    Host::Unix(socket.clone().unwrap_or_else(|| SOCKETS[0].to_owned()))
                }
                host => host,
            });
        }
        let login = Login {
            user: own("user", "user").map_or_else(|| config.string("mail_owner").map_err(Fault::new), Ok)?,
            password: own("password", "password").unwrap_or_default(),
            database: match own("dbname", "database") {
                Some(database) => database,
                None => attributes.required("dbname")?,
            },
            charset: charset.clone(),
        };
        let settings = PoolSettings::load(&attributes, hosts, TIME_LIMIT)?;
        let servers = Servers { login, tls: Tls::load(&TlsOptions { verify, ..tls })?, tls_required };
        Ok(Mysql {
            templates: Templates::load(&attributes, &[&attributes.sql_query()?])?,
            require_result_set: attributes.boolean("require_result_set", true)?,
            charset,
            pool: Pool::new(attributes.title(), servers, settings),
        })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        if !self.templates.takes(key).await? || !quote::is_safe(key, &self.charset) {
            return Ok(None);
        }
        let rows = self
            .pool
            .ask(async |session: &mut Session| {
                let backslashes = session.escapes_with_backslashes();
                let query = self.templates.query(0, key, &|text, into| quote::quote(text, into, backslashes));
                let query = query.ok_or_else(|| Trouble::Unanswered("empty or oversized query".to_owned()))?;
                session.query(&query).await
            })
            .await?;
        let Some(rows) = rows else {
            return if self.require_result_set {
                Err(Fault::new("the query did not return a result set"))
            } else {
                Ok(None)
            };
        };
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
