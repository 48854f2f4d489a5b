//! Completing addresses: source routes, bang paths, the percent hack, and missing domains.

use bstr::{BString, ByteSlice, ByteVec};
use config::Config;

use crate::Error;

/// Whose domains complete an address that lacks one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Mail of our own: `$myorigin` and `$mydomain`.
    Local,
    /// Mail from elsewhere: `$remote_header_rewrite_domain`; nothing is completed when that is empty.
    Remote,
}

/// Completes addresses in one [`Context`].
#[derive(Clone, Debug)]
pub struct Rewriter {
    swap_bangpath: bool,
    percent_hack: bool,
    origin: Option<BString>,
    domain: Option<BString>,
}

impl Rewriter {
    /// Reads `swap_bangpath`, `allow_percent_hack`, `append_at_myorigin`, `append_dot_mydomain` and the domains.
    ///
    /// # Errors
    /// What is wrong with these parameters.
    pub fn new(config: &Config, context: Context) -> Result<Rewriter, Error> {
        let (origin, domain) = match context {
            Context::Local => (config.string("myorigin")?, config.string("mydomain")?),
            Context::Remote => {
                let domain = config.string("remote_header_rewrite_domain")?;
                (domain.clone(), domain)
            }
        };
        let wanted = |on: bool, domain: String| (on && !domain.is_empty()).then(|| BString::from(domain));
        Ok(Rewriter {
            swap_bangpath: config.bool("swap_bangpath")?,
            percent_hack: config.bool("allow_percent_hack")?,
            origin: wanted(config.bool("append_at_myorigin")?, origin),
            domain: wanted(config.bool("append_dot_mydomain")?, domain),
        })
    }

    /// The complete form of an address; internal form in, internal form out. The null address stays.
    #[must_use]
    pub fn rewrite(&self, address: &[u8]) -> BString {
        let address = without_source_route(address);
        if address.is_empty() || address == b"@" {
            return BString::default();
        }
        let mut address = BString::from(address);
        if !address.contains(&b'@') {
            if let Some(swapped) = self.swap_operators(&address, false) {
                address = swapped;
            } else if let Some(origin) = &self.origin {
                address.push(b'@');
                address.push_str(origin);
            }
        }
        self.complete_domain(&mut address);
        address
    }

    /// `site!user` and `user%site` as `user@site`, for an address or localpart without `@`; `quoted` also looks into
    /// localparts that are only valid as a quoted string (`resolve_dequoted_address`).
    #[must_use]
    pub(crate) fn swap_operators(&self, local: &[u8], quoted: bool) -> Option<BString> {
        if !quoted && needs_quotes(local) {
            return None;
        }
        let (user, site) = match (local.find_byte(b'!'), local.rfind_byte(b'%')) {
            (Some(at), _) if self.swap_bangpath && at > 0 => (&local[at + 1..], &local[..at]),
            (_, Some(at)) if self.percent_hack && at > 0 => (&local[..at], &local[at + 1..]),
            _ => return None,
        };
        if user.is_empty() || site.is_empty() {
            return None;
        }
        let mut address = BString::from(user);
        address.push(b'@');
        address.push_str(site);
        Some(address)
    }

    fn complete_domain(&self, address: &mut BString) {
        let Some(at) = address.rfind_byte(b'@') else { return };
        let domain = &address[at + 1..];
        if domain.is_empty() || domain[0] == b'[' {
            return;
        }
        if !domain.contains(&b'.') {
            if let Some(mine) = &self.domain {
                address.push(b'.');
                address.push_str(mine);
            }
        } else if domain.len() > 1 && domain.ends_with(b".") && !domain.ends_with(b"..") {
            address.pop();
        }
    }
}

/// The address without a source route (`@a,@b:user@c`, RFC 5321 appendix C).
pub(crate) fn without_source_route(address: &[u8]) -> &[u8] {
    if address.first() != Some(&b'@') {
        return address;
    }
    match address.find_byte(b':') {
        Some(colon) if address[..colon].iter().all(|b| is_route_byte(*b)) => &address[colon + 1..],
        _ => address,
    }
}

fn is_route_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b',' | b'.' | b'-' | b'_' | b' ' | b'\t')
}

/// True for a localpart that is no dot-string (RFC 5321 4.1.2) and so has to be quoted on the wire.
fn needs_quotes(local: &[u8]) -> bool {
    let atext = |b: u8| b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    local.is_empty()
        || !local.iter().all(|b| atext(*b))
        || local.starts_with(b".")
        || local.ends_with(b".")
        || local.find(b"..").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewriter(extra: &str, context: Context) -> Rewriter {
        let text = format!(
            "compatibility_level = 3.6\nmyhostname = mail.example.com\nmydomain = example.com\nmyorigin = origin.example\n{extra}"
        );
        Rewriter::new(&Config::from_text(&text).expect("main.cf"), context).expect("settings")
    }

    #[test]
    fn local_context() {
        let cases = [
            ("", "", ""),
            ("", "@", ""),
            ("", "user", "user@origin.example"),
            ("", "user@host", "user@host"),
            ("append_dot_mydomain = yes", "user@host", "user@host.example.com"),
            ("append_dot_mydomain = yes", "user", "user@origin.example"),
            ("append_dot_mydomain = yes", "user@[1.2.3.4]", "user@[1.2.3.4]"),
            ("", "user@a.example.", "user@a.example"),
            ("", "user@a.example..", "user@a.example.."),
            ("", "site!user", "user@site"),
            ("", "a!b!c", "b!c@a"),
            ("", "site!user@there", "site!user@there"),
            ("swap_bangpath = no", "site!user", "site!user@origin.example"),
            ("", "user%site", "user@site"),
            ("", "user%a%b", "user%a@b"),
            ("", "a b%site", "a b%site@origin.example"),
            ("allow_percent_hack = no", "user%site", "user%site@origin.example"),
            ("", "@relay.example,@other:user@there.example", "user@there.example"),
            ("", "@relay.example:user", "user@origin.example"),
            ("", "!user", "!user@origin.example"),
            ("append_at_myorigin = no", "user", "user"),
            ("", "user@", "user@"),
        ];
        for (settings, address, expected) in cases {
            let got = rewriter(settings, Context::Local).rewrite(address.as_bytes());
            assert_eq!(got, expected, "{address} with {settings}");
        }
    }

    #[test]
    fn remote_context_completes_only_with_a_domain_of_its_own() {
        let bare = rewriter("append_dot_mydomain = yes", Context::Remote);
        assert_eq!(bare.rewrite(b"user"), "user");
        assert_eq!(bare.rewrite(b"user@host"), "user@host");
        let domain =
            rewriter("append_dot_mydomain = yes\nremote_header_rewrite_domain = domain.invalid", Context::Remote);
        assert_eq!(domain.rewrite(b"user"), "user@domain.invalid");
        assert_eq!(domain.rewrite(b"user@host"), "user@host.domain.invalid");
    }

    #[test]
    fn rewriting_twice_changes_nothing_more() {
        let rewriter = rewriter("append_dot_mydomain = yes", Context::Local);
        for address in ["user", "a!b", "u%s", "u@h", "u@h.x.", "@r:u@x.example"] {
            let once = rewriter.rewrite(address.as_bytes());
            assert_eq!(rewriter.rewrite(&once), once, "{address}");
        }
    }
}
