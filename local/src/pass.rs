//! Mailboxes that are another agent's: `mailbox_transport`, `fallback_transport` and their tables; and which command takes
//! a user's mail.

use std::os::fd::AsFd;
use std::path::Path;

use bstr::{BString, ByteSlice};
use delivery::Answer;
use dsn::{Action, Delivery, Dsn, Status};
use ipc::delivery::{Recipient, Request};
use tables::Maps;

use crate::agent::Local;
use crate::recipient::{Context, Expansion, Verdict, unknown_user};

impl Local {
    /// The transport that has this user's mailbox, known to the machine or not.
    pub(crate) fn mailbox_transport(&self, user: &[u8]) -> Result<Option<String>, Dsn> {
        choose(&self.mailbox_transports, user, &self.settings.mailbox_transport)
    }

    /// The transport for names that nobody has.
    pub(crate) fn fallback_transport(&self, user: &[u8]) -> Result<Option<String>, Dsn> {
        choose(&self.fallback_transports, user, &self.settings.fallback_transport)
    }

    /// The command that takes this user's mail; empty for none.
    pub(crate) fn mailbox_command(&self, user: &[u8]) -> Result<String, Dsn> {
        Ok(choose(&self.mailbox_commands, user, &self.settings.mailbox_command)?.unwrap_or_default())
    }
}

/// The table's word for the user, or the general one.
fn choose(maps: &Maps, user: &[u8], general: &str) -> Result<Option<String>, Dsn> {
    let hit = maps.lookup_blocking(user).map_err(|error| {
        log::warning!("{error}");
        Dsn::new(Status::transient(3, 0), "table lookup failure")
    })?;
    let text = hit.map_or_else(|| general.to_owned(), |hit| hit.value.to_str_lossy().into_owned());
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// `transport:nexthop`; without a next hop the one of the request counts.
fn split<'t>(transport: &'t str, nexthop: &'t str) -> (&'t str, &'t str) {
    match transport.split_once(':') {
        Some((service, "")) => (service, nexthop),
        Some((service, nexthop)) => (service, nexthop),
        None => (transport, nexthop),
    }
}

impl Expansion<'_, '_> {
    /// Hands the mail to another agent, for this address, and remembers what it says.
    pub(crate) fn pass(&mut self, transport: &str, address: &[u8], context: &Context) {
        let request = &self.job.request;
        let (service, nexthop) = split(transport, &request.nexthop);
        if service.is_empty() || service.contains('/') || service == self.local.service {
            log::warning!("{}: \"{transport}\" is no transport to pass local mail on to", request.queue_id);
            let dsn = Dsn::new(Status::transient(3, 5), "mail system configuration error");
            return self.results.push(Delivery::Deferred(dsn));
        }
        let recipient = &request.recipients[self.index];
        let original = if recipient.original.is_empty() && recipient.address != address {
            recipient.address.clone()
        } else {
            recipient.original.clone()
        };
        let passed = Request {
            nexthop: nexthop.to_owned(),
            // The null sender stays what it is: a notice about a notice would never end.
            sender: context.owner.as_ref().filter(|_| !request.sender.is_empty()).unwrap_or(&request.sender).clone(),
            recipients: vec![Recipient {
                address: BString::from(address),
                original,
                dsn_original: recipient.dsn_original.clone(),
                notify: recipient.notify,
            }],
            ..request.clone()
        };
        let socket = Path::new("private").join(service);
        match delivery::pass_on(&socket, passed, self.job.file().as_fd(), self.local.settings.ipc_timeout) {
            Answer::Passed(passed) => self.passed.push(passed),
            Answer::Failed(dsn) => self.results.push(Delivery::Deferred(dsn)),
            Answer::Corrupt => self.corrupt = true,
        }
    }

    /// Whether mail for this address would be delivered. Another agent is asked about its mailboxes.
    pub(crate) fn probe(mut self, address: &[u8]) -> Verdict {
        let (name, _) = address::split(address);
        let own = match self.probe_name(name, address) {
            Ok(Some(text)) => {
                Some(Delivery::Sent { action: Action::Deliverable, dsn: Dsn::new(Status::success(0, 0), text) })
            }
            Ok(None) if self.passed.is_empty() && !self.corrupt => self.results.pop(),
            Ok(None) => None,
            Err(dsn) => Some(Delivery::Deferred(dsn)),
        };
        Verdict { own, passed: self.passed, corrupt: self.corrupt }
    }

    /// What would happen to mail for a name; none when that is among the results.
    fn probe_name(&mut self, name: &[u8], address: &[u8]) -> Result<Option<&'static str>, Dsn> {
        let local = self.local;
        let name = &*name.to_ascii_lowercase();
        let base = local.settings.delimiters.split(name).map_or(name, |(base, _)| base);
        if local.alias(name)?.is_some() {
            return Ok(Some("aliased"));
        }
        if let Some(transport) = local.mailbox_transport(base)? {
            self.pass(&transport, address, &Context::default());
            return Ok(None);
        }
        if crate::user::find(name, &local.settings)?.is_some() {
            return Ok(Some("delivers to mailbox"));
        }
        if let Some(transport) = local.fallback_transport(base)? {
            self.pass(&transport, address, &Context::default());
            return Ok(None);
        }
        if !local.settings.config.raw("luser_relay").unwrap_or_default().is_empty() {
            return Ok(Some("forwarded"));
        }
        self.results.push(Delivery::Bounced(unknown_user(name)));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports() {
        let cases = [
            ("virtual", ("virtual", "here.example")),
            ("lmtp:unix:private/dovecot-lmtp", ("lmtp", "unix:private/dovecot-lmtp")),
            ("lmtp:inet:[127.0.0.1]:24", ("lmtp", "inet:[127.0.0.1]:24")),
            ("virtual:", ("virtual", "here.example")),
            (":x", ("", "x")),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text, "here.example"), expected, "{text}");
        }
    }
}
