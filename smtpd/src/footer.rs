//! `smtpd_reject_footer` and `smtpd_reject_footer_maps`.

use config::Config;
use smtp_proto::server::Footer;
use tables::{Flags, Maps};

use crate::client::Peer;

/// The footer's text and tables.
pub(crate) struct Footers {
    config: Config,
    text: String,
    maps: Maps,
}

/// What a footer may say about the session.
pub(crate) struct Facts<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) helo: &'a [u8],
    pub(crate) sender: &'a [u8],
    /// The first that was accepted, as in the reference.
    pub(crate) recipient: &'a [u8],
    pub(crate) hostname: &'a str,
}

impl Footers {
    pub(crate) fn load(config: &Config) -> Result<Footers, server::StartError> {
        let title = "smtpd_reject_footer_maps";
        let maps =
            Maps::open(&config.string(title)?, config, title, Flags::DEFAULT).map_err(server::StartError::service)?;
        Ok(Footers { config: config.clone(), text: config.raw("smtpd_reject_footer")?, maps })
    }

    pub(crate) fn changed(&self) -> Option<String> {
        self.maps.changed_table()
    }

    /// The footer for a reply, when it gets one.
    pub(crate) async fn of(&self, reply: &[u8], facts: &Facts<'_>) -> Option<Footer> {
        if !matches!(reply.first(), Some(b'4' | b'5')) || (self.text.is_empty() && self.maps.is_empty()) {
            return None;
        }
        let found = match self.maps.lookup(reply).await {
            Ok(found) => found.map(|hit| String::from_utf8_lossy(&hit.value).into_owned()),
            Err(_) => None,
        };
        let text = found.unwrap_or_else(|| self.text.clone());
        if text.is_empty() {
            return None;
        }
        let expanded = self.config.expand_bytes(&text, &|name| facts.value(name));
        match expanded {
            Ok(expanded) => Some(Footer::parse(&expanded)),
            Err(error) => {
                log::warning!("smtpd_reject_footer: {error}");
                None
            }
        }
    }
}

impl Facts<'_> {
    fn value(&self, name: &str) -> Option<Vec<u8>> {
        let peer = self.peer;
        Some(match name {
            "client" => format!("{}[{}]", peer.name, peer.address).into_bytes(),
            "client_address" => peer.address.to_string().into_bytes(),
            "client_name" => peer.name.clone().into_bytes(),
            "client_port" => peer.port.to_string().into_bytes(),
            "helo_name" => self.helo.to_vec(),
            "sender" => self.sender.to_vec(),
            "recipient" => self.recipient.to_vec(),
            "server_address" => peer.server.ip().to_string().into_bytes(),
            "server_port" => peer.server.port().to_string().into_bytes(),
            "server_name" => self.hostname.as_bytes().to_vec(),
            _ => return None,
        })
    }
}
