//! The settings of a table.

use std::time::Duration;

use table_server::{Attributes, Fault, Host, Templates, Tls, TlsOptions, Verify};

use crate::connection::{Bind, Login, Scope};
use crate::url::Url;

/// Which attributes of an entry are results.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) ordinary: Vec<String>,
    /// Values are distinguished names or URLs of further entries.
    pub(crate) special: Vec<String>,
    /// Where there are such, nothing else of the entry counts.
    pub(crate) terminal: Vec<String>,
    /// Results only of entries that lead no further.
    pub(crate) leaf: Vec<String>,
    /// All of them, as they are asked for.
    pub(crate) all: Vec<String>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) title: String,
    pub(crate) hosts: Vec<(Host, bool)>,
    pub(crate) login: Login,
    pub(crate) templates: Templates,
    pub(crate) selection: Selection,
    pub(crate) scope: Scope,
    pub(crate) dereference: u8,
    pub(crate) recursion_limit: usize,
    pub(crate) size_limit: u32,
    pub(crate) timeout: Duration,
    pub(crate) chase_referrals: bool,
}

/// The templates in [`Settings::templates`].
pub(crate) const FILTER: usize = 0;
pub(crate) const BASE: usize = 1;

impl Settings {
    pub(crate) fn load(attributes: &Attributes) -> Result<Settings, Fault> {
        let title = attributes.title().to_owned();
        let filter = attributes.optional("query_filter").unwrap_or_else(|| "(mailacceptinggeneralid=%s)".to_owned());
        let base = attributes.required("search_base")?;
        for old in ["cache", "cache_expiry", "cache_size"] {
            if attributes.is_set(old) {
                log::warning!("{title}: {old} ignored");
            }
        }
        let words = |name: &str, default: &str| attributes.words(name, default);
        let mut selection = Selection {
            ordinary: words("result_attribute", "maildrop"),
            special: words("special_result_attribute", ""),
            terminal: words("terminal_result_attribute", ""),
            leaf: words("leaf_result_attribute", ""),
            all: Vec::new(),
        };
        let lists = [&selection.terminal, &selection.leaf, &selection.ordinary, &selection.special];
        selection.all = lists.into_iter().flatten().cloned().collect();
        if selection.all.is_empty() {
            return Err(Fault(format!("{title}: no result attributes")));
        }
        let expansion_limit = attributes.number("expansion_limit", 0, 0)?;
        let scopes = [("sub", Scope::Sub), ("one", Scope::One), ("base", Scope::Base)];
        let dereference = attributes.number("dereference", 0, 0)?;
        if dereference > 3 {
            return Err(Fault(format!("{title}: dereference = {dereference} is none of 0, 1, 2, 3")));
        }
        let timeout = attributes.time("timeout", Duration::from_secs(10))?;
        Ok(Settings {
            hosts: hosts(attributes)?,
            login: login(attributes)?,
            templates: Templates::load(attributes, &[&filter, &base])?,
            selection,
            scope: attributes.choice("scope", &scopes, Scope::Sub)?,
            dereference: dereference as u8,
            recursion_limit: attributes.number("recursion_limit", 1000, 1)? as usize,
            size_limit: attributes.number("size_limit", expansion_limit, 0)?,
            timeout,
            chase_referrals: attributes.boolean("chase_referrals", false)?,
            title,
        })
    }
}

/// `server_host`, `server_port`: hosts, `host:port` or URLs. Whether each is encrypted from the first byte.
fn hosts(attributes: &Attributes) -> Result<Vec<(Host, bool)>, Fault> {
    let port = u16::try_from(attributes.number("server_port", 389, 1)?)
        .map_err(|_| Fault(format!("{}: bad server_port", attributes.title())))?;
    let mut hosts = Vec::new();
    for word in attributes.words("server_host", "localhost") {
        let bad = |reason: &str| Fault(format!("{}: server_host: {word}: {reason}", attributes.title()));
        if word.contains("://") {
            let url = Url::parse(&word, port).ok_or_else(|| bad("bad URL"))?;
            hosts.push((url.host.unwrap_or_else(|| Host::Inet("localhost".to_owned(), port)), url.tls));
        } else {
            hosts.push((Host::parse(&word, port).map_err(|reason| bad(&reason))?, false));
        }
    }
    Ok(hosts)
}

fn login(attributes: &Attributes) -> Result<Login, Fault> {
    #[derive(Clone, Copy)]
    enum How {
        No,
        Simple,
        Sasl,
    }
    let title = attributes.title();
    let choices =
        [("no", How::No), ("none", How::No), ("yes", How::Simple), ("simple", How::Simple), ("sasl", How::Sasl)];
    let (dn, password) = (attributes.text("bind_dn", ""), attributes.text("bind_pw", ""));
    let version = attributes.number("version", 3, 2)?;
    if version > 3 {
        return Err(Fault(format!("{title}: protocol version {version} is not supported")));
    }
    let bind = match attributes.choice("bind", &choices, How::Simple)? {
        How::No => Bind::None,
        How::Simple => Bind::Simple { dn, password },
        How::Sasl => {
            let mechanisms = attributes.words("sasl_mechs", "EXTERNAL");
            let authorization = attributes.text("sasl_authz_id", "");
            let known = mechanisms.iter().find_map(|name| match name.to_ascii_uppercase().as_str() {
                "EXTERNAL" => Some(Bind::External { authorization: authorization.clone() }),
                "PLAIN" => Some(Bind::Plain {
                    authorization: authorization.clone(),
                    user: dn.clone(),
                    password: password.clone(),
                }),
                _ => None,
            });
            known.ok_or_else(|| {
                Fault(format!("{title}: none of the sasl_mechs is supported, only EXTERNAL and PLAIN"))
            })?
        }
    };
    let start_tls = attributes.boolean("start_tls", false)?;
    if start_tls && version < 3 {
        return Err(Fault(format!("{title}: start_tls needs version = 3")));
    }
    if let Some(suite) = attributes.optional("tls_cipher_suite") {
        log::warning!("{title}: tls_cipher_suite = {suite} is ignored: all ciphers of the TLS library are good");
    }
    let checks = attributes.boolean("tls_require_cert", false)?;
    let tls = Tls::load(&TlsOptions {
        ca_file: attributes.optional("tls_ca_cert_file"),
        ca_path: attributes.optional("tls_ca_cert_dir"),
        cert_file: attributes.optional("tls_cert"),
        key_file: attributes.optional("tls_key"),
        verify: if checks { Verify::ChainAndName } else { Verify::Nothing },
    })?;
    Ok(Login { version: version as u8, bind, start_tls, tls })
}
