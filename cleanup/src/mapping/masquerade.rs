//! `masquerade_domains`: hosts below a domain hide behind it.

use bstr::BString;

/// The domains, and who is never hidden.
#[derive(Clone, Debug, Default)]
pub struct Masquerade {
    /// (domain, hides); the first that fits decides.
    domains: Vec<(String, bool)>,
    exceptions: Vec<String>,
}

impl Masquerade {
    /// From `masquerade_domains` (`!domain` is left alone) and `masquerade_exceptions` (user names).
    #[must_use]
    pub fn new(domains: &[String], exceptions: &[String]) -> Masquerade {
        let domains = domains
            .iter()
            .map(|domain| match domain.strip_prefix('!') {
                Some(kept) => (kept.to_owned(), false),
                None => (domain.clone(), true),
            })
            .collect();
        Masquerade { domains, exceptions: exceptions.to_vec() }
    }

    /// There is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Strips host names below a masqueraded domain.
    pub fn apply(&self, address: &mut BString) {
        let (localpart, Some(domain)) = address::split(address) else { return };
        if self.exceptions.iter().any(|user| user.as_bytes().eq_ignore_ascii_case(localpart)) {
            return;
        }
        for (masquerade, hides) in &self.domains {
            let parent = masquerade.as_bytes();
            if domain.eq_ignore_ascii_case(parent) {
                return;
            }
            if address::domain::is_below(domain, parent) {
                if *hides {
                    let kept = &domain[domain.len() - parent.len()..];
                    *address = address::join(localpart, Some(kept));
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_domain_that_fits_decides() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let masquerade = Masquerade::new(&words("!x.masq.test masq.test"), &words("adm root"));
        let cases = [
            ("a@b.masq.test", "a@masq.test"),
            ("a@b.c.MASQ.test", "a@MASQ.test"),
            ("a@masq.test", "a@masq.test"),
            ("adm@b.masq.test", "adm@b.masq.test"),
            ("a@y.x.masq.test", "a@y.x.masq.test"),
            ("a@x.masq.test", "a@x.masq.test"),
            ("a@other", "a@other"),
            ("a", "a"),
        ];
        for (before, after) in cases {
            let mut address = BString::from(before);
            masquerade.apply(&mut address);
            assert_eq!(address, after, "{before}");
        }
    }
}
