//! Address classes: who is responsible for a domain.

use std::net::IpAddr;
use std::pin::Pin;

use bstr::ByteSlice;
use config::Config;
use ipc::rewrite::Class;
use tables::{Kind, LocalDomains, LookupError, MatchList};

use crate::Error;

/// mydestination, virtual_alias_domains, virtual_mailbox_domains, relay_domains, and our own addresses.
#[derive(Debug)]
pub struct Classes {
    local: MatchList,
    virtual_alias: MatchList,
    virtual_mailbox: MatchList,
    relay: MatchList,
    own_addresses: Vec<IpAddr>,
    myorigin: String,
}

impl Classes {
    /// Opens the four lists.
    ///
    /// # Errors
    /// What is wrong with these parameters, or with a file that they name.
    pub fn open(config: &Config) -> Result<Classes, Error> {
        let parents = config.list("parent_domain_matches_subdomains")?;
        let list = |parameter: &'static str| -> Result<MatchList, Error> {
            let subdomains = parents.iter().any(|name| name == parameter);
            Ok(MatchList::open(&config.string(parameter)?, config, parameter, Kind::Domains, subdomains)?)
        };
        Ok(Classes {
            local: list("mydestination")?,
            virtual_alias: list("virtual_alias_domains")?,
            virtual_mailbox: list("virtual_mailbox_domains")?,
            relay: list("relay_domains")?,
            own_addresses: own_addresses(config)?,
            myorigin: config.string("myorigin")?,
        })
    }

    /// True when the domain, or the address literal, is final here (`mydestination`, `inet_interfaces`,
    /// `proxy_interfaces`).
    ///
    /// # Errors
    /// A list that could not be read.
    pub async fn is_local(&self, domain: &str) -> Result<bool, LookupError> {
        if let Some(address) = literal_address(domain) {
            return Ok(self.own_addresses.contains(&address));
        }
        self.local.matches(domain.as_bytes()).await
    }

    /// As [`Classes::is_local`], for blocking programs.
    ///
    /// # Errors
    /// A list that could not be read.
    pub fn is_local_blocking(&self, domain: &str) -> Result<bool, LookupError> {
        match literal_address(domain) {
            Some(address) => Ok(self.own_addresses.contains(&address)),
            None => self.local.matches_blocking(domain.as_bytes()),
        }
    }

    /// The class of a domain.
    ///
    /// # Errors
    /// A list that could not be read.
    pub async fn class_of(&self, domain: &str) -> Result<Class, LookupError> {
        if self.is_local(domain).await? {
            return Ok(Class::Local);
        }
        for (list, class) in [
            (&self.virtual_alias, Class::VirtualAlias),
            (&self.virtual_mailbox, Class::VirtualMailbox),
            (&self.relay, Class::Relay),
        ] {
            if list.matches(domain.as_bytes()).await? {
                return Ok(class);
            }
        }
        Ok(Class::Default)
    }

    /// Our own addresses and those of proxies in front of us.
    #[must_use]
    pub fn own_addresses(&self) -> &[IpAddr] {
        &self.own_addresses
    }

    /// The first table behind a list that has changed since it was opened, as the log line shows it.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        [&self.local, &self.virtual_alias, &self.virtual_mailbox, &self.relay]
            .into_iter()
            .find_map(MatchList::changed_table)
    }
}

/// Mail for bare local parts belongs to these domains: `$myorigin`, and the local ones.
impl LocalDomains for Classes {
    fn contains(&self, domain: &[u8]) -> Result<bool, LookupError> {
        if domain.eq_ignore_ascii_case(self.myorigin.as_bytes()) {
            return Ok(true);
        }
        self.is_local_blocking(&domain.to_str_lossy())
    }

    fn is_remote(&self) -> bool {
        self.local.is_remote()
    }

    fn contains_later<'a>(&'a self, domain: &'a [u8]) -> Pin<Box<dyn Future<Output = Result<bool, LookupError>> + 'a>> {
        Box::pin(async move {
            if domain.eq_ignore_ascii_case(self.myorigin.as_bytes()) {
                return Ok(true);
            }
            self.is_local(&domain.to_str_lossy()).await
        })
    }
}

/// The addresses of `inet_interfaces` and `proxy_interfaces`.
fn own_addresses(config: &Config) -> Result<Vec<IpAddr>, Error> {
    let mut own: Vec<IpAddr> = config.own_interfaces()?.iter().map(|interface| interface.address).collect();
    for word in config.list("proxy_interfaces")? {
        match word.parse() {
            Ok(address) => own.push(address),
            Err(_) => log::warning!("proxy_interfaces: \"{word}\" is no address"),
        }
    }
    Ok(own)
}

/// The address of a literal such as `[127.0.0.1]` or `[IPv6:::1]` (RFC 5321 4.1.3).
pub(crate) fn literal_address(domain: &str) -> Option<IpAddr> {
    address::domain::address_literal(domain.as_bytes())
}
