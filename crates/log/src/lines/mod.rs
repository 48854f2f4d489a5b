//! One function per line that log analysers parse (pflogsumm, fail2ban, logwatch, exporters). Their wording and order
//! are interface.
//!
//! Addresses come in the form that `info_log_address_format` asks for: the caller quotes them (`address::external`).
//! `queue_id` is the text of a queue id.

mod delivery;
mod queue;
mod session;
mod supervision;

pub use delivery::{Delays, Status, StatusLine, format_delay, status_line};
pub use queue::{
    Expired, NoticeTo, PostsuperAction, Verdict, cleanup_discarded, cleanup_verdict, delay_notification,
    failure_notification, message_id, pickup, postsuper, queue_active, queue_expired, removed, resent_message_id,
    saving_corrupt, skipped, success_notification,
};
pub use session::{
    ClientLine, CommandCount, Rejection, client, connect, decision, disconnect, handshake_error, improper_pipelining,
    lost_connection, non_smtp_command, timeout, tls_abort, tls_established, too_many_errors,
};
pub use supervision::{
    Ending, bad_command_startup, daemon_started, process_ended, process_limit_reached, reloaded, table_changed,
    terminating,
};

/// What a decision's line says of the transaction it was made in: ` to=<..> proto=.. helo=<..>`, as far as known.
fn put_transaction(
    f: &mut std::fmt::Formatter<'_>,
    recipient: Option<&[u8]>,
    protocol: Option<&str>,
    helo: Option<&[u8]>,
) -> std::fmt::Result {
    use crate::framing::show;
    if let Some(recipient) = recipient {
        write!(f, " to=<{}>", show(recipient))?;
    }
    if let Some(protocol) = protocol {
        write!(f, " proto={protocol}")?;
    }
    match helo {
        Some(helo) => write!(f, " helo=<{}>", show(helo)),
        None => Ok(()),
    }
}
