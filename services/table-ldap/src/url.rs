//! LDAP URLs (RFC 4516): of servers, of entries, of referrals.

use table_server::Host;

use crate::connection::Scope;

/// What a URL says. Missing parts are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) tls: bool,
    pub(crate) host: Option<Host>,
    pub(crate) base: String,
    pub(crate) attributes: Vec<String>,
    pub(crate) scope: Option<Scope>,
    pub(crate) filter: Option<String>,
}

impl Url {
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Url> {
        let text = text.trim().trim_start_matches('<').trim_end_matches('>');
        let text = text.strip_prefix("URL:").or_else(|| text.strip_prefix("url:")).unwrap_or(text);
        let (scheme, rest) = text.split_once("://")?;
        let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let (tls, host) = match scheme.to_ascii_lowercase().as_str() {
            "ldap" => (false, inet(host, default_port)?),
            "ldaps" => (true, inet(host, 636)?),
            "ldapi" => {
                let path = decode(host)?;
                let path = if path.is_empty() { "/run/slapd/ldapi".to_owned() } else { path };
                (false, Some(Host::Unix(path)))
            }
            _ => return None,
        };
        let mut parts = rest.splitn(5, '?');
        let base = decode(parts.next().unwrap_or_default())?;
        let attributes = parts.next().unwrap_or_default();
        let attributes = attributes.split(',').filter(|name| !name.is_empty()).map(decode).collect::<Option<_>>()?;
        let scope = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "" => None,
            "base" => Some(Scope::Base),
            "one" => Some(Scope::One),
            "sub" => Some(Scope::Sub),
            _ => return None,
        };
        let filter = match parts.next().unwrap_or_default() {
            "" => None,
            filter => Some(decode(filter)?),
        };
        // An extension that must be understood is not.
        let critical = parts.next().is_some_and(|extensions| extensions.split(',').any(|name| name.starts_with('!')));
        (!critical).then_some(Url { tls, host, base, attributes, scope, filter })
    }
}

fn inet(text: &str, port: u16) -> Option<Option<Host>> {
    if text.is_empty() { Some(None) } else { Host::parse(&format!("inet:{text}"), port).ok().map(Some) }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
            bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let inet = |name: &str, port| Some(Host::Inet(name.into(), port));
        let url = |text: &str| Url::parse(text, 389);
        assert_eq!(url("ldap://h").expect("url").host, inet("h", 389));
        let whole = url("ldaps://h:7/dc=a%20b?mail,cn?one?(x=%2a)").expect("url");
        assert_eq!((whole.tls, whole.host, whole.base.as_str()), (true, inet("h", 7), "dc=a b"));
        assert_eq!((whole.scope, whole.filter.as_deref()), (Some(Scope::One), Some("(x=*)")));
        assert_eq!(whole.attributes, ["mail", "cn"]);
        assert_eq!(url("ldapi://%2Frun%2Fx/").expect("url").host, Some(Host::Unix("/run/x".into())));
        assert_eq!(url("ldap:///dc=x").expect("url").host, None);
        for bad in ["http://h/", "ldap://h:x/", "ldap://h/a??what", "ldap://h/%zz", "ldap://h/????!x", "cn=x"] {
            assert_eq!(url(bad), None, "{bad}");
        }
    }
}
