//! Sending mail on: as a new message through cleanup.

use std::path::Path;

use bstr::BString;
use delivery::BlockingJob;
use dsn::{Delivery, Dsn, Status};
use ipc::Kind;
use ipc::blocking::Connection;
use ipc::cleanup::{Begin, Encoding, FromCleanup, Options, Origin, Recipient, Refusal, Sender, ToCleanup};
use queue::QueueId;

use crate::recipient::{sent, without_success};
use crate::settings::Settings;

/// A recipient of forwarded mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onward {
    /// The address, internal form.
    pub recipient: BString,
    /// The sender that an `owner-` alias asks for.
    pub owner: Option<BString>,
}

/// Forwarding of one recipient's mail.
pub struct Forward<'a, 'b> {
    /// The settings.
    pub settings: &'a Settings,
    /// The message.
    pub job: &'a BlockingJob<'b>,
    /// Which recipient of the request.
    pub index: usize,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Ipc(#[from] ipc::Error),
    #[error("{0}")]
    Content(#[from] queue::Error),
    #[error("{0:?}")]
    Refused(Refusal),
}

impl Forward<'_, '_> {
    /// Sends the message on: once for each sender that the owners make.
    #[must_use]
    pub fn send(&self, onward: &[Onward]) -> Vec<Delivery> {
        let mut senders: Vec<Option<&BString>> = Vec::new();
        for one in onward {
            if !senders.contains(&one.owner.as_ref()) {
                senders.push(one.owner.as_ref());
            }
        }
        let mut results = Vec::new();
        for owner in senders {
            let recipients = onward.iter().filter(|one| one.owner.as_ref() == owner).map(|one| &one.recipient);
            results.push(match self.submit(owner, recipients) {
                Ok(id) => sent(format!("forwarded as {id}")),
                Err(Error::Refused(Refusal::Size | Refusal::Hops)) => Delivery::Bounced(Dsn::new(
                    Status::permanent(4, 6),
                    "forwarded mail was not accepted: too large, or too many hops",
                )),
                Err(error) => {
                    log::warning!("{}: cannot forward: {error}", self.job.request.queue_id);
                    Delivery::Deferred(Dsn::new(Status::transient(3, 0), "unable to forward message"))
                }
            });
        }
        results
    }

    fn submit<'r>(
        &self,
        owner: Option<&BString>,
        recipients: impl Iterator<Item = &'r BString>,
    ) -> Result<QueueId, Error> {
        let request = &self.job.request;
        let recipient = &request.recipients[self.index];
        let mut cleanup = Connection::connect(Path::new(&self.settings.cleanup), Some(self.settings.ipc_timeout))
            .map_err(ipc::Error::Io)?;
        cleanup.queue(&ToCleanup::Begin(Box::new(Begin {
            origin: Origin::Forward,
            options: Options { address_mapping: true, ..Options::default() },
            rewrite_local: true,
            arrival: Some(request.arrival),
            log_ident: Some(request.queue_id.to_string()),
            encoding: match request.encoding.as_str() {
                "8bit" => Some(Encoding::EightBit),
                "7bit" => Some(Encoding::SevenBit),
                _ => None,
            },
            send_options: request.send_options,
            trace_flags: request.trace_flags,
            ..Begin::default()
        })))?;
        cleanup.queue(&ToCleanup::Sender(Sender {
            address: owner.filter(|_| !request.sender.is_empty()).unwrap_or(&request.sender).clone(),
            envelope_id: request.envelope_id.clone(),
            ret: request.ret,
        }))?;
        for address in recipients {
            cleanup.queue(&ToCleanup::Recipient(Recipient {
                address: address.clone(),
                original: recipient.dsn_original.clone(),
                before_rewriting: Some(recipient.original.clone()).filter(|original| !original.is_empty()),
                notify: without_success(recipient.notify),
            }))?;
        }
        cleanup.queue(&ToCleanup::Content)?;
        if self.settings.delivered_to.2 {
            let mut line = b"Delivered-To: ".to_vec();
            line.extend_from_slice(&address::external(&recipient.address));
            line.push(b'\n');
            cleanup.queue_raw(Kind::Data, &line);
        }
        let mut content = self.job.content();
        let mut chunk = Vec::new();
        let mut more = true;
        while more {
            chunk.clear();
            more = content.read_into(&mut chunk, ipc::frame::DATA_CHUNK, b"\n")?;
            cleanup.queue_raw(Kind::Data, &chunk);
            cleanup.flush()?;
        }
        cleanup.send(&ToCleanup::End)?;
        let id = match cleanup.expect()? {
            FromCleanup::Opened(id) => id,
            FromCleanup::Unavailable(refusal) | FromCleanup::Refused(refusal) => return Err(Error::Refused(refusal)),
            FromCleanup::Queued => return Err(ipc::Error::Protocol("queued before opened").into()),
        };
        match cleanup.expect()? {
            FromCleanup::Queued => Ok(id),
            FromCleanup::Unavailable(refusal) | FromCleanup::Refused(refusal) => Err(Error::Refused(refusal)),
            FromCleanup::Opened(_) => Err(ipc::Error::Protocol("opened twice").into()),
        }
    }
}
