//! Address mapping: completion to standard form, canonical tables, masquerading, bcc tables, virtual aliases.

mod canonical;
mod masquerade;
mod virtual_alias;

use address::Delimiters;
use bstr::BString;
use config::Config;
use routing::{Classes, Rewriter};
use tables::{AddressQuery, Flags, Maps, Strategy};

pub use masquerade::Masquerade;

use self::canonical::Canonical;

/// Where an address stands; the `..._classes` parameters choose among these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// MAIL FROM.
    EnvelopeSender,
    /// RCPT TO.
    EnvelopeRecipient,
    /// From, Sender, Reply-To, ...
    HeaderSender,
    /// To, Cc, ...
    HeaderRecipient,
}

impl Class {
    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn of_names(names: &[String]) -> u8 {
        names.iter().fold(0, |bits, name| {
            bits | match name.as_str() {
                "envelope_sender" => Class::EnvelopeSender.bit(),
                "envelope_recipient" => Class::EnvelopeRecipient.bit(),
                "header_sender" => Class::HeaderSender.bit(),
                "header_recipient" => Class::HeaderRecipient.bit(),
                _ => 0,
            }
        })
    }
}

/// An address cannot be mapped now: the message is not accepted, and may come again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmapped {
    /// A table has no answer.
    #[error("{title} map lookup problem for {address} -- message not accepted, try again later")]
    Lookup {
        /// The parameter.
        title: &'static str,
        /// Internal form.
        address: BString,
    },
    /// Mapped again and again.
    #[error("unreasonable {title} map nesting for {address} -- message not accepted, try again later")]
    Nesting {
        /// The parameter.
        title: &'static str,
        /// Internal form.
        address: BString,
    },
    /// More addresses than `virtual_alias_expansion_limit`.
    #[error("unreasonable {title} map expansion size for {address} -- message not accepted, try again later")]
    Expansion {
        /// The parameter.
        title: &'static str,
        /// Internal form.
        address: BString,
    },
    /// A result longer than `virtual_alias_address_length_limit`.
    #[error(
        "unreasonable {title} result {result}... in {title} map for {address} -- message not accepted, try again later"
    )]
    Length {
        /// The parameter.
        title: &'static str,
        /// Internal form.
        address: BString,
        /// The beginning of the result.
        result: BString,
    },
}

/// How addresses without domain, and the like, are completed; internal form both ways.
pub type Complete = Box<dyn Fn(&[u8]) -> BString>;

/// Everything that changes addresses.
pub struct Mapping {
    pub(crate) local: Complete,
    pub(crate) remote: Complete,
    pub(crate) delimiters: Delimiters,
    own: Classes,
    sender_canonical: Canonical,
    recipient_canonical: Canonical,
    canonical: Canonical,
    masquerade: Masquerade,
    masquerade_classes: u8,
    virtual_alias: virtual_alias::VirtualAliases,
    sender_bcc: Maps,
    recipient_bcc: Maps,
}

impl Mapping {
    /// Opens every table that the configuration names.
    ///
    /// # Errors
    /// A parameter with a bad value, or a table that cannot be opened where that is fatal.
    pub fn open(config: &Config) -> Result<Mapping, Error> {
        let maps = |name: &'static str| -> Result<Maps, Error> {
            Ok(Maps::open(&config.string(name)?, config, name, Flags::DEFAULT)?)
        };
        let classes = |name: &str| -> Result<u8, Error> { Ok(Class::of_names(&config.list(name)?)) };
        let propagate = config.list("propagate_unmatched_extensions")?;
        let propagates = |what: &str| propagate.iter().any(|word| word.eq_ignore_ascii_case(what));
        let canonical = |name: &'static str, class_name: &str| -> Result<Canonical, Error> {
            Ok(Canonical::new(maps(name)?, classes(class_name)?, propagates("canonical")))
        };
        let mut delimiters =
            Delimiters::new(config.string("recipient_delimiter")?.as_bytes(), config.bool("owner_request_special")?);
        delimiters.unsplittable.double_bounce = config.string("double_bounce_sender")?.into();
        let local = Rewriter::new(config, routing::Context::Local)?;
        let remote = Rewriter::new(config, routing::Context::Remote)?;
        let size = |name: &str| config.int(name).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        Ok(Mapping {
            local: Box::new(move |address| local.rewrite(address)),
            remote: Box::new(move |address| remote.rewrite(address)),
            delimiters,
            own: Classes::open(config)?,
            sender_canonical: canonical("sender_canonical_maps", "sender_canonical_classes")?,
            recipient_canonical: canonical("recipient_canonical_maps", "recipient_canonical_classes")?,
            canonical: canonical("canonical_maps", "canonical_classes")?,
            masquerade: Masquerade::new(&config.list("masquerade_domains")?, &config.list("masquerade_exceptions")?),
            masquerade_classes: classes("masquerade_classes")?,
            virtual_alias: virtual_alias::VirtualAliases {
                maps: maps("virtual_alias_maps")?,
                propagate: propagates("virtual"),
                expansion_limit: size("virtual_alias_expansion_limit")?,
                recursion_limit: size("virtual_alias_recursion_limit")?,
                length_limit: size("virtual_alias_address_length_limit")?,
            },
            sender_bcc: maps("sender_bcc_maps")?,
            recipient_bcc: maps("recipient_bcc_maps")?,
        })
    }

    /// An address in standard form, without any table.
    #[must_use]
    pub fn complete(&self, address: &[u8], local: bool) -> BString {
        if local { (self.local)(address) } else { (self.remote)(address) }
    }

    /// The canonical tables and masquerading over an address in standard form. The null address stays as it is.
    ///
    /// # Errors
    /// See [`Unmapped`].
    pub async fn map(&self, address: &mut BString, class: Class) -> Result<(), Unmapped> {
        if address.is_empty() {
            return Ok(());
        }
        let specific = match class {
            Class::EnvelopeSender | Class::HeaderSender => &self.sender_canonical,
            Class::EnvelopeRecipient | Class::HeaderRecipient => &self.recipient_canonical,
        };
        specific.map(self, address, class).await?;
        self.canonical.map(self, address, class).await?;
        if self.masquerade_classes & class.bit() != 0 {
            self.masquerade.apply(address);
        }
        Ok(())
    }

    /// True when headers of this class would not be changed by any table.
    #[must_use]
    pub fn leaves_alone(&self, class: Class) -> bool {
        let specific = match class {
            Class::EnvelopeSender | Class::HeaderSender => &self.sender_canonical,
            Class::EnvelopeRecipient | Class::HeaderRecipient => &self.recipient_canonical,
        };
        !specific.applies(class)
            && !self.canonical.applies(class)
            && (self.masquerade.is_empty() || self.masquerade_classes & class.bit() == 0)
    }

    /// What an envelope recipient in standard form stands for, by `virtual_alias_maps`; the recipient itself when it is
    /// in none of them.
    ///
    /// # Errors
    /// See [`Unmapped`].
    pub async fn expand(&self, recipient: &[u8]) -> Result<Vec<BString>, Unmapped> {
        self.virtual_alias.expand(self, recipient).await
    }

    /// Who gets a blind copy of mail from this sender.
    ///
    /// # Errors
    /// See [`Unmapped`].
    pub async fn sender_bcc(&self, sender: &[u8]) -> Result<Option<BString>, Unmapped> {
        self.first_result(&self.sender_bcc, sender, false).await.map(|results| results.into_iter().next())
    }

    /// Who gets a blind copy of mail to this recipient.
    ///
    /// # Errors
    /// See [`Unmapped`].
    pub async fn recipient_bcc(&self, recipient: &[u8]) -> Result<Option<BString>, Unmapped> {
        self.first_result(&self.recipient_bcc, recipient, false).await.map(|results| results.into_iter().next())
    }

    /// The results for an address, in standard form; empty when it is in no table.
    ///
    /// A result `@domain` keeps the user; with `propagate` an extension that the key did not have is added.
    async fn first_result(&self, maps: &Maps, address: &[u8], propagate: bool) -> Result<Vec<BString>, Unmapped> {
        if maps.is_empty() || address.is_empty() {
            return Ok(Vec::new());
        }
        let query = AddressQuery { strategy: Strategy::DEFAULT, delimiters: &self.delimiters, is_local: &self.own };
        let hit = match maps.lookup_address(address, &query).await {
            Ok(Some(hit)) => hit,
            Ok(None) => return Ok(Vec::new()),
            Err(_) => return Err(Unmapped::Lookup { title: maps.title(), address: address.into() }),
        };
        if let Some(domain) = hit.value.strip_prefix(b"@").filter(|domain| !domain.contains(&b',')) {
            // The user stays as it is, extension included.
            let (localpart, _) = address::split(address);
            return Ok(vec![(self.local)(&address::join(localpart, Some(domain.trim_ascii())))]);
        }
        let value = address::header::AddressList::parse(&hit.value, usize::MAX).into_addresses();
        let extension = hit.extension.filter(|_| propagate);
        Ok(value
            .map(|result| {
                let mut result = (self.local)(&result);
                if let Some(extension) = &extension {
                    let (localpart, domain) = address::split(&result);
                    let mut extended = localpart.to_vec();
                    extended.extend_from_slice(extension);
                    result = address::join(&extended, domain);
                }
                result
            })
            .collect())
    }

    /// A table file changed since it was opened; its name as the log line has it.
    #[must_use]
    pub fn changed_table(&self) -> Option<String> {
        let lists = [&self.virtual_alias.maps, &self.sender_bcc, &self.recipient_bcc];
        let canonical = [&self.sender_canonical, &self.recipient_canonical, &self.canonical];
        lists
            .into_iter()
            .chain(canonical.into_iter().map(Canonical::maps))
            .find_map(Maps::changed_table)
            .or_else(|| self.own.changed_table())
    }
}

/// cleanup cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter.
    #[error(transparent)]
    Config(Box<config::Error>),
    /// A table.
    #[error(transparent)]
    Table(Box<tables::Error>),
    /// Address rewriting.
    #[error(transparent)]
    Routing(Box<routing::Error>),
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Error {
        Error::Config(Box::new(error))
    }
}

impl From<tables::Error> for Error {
    fn from(error: tables::Error) -> Error {
        Error::Table(Box::new(error))
    }
}

impl From<routing::Error> for Error {
    fn from(error: routing::Error) -> Error {
        Error::Routing(Box::new(error))
    }
}
