//! `luser_relay`: where mail for unknown names goes.

use address::Delimiters;
use bstr::{BString, ByteSlice};
use config::Config;

/// The one address that `luser_relay` stands for, internal form; none for a name with which the sender would choose where
/// mail goes, and for what is no address. The name is the sender's text: it must not be taken for a list.
pub(crate) fn relay_address(
    relay: &str,
    name: &[u8],
    domain: &[u8],
    config: &Config,
    delimiters: &Delimiters,
) -> Result<Option<BString>, config::ExpansionError> {
    if relay.contains('$') && name.iter().any(|byte| b"@!%".contains(byte)) {
        return Ok(None);
    }
    let (user, extension) = delimiters.split(name).unwrap_or((name, b""));
    let domain = domain.to_str_lossy();
    let value = |wanted: &str| match wanted {
        "user" => Some(user.to_str_lossy().into_owned()),
        "local" => Some(name.to_str_lossy().into_owned()),
        "extension" => Some(extension.to_str_lossy().into_owned()),
        "domain" => Some(domain.clone().into_owned()),
        "recipient" => Some(format!("{}@{domain}", name.to_str_lossy())),
        _ => None,
    };
    let address = config.expand(relay, &value)?;
    let address = address.trim();
    let is_address = !address.is_empty() && !address.starts_with(['/', '|', ':', '\\']);
    Ok(is_address.then(|| address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_mail_for_unknown_users() {
        let config = Config::from_text("").expect("configuration");
        let delimiters = Delimiters::new(b"+", true);
        let cases = [
            ("admin@x.example", "nobody", Some("admin@x.example")),
            ("admin", "a@evil.example", Some("admin")),
            ("$local@far.example", "joe+ext", Some("joe+ext@far.example")),
            ("$user@far.example", "joe+ext", Some("joe@far.example")),
            // One address, however it looks.
            ("$local@far.example", "a, b <c>", Some("a, b <c>@far.example")),
            // The sender does not choose where mail goes.
            ("$local@far.example", "victim@evil.example,x", None),
            ("admin+$local", "victim@evil.example", None),
            ("admin+$local", "victim%evil.example", None),
            ("$local", "|/bin/sh", None),
            ("$local", "/etc/passwd", None),
            ("$extension", "joe", None),
        ];
        for (relay, name, expected) in cases {
            let address = relay_address(relay, name.as_bytes(), b"x.example", &config, &delimiters).expect("expanded");
            assert_eq!(address, expected.map(BString::from), "{relay} {name}");
        }
    }
}
