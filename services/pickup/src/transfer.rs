//! From a submission to a message with cleanup.

use bstr::BString;
use ipc::cleanup::{Begin, Encoding, FromCleanup, Origin, Received, Recipient, Refusal, Sender, ToCleanup};
use ipc::frame::DATA_CHUNK;
use ipc::{Connection, Kind};
use queue::QueueId;
use queue::message::{Batch, Envelope};

use crate::settings::Settings;
use crate::submission::Submission;

/// Recipients per read of the file.
const BATCH: usize = 500;

/// Attributes that a new file gets anew, or that the protocol has its own place for.
const NOT_PASSED_ON: [&str; 6] =
    ["create_time", "log_ident", "rewrite_context", "message_id", "log_message_origin", "envelope_id"];

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The connection to cleanup.
    #[error("cleanup service: {0}")]
    Cleanup(#[from] ipc::Error),
    /// The file.
    #[error("{0}")]
    File(#[from] queue::Error),
    /// cleanup does not want it.
    #[error("message not accepted: {0:?}")]
    Refused(Refusal),
}

impl Error {
    /// The same file will fare no better later.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Error::Cleanup(_) => false,
            Error::File(error) => matches!(error, queue::Error::Malformed { .. }),
            Error::Refused(refusal) => match refusal {
                Refusal::Write | Refusal::NoSpace | Refusal::Lookup | Refusal::Protocol => false,
                Refusal::Content(reply) => !reply.starts_with(b"4"),
                Refusal::Size | Refusal::Hops | Refusal::NoRecipients => true,
            },
        }
    }
}

/// Gives the message to cleanup; its new id when it is safe there.
pub(crate) async fn transfer(
    connection: &mut Connection,
    name: &QueueId,
    submission: Submission,
    settings: &Settings,
) -> Result<QueueId, Error> {
    let Submission { mut reader, uid, requeued, send_options } = submission;
    let envelope = reader.envelope().clone();
    connection
        .send(&ToCleanup::Begin(Box::new(Begin { send_options, ..begin(&envelope, uid, requeued, name, settings) })))
        .await?;
    let id = match connection.expect().await? {
        FromCleanup::Opened(id) => id,
        FromCleanup::Unavailable(refusal) => return Err(Error::Refused(refusal)),
        FromCleanup::Queued | FromCleanup::Refused(_) => {
            return Err(ipc::Error::Protocol("answer without a question").into());
        }
    };
    let sender =
        if settings.external_addresses { address::external(&envelope.sender) } else { envelope.sender.clone() };
    log::lines::pickup(id.as_str(), uid, &sender, requeued.then_some(name.as_str()));
    if requeued {
        for (attribute, value) in &envelope.attributes {
            if !NOT_PASSED_ON.contains(&attribute.as_str()) {
                connection.queue(&ToCleanup::Attribute(attribute.clone(), value.clone()))?;
            }
        }
    }
    connection.queue(&ToCleanup::Sender(Sender {
        address: envelope.sender.clone(),
        envelope_id: envelope.envelope_id.clone(),
        ret: envelope.ret,
    }))?;
    // Recipients that sendmail took from headers are behind the content in the file, and stay there.
    let mut extracted = Vec::new();
    let mut next = Some(reader.first_recipient());
    while let Some(position) = next {
        let Batch { recipients, next: following, .. } = reader.recipients(position, BATCH)?;
        next = following;
        for recipient in recipients {
            let behind = recipient.offset > envelope.size.content_offset;
            let said = ToCleanup::Recipient(Recipient {
                before_rewriting: Some(recipient.original).filter(|original| requeued && !original.is_empty()),
                address: recipient.address,
                original: recipient.dsn_original,
                notify: recipient.notify,
            });
            if behind {
                extracted.push(said);
            } else {
                connection.queue(&said)?;
            }
        }
        connection.flush().await?;
    }
    connection.queue(&ToCleanup::Content)?;
    send_content(connection, reader).await?;
    for said in &extracted {
        connection.queue(said)?;
    }
    connection.send(&ToCleanup::End).await?;
    match connection.expect().await? {
        FromCleanup::Queued => Ok(id),
        FromCleanup::Refused(refusal) => Err(Error::Refused(refusal)),
        FromCleanup::Opened(_) | FromCleanup::Unavailable(_) => Err(ipc::Error::Protocol("unexpected answer").into()),
    }
}

fn begin(envelope: &Envelope, uid: u32, requeued: bool, name: &QueueId, settings: &Settings) -> Begin {
    Begin {
        origin: Origin::Local,
        options: settings.options,
        rewrite_local: envelope.attribute("rewrite_context").is_none_or(|context| context != "remote"),
        arrival: Some(envelope.arrival).filter(|arrival| arrival.0 > 0),
        log_ident: requeued.then(|| name.as_str().to_owned()),
        full_name: envelope.full_name.clone(),
        // A requeued message has had its report.
        trace_flags: if requeued { 0 } else { envelope.trace_flags },
        verp: envelope.verp,
        content_filter: settings.content_filter.clone(),
        encoding: match envelope.encoding.as_str() {
            "7bit" => Some(Encoding::SevenBit),
            "8bit" => Some(Encoding::EightBit),
            _ => None,
        },
        received: Some(Received { uid: Some(uid), ..Received::default() }),
        ..Begin::default()
    }
}

async fn send_content(
    connection: &mut Connection,
    reader: queue::message::Reader<std::sync::Arc<std::fs::File>>,
) -> Result<(), Error> {
    let mut content = reader.into_content();
    let mut chunk = BString::from(Vec::with_capacity(DATA_CHUNK));
    while let Some(line) = content.next_line()? {
        chunk.extend_from_slice(line.bytes);
        if line.complete {
            chunk.push(b'\n');
        }
        if chunk.len() >= DATA_CHUNK - 4096 {
            connection.queue_raw(Kind::Data, &chunk);
            connection.flush().await?;
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        connection.queue_raw(Kind::Data, &chunk);
    }
    Ok(())
}
