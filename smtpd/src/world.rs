//! The answers to what decisions ask: tables, routing, the resolver.

use std::net::IpAddr;

use address::Delimiters;
use bstr::{BString, ByteSlice};
use config::Config;
use ipc::resolver::{Client as Names, Failure, Found, Query};
use ipc::rewrite::{Class, Resolved};
use routing::{Context, Recipients, Resolver, Rewriter, UnknownIn, Verdict};
use server::StartError;
use tables::{AddressQuery, Flags, Kind, Maps, MatchList, Strategy};

use crate::restrictions::{Destination, HostFound, Lookup, MailDomain, TableFailure, Unlisted};

/// Everything that is looked up.
pub(crate) struct World {
    access: Vec<Maps>,
    mynetworks: MatchList,
    /// `relay_clientcerts`
    certificates: Maps,
    asks_for_certificates: bool,
    routing: Resolver,
    recipients: Recipients,
    rewriter: Rewriter,
    delimiters: Delimiters,
    parents_match: bool,
    names: Names,
}

impl World {
    /// Opens all tables: those of the lists by name, in their order.
    pub(crate) fn open(config: &Config, access: &[String], names: Names) -> Result<World, StartError> {
        let parents = config.list("parent_domain_matches_subdomains")?;
        let parents_match = parents.iter().any(|name| name == "smtpd_access_maps");
        let mynetworks_parents = parents.iter().any(|name| name == "mynetworks");
        let open = |name: &String| Maps::open(name, config, "smtpd_restrictions", Flags::EMPTY_VALUES);
        let access: Result<Vec<Maps>, _> = access.iter().map(open).collect();
        let set = config.string("recipient_delimiter")?;
        Ok(World {
            access: access.map_err(StartError::service)?,
            mynetworks: MatchList::open(
                &config.string("mynetworks")?,
                config,
                "mynetworks",
                Kind::Hosts,
                mynetworks_parents,
            )
            .map_err(StartError::service)?,
            certificates: Maps::open(
                &config.string("relay_clientcerts")?,
                config,
                "relay_clientcerts",
                Flags::EMPTY_VALUES,
            )
            .map_err(StartError::service)?,
            asks_for_certificates: config.bool("smtpd_tls_ask_ccert")?,
            routing: Resolver::open(config, false).map_err(StartError::service)?,
            recipients: Recipients::open(config).map_err(StartError::service)?,
            rewriter: Rewriter::new(config, Context::Local).map_err(StartError::service)?,
            delimiters: Delimiters::new(set.as_bytes(), config.bool("owner_request_special")?),
            parents_match,
            names,
        })
    }

    /// A table that has changed since it was opened.
    pub(crate) fn changed(&self) -> Option<String> {
        let named = self.access.iter().find_map(Maps::changed_table).or_else(|| self.mynetworks.changed_table());
        let named = named.or_else(|| self.certificates.changed_table());
        named.or_else(|| self.routing.changed_table()).or_else(|| self.recipients.changed_table())
    }

    async fn resolve(&self, address: &[u8]) -> Result<(Resolved, bool), TableFailure> {
        match self.routing.resolve_with_routing(b"", address).await {
            (Resolved::Defer(reason), _) => {
                log::warning!("{}: lookup failure: {reason}", address.as_bstr());
                Err(TableFailure)
            }
            found => Ok(found),
        }
    }
}

impl Lookup for World {
    fn table_name(&self, table: usize) -> String {
        self.access[table].names().next().unwrap_or_default().to_owned()
    }

    async fn access(&self, table: usize, key: &[u8], partial: bool) -> Result<Option<BString>, TableFailure> {
        let maps = &self.access[table];
        let found = if partial { maps.lookup_partial(key).await } else { maps.lookup(key).await };
        found.map(|hit| hit.map(|hit| hit.value)).map_err(|_| TableFailure)
    }

    async fn access_address(&self, table: usize, address: &[u8]) -> Result<Option<BString>, TableFailure> {
        let parents = if self.parents_match { Strategy::PARENTS } else { Strategy::DOT_PARENTS };
        // The form that routing knows: completed, without source route and operators for our own domains.
        let address = self.rewriter.rewrite(address);
        let query = AddressQuery {
            strategy: Strategy::ACCESS | parents,
            delimiters: &self.delimiters,
            is_local: self.routing.classes(),
        };
        let found = self.access[table].lookup_address(&address, &query).await;
        found.map(|hit| hit.map(|hit| hit.value)).map_err(|_| TableFailure)
    }

    async fn in_mynetworks(&self, name: &str, address: &str) -> Result<bool, TableFailure> {
        self.mynetworks.matches_host(name.as_bytes(), address.as_bytes()).await.map_err(|_| TableFailure)
    }

    async fn is_relay_certificate(&self, fingerprint: &str) -> Result<bool, TableFailure> {
        let found = self.certificates.lookup(fingerprint.as_bytes()).await;
        found.map(|hit| hit.is_some()).map_err(|_| TableFailure)
    }

    fn asks_for_certificates(&self) -> bool {
        self.asks_for_certificates
    }

    fn is_own_address(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        self.routing.classes().own_addresses().contains(&address)
    }

    async fn destination(&self, address: &[u8]) -> Result<Destination, TableFailure> {
        let address = self.rewriter.rewrite(address);
        Ok(match self.resolve(&address).await? {
            (Resolved::Route(route), _) => match route.class {
                Class::Local | Class::VirtualAlias | Class::VirtualMailbox => Destination::Final,
                Class::Relay => Destination::Relay,
                Class::Default => Destination::Other,
            },
            (Resolved::Reject(_) | Resolved::Defer(_), _) => Destination::Other,
        })
    }

    async fn unlisted(&self, address: &[u8]) -> Result<Option<Unlisted>, TableFailure> {
        let address = self.rewriter.rewrite(address);
        let route = match self.resolve(&address).await? {
            (Resolved::Route(route), _) => route,
            (Resolved::Reject(_) | Resolved::Defer(_), _) => return Ok(None),
        };
        match self.recipients.exists(&address, &route, self.routing.classes()).await {
            Ok(Verdict::Known) => Ok(None),
            Ok(Verdict::Unknown(table)) => Ok(Some(match table {
                UnknownIn::Local => Unlisted::Local,
                UnknownIn::VirtualAlias => Unlisted::VirtualAlias,
                UnknownIn::VirtualMailbox => Unlisted::VirtualMailbox,
                UnknownIn::Relay => Unlisted::Relay,
            })),
            Ok(Verdict::Error(status, text)) => Ok(Some(Unlisted::Routing(status, text))),
            Err(_) => Err(TableFailure),
        }
    }

    async fn mail_domain(&self, domain: &[u8]) -> MailDomain {
        let Ok(name) = domain.to_str() else { return MailDomain::NotFound };
        let exchangers = self.names.query(Query::Mx(name.to_owned())).await;
        match exchangers.map(without_ttl) {
            Ok(Found::Mx(hosts)) if hosts.len() == 1 && hosts[0].1 == "." => MailDomain::NullMx,
            Ok(Found::Mx(_)) => MailDomain::Exists,
            Ok(_) | Err(Failure::Invalid) => MailDomain::Malformed,
            Err(Failure::NotFound) => MailDomain::NotFound,
            Err(Failure::TryAgain(_)) => MailDomain::TryAgain,
            Err(Failure::NoData) => match self.addresses(name).await {
                Ok(_) => MailDomain::Exists,
                Err(Failure::TryAgain(_)) => MailDomain::TryAgain,
                Err(_) => MailDomain::NotFound,
            },
        }
    }

    async fn host(&self, name: &[u8]) -> HostFound {
        let Ok(name) = name.to_str() else { return HostFound::NotFound };
        match self.addresses(name).await {
            Ok(_) => HostFound::Exists,
            Err(Failure::TryAgain(_)) => HostFound::TryAgain,
            Err(Failure::Invalid) => HostFound::Malformed,
            Err(Failure::NotFound | Failure::NoData) => match self.names.query(Query::Mx(name.to_owned())).await {
                Ok(_) => HostFound::Exists,
                Err(Failure::TryAgain(_)) => HostFound::TryAgain,
                Err(Failure::Invalid) => HostFound::Malformed,
                Err(Failure::NotFound | Failure::NoData) => HostFound::NotFound,
            },
        }
    }
}

impl World {
    async fn addresses(&self, name: &str) -> Result<Found, Failure> {
        let name = name.to_owned();
        self.names.query(Query::Addresses { name, ipv4: true, ipv6: true, hosts_file: false, dns: true }).await
    }
}

fn without_ttl(found: Found) -> Found {
    match found {
        Found::WithTtl(found, ..) => *found,
        found => found,
    }
}
