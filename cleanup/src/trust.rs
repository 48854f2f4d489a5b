//! What a client of cleanup may claim about a message: the kernel says which account it runs as, and a program that
//! talks to strangers is believed only what such a program has to say.

use bstr::BString;
use config::{Config, MasterCf};
use ipc::cleanup::{Begin, Options, Origin, Recipient, Sender, ToCleanup};
use server::{Callers, Peer, Peers};

/// How far a client is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// root and the queue's owner: pickup, bounce, local. They could write the queue file themselves.
    Owner,
    /// A receiver of mail from outside: smtpd and its like.
    Receiver,
}

impl Trust {
    /// By the accounts that the peer's user id belongs to; in an installation whose receivers have no account of their
    /// own, and in that of a plain user, there is nothing to tell them by.
    pub(crate) fn of(peer: Peer, peers: &Peers) -> Trust {
        if peers.roles(peer).meets(Callers::OWNER) { Trust::Owner } else { Trust::Receiver }
    }
}

/// What the configuration lets receivers say: the settings of main.cf and of every service of master.cf together, for
/// which service a receiver is cannot be told.
#[derive(Clone, Debug, Default)]
pub struct Receivers {
    /// Some service has `receive_override_options = no_header_body_checks`.
    no_header_body_checks: bool,
    /// ... `no_address_mappings`.
    no_address_mappings: bool,
    /// ... `no_milters`.
    no_milters: bool,
    /// `double_bounce_sender`, whose notices about sessions go to `postmasters`.
    senders: Vec<BString>,
    /// `error_notice_recipient`
    postmasters: Vec<BString>,
}

impl Receivers {
    /// Reads main.cf and master.cf. Without a master.cf (tests, a service by itself) main.cf alone counts.
    ///
    /// # Errors
    /// A parameter with a bad value.
    pub fn load(config: &Config) -> Result<Receivers, config::Error> {
        const WATCHED: [&str; 4] =
            ["receive_override_options", "double_bounce_sender", "error_notice_recipient", "myorigin"];
        let mut receivers = Receivers::default();
        receivers.add(config)?;
        let services = MasterCf::load(config.directory()).map(|master_cf| master_cf.services).unwrap_or_default();
        for service in services.iter().filter(|service| WATCHED.iter().any(|name| service.value(name).is_some())) {
            let mut own = config.clone();
            for (name, value) in &service.overrides {
                own.set(name.as_str(), value.as_str());
            }
            // A service whose settings cannot be read does not start.
            let _ = receivers.add(&own);
        }
        Ok(receivers)
    }

    fn add(&mut self, config: &Config) -> Result<(), config::Error> {
        let words = config.list("receive_override_options")?;
        let has = |name: &str| words.iter().any(|word| word == name);
        self.no_header_body_checks |= has("no_header_body_checks");
        self.no_address_mappings |= has("no_address_mappings");
        self.no_milters |= has("no_milters");
        let myorigin = config.string("myorigin")?;
        let complete = |name: &str| -> Result<BString, config::Error> {
            let address = config.string(name)?;
            Ok(if address.contains('@') { address.into() } else { format!("{address}@{myorigin}").into() })
        };
        self.senders.push(complete("double_bounce_sender")?);
        self.postmasters.push(complete("error_notice_recipient")?);
        Ok(())
    }
}

/// One transaction of a client, as far as its claims need watching.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    /// The client is a receiver.
    receiver: bool,
    /// The message is a notice for the postmaster.
    notice: bool,
}

impl Claims {
    /// Checks how the message begins. Checks that no receiver may leave out are put back in.
    ///
    /// # Errors
    /// What the client may not say.
    pub(crate) fn begin(trust: Trust, begin: &mut Begin, receivers: &Receivers) -> Result<Claims, &'static str> {
        let claims = Claims { receiver: trust == Trust::Receiver, notice: begin.origin == Origin::Notice };
        if !claims.receiver {
            return Ok(claims);
        }
        let Options { bounce, extract_recipients, .. } = begin.options;
        let refused = [
            (!matches!(begin.origin, Origin::Smtp | Origin::Notice), "an origin other than the network"),
            (claims.notice && begin.received.is_some(), "a notice that was received"),
            (bounce, "bounces instead of replies"),
            (extract_recipients, "recipients from headers"),
            (begin.arrival.is_some(), "a time of arrival"),
            (begin.log_ident.is_some(), "an earlier queue id"),
            (begin.full_name.is_some(), "a full name"),
            (begin.trace_flags != 0, "trace flags"),
            (begin.received.as_ref().is_some_and(|received| received.uid.is_some()), "a local user id"),
        ];
        if let Some((_, what)) = refused.into_iter().find(|(claimed, _)| *claimed) {
            return Err(what);
        }
        if !claims.notice {
            let options = &mut begin.options;
            options.header_body_checks |= !receivers.no_header_body_checks;
            options.address_mapping |= !receivers.no_address_mappings;
            options.automatic_bcc |= !receivers.no_address_mappings;
            options.milters |= !receivers.no_milters;
        }
        Ok(claims)
    }

    /// Checks what comes after the beginning.
    ///
    /// # Errors
    /// What the client may not say.
    pub(crate) fn more(self, message: &ToCleanup, receivers: &Receivers) -> Result<(), &'static str> {
        if !self.receiver {
            return Ok(());
        }
        match message {
            // Everything else of a queue file's attributes is ours to say.
            ToCleanup::Attribute(name, _) if !name.starts_with("sasl_") => Err("an attribute that is not the client's"),
            ToCleanup::Sender(Sender { address, .. }) if self.notice && !receivers.senders.contains(address) => {
                Err("a notice with a sender of its own")
            }
            ToCleanup::Recipient(Recipient { before_rewriting: Some(_), .. }) => Err("a recipient before rewriting"),
            ToCleanup::Recipient(Recipient { address, .. })
                if self.notice && !receivers.postmasters.contains(address) =>
            {
                Err("a notice to somebody else")
            }
            ToCleanup::Bcc(_) | ToCleanup::Action(_) | ToCleanup::Header(_) if self.notice => {
                Err("an access decision about a notice")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ipc::cleanup::Received;

    use super::*;

    fn receivers(more: &str) -> Receivers {
        let text = format!("myorigin = x.example\nmyhostname = x.example\n{more}");
        Receivers::load(&Config::from_text(&text).expect("configuration")).expect("values")
    }

    #[test]
    fn a_receiver_is_not_believed_what_only_the_owner_knows() {
        let network = Begin { origin: Origin::Smtp, ..Begin::default() };
        let notice = Begin { origin: Origin::Notice, ..Begin::default() };
        let cases = [
            (network.clone(), true),
            (notice.clone(), true),
            (Begin { origin: Origin::Local, ..network.clone() }, false),
            (Begin { origin: Origin::Forward, ..network.clone() }, false),
            (Begin { origin: Origin::Probe, ..network.clone() }, false),
            (Begin { received: Some(Received::default()), ..notice }, false),
            (Begin { received: Some(Received::default()), ..network.clone() }, true),
            (Begin { received: Some(Received { uid: Some(0), ..Received::default() }), ..network.clone() }, false),
            (Begin { arrival: Some((1, 0)), ..network.clone() }, false),
            (Begin { log_ident: Some("4A".to_owned()), ..network.clone() }, false),
            (Begin { full_name: Some("root".into()), ..network.clone() }, false),
            (Begin { trace_flags: 1, ..network.clone() }, false),
            (Begin { options: Options { bounce: true, ..Options::default() }, ..network.clone() }, false),
            (Begin { options: Options { extract_recipients: true, ..Options::default() }, ..network.clone() }, false),
            (Begin { options: Options { hold: true, ..Options::default() }, ..network }, true),
        ];
        for (mut begin, allowed) in cases {
            assert_eq!(Claims::begin(Trust::Receiver, &mut begin, &receivers("")).is_ok(), allowed, "{begin:?}");
            assert!(Claims::begin(Trust::Owner, &mut begin, &receivers("")).is_ok(), "{begin:?}");
        }
    }

    #[test]
    fn checks_are_left_out_only_where_a_service_may() {
        let all = Options {
            header_body_checks: true,
            automatic_bcc: true,
            address_mapping: true,
            milters: true,
            ..Options::default()
        };
        let cases = [
            ("", all),
            (
                "receive_override_options = no_milters, no_header_body_checks",
                Options { header_body_checks: false, milters: false, ..all },
            ),
            (
                "receive_override_options = no_address_mappings",
                Options { automatic_bcc: false, address_mapping: false, ..all },
            ),
        ];
        for (parameters, wanted) in cases {
            let mut begin = Begin::default();
            Claims::begin(Trust::Receiver, &mut begin, &receivers(parameters)).expect("a receiver may say so");
            assert_eq!(begin.options, wanted, "{parameters}");
            let mut begin = Begin::default();
            Claims::begin(Trust::Owner, &mut begin, &receivers(parameters)).expect("the owner may say so");
            assert_eq!(begin.options, Options::default(), "{parameters}");
        }
    }

    #[test]
    fn a_service_of_master_cf_may_leave_out_checks() {
        let directory = tempfile::tempdir().expect("directory");
        std::fs::write(directory.path().join("main.cf"), "myorigin = x.example\n").expect("main.cf");
        let services = "127.0.0.1:10025 inet n - n - - smtpd -o receive_override_options=no_milters\n \
                        -o error_notice_recipient=ops@y.example\n";
        std::fs::write(directory.path().join("master.cf"), services).expect("master.cf");
        let receivers = Receivers::load(&Config::load(directory.path()).expect("main.cf")).expect("values");
        assert!(receivers.no_milters && !receivers.no_header_body_checks);
        assert_eq!(receivers.postmasters, ["postmaster@x.example", "ops@y.example"]);
    }

    #[test]
    fn a_receivers_notice_goes_from_us_to_the_postmaster() {
        let sender = |address: &str| ToCleanup::Sender(Sender { address: address.into(), ..Sender::default() });
        let recipient =
            |address: &str| ToCleanup::Recipient(Recipient { address: address.into(), ..Default::default() });
        let cases = [
            (sender("double-bounce@x.example"), true, true),
            (sender("a@b"), false, true),
            (sender(""), false, true),
            (recipient("postmaster@x.example"), true, true),
            (recipient("a@b"), false, true),
            (ToCleanup::Bcc("a@b".into()), false, true),
            (ToCleanup::Attribute("sasl_username".to_owned(), "joe".into()), true, true),
            (ToCleanup::Attribute("rewrite_context".to_owned(), "local".into()), false, false),
            (ToCleanup::Content, true, true),
            (
                ToCleanup::Recipient(Recipient { before_rewriting: Some("x".into()), ..Recipient::default() }),
                false,
                false,
            ),
        ];
        let receivers = receivers("");
        for (message, in_notice, in_mail) in cases {
            for (origin, allowed) in [(Origin::Notice, in_notice), (Origin::Smtp, in_mail)] {
                let mut begin = Begin { origin, ..Begin::default() };
                let claims = Claims::begin(Trust::Receiver, &mut begin, &receivers).expect("a receiver may say so");
                assert_eq!(claims.more(&message, &receivers).is_ok(), allowed, "{origin:?} {message:?}");
                let claims = Claims::begin(Trust::Owner, &mut begin, &receivers).expect("the owner may say so");
                assert!(claims.more(&message, &receivers).is_ok());
            }
        }
    }
}
