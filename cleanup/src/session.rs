//! One client connection: transactions, one after the other.

use std::rc::Rc;

use ipc::cleanup::{Begin, FromCleanup, Refusal, ToCleanup};
use ipc::{Connection, Kind};
use server::Worker;

use crate::service::Service;
use crate::transaction::{Finished, Transaction};
use crate::trust::{Claims, Trust};

/// Serves a client until it closes, breaks the protocol, or the worker drains between transactions.
pub(crate) async fn serve(service: Rc<Service>, mut connection: Connection, trust: Trust, worker: Worker) {
    loop {
        let begin = tokio::select! {
            biased;
            begin = next_begin(&mut connection) => begin,
            () = worker.draining() => return,
        };
        let outcome = match begin {
            Ok(Some(begin)) => transaction(&service, &mut connection, *begin, trust, &worker).await,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            // A client that goes away in the middle has its own reason; it logs it.
            Err(ipc::Error::Closed | ipc::Error::Truncated | ipc::Error::Io(_)) => return,
            Err(error) => {
                log::warning!("cleanup client: {error}");
                return;
            }
        }
        if worker.drain_if_reload_needed() {
            return;
        }
    }
}

/// Waits for the next transaction; what a client still sends for one that could not be opened is passed over.
async fn next_begin(connection: &mut Connection) -> Result<Option<Box<Begin>>, ipc::Error> {
    loop {
        let Some(frame) = connection.receive_frame().await? else { return Ok(None) };
        if frame.kind == Kind::Message
            && let ToCleanup::Begin(begin) = frame.message()?
        {
            return Ok(Some(begin));
        }
    }
}

async fn transaction(
    service: &Rc<Service>,
    connection: &mut Connection,
    mut begin: Begin,
    trust: Trust,
    worker: &Worker,
) -> Result<(), ipc::Error> {
    let claims = match Claims::begin(trust, &mut begin, &service.receivers) {
        Ok(claims) => claims,
        Err(what) => {
            log::warning!("a receiver of mail may not claim {what}: message refused");
            return connection.send(&FromCleanup::Unavailable(Refusal::Protocol)).await;
        }
    };
    if service.queue_manager.is_behind() && !service.settings.in_flow_delay.is_zero() {
        tokio::time::sleep(service.settings.in_flow_delay).await;
    }
    let mut open = match Transaction::open(service, begin) {
        Ok(open) => open,
        Err(refusal) => return connection.send(&FromCleanup::Unavailable(refusal)).await,
    };
    connection.send(&FromCleanup::Opened(open.id().clone())).await?;
    let mut failed: Option<Refusal> = None;
    loop {
        let Some(frame) = connection.receive_frame().await? else { return Err(ipc::Error::Closed) };
        let outcome = match frame.kind {
            Kind::Data if failed.is_some() => Ok(()),
            Kind::Data => open.data(frame.payload).await,
            Kind::Trigger => return Err(ipc::Error::UnexpectedKind(Kind::Trigger)),
            Kind::Message => match frame.message()? {
                ToCleanup::End => break,
                ToCleanup::Abort => return Ok(()),
                ToCleanup::Begin(_) => return Err(ipc::Error::Protocol("transaction inside a transaction")),
                _ if failed.is_some() => Ok(()),
                message => match claims.more(&message, &service.receivers) {
                    Ok(()) => apply(&mut open, message).await,
                    Err(what) => {
                        log::warning!("{}: a receiver of mail may not claim {what}: message refused", open.id());
                        Err(Refusal::Protocol)
                    }
                },
            },
        };
        if let Err(refusal) = outcome {
            failed = Some(refusal);
        }
    }
    let finished = match failed {
        None => open.finish(worker).await,
        Some(refusal) => open.refuse(refusal, worker).await,
    };
    match finished {
        Ok(finished) => {
            connection.send(&FromCleanup::Queued).await?;
            if let Finished::Ready(id) = finished {
                service.queue_manager.ready(id);
            }
            Ok(())
        }
        Err(refusal) => connection.send(&FromCleanup::Refused(refusal)).await,
    }
}

/// Carries out what a client says between the beginning and the end.
async fn apply(open: &mut Transaction, message: ToCleanup) -> Result<(), Refusal> {
    match message {
        ToCleanup::Sender(sender) => open.sender(sender).await,
        ToCleanup::Recipient(recipient) => open.recipient(recipient).await,
        ToCleanup::Attribute(name, value) => open.attribute(&name, &value),
        ToCleanup::Content => open.begin_content().await,
        ToCleanup::Bcc(address) => {
            open.add_bcc(address);
            Ok(())
        }
        ToCleanup::Action(action) => {
            open.act(action);
            Ok(())
        }
        ToCleanup::Header(header) => {
            open.prepend_header(header);
            Ok(())
        }
        ToCleanup::Begin(_) | ToCleanup::End | ToCleanup::Abort => Err(Refusal::Protocol),
    }
}
