//! Lists that answer yes or no: `mynetworks`, `mydestination`, `relay_domains`, `debug_peer_list`, ...
//!
//! An element is a string, a network, `/file/name` with more elements, or `type:table`; `!` before it negates. The first
//! element that matches decides.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::rc::Rc;

use bstr::BString;
use config::Config;

use crate::cidr::{self, Network};
use crate::error::{Error, LookupError};
use crate::flags::Flags;
use crate::fold;
use crate::keys;
use crate::list;
use crate::open;
use crate::settings::Settings;
use crate::table::{Patience, Table, at_once, shown};

/// Most elements of a list, files included.
const MOST_ELEMENTS: usize = 1_000_000;
/// How deep files may name files.
const DEEPEST: usize = 10;

/// What the elements are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A host's name and address (`mynetworks`, `smtpd_authorized_xforward_hosts`): names, domains, addresses, networks.
    Hosts,
    /// A domain name (`mydestination`, `relay_domains`).
    Domains,
    /// Any string, compared as a whole, ignoring case.
    Strings,
}

enum Element {
    /// Case-folded.
    Text(BString),
    Network(Network),
    Table(Rc<Table>),
    /// A table that cannot be opened, a pattern that makes no sense: no answer when the search comes here.
    Broken {
        name: String,
        reason: String,
    },
}

struct Pattern {
    matches: bool,
    element: Element,
}

/// A match list, see the module.
pub struct MatchList {
    title: &'static str,
    kind: Kind,
    parent: bool,
    utf8: bool,
    remote: bool,
    patterns: Vec<Pattern>,
}

impl std::fmt::Debug for MatchList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatchList")
            .field("title", &self.title)
            .field("patterns", &self.patterns.len())
            .finish_non_exhaustive()
    }
}

impl MatchList {
    /// [`Self::open_with`] and the settings of `config`; `title` is the parameter's name.
    ///
    /// # Errors
    /// A parameter that tables depend on has a bad value; and as [`Self::open_with`].
    pub fn open(
        spec: &str,
        config: &Config,
        title: &'static str,
        kind: Kind,
        parent_domain_matches_subdomains: bool,
    ) -> Result<Self, Error> {
        Self::open_with(spec, &Settings::for_spec(config, spec)?, title, kind, parent_domain_matches_subdomains)
    }

    /// Reads the list. With `parent_domain_matches_subdomains`, `example.com` matches its subdomains too; without, that
    /// takes `.example.com`.
    ///
    /// A table or file that cannot be opened is warned about now, and each search that comes to it is a temporary error.
    ///
    /// # Errors
    /// Only with `daemon_table_open_error_is_fatal`: the first element that cannot be opened.
    pub fn open_with(
        spec: &str,
        settings: &Settings,
        title: &'static str,
        kind: Kind,
        parent_domain_matches_subdomains: bool,
    ) -> Result<Self, Error> {
        let mut list = Self {
            title,
            kind,
            parent: parent_domain_matches_subdomains,
            utf8: settings.utf8,
            remote: false,
            patterns: Vec::new(),
        };
        list.add(spec, settings, true, 0)?;
        list.remote =
            list.patterns.iter().any(|pattern| matches!(&pattern.element, Element::Table(table) if table.is_remote()));
        Ok(list)
    }

    fn add(&mut self, spec: &str, settings: &Settings, matches: bool, depth: usize) -> Result<(), Error> {
        for element in list::split(spec) {
            let bare = element.trim_start_matches('!');
            let matches = matches == ((element.len() - bare.len()) % 2 == 0);
            if bare.is_empty() {
                return Err(Error::Pattern {
                    title: self.title.to_owned(),
                    pattern: element.to_owned(),
                    reason: "no pattern after '!'".to_owned(),
                });
            }
            let parsed = if bare.starts_with('/') {
                self.include(bare, settings, matches, depth)
            } else {
                self.parse(bare, settings).map(|element| self.patterns.push(Pattern { matches, element }))
            };
            match parsed {
                Ok(()) => {}
                Err(error) if settings.open_error_is_fatal => return Err(error),
                Err(error) => {
                    log::warning!("{}: {bare} is unavailable. {error}", self.title);
                    let element = Element::Broken { name: bare.to_owned(), reason: error.to_string() };
                    self.patterns.push(Pattern { matches, element });
                }
            }
            if self.patterns.len() > MOST_ELEMENTS {
                return Err(Error::Pattern {
                    title: self.title.to_owned(),
                    pattern: bare.to_owned(),
                    reason: format!("more than {MOST_ELEMENTS} elements"),
                });
            }
        }
        Ok(())
    }

    /// Adds the elements of a file: one or more per line, `#` lines are comments.
    fn include(&mut self, path: &str, settings: &Settings, matches: bool, depth: usize) -> Result<(), Error> {
        let failed = |source| Error::Open { path: path.into(), source };
        if depth >= DEEPEST {
            return Err(Error::Pattern {
                title: self.title.to_owned(),
                pattern: path.to_owned(),
                reason: "files are nested too deeply".to_owned(),
            });
        }
        for line in BufReader::new(File::open(path).map_err(failed)?).lines() {
            let line = line.map_err(failed)?;
            if !line.trim_start().starts_with('#') {
                self.add(&line, settings, matches, depth + 1)?;
            }
        }
        Ok(())
    }

    fn parse(&self, element: &str, settings: &Settings) -> Result<Element, Error> {
        // An IPv6 address or network is no table: 2001:db8::/32.
        let is_ipv6 = self.kind == Kind::Hosts && cidr::looks_like_ipv6(element);
        if element.contains(':') && !element.starts_with('[') && !is_ipv6 {
            return Ok(Element::Table(open::open(element, settings, Flags::DEFAULT)?));
        }
        if self.kind == Kind::Hosts {
            match cidr::parse(element) {
                Ok(network) => return Ok(Element::Network(network)),
                Err(reason) if cidr::looks_numeric(element) => {
                    return Err(Error::Pattern { title: self.title.to_owned(), pattern: element.to_owned(), reason });
                }
                Err(_) => {}
            }
        }
        Ok(Element::Text(fold::fold(element.as_bytes(), self.utf8)))
    }

    /// Whether the list has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether an answer may take a wait: a table of the list is served by another process.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote
    }

    /// Whether a domain or string is on the list.
    ///
    /// # Errors
    /// A table on the way has no answer (logged here): a temporary error.
    pub fn matches_blocking(&self, name: &[u8]) -> Result<bool, LookupError> {
        self.search_blocking(name, b"")
    }

    /// Whether a host is on the list by its name or its address (text form, no brackets). Either may be empty.
    ///
    /// # Errors
    /// As [`Self::matches_blocking`].
    pub fn matches_host_blocking(&self, name: &[u8], address: &[u8]) -> Result<bool, LookupError> {
        self.search_blocking(name, address)
    }

    /// [`Self::matches_blocking`] for the event loop.
    ///
    /// # Errors
    /// As [`Self::matches_blocking`].
    pub async fn matches(&self, name: &[u8]) -> Result<bool, LookupError> {
        self.search(name, b"").await
    }

    /// [`Self::matches_host_blocking`] for the event loop.
    ///
    /// # Errors
    /// As [`Self::matches_blocking`].
    pub async fn matches_host(&self, name: &[u8], address: &[u8]) -> Result<bool, LookupError> {
        self.search(name, address).await
    }

    fn search_blocking(&self, name: &[u8], address: &[u8]) -> Result<bool, LookupError> {
        fold::with_folded(name, self.utf8, |name| at_once(self.search_folded(name, address, Patience::Blocks)))
    }

    async fn search(&self, name: &[u8], address: &[u8]) -> Result<bool, LookupError> {
        if !self.remote {
            return self.search_blocking(name, address);
        }
        self.search_folded(&fold::fold(name, self.utf8), address, Patience::Waits).await
    }

    async fn search_folded(&self, name: &[u8], address: &[u8], patience: Patience) -> Result<bool, LookupError> {
        let parsed = if self.kind == Kind::Hosts { cidr::parse_address(address) } else { None };
        for pattern in &self.patterns {
            let found = match &pattern.element {
                Element::Text(text) => self.text_matches(text, name, address),
                Element::Network(network) => parsed.is_some_and(|parsed| network.contains(parsed)),
                Element::Table(table) => {
                    self.table_matches(table, name, address, patience).await.inspect_err(|error| {
                        log::warning!("{}: {error}", self.title);
                    })?
                }
                Element::Broken { name: table, reason } => {
                    let key = shown(if name.is_empty() { address } else { name });
                    let error = LookupError { table: table.clone(), key, reason: reason.clone() };
                    log::warning!("{}: {error}", self.title);
                    return Err(error);
                }
            };
            if found {
                return Ok(pattern.matches);
            }
        }
        Ok(false)
    }

    fn text_matches(&self, text: &[u8], name: &[u8], address: &[u8]) -> bool {
        if text == name || (!address.is_empty() && text.eq_ignore_ascii_case(address)) {
            return !text.is_empty();
        }
        if self.kind == Kind::Strings {
            return false;
        }
        match name.strip_suffix(text) {
            Some(before) if self.parent => before.ends_with(b"."),
            Some(before) => text.starts_with(b".") && !before.is_empty(),
            None => false,
        }
    }

    async fn table_matches(
        &self,
        table: &Table,
        name: &[u8],
        address: &[u8],
        patience: Patience,
    ) -> Result<bool, LookupError> {
        match self.kind {
            Kind::Strings => return Ok(!name.is_empty() && table.ask(name, patience).await?.is_some()),
            Kind::Domains | Kind::Hosts => {
                for key in keys::domain(name, self.parent) {
                    if key.partial && !table.is_fixed() {
                        break;
                    }
                    if table.ask(key.bytes, patience).await?.is_some() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(self.kind == Kind::Hosts && !address.is_empty() && table.ask(address, patience).await?.is_some())
    }

    /// Whether a table in the list changed, see [`crate::Maps::changed`].
    #[must_use]
    pub fn changed(&self) -> bool {
        self.changed_table().is_some()
    }

    /// The first changed table as the log line shows it.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        self.patterns.iter().find_map(|pattern| match &pattern.element {
            Element::Table(table) if table.changed() => Some(table.log_name()),
            _ => None,
        })
    }

    /// The address of a `[...]` literal or plain text; what [`Self::matches_host`] wants.
    #[must_use]
    pub fn bare_address(address: &[u8]) -> &[u8] {
        address.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(address).trim_ascii()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn list(spec: &str, kind: Kind, parent: bool) -> MatchList {
        MatchList::open_with(spec, &Settings::default(), "test", kind, parent).expect("never fatal")
    }

    #[test]
    fn domains() {
        for (spec, parent, name, expected) in [
            ("example.com", true, "example.com", true),
            ("example.com", true, "a.Example.COM", true),
            ("example.com", true, "aexample.com", false),
            ("example.com", false, "a.example.com", false),
            (".example.com", false, "a.example.com", true),
            (".example.com", false, "example.com", false),
            ("!a.example.com, example.com", true, "b.a.example.com", false),
            ("!a.example.com, example.com", true, "b.example.com", true),
            ("!!a.b", true, "a.b", true),
            ("inline:{example.com=x}", true, "a.b.example.com", true),
            ("inline:{example.com=x}", false, "a.b.example.com", false),
            ("inline:{.example.com=x}", false, "a.b.example.com", true),
            ("static:all", false, "anything", true),
            ("!static:all x.y", false, "x.y", false),
            ("", true, "x", false),
            ("x.y", true, "", false),
        ] {
            let list = list(spec, Kind::Domains, parent);
            assert_eq!(list.matches_blocking(name.as_bytes()), Ok(expected), "{spec} {name}");
        }
    }

    #[test]
    fn hosts() {
        for (spec, name, address, expected) in [
            ("127.0.0.0/8 [::1]/128", "unknown", "127.0.0.1", true),
            ("127.0.0.0/8 [::1]/128", "unknown", "::1", true),
            ("127.0.0.0/8 2001:db8::/32", "unknown", "2001:db8::5", true),
            ("127.0.0.0/8 2001:db8::/32", "unknown", "2001:db9::5", false),
            ("!127.0.0.2, 127.0.0.0/8", "localhost", "127.0.0.2", false),
            ("127.0.0.1", "localhost", "127.0.0.1", true),
            ("localhost", "localhost", "127.0.0.1", true),
            ("inline:{127.0.0.1=x}", "unknown", "127.0.0.1", true),
            ("static:all", "unknown", "10.0.0.1", true),
            ("10.0 10.0.0.1", "unknown", "10.0.0.1", true),
            ("bad/host [x] 10.0.0.1", "unknown", "10.0.0.1", true),
        ] {
            let list = list(spec, Kind::Hosts, true);
            assert_eq!(
                list.matches_host_blocking(name.as_bytes(), address.as_bytes()),
                Ok(expected),
                "{spec} {address}"
            );
        }
    }

    #[test]
    fn errors_are_temporary_and_only_where_the_search_comes_to_them() {
        let list = list("good, 10.0.0.1/8, fail:x, lmdb:/nonexistent/x", Kind::Hosts, true);
        assert_eq!(list.matches_host_blocking(b"good", b"1.1.1.1"), Ok(true));
        assert!(list.matches_host_blocking(b"bad", b"1.1.1.1").is_err());
        let strings = self::list("a, fail:x", Kind::Strings, false);
        assert_eq!(strings.matches_blocking(b"A"), Ok(true));
        assert!(strings.matches_blocking(b"b").is_err());
    }

    #[test]
    fn files_are_included_with_their_sign() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("list");
        fs::write(&path, "# comment\na.example !b.example\nc.example").expect("write");
        let spec = format!("!{}, static:all", path.display());
        let list = list(&spec, Kind::Domains, false);
        for (name, expected) in [("a.example", false), ("b.example", true), ("c.example", false), ("d", true)] {
            assert_eq!(list.matches_blocking(name.as_bytes()), Ok(expected), "{name}");
        }
    }
}
