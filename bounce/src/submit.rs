//! Handing a notice to cleanup.

use std::time::Duration;

use bstr::BString;
use dsn::Notify;
use dsn::notice::Returned;
use ipc::cleanup::{Begin, Encoding, FromCleanup, Options, Origin, Recipient, Sender, ToCleanup};
use ipc::{Connection, Kind};
use queue::QueueId;
use queue::message::Content;

use crate::compose::{Original, Outgoing};

/// Why a notice could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// cleanup cannot be reached, or broke off.
    #[error("{0}")]
    Ipc(#[from] ipc::Error),
    /// cleanup did not take the notice.
    #[error("cleanup refused the notice: {0:?}")]
    Refused(ipc::cleanup::Refusal),
    /// cleanup did not answer in time.
    #[error("timeout while talking to cleanup")]
    Timeout,
}

/// Submits a notice; the result is its queue id, once it is safely queued.
///
/// # Errors
/// See [`Error`]; then nothing was queued.
pub async fn submit(
    connection: &mut Connection,
    outgoing: &Outgoing,
    original: &Original,
    timeout: Duration,
) -> Result<QueueId, Error> {
    let begin = Begin {
        origin: Origin::Notice,
        options: Options { automatic_bcc: true, address_mapping: true, ..Options::default() },
        rewrite_local: true,
        encoding: outgoing.notice.eight_bit.then_some(Encoding::EightBit),
        send_options: u32::from(outgoing.notice.smtputf8),
        ..Begin::default()
    };
    connection.queue(&ToCleanup::Begin(Box::new(begin)))?;
    connection.queue(&ToCleanup::Sender(Sender { address: outgoing.sender.clone(), ..Sender::default() }))?;
    connection.queue(&ToCleanup::Recipient(Recipient {
        address: outgoing.recipient.clone(),
        original: Some(BString::from(format!("rfc822;{}", outgoing.notice.to))),
        // A notice about a notice would never end.
        notify: Notify::NEVER,
        ..Recipient::default()
    }))?;
    connection.queue(&ToCleanup::Content)?;
    let mut head = Vec::new();
    outgoing.notice.put_head(&mut head);
    for chunk in head.chunks(ipc::frame::DATA_CHUNK) {
        connection.queue_raw(Kind::Data, chunk);
        within(timeout, connection.flush()).await?;
    }
    send_original(connection, outgoing, original, timeout).await?;
    let mut end = Vec::new();
    outgoing.notice.put_end(&mut end);
    connection.queue_raw(Kind::Data, &end);
    connection.queue(&ToCleanup::End)?;
    within(timeout, connection.flush()).await?;
    let id = match within(timeout, connection.expect()).await? {
        FromCleanup::Opened(id) => id,
        FromCleanup::Unavailable(refusal) | FromCleanup::Refused(refusal) => return Err(Error::Refused(refusal)),
        FromCleanup::Queued => return Err(Error::Ipc(ipc::Error::Protocol("queued before opened"))),
    };
    match within(timeout, connection.expect()).await? {
        FromCleanup::Queued => Ok(id),
        FromCleanup::Unavailable(refusal) | FromCleanup::Refused(refusal) => Err(Error::Refused(refusal)),
        FromCleanup::Opened(_) => Err(Error::Ipc(ipc::Error::Protocol("opened twice"))),
    }
}

async fn send_original(
    connection: &mut Connection,
    outgoing: &Outgoing,
    original: &Original,
    timeout: Duration,
) -> Result<(), Error> {
    let Some(file) = &original.file else { return Ok(()) };
    let mut content = Content::new(std::sync::Arc::clone(file), original.content_offset);
    let headers_only = outgoing.notice.returned == Returned::Headers;
    let mut chunk = Vec::new();
    let mut more = true;
    while more {
        chunk.clear();
        let read = if headers_only {
            read_header(&mut content, &mut chunk)
        } else {
            content.read_into(&mut chunk, ipc::frame::DATA_CHUNK, b"\n")
        };
        more = match read {
            Ok(more) => more,
            Err(error) => {
                // What could be read is worth returning.
                log::warning!("{}: cannot read the returned message: {error}", outgoing.notice.queue_id);
                false
            }
        };
        connection.queue_raw(Kind::Data, &chunk);
        within(timeout, connection.flush()).await?;
    }
    Ok(())
}

/// Appends header lines, up to a chunk; false after the last one.
fn read_header<S: queue::record::ReadAt>(content: &mut Content<S>, chunk: &mut Vec<u8>) -> Result<bool, queue::Error> {
    let mut at_line_start = true;
    while chunk.len() < ipc::frame::DATA_CHUNK || !at_line_start {
        let Some(line) = content.next_line()? else { return Ok(false) };
        if at_line_start && line.complete && line.bytes.is_empty() {
            return Ok(false);
        }
        chunk.extend_from_slice(line.bytes);
        if line.complete {
            chunk.push(b'\n');
        }
        at_line_start = line.complete;
    }
    Ok(true)
}

async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, ipc::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, step).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Timeout),
    }
}
