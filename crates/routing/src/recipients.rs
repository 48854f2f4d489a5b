//! Which recipients of our own domains exist, asked before mail is accepted.

use address::Delimiters;
use bstr::{BString, ByteSlice};
use config::Config;
use dsn::{Class as StatusClass, Status};
use ipc::rewrite::{Class, Route};
use tables::{AddressQuery, Flags, LookupError, Maps, Strategy};

use crate::{Classes, Error};

/// The recipient tables of all address classes.
#[derive(Debug)]
pub struct Recipients {
    /// Tables that replace addresses whatever their class: a recipient in one of them exists.
    rewriting: [Maps; 3],
    local: Maps,
    virtual_mailbox: Maps,
    relay: Maps,
    error_transport: String,
    /// Local part of double_bounce_sender.
    double_bounce: BString,
    delimiters: Delimiters,
}

/// Which table does not have a recipient; it decides about the reply code (`unknown_..._recipient_reject_code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownIn {
    /// local_recipient_maps
    Local,
    /// virtual_alias_maps
    VirtualAlias,
    /// virtual_mailbox_maps
    VirtualMailbox,
    /// relay_recipient_maps
    Relay,
}

impl UnknownIn {
    /// As in "User unknown in ... table".
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            UnknownIn::Local => "local recipient",
            UnknownIn::VirtualAlias => "virtual alias",
            UnknownIn::VirtualMailbox => "virtual mailbox",
            UnknownIn::Relay => "relay recipient",
        }
    }

    /// The parameter with the reply code.
    #[must_use]
    pub const fn code_parameter(self) -> &'static str {
        match self {
            UnknownIn::Local => "unknown_local_recipient_reject_code",
            UnknownIn::VirtualAlias => "unknown_virtual_alias_reject_code",
            UnknownIn::VirtualMailbox => "unknown_virtual_mailbox_reject_code",
            UnknownIn::Relay => "unknown_relay_recipient_reject_code",
        }
    }
}

/// Whether a recipient exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does, or nobody here can tell.
    Known,
    /// It does not.
    Unknown(UnknownIn),
    /// Routing sends it to the error transport, with this status and text.
    Error(Status, String),
}

impl Recipients {
    /// Opens the tables.
    ///
    /// # Errors
    /// What is wrong with the parameters or tables.
    pub fn open(config: &Config) -> Result<Recipients, Error> {
        let maps = |parameter: &'static str| -> Result<Maps, Error> {
            Ok(Maps::open(&config.string(parameter)?, config, parameter, Flags::DEFAULT)?)
        };
        Ok(Recipients {
            rewriting: [maps("recipient_canonical_maps")?, maps("canonical_maps")?, maps("virtual_alias_maps")?],
            local: maps("local_recipient_maps")?,
            virtual_mailbox: maps("virtual_mailbox_maps")?,
            relay: maps("relay_recipient_maps")?,
            error_transport: config.string("error_service_name")?,
            double_bounce: address::split(config.string("double_bounce_sender")?.as_bytes()).0.into(),
            delimiters: crate::delimiters(config)?,
        })
    }

    /// The first table that has changed since it was opened, as the log line shows it.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        let classes = [&self.local, &self.virtual_mailbox, &self.relay];
        self.rewriting.iter().chain(classes).find_map(Maps::changed_table)
    }

    /// Recipients that always exist in local domains, whatever local_recipient_maps says: bounces come from the first
    /// and the last, and everybody may write to the postmaster (RFC 5321 4.5.1).
    fn is_always_there(&self, recipient: &[u8]) -> bool {
        let localpart = address::split(recipient).0;
        [b"mailer-daemon".as_slice(), b"postmaster", &self.double_bounce]
            .iter()
            .any(|name| localpart.eq_ignore_ascii_case(name))
    }

    /// Whether a resolved recipient exists. `address` is what the client said, completed; `route` where it goes.
    ///
    /// # Errors
    /// A table that cannot be asked now: a temporary error.
    pub async fn exists(&self, address: &[u8], route: &Route, classes: &Classes) -> Result<Verdict, LookupError> {
        let query = AddressQuery { strategy: Strategy::DEFAULT, delimiters: &self.delimiters, is_local: classes };
        for maps in &self.rewriting {
            if !maps.is_empty() && maps.lookup_address(address, &query).await?.is_some() {
                return Ok(Verdict::Known);
            }
        }
        if route.class == Class::VirtualAlias {
            return Ok(Verdict::Unknown(UnknownIn::VirtualAlias));
        }
        if route.transport == self.error_transport {
            let (status, text) = Status::split_from(route.nexthop.as_bytes())
                .unwrap_or((Status::permanent(1, 0), route.nexthop.as_bytes()));
            let status =
                if status.class == StatusClass::Success { status.with_class(StatusClass::Permanent) } else { status };
            return Ok(Verdict::Error(status, text.to_str_lossy().into_owned()));
        }
        if route.class == Class::Local && self.is_always_there(&route.recipient) {
            return Ok(Verdict::Known);
        }
        let (maps, unknown) = match route.class {
            Class::Local => (&self.local, UnknownIn::Local),
            Class::VirtualMailbox => (&self.virtual_mailbox, UnknownIn::VirtualMailbox),
            Class::Relay => (&self.relay, UnknownIn::Relay),
            Class::VirtualAlias | Class::Default => return Ok(Verdict::Known),
        };
        if maps.is_empty() || maps.lookup_address(&route.recipient, &query).await?.is_some() {
            Ok(Verdict::Known)
        } else {
            Ok(Verdict::Unknown(unknown))
        }
    }
}
