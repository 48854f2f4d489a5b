//! Where a server is and how to get in: `host:port`, `unix:/directory`, `postgresql://user:password@host:port/database?sslmode=...`.

use std::path::Path;
use std::time::Duration;

use table_server::{Attributes, Fault, Host, Tls, TlsOptions, Verify, Wire};

use crate::session::{Login, Session};

/// The port when none is given.
const PORT: u16 = 5432;
/// "SSLRequest"
const WANTS_TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// `sslmode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    /// Plain text unless the server refuses it.
    Allow,
    /// Encryption unless the server does not have it.
    Prefer,
    /// Encryption.
    Require,
}

/// One server's parameters.
#[derive(Debug)]
pub(crate) struct Target {
    login: Login,
    mode: Mode,
    tls: Option<Tls>,
}

/// What a URI says beside the host.
#[derive(Debug, Default)]
struct Parameters {
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    host: Option<String>,
    port: Option<String>,
    mode: Option<String>,
    tls: TlsOptions,
    application: Option<String>,
    options: Option<String>,
}

impl Target {
    /// The servers that one word of `hosts` stands for.
    pub(crate) fn parse(word: &str, attributes: &Attributes, encoding: &str) -> Result<Vec<(Host, Target)>, Fault> {
        let bad = |reason: String| Fault(format!("{}: hosts: {word}: {reason}", attributes.title()));
        let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| word.strip_prefix(scheme));
        let (hosts, parameters) = match uri {
            Some(rest) => uri_parts(rest).map_err(bad)?,
            None => (vec![word.to_owned()], Parameters::default()),
        };
        hosts
            .iter()
            .map(|host| {
                let host = parse_host(host, parameters.port.as_deref()).map_err(bad)?;
                let target = Target::new(&parameters, attributes, encoding, &host).map_err(|fault| bad(fault.0))?;
                Ok((host, target))
            })
            .collect()
    }

    fn new(parameters: &Parameters, attributes: &Attributes, encoding: &str, host: &Host) -> Result<Target, Fault> {
        let own = |given: &Option<String>, name: &str| given.clone().or_else(|| attributes.optional(name));
        let owner = attributes.config().string("mail_owner").map_err(Fault::new)?;
        let user = own(&parameters.user, "user").unwrap_or(owner);
        let database = own(&parameters.database, "dbname").unwrap_or_else(|| user.clone());
        let mut options = vec![("client_encoding".to_owned(), encoding.to_owned())];
        let application = parameters.application.clone().unwrap_or_else(|| "postfix".to_owned());
        options.push(("application_name".to_owned(), application));
        options.extend(parameters.options.clone().map(|text| ("options".to_owned(), text)));
        let mut tls = parameters.tls.clone();
        let mode = match parameters.mode.as_deref() {
            None | Some("prefer") => Mode::Prefer,
            Some("disable") => Mode::Disable,
            Some("allow") => Mode::Allow,
            Some("require") => {
                // As libpq has it: who names authorities wants them to be asked.
                tls.verify = if tls.ca_file.is_some() { Verify::Chain } else { Verify::Nothing };
                Mode::Require
            }
            Some("verify-ca") => {
                tls.verify = Verify::Chain;
                Mode::Require
            }
            Some("verify-full") => {
                tls.verify = Verify::ChainAndName;
                Mode::Require
            }
            Some(other) => return Err(Fault(format!("bad sslmode \"{other}\""))),
        };
        let plain = mode == Mode::Disable || matches!(host, Host::Unix(_));
        Ok(Target {
            login: Login { user, password: own(&parameters.password, "password"), database, options },
            mode: if plain { Mode::Disable } else { mode },
            tls: if plain { None } else { Some(Tls::load(&tls)?) },
        })
    }

    /// Connects and logs in.
    pub(crate) async fn connect(&self, host: &Host, limit: Duration) -> Result<Session, Fault> {
        let Some(tls) = &self.tls else { return self.plain(host, limit).await };
        match self.mode {
            Mode::Disable => self.plain(host, limit).await,
            Mode::Allow => match self.plain(host, limit).await {
                Ok(session) => Ok(session),
                Err(_) => self.encrypted(tls, host, limit).await,
            },
            Mode::Prefer => match self.encrypted(tls, host, limit).await {
                Ok(session) => Ok(session),
                // A server that let nobody in for a reason says it again.
                Err(_) => self.plain(host, limit).await,
            },
            Mode::Require => self.encrypted(tls, host, limit).await,
        }
    }

    async fn plain(&self, host: &Host, limit: Duration) -> Result<Session, Fault> {
        Session::start(Wire::connect(host, limit).await.map_err(Fault::new)?, &self.login).await
    }

    async fn encrypted(&self, tls: &Tls, host: &Host, limit: Duration) -> Result<Session, Fault> {
        let mut wire = Wire::connect(host, limit).await.map_err(Fault::new)?;
        wire.write(&WANTS_TLS).await.map_err(Fault::new)?;
        match wire.read(1).await.map_err(Fault::new)?[0] {
            b'S' => {
                let stream = wire.into_stream().map_err(Fault::new)?;
                let wire = tls.wrap(stream, host.name()).await.map_err(|error| Fault(format!("TLS: {error}")))?;
                Session::start(wire, &self.login).await
            }
            _ => Err(Fault::new("the server does not offer TLS")),
        }
    }
}

fn parse_host(text: &str, port: Option<&str>) -> Result<Host, String> {
    let port = match port {
        Some(port) => port.parse().map_err(|_| format!("bad port \"{port}\""))?,
        None => PORT,
    };
    let path = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text));
    let Some(path) = path else { return Host::parse(text, port) };
    // The directory of the sockets, or one of them.
    let socket = if Path::new(path).is_dir() { format!("{path}/.s.PGSQL.{port}") } else { path.to_owned() };
    Host::parse(&format!("unix:{socket}"), port)
}

/// Hosts and parameters of `user:password@host:port,host:port/database?name=value&...`.
fn uri_parts(rest: &str) -> Result<(Vec<String>, Parameters), String> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parameters = Parameters::default();
    let some = |text: &str| decode(text).map(|text| Some(text).filter(|text| !text.is_empty()));
    parameters.database = some(database)?;
    let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        parameters.user = some(user)?;
        parameters.password = some(password)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("no value for \"{pair}\""))?;
        let value = some(value)?;
        match name {
            "user" => parameters.user = value,
            "password" => parameters.password = value,
            "dbname" => parameters.database = value,
            "host" => parameters.host = value,
            "port" => parameters.port = value,
            "sslmode" => parameters.mode = value,
            "sslrootcert" => parameters.tls.ca_file = value.filter(|path| path != "system"),
            "sslcert" => parameters.tls.cert_file = value,
            "sslkey" => parameters.tls.key_file = value,
            "application_name" => parameters.application = value,
            "options" => parameters.options = value,
            // Settings of the client library that make no difference here.
            "client_encoding"
            | "connect_timeout"
            | "fallback_application_name"
            | "keepalives"
            | "keepalives_idle"
            | "keepalives_interval"
            | "keepalives_count"
            | "tcp_user_timeout"
            | "gssencmode"
            | "channel_binding" => {}
            _ => return Err(format!("URI parameter \"{name}\" is not supported")),
        }
    }
    let hosts = match (&parameters.host, hosts) {
        (Some(host), _) => host.split(',').map(str::to_owned).collect(),
        (None, "") => vec!["localhost".to_owned()],
        (None, hosts) => hosts.split(',').map(decode).collect::<Result<_, _>>()?,
    };
    Ok((hosts, parameters))
}

/// `%XX` as the byte that it stands for.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(format!("bad %-encoding in \"{text}\"")) };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| format!("\"{text}\" is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;

    #[test]
    fn forms_of_hosts() {
        let config =
            Config::from_text("t_user = u\nt_password = p\nt_dbname = d\nmail_owner = owner\n").expect("parses");
        let attributes = Attributes::load("pgsql", "t", &config).expect("loads");
        for (word, host, user, password, database) in [
            ("db", "db:5432", "u", "p", "d"),
            ("inet:db:7", "db:7", "u", "p", "d"),
            ("unix:/nonexistent/socket", "/nonexistent/socket", "u", "p", "d"),
            ("unix:/tmp", "/tmp/.s.PGSQL.5432", "u", "p", "d"),
            ("postgresql://db/base", "db:5432", "u", "p", "base"),
            ("postgresql://me:p%40ss@db:7/base?sslmode=disable", "db:7", "me", "p@ss", "base"),
            ("postgres://@[::1]:7", "[::1]:7", "u", "p", "d"),
            ("postgresql:///base?host=/tmp&port=9", "/tmp/.s.PGSQL.9", "u", "p", "base"),
        ] {
            let found = Target::parse(word, &attributes, "UTF8").expect("fits");
            let (there, target) = &found[0];
            let login = &target.login;
            let shown = (there.to_string(), login.user.as_str(), login.password.as_deref(), login.database.as_str());
            assert_eq!(shown, (host.to_owned(), user, Some(password), database), "{word}");
        }
        assert_eq!(Target::parse("postgresql://a,b:9/d", &attributes, "UTF8").expect("fits").len(), 2);
        for bad in ["postgresql://db/x?sslmode=maybe", "postgresql://db/x?what=1", "postgresql://d%zz/", "db:x"] {
            assert!(Target::parse(bad, &attributes, "UTF8").is_err(), "{bad}");
        }
    }
}
