//! `mongodb://user:password@host:port,host/database?option=value&...`

use table_server::{Host, TlsOptions, Verify};

const PORT: u16 = 27017;

/// How a user shows who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// What the server has for the user.
    Negotiate,
    ScramSha1,
    ScramSha256,
    /// The certificate says it.
    X509,
}

/// What the URI says.
#[derive(Clone, Debug)]
pub(crate) struct Uri {
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// The database that knows the user.
    pub(crate) source: String,
    pub(crate) mechanism: Mechanism,
    pub(crate) tls: Option<TlsOptions>,
    pub(crate) read_preference: Option<String>,
}

impl Uri {
    pub(crate) fn parse(text: &str) -> Result<Uri, String> {
        if text.starts_with("mongodb+srv://") {
            return Err("mongodb+srv:// is not supported: list the hosts in a mongodb:// URI".to_owned());
        }
        let rest = text.strip_prefix("mongodb://").ok_or("not a mongodb:// URI")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let mut uri = Uri {
            hosts: hosts.split(',').map(host).collect::<Result<_, _>>()?,
            user: None,
            password: None,
            source: if database.is_empty() { "admin".to_owned() } else { decode(database)? },
            mechanism: Mechanism::Negotiate,
            tls: None,
            read_preference: None,
        };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
            uri.user = Some(decode(user)?);
            uri.password = password.map(decode).transpose()?;
        }
        let mut tls = TlsOptions { verify: Verify::ChainAndName, ..TlsOptions::default() };
        let mut wants_tls = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("no value for \"{pair}\""))?;
            let value = decode(value)?;
            let is_on = value == "true";
            match name.to_ascii_lowercase().as_str() {
                "authsource" => uri.source = value,
                "authmechanism" => {
                    uri.mechanism = match value.as_str() {
                        "SCRAM-SHA-1" => Mechanism::ScramSha1,
                        "SCRAM-SHA-256" => Mechanism::ScramSha256,
                        "MONGODB-X509" => Mechanism::X509,
                        _ => return Err(format!("authMechanism \"{value}\" is not supported")),
                    };
                }
                "tls" | "ssl" => wants_tls = Some(is_on),
                "tlscafile" | "sslcertificateauthorityfile" => tls.ca_file = Some(value),
                "tlscertificatekeyfile" | "sslclientcertificatekeyfile" => tls.cert_file = Some(value),
                "tlsallowinvalidcertificates" | "tlsinsecure" if is_on => tls.verify = Verify::Nothing,
                "tlsallowinvalidhostnames" if is_on && tls.verify == Verify::ChainAndName => tls.verify = Verify::Chain,
                "readpreference" => uri.read_preference = Some(value),
                // They make no difference to one question at a time.
                _ => {}
            }
        }
        let has_files = tls.ca_file.is_some() || tls.cert_file.is_some();
        uri.tls = wants_tls.unwrap_or(has_files).then_some(tls);
        if uri.mechanism == Mechanism::X509 && uri.tls.is_none() {
            return Err("MONGODB-X509 needs TLS".to_owned());
        }
        if uri.user.is_some() && uri.password.is_none() && uri.mechanism != Mechanism::X509 {
            return Err("a user without a password".to_owned());
        }
        Ok(uri)
    }
}

fn host(text: &str) -> Result<Host, String> {
    let text = decode(text)?;
    if text.starts_with('/') { Ok(Host::Unix(text)) } else { Host::parse(&format!("inet:{text}"), PORT) }
}

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

    #[test]
    fn forms() {
        let uri = Uri::parse("mongodb://u:p%40ss@a,b:7,%2Ftmp%2Fx.sock/mail?authSource=users&tls=true").expect("fits");
        assert_eq!(uri.hosts.iter().map(Host::to_string).collect::<Vec<_>>(), ["a:27017", "b:7", "/tmp/x.sock"]);
        assert_eq!(
            (uri.user.as_deref(), uri.password.as_deref(), uri.source.as_str()),
            (Some("u"), Some("p@ss"), "users")
        );
        assert!(uri.tls.is_some());
        let plain = Uri::parse("mongodb://localhost").expect("fits");
        assert_eq!(
            (plain.source.as_str(), plain.tls.is_none(), plain.mechanism),
            ("admin", true, Mechanism::Negotiate)
        );
        for bad in [
            "http://x",
            "mongodb+srv://x",
            "mongodb://u@x",
            "mongodb://x/?authMechanism=GSSAPI",
            "mongodb://x/?a",
            "mongodb://",
            "mongodb://x/?authMechanism=MONGODB-X509",
        ] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }
}
