//! The transcript of a session for the postmaster (`notify_classes`).

use ipc::cleanup::{Begin, Options, Origin, Recipient, Sender};
use smtp_proto::server::{History, Problems};

use crate::settings::Settings;
use crate::transaction::Pool;

/// The message, header first, lines ending in LF.
pub(crate) fn message(settings: &Settings, client: &str, history: &History, problems: Problems) -> Vec<u8> {
    let (hostname, name) = (&settings.protocol.hostname, &settings.mail_name);
    let mut text = format!(
        "From: {name} <MAILER-DAEMON@{hostname}>\nTo: {recipient}\nSubject: {name} SMTP server: errors from {client}\n\
         Auto-Submitted: auto-generated\n\nKinds of trouble: {kinds}\n\nTranscript of the session:\n\n",
        recipient = settings.error_notice_recipient,
        kinds = problems.names(),
    )
    .into_bytes();
    for line in history.lines() {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"\n\nMore details may be in the mail log of this host.\n");
    text
}

/// Mails it; a failure is only logged.
pub(crate) async fn send(pool: &Pool, settings: &Settings, message: Vec<u8>) {
    let begin = Begin {
        origin: Origin::Notice,
        options: Options { address_mapping: true, ..Options::default() },
        rewrite_local: true,
        ..Begin::default()
    };
    let sender = Sender { address: settings.double_bounce_sender.as_str().into(), ..Sender::default() };
    let mut transaction = match pool.open(begin, sender).await {
        Ok(transaction) => transaction,
        Err(refusal) => {
            log::warning!("postmaster notice failed: {refusal:?}");
            return;
        }
    };
    let recipient = settings.error_notice_recipient.as_str();
    // An address of main.cf fits.
    let _ = transaction.recipient(Recipient { address: recipient.into(), ..Recipient::default() });
    transaction.content(&message);
    if let Err(refusal) = pool.finish(transaction).await {
        log::warning!("postmaster notice failed: {refusal:?}");
    }
}
