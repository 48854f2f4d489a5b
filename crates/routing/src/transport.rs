//! `transport:nexthop` values, and the transport table (transport(5)).

use address::Delimiters;
use bstr::{BString, ByteSlice};
use config::Config;
use tables::{AddressQuery, LookupError, Maps, Strategy};

use crate::Error;

/// A delivery transport and a next hop, either of which may be left open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transport {
    /// Name of the `master.cf` service.
    pub(crate) name: String,
    /// Next-hop destination.
    pub(crate) nexthop: String,
}

impl Transport {
    /// Splits at the first colon; a value without one is a transport alone.
    pub(crate) fn parse(value: &str) -> Transport {
        let (name, nexthop) = value.trim().split_once(':').unwrap_or((value.trim(), ""));
        Transport { name: name.trim().to_owned(), nexthop: nexthop.trim().to_owned() }
    }

    /// The value of a parameter that must name a transport.
    pub(crate) fn parameter(config: &Config, parameter: &'static str) -> Result<Transport, Error> {
        let value = config.string(parameter)?;
        let transport = Transport::parse(&value);
        if transport.name.is_empty() { Err(Error::NoTransport { parameter, value }) } else { Ok(transport) }
    }
}

/// What a table says about a transport: nothing, or an override.
pub(crate) fn override_with(route: &mut Transport, value: &[u8], domain: &str) {
    let found = Transport::parse(&value.to_str_lossy());
    match (found.name.is_empty(), found.nexthop.is_empty()) {
        (true, true) => {}
        (true, false) => route.nexthop = found.nexthop,
        (false, true) => *route = Transport { name: found.name, nexthop: domain.to_owned() },
        (false, false) => *route = found,
    }
}

/// transport_maps.
#[derive(Debug)]
pub(crate) struct TransportTable {
    maps: Maps,
    delimiters: Delimiters,
    strategy: Strategy,
}

impl TransportTable {
    pub(crate) fn new(maps: Maps, config: &Config) -> Result<TransportTable, Error> {
        let parents = config.list("parent_domain_matches_subdomains")?;
        let parents =
            if parents.iter().any(|name| name == "transport_maps") { Strategy::PARENTS } else { Strategy::DOT_PARENTS };
        Ok(TransportTable { maps, delimiters: crate::delimiters(config)?, strategy: Strategy::TRANSPORT | parents })
    }

    pub(crate) fn changed_table(&self) -> Option<String> {
        self.maps.changed_table()
    }

    /// The entry for a recipient: the address, the address without extension, the domain, its parents, then `*`.
    pub(crate) async fn lookup(&self, recipient: &[u8]) -> Result<Option<BString>, LookupError> {
        if self.maps.is_empty() {
            return Ok(None);
        }
        let query =
            AddressQuery { strategy: self.strategy, delimiters: &self.delimiters, is_local: &|_: &[u8]| Ok(false) };
        if let Some(hit) = self.maps.lookup_address(recipient, &query).await? {
            return Ok(Some(hit.value));
        }
        Ok(self.maps.lookup_partial(b"*").await?.map(|hit| hit.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let is = |value, name: &str, nexthop: &str| {
            assert_eq!(Transport::parse(value), Transport { name: name.into(), nexthop: nexthop.into() }, "{value}");
        };
        is("smtp:[mail.example]:26", "smtp", "[mail.example]:26");
        is("lmtp:unix:private/dovecot-lmtp", "lmtp", "unix:private/dovecot-lmtp");
        is("local:", "local", "");
        is(":[gate]", "", "[gate]");
        is("error: 5.1.1 no such user", "error", "5.1.1 no such user");
        is("uucp", "uucp", "");
    }

    #[test]
    fn overrides() {
        let start = Transport { name: "smtp".into(), nexthop: "relay".into() };
        for (value, name, nexthop) in [
            (":", "smtp", "relay"),
            (":gate", "smtp", "gate"),
            ("uucp:", "uucp", "d.example"),
            ("slow:hub", "slow", "hub"),
        ] {
            let mut route = start.clone();
            override_with(&mut route, value.as_bytes(), "d.example");
            assert_eq!(route, Transport { name: name.into(), nexthop: nexthop.into() }, "{value}");
        }
    }
}
