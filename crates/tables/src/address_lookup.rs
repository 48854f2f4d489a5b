//! The forms under which a mail address is looked up: with its extension, without, by local part, by domain.

use std::pin::Pin;

use bstr::{BStr, BString, ByteSlice};

use crate::error::LookupError;
use crate::keys;
use crate::maps::{Hit, Maps};
use crate::table::{Patience, at_once};

/// Which forms of the address are tried; combine with `|`. They are tried in the order of the constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Strategy(u16);

impl Strategy {
    /// `user+extension@domain`, the address as it is.
    pub const FULL: Self = Self(1);
    /// `user@domain`.
    pub const WITHOUT_EXTENSION: Self = Self(1 << 1);
    /// `user+extension`, `user`: when the domain is `$myorigin`, in `$mydestination` or an own address literal.
    pub const LOCALPART_IF_LOCAL: Self = Self(1 << 2);
    /// `user+extension@`, `user@` under the same condition.
    pub const LOCALPART_AT_IF_LOCAL: Self = Self(1 << 3);
    /// `@domain`.
    pub const AT_DOMAIN: Self = Self(1 << 4);
    /// `domain`.
    pub const DOMAIN: Self = Self(1 << 5);
    /// With `DOMAIN`: the parents as `.example.com` (`transport_maps`).
    pub const DOT_PARENTS: Self = Self(1 << 6);
    /// With `DOMAIN`: the parents as `example.com` (`parent_domain_matches_subdomains`).
    pub const PARENTS: Self = Self(1 << 7);
    /// `user+extension@`, `user@` (access tables).
    pub const LOCALPART_AT: Self = Self(1 << 8);

    /// canonical, virtual, generic, relocated and bcc maps.
    pub const DEFAULT: Self = Self(1 | 1 << 1 | 1 << 2 | 1 << 4);
    /// `check_sender_access`, `check_recipient_access`; add `PARENTS` or `DOT_PARENTS`.
    pub const ACCESS: Self = Self(1 | 1 << 1 | 1 << 5 | 1 << 8);
    /// `transport_maps`; add `PARENTS` or `DOT_PARENTS`.
    pub const TRANSPORT: Self = Self(1 | 1 << 1 | 1 << 5);

    /// Whether every form of `other` is tried.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Strategy {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether a domain is `$myorigin`, in `$mydestination` or one of the machine's literals. Functions are such lists, too.
pub trait LocalDomains {
    /// Whether it is one of them.
    ///
    /// # Errors
    /// A table on the way has no answer now.
    fn contains(&self, domain: &[u8]) -> Result<bool, LookupError>;

    /// Whether an answer may take a wait.
    fn is_remote(&self) -> bool {
        false
    }

    /// [`Self::contains`] for the event loop; asked where [`Self::is_remote`] holds.
    fn contains_later<'a>(&'a self, domain: &'a [u8]) -> Pin<Box<dyn Future<Output = Result<bool, LookupError>> + 'a>> {
        Box::pin(std::future::ready(self.contains(domain)))
    }
}

impl<F: Fn(&[u8]) -> Result<bool, LookupError>> LocalDomains for F {
    fn contains(&self, domain: &[u8]) -> Result<bool, LookupError> {
        self(domain)
    }
}

/// What an address lookup needs besides the address.
pub struct AddressQuery<'a> {
    /// The forms to try.
    pub strategy: Strategy,
    /// `recipient_delimiter` and its exceptions.
    pub delimiters: &'a address::Delimiters,
    /// Our own domains; asked at most once and only with the `..._IF_LOCAL` forms.
    pub is_local: &'a dyn LocalDomains,
}

/// What was found for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressHit<'a> {
    /// The value.
    pub value: BString,
    /// `type:name`.
    pub table: &'a str,
    /// The key that was found, in the form it was looked up.
    pub key: BString,
    /// The extension with its delimiter, when the form that was found does not contain it: the result gets it added
    /// (`propagate_unmatched_extensions`).
    pub extension: Option<BString>,
}

/// A lookup of one form: first in external (quoted) form, then, when that differs, as it is.
struct Search<'a> {
    maps: &'a Maps,
    key: Vec<u8>,
    patience: Patience,
}

impl<'a> Search<'a> {
    async fn form(&mut self, localpart: &[u8], rest: &[u8], partial: bool) -> Result<Option<Hit<'a>>, LookupError> {
        if !address::is_dot_string(localpart) {
            self.key.clear();
            address::put_quoted(&mut self.key, localpart);
            self.key.extend_from_slice(rest);
            if let Some(hit) = self.plain(partial).await? {
                return Ok(Some(hit));
            }
        }
        self.key.clear();
        self.key.extend_from_slice(localpart);
        self.key.extend_from_slice(rest);
        self.plain(partial).await
    }

    async fn plain(&mut self, partial: bool) -> Result<Option<Hit<'a>>, LookupError> {
        self.maps.find(&self.key, partial, self.patience).await
    }

    fn hit(self, hit: Hit<'a>, extension: Option<&[u8]>) -> Option<AddressHit<'a>> {
        let Hit { value, table } = hit;
        Some(AddressHit { value, table, key: self.key.into(), extension: extension.map(BString::from) })
    }
}

impl Maps {
    /// Looks a mail address (internal form) up in its forms; partial forms only in tables with fixed keys.
    ///
    /// # Errors
    /// A table on the way has no answer now: a temporary error.
    pub fn lookup_address_blocking(
        &self,
        address: &[u8],
        query: &AddressQuery<'_>,
    ) -> Result<Option<AddressHit<'_>>, LookupError> {
        at_once(self.search_address(address, query, Patience::Blocks))
    }

    async fn search_address(
        &self,
        address: &[u8],
        query: &AddressQuery<'_>,
        patience: Patience,
    ) -> Result<Option<AddressHit<'_>>, LookupError> {
        if address.is_empty() || self.is_empty() {
            return Ok(None);
        }
        let strategy = query.strategy;
        let mut search = Search { maps: self, key: Vec::with_capacity(address.len() + 2), patience };
        let (localpart, at_domain) = match address.rfind_byte(b'@') {
            Some(at) => address.split_at(at),
            None => (address, &b""[..]),
        };
        let (user, extension) = match query.delimiters.split(localpart) {
            Some((user, _)) => (user, Some(&localpart[user.len()..])),
            None => (localpart, None),
        };

        if strategy.contains(Strategy::FULL)
            && let Some(hit) = search.form(localpart, at_domain, false).await?
        {
            return Ok(search.hit(hit, None));
        }
        if strategy.contains(Strategy::WITHOUT_EXTENSION)
            && extension.is_some()
            && let Some(hit) = search.form(user, at_domain, true).await?
        {
            return Ok(search.hit(hit, extension));
        }
        let mut local = None;
        for (form, rest) in [(Strategy::LOCALPART_IF_LOCAL, &b""[..]), (Strategy::LOCALPART_AT_IF_LOCAL, b"@")] {
            if !strategy.contains(form) || at_domain.is_empty() {
                continue;
            }
            let is_local = match local {
                Some(known) => known,
                None if patience == Patience::Waits && query.is_local.is_remote() => {
                    query.is_local.contains_later(&at_domain[1..]).await?
                }
                None => query.is_local.contains(&at_domain[1..])?,
            };
            local = Some(is_local);
            if is_local
                && let Some((hit, without)) = localpart_forms(&mut search, localpart, user, extension, rest).await?
            {
                return Ok(search.hit(hit, without));
            }
        }
        if strategy.contains(Strategy::AT_DOMAIN) && !at_domain.is_empty() {
            search.key.clear();
            search.key.extend_from_slice(at_domain);
            if let Some(hit) = search.plain(true).await? {
                return Ok(search.hit(hit, extension));
            }
        }
        if strategy.contains(Strategy::DOMAIN) && !at_domain.is_empty() {
            let parents = strategy.contains(Strategy::PARENTS);
            for (number, key) in keys::domain(&at_domain[1..], parents).enumerate() {
                if number > 0 && !parents && !strategy.contains(Strategy::DOT_PARENTS) {
                    break;
                }
                if let Some(hit) = self.find(key.bytes, true, patience).await? {
                    search.key = key.bytes.to_vec();
                    return Ok(search.hit(hit, extension));
                }
            }
        }
        if strategy.contains(Strategy::LOCALPART_AT)
            && let Some((hit, without)) = localpart_forms(&mut search, localpart, user, extension, b"@").await?
        {
            return Ok(search.hit(hit, without));
        }
        Ok(None)
    }

    /// [`Self::lookup_address_blocking`] for the event loop: waits for tables that other processes serve.
    ///
    /// # Errors
    /// As [`Self::lookup_address_blocking`].
    pub async fn lookup_address(
        &self,
        address: &[u8],
        query: &AddressQuery<'_>,
    ) -> Result<Option<AddressHit<'_>>, LookupError> {
        self.search_address(address, query, Patience::Waits).await
    }

    /// Looks a domain and its parents up (`check_helo_access`, ...): the whole name in every table, parents in fixed ones.
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub fn lookup_domain_blocking(&self, name: &[u8], parents: bool) -> Result<Option<Hit<'_>>, LookupError> {
        at_once(self.first(keys::domain(name, parents), Patience::Blocks))
    }

    /// Looks an address (text form) and its networks up (`check_client_access`).
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub fn lookup_network_blocking(&self, address: &[u8]) -> Result<Option<Hit<'_>>, LookupError> {
        at_once(self.first(keys::network(address), Patience::Blocks))
    }

    /// [`Self::lookup_domain_blocking`] for the event loop.
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub async fn lookup_domain(&self, name: &[u8], parents: bool) -> Result<Option<Hit<'_>>, LookupError> {
        self.first(keys::domain(name, parents), Patience::Waits).await
    }

    /// [`Self::lookup_network_blocking`] for the event loop.
    ///
    /// # Errors
    /// As [`Self::lookup_blocking`].
    pub async fn lookup_network(&self, address: &[u8]) -> Result<Option<Hit<'_>>, LookupError> {
        self.first(keys::network(address), Patience::Waits).await
    }

    async fn first<'k>(
        &self,
        keys: impl Iterator<Item = keys::Key<'k>>,
        patience: Patience,
    ) -> Result<Option<Hit<'_>>, LookupError> {
        for key in keys {
            let hit = self.find(key.bytes, key.partial, patience).await?;
            if hit.is_some() {
                return Ok(hit);
            }
        }
        Ok(None)
    }
}

/// A hit, and the extension that its key does not contain.
type LocalpartHit<'a, 'k> = Option<(Hit<'a>, Option<&'k [u8]>)>;

/// `user+extension` and `user`, each followed by `rest`.
async fn localpart_forms<'a, 'k>(
    search: &mut Search<'a>,
    localpart: &[u8],
    user: &[u8],
    extension: Option<&'k [u8]>,
    rest: &[u8],
) -> Result<LocalpartHit<'a, 'k>, LookupError> {
    if let Some(hit) = search.form(localpart, rest, true).await? {
        return Ok(Some((hit, None)));
    }
    if extension.is_some()
        && let Some(hit) = search.form(user, rest, true).await?
    {
        return Ok(Some((hit, extension)));
    }
    Ok(None)
}

/// The key of a hit as text, for messages.
impl AddressHit<'_> {
    /// The key that was found.
    #[must_use]
    pub fn key(&self) -> &BStr {
        self.key.as_bstr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Flags, Settings};

    /// Every key that a search asks for, seen through one pattern-free table that knows nothing but `key`.
    fn finds(table: &str, address: &str, strategy: Strategy) -> Option<(String, Option<String>)> {
        let maps = Maps::open_with(table, &Settings::default(), "test", Flags::DEFAULT).expect("opens");
        let is_local = |domain: &[u8]| Ok(domain == b"here.example");
        let delimiters = address::Delimiters::new(b"+-", true);
        let query = AddressQuery { strategy, delimiters: &delimiters, is_local: &is_local };
        let hit = maps.lookup_address_blocking(address.as_bytes(), &query).expect("no error")?;
        Some((hit.key.to_string(), hit.extension.map(|extension| extension.to_string())))
    }

    #[test]
    fn the_forms_of_an_address() {
        let access = Strategy::ACCESS | Strategy::DOT_PARENTS;
        for (table, address, strategy, key, extension) in [
            ("inline:{u+e@x.example=1}", "U+e@x.example", Strategy::DEFAULT, "U+e@x.example", None),
            ("inline:{u@x.example=1}", "u+e@x.example", Strategy::DEFAULT, "u@x.example", Some("+e")),
            ("inline:{u+e=1}", "u+e@here.example", Strategy::DEFAULT, "u+e", None),
            ("inline:{u=1}", "u+e@here.example", Strategy::DEFAULT, "u", Some("+e")),
            ("inline:{@x.example=1}", "u+e@x.example", Strategy::DEFAULT, "@x.example", Some("+e")),
            ("inline:{x.example=1}", "u+e@x.example", access, "x.example", Some("+e")),
            ("inline:{.example=1}", "u@x.example", access, ".example", None),
            ("inline:{example=1}", "u@x.example", Strategy::ACCESS | Strategy::PARENTS, "example", None),
            ("inline:{u+e@=1}", "u+e@x.example", access, "u+e@", None),
            ("inline:{u@=1}", "u+e@x.example", access, "u@", Some("+e")),
            ("inline:{ {\"a b\"@x.example=1} }", "a b@x.example", Strategy::DEFAULT, "\"a b\"@x.example", None),
            ("inline:{ {a b@x.example=1} }", "a b@x.example", Strategy::DEFAULT, "a b@x.example", None),
            ("inline:{u=1}", "u", Strategy::DEFAULT, "u", None),
        ] {
            let found = finds(table, address, strategy);
            assert_eq!(found, Some((key.to_owned(), extension.map(str::to_owned))), "{table} {address}");
        }
        for (table, address, strategy) in [
            ("inline:{u=1}", "u@x.example", Strategy::DEFAULT),
            ("inline:{x.example=1}", "u@x.example", Strategy::DEFAULT),
            ("inline:{.example=1}", "u@x.example", Strategy::ACCESS),
            ("inline:{owner=1}", "owner-list@here.example", Strategy::DEFAULT),
        ] {
            assert_eq!(finds(table, address, strategy), None, "{table} {address}");
        }
    }
}
