//! From a recipient to transport, next hop and final recipient form.

use address::Delimiters;
use bstr::{BString, ByteSlice};
use config::Config;
use ipc::rewrite::{Class, Resolved, Route};
use tables::{AddressQuery, Flags, LookupError, Maps, Strategy};

use crate::Error;
use crate::classes::{Classes, literal_address};
use crate::rewriter::{Context, Rewriter, without_source_route};
use crate::transport::{Transport, TransportTable, override_with};

/// Resolves recipients. For address verification probes the `address_verify_` forms of the parameters apply.
#[derive(Debug)]
pub struct Resolver {
    classes: Classes,
    rewriter: Rewriter,
    dequoted: bool,
    dash_allowed: bool,
    show_table_name: bool,
    myhostname: String,
    empty_recipient: String,
    local: Transport,
    virtual_mailbox: Transport,
    relay: Transport,
    default: Transport,
    relayhost: String,
    error_transport: String,
    transport_table: TransportTable,
    sender_transports: SenderMaps,
    sender_relayhosts: SenderMaps,
    relocated: Maps,
    delimiters: Delimiters,
}

/// A table that is searched by the envelope sender: the address, then `@domain`.
#[derive(Debug)]
struct SenderMaps {
    maps: Maps,
    null_key: String,
}

/// The part of an address that decides where it goes.
enum Target {
    Local { local: BString, domain: String },
    Remote { local: BString, domain: String },
}

impl Resolver {
    /// Opens the tables.
    ///
    /// # Errors
    /// What is wrong with the parameters or tables.
    pub fn open(config: &Config, probe: bool) -> Result<Resolver, Error> {
        let name = |plain: &'static str, verify: &'static str| if probe { verify } else { plain };
        let maps = |parameter: &'static str| -> Result<Maps, Error> {
            Ok(Maps::open(&config.string(parameter)?, config, parameter, Flags::DEFAULT)?)
        };
        let transport_table = maps(name("transport_maps", "address_verify_transport_maps"))?;
        Ok(Resolver {
            classes: Classes::open(config)?,
            rewriter: Rewriter::new(config, Context::Local)?,
            dequoted: config.bool("resolve_dequoted_address")?,
            dash_allowed: config.bool("allow_min_user")?,
            show_table_name: config.bool("show_user_unknown_table_name")?,
            myhostname: config.string("myhostname")?,
            empty_recipient: config.string("empty_address_recipient")?,
            local: Transport::parameter(config, name("local_transport", "address_verify_local_transport"))?,
            virtual_mailbox: Transport::parameter(
                config,
                name("virtual_transport", "address_verify_virtual_transport"),
            )?,
            relay: Transport::parameter(config, name("relay_transport", "address_verify_relay_transport"))?,
            default: Transport::parameter(config, name("default_transport", "address_verify_default_transport"))?,
            relayhost: config.string(name("relayhost", "address_verify_relayhost"))?,
            error_transport: config.string("error_service_name")?,
            transport_table: TransportTable::new(transport_table, config)?,
            sender_transports: SenderMaps {
                maps: maps(name(
                    "sender_dependent_default_transport_maps",
                    "address_verify_sender_dependent_default_transport_maps",
                ))?,
                null_key: config.string("empty_address_default_transport_maps_lookup_key")?,
            },
            sender_relayhosts: SenderMaps {
                maps: maps(name("sender_dependent_relayhost_maps", "address_verify_sender_dependent_relayhost_maps"))?,
                null_key: config.string("empty_address_relayhost_maps_lookup_key")?,
            },
            relocated: maps("relocated_maps")?,
            delimiters: crate::delimiters(config)?,
        })
    }

    /// The address classes.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The first table that has changed since it was opened, as the log line shows it.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        let maps = [&self.sender_transports.maps, &self.sender_relayhosts.maps, &self.relocated];
        self.classes
            .changed_table()
            .or_else(|| self.transport_table.changed_table())
            .or_else(|| maps.into_iter().find_map(Maps::changed_table))
    }

    /// Where a recipient goes. Internal forms; an empty recipient is `$empty_address_recipient`.
    pub async fn resolve(&self, sender: &[u8], recipient: &[u8]) -> Resolved {
        match self.try_resolve(sender, recipient).await {
            Ok(resolved) => resolved,
            Err(error) => Resolved::Defer(error.to_string()),
        }
    }

    /// Like [`Resolver::resolve`], and whether the address was routed through one of our own domains (`user%there@here`).
    pub async fn resolve_with_routing(&self, sender: &[u8], recipient: &[u8]) -> (Resolved, bool) {
        let resolved = self.resolve(sender, recipient).await;
        let routed = match &resolved {
            Resolved::Route(route) if route.class != Class::Local => split(recipient).is_some_and(|(_, domain)| {
                split(&route.recipient)
                    .is_none_or(|(_, final_domain)| !trimmed(domain).eq_ignore_ascii_case(final_domain))
            }),
            _ => false,
        };
        (resolved, routed)
    }

    async fn try_resolve(&self, sender: &[u8], recipient: &[u8]) -> Result<Resolved, LookupError> {
        let (class, local, domain, mut route) = match self.target(recipient).await? {
            Target::Local { local, domain } => {
                let route = with_nexthop(&self.local, &domain);
                (Class::Local, local, domain, route)
            }
            Target::Remote { local, domain } => {
                let valid = literal_address(&domain).is_some() || address::domain::is_valid_hostname(domain.as_bytes());
                if !valid {
                    return Ok(Resolved::Reject("5.1.3 bad address syntax".into()));
                }
                let class = self.classes.class_of(&domain).await?;
                let route = self.remote_route(class, sender, &domain).await?;
                (class, local, domain, route)
            }
        };
        if local.first() == Some(&b'-') && !self.dash_allowed {
            return Ok(Resolved::Reject("5.1.3 bad address syntax".into()));
        }
        let recipient = BString::from([local.as_slice(), b"@", domain.as_bytes()].concat());
        if let Some(value) = self.transport_table.lookup(&recipient).await? {
            override_with(&mut route, &value, &domain);
        }
        let query = AddressQuery { strategy: Strategy::DEFAULT, delimiters: &self.delimiters, is_local: &self.classes };
        if !self.relocated.is_empty()
            && let Some(moved) = self.relocated.lookup_address(&recipient, &query).await?
        {
            route.name.clone_from(&self.error_transport);
            route.nexthop = format!("5.1.6 User has moved to {}", moved.value.to_str_lossy());
        }
        Ok(Resolved::Route(Route { transport: route.name, nexthop: route.nexthop, recipient, class }))
    }

    /// Strips our own domains from the right, following `user%there@here` and the like.
    async fn target(&self, recipient: &[u8]) -> Result<Target, LookupError> {
        const MOST_HOPS: usize = 20;
        let mut address = BString::from(without_source_route(recipient));
        if address.is_empty() || address == b"@".as_slice() {
            address = self.empty_recipient.as_str().into();
        }
        let mut ours: Option<String> = None;
        for _ in 0..MOST_HOPS {
            let swapped = match split(&address) {
                Some((local, domain)) => {
                    let domain = trimmed(domain).to_str_lossy().into_owned();
                    if !domain.is_empty() && !self.classes.is_local(&domain).await? {
                        return Ok(Target::Remote { local: local.into(), domain });
                    }
                    if !domain.is_empty() {
                        ours = Some(domain);
                    }
                    Some(BString::from(local)).filter(|local| self.dequoted || split(local).is_none())
                }
                None => self.rewriter.swap_operators(&address, self.dequoted),
            };
            match swapped {
                Some(next) => address = next,
                None => break,
            }
        }
        let local = match split(&address) {
            Some((local, _)) if ours.is_some() && !self.dequoted => local.into(),
            _ => address,
        };
        let local = if local.is_empty() { BString::from(self.empty_recipient.as_str()) } else { local };
        Ok(Target::Local { local, domain: ours.unwrap_or_else(|| self.myhostname.clone()) })
    }

    async fn remote_route(&self, class: Class, sender: &[u8], domain: &str) -> Result<Transport, LookupError> {
        let mut route = match class {
            Class::Local => return Ok(with_nexthop(&self.local, domain)),
            Class::VirtualAlias => {
                let table = if self.show_table_name { " in virtual alias table" } else { "" };
                let nexthop = format!("5.1.1 User unknown{table}");
                return Ok(Transport { name: self.error_transport.clone(), nexthop });
            }
            Class::VirtualMailbox => return Ok(with_nexthop(&self.virtual_mailbox, domain)),
            Class::Relay => self.relay.clone(),
            Class::Default => {
                let mut route = self.default.clone();
                if let Some(value) = self.sender_transports.lookup(sender).await? {
                    override_with(&mut route, &value, "");
                }
                route
            }
        };
        if route.nexthop.is_empty() {
            let relayhost = match self.sender_relayhosts.lookup(sender).await? {
                Some(value) => value.to_str_lossy().into_owned(),
                None => self.relayhost.clone(),
            };
            route.nexthop = if relayhost.is_empty() { domain.to_owned() } else { relayhost };
        }
        Ok(route)
    }
}

impl SenderMaps {
    async fn lookup(&self, sender: &[u8]) -> Result<Option<BString>, LookupError> {
        if self.maps.is_empty() {
            return Ok(None);
        }
        let key = if sender.is_empty() { self.null_key.as_bytes() } else { sender };
        let hit = match self.maps.lookup(key).await? {
            Some(hit) => Some(hit),
            None => match split(key) {
                Some((_, domain)) => self.maps.lookup_partial(&[b"@", domain].concat()).await?,
                None => None,
            },
        };
        Ok(hit.map(|hit| hit.value).filter(|value| !value.eq_ignore_ascii_case(b"DUNNO")))
    }
}

fn with_nexthop(transport: &Transport, domain: &str) -> Transport {
    let mut transport = transport.clone();
    if transport.nexthop.is_empty() {
        domain.clone_into(&mut transport.nexthop);
    }
    transport
}

fn split(address: &[u8]) -> Option<(&[u8], &[u8])> {
    address.rsplit_once_str(b"@")
}

fn trimmed(domain: &[u8]) -> &[u8] {
    domain.strip_suffix(b".").unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN_CF: &str = "compatibility_level = 3.6
myhostname = mail.example.com
mydomain = example.com
mydestination = example.com, localhost, mail.example.com
inet_interfaces = 127.0.0.1
virtual_alias_domains = alias.example
virtual_mailbox_domains = box.example
relay_domains = relay.example
";

    fn resolve(extra: &str, sender: &str, recipient: &str) -> String {
        let config = Config::from_text(&format!("{MAIN_CF}{extra}")).expect("main.cf");
        let resolver = Resolver::open(&config, false).expect("tables");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        match runtime.block_on(resolver.resolve(sender.as_bytes(), recipient.as_bytes())) {
            Resolved::Route(Route { transport, nexthop, recipient, .. }) => {
                format!("{transport}|{nexthop}|{recipient}")
            }
            Resolved::Defer(why) => format!("defer {why}"),
            Resolved::Reject(why) => format!("reject {why}"),
        }
    }

    #[test]
    fn classes_choose_transports() {
        let cases = [
            ("", "user@example.com", "local|mail.example.com|user@example.com"),
            ("", "user", "local|mail.example.com|user@mail.example.com"),
            ("", "", "local|mail.example.com|MAILER-DAEMON@mail.example.com"),
            ("", "user@[127.0.0.1]", "local|mail.example.com|user@[127.0.0.1]"),
            ("", "user@alias.example", "error|5.1.1 User unknown in virtual alias table|user@alias.example"),
            ("", "user@box.example", "virtual|box.example|user@box.example"),
            ("", "user@relay.example", "relay|relay.example|user@relay.example"),
            ("", "user@far.example", "smtp|far.example|user@far.example"),
            ("", "user@far.example.", "smtp|far.example|user@far.example"),
            ("", "user@[192.0.2.1]", "smtp|[192.0.2.1]|user@[192.0.2.1]"),
            ("relayhost = [hub]:26", "user@far.example", "smtp|[hub]:26|user@far.example"),
            ("relayhost = [hub]:26", "user@relay.example", "relay|[hub]:26|user@relay.example"),
            ("default_transport = smtp:[out]", "user@far.example", "smtp|[out]|user@far.example"),
            (
                "virtual_transport = lmtp:unix:private/dovecot",
                "u@box.example",
                "lmtp|unix:private/dovecot|u@box.example",
            ),
            ("", "user%far.example@example.com", "smtp|far.example|user@far.example"),
            ("", "far.example!user@example.com", "smtp|far.example|user@far.example"),
            ("", "user@far.example@example.com", "smtp|far.example|user@far.example"),
            ("", "user%localhost@example.com", "local|mail.example.com|user@localhost"),
            ("", "@example.com,@x.example:user@far.example", "smtp|far.example|user@far.example"),
            ("", "user@", "local|mail.example.com|user@mail.example.com"),
            ("", "-user@example.com", "reject 5.1.3 bad address syntax"),
            ("allow_min_user = yes", "-user@example.com", "local|mail.example.com|-user@example.com"),
            ("", "user@bad..example", "reject 5.1.3 bad address syntax"),
        ];
        for (settings, recipient, expected) in cases {
            assert_eq!(resolve(settings, "from@there.example", recipient), expected, "{recipient} with {settings}");
        }
    }

    #[test]
    fn tables_override() {
        let transport = "transport_maps = inline:{ {far.example=slow:[hub]} {.far.example=:[sub]} {user@box.example=local:} {*=uucp:gate} {none.example=:}}\nrecipient_delimiter = +";
        let cases = [
            ("a@far.example", "slow|[hub]|a@far.example"),
            ("a@b.far.example", "smtp|[sub]|a@b.far.example"),
            ("user+ext@box.example", "local|box.example|user+ext@box.example"),
            ("a@else.example", "uucp|gate|a@else.example"),
            ("a@none.example", "smtp|none.example|a@none.example"),
        ];
        for (recipient, expected) in cases {
            assert_eq!(resolve(transport, "", recipient), expected, "{recipient}");
        }
        let failing = resolve("transport_maps = fail:x", "", "a@far.example");
        assert!(failing.starts_with("defer "), "{failing}");
        assert_eq!(
            resolve("relocated_maps = inline:{gone@example.com=new@far.example}", "", "gone@example.com"),
            "error|5.1.6 User has moved to new@far.example|gone@example.com"
        );
    }

    #[test]
    fn senders_choose() {
        let settings = "relayhost = [hub]
sender_dependent_relayhost_maps = inline:{{a@x.example=[for-a]} {@y.example=[for-y]} {@z.example=DUNNO} {<>=[for-null]}}
sender_dependent_default_transport_maps = inline:{{t@x.example=slow:[there]} {n@x.example=slow:}}";
        for (sender, expected) in [
            ("a@x.example", "smtp|[for-a]"),
            ("b@y.example", "smtp|[for-y]"),
            ("b@z.example", "smtp|[hub]"),
            ("", "smtp|[for-null]"),
            ("t@x.example", "slow|[there]"),
            ("n@x.example", "slow|[hub]"),
            ("c@x.example", "smtp|[hub]"),
        ] {
            assert_eq!(resolve(settings, sender, "u@far.example"), format!("{expected}|u@far.example"), "{sender}");
        }
    }
}
