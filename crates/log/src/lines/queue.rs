//! What happens to a message in the queue (cleanup, pickup, qmgr, bounce, postsuper).

use std::fmt;

use super::put_transaction;
use crate::framing::show;

/// cleanup: `queue_id: message-id=<id>`; the header's text as it is, `<>` when there was none.
pub fn message_id(queue_id: &str, id: &[u8]) {
    crate::info!("{queue_id}: message-id={}", show(id));
}

/// cleanup: `queue_id: resent-message-id=<id>`.
pub fn resent_message_id(queue_id: &str, id: &[u8]) {
    crate::info!("{queue_id}: resent-message-id={}", show(id));
}

/// cleanup: `queue_id: removed (canceled|discarded)`: dropped before the queue manager saw it.
pub fn cleanup_discarded(queue_id: &str, why: &str) {
    crate::info!("{queue_id}: removed ({why})");
}

/// What cleanup says about a header, a body line or a whole message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict<'a> {
    /// Queue id.
    pub queue_id: &'a str,
    /// `reject`, `warning`, `info`, `hold`, `discard`, `filter`, `redirect`, `milter-reject`, ...
    pub action: &'a str,
    /// `header`, `body`, `content`, `mime-error ...:`
    pub class: &'a str,
    /// What it is about; cut at 200 bytes.
    pub text: &'a [u8],
    /// `name[address]` of the client, or `local`.
    pub origin: &'a str,
    /// Envelope sender.
    pub sender: &'a [u8],
    /// The recipient, when there is just one.
    pub recipient: Option<&'a [u8]>,
    /// `SMTP` or `ESMTP`.
    pub protocol: Option<&'a str>,
    /// HELO argument.
    pub helo: Option<&'a [u8]>,
    /// The text of the action.
    pub optional: Option<&'a [u8]>,
}

/// cleanup: `queue_id: reject: header Subject: x from local; from=<..> to=<..> proto=.. helo=<..>: text`.
pub fn cleanup_verdict(verdict: &Verdict<'_>) {
    crate::info!("{verdict}");
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text[..self.text.len().min(200)];
        let Verdict { queue_id, action, class, origin, sender, .. } = self;
        write!(f, "{queue_id}: {action}: {class} {} from {origin}; from=<{}>", show(text), show(sender))?;
        put_transaction(f, self.recipient, self.protocol, self.helo)?;
        if let Some(optional) = self.optional {
            write!(f, ": {}", show(optional))?;
        }
        Ok(())
    }
}

/// pickup: `queue_id: uid=n from=<sender>[ orig_id=queue_id]`.
pub fn pickup(queue_id: &str, uid: u32, sender: &[u8], original_id: Option<&str>) {
    match original_id {
        None => crate::info!("{queue_id}: uid={uid} from=<{}>", show(sender)),
        Some(id) => crate::info!("{queue_id}: uid={uid} from=<{}> orig_id={id}", show(sender)),
    }
}

/// qmgr: `queue_id: from=<sender>, size=n, nrcpt=n (queue active)`, each time the message becomes active.
pub fn queue_active(queue_id: &str, sender: &[u8], size: u64, recipients: u64) {
    crate::info!("{queue_id}: from=<{}>, size={size}, nrcpt={recipients} (queue active)", show(sender));
}

/// qmgr: `queue_id: removed`.
pub fn removed(queue_id: &str) {
    crate::info!("{queue_id}: removed");
}

/// Why a message is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// `maximal_queue_lifetime` or `bounce_queue_lifetime`.
    Lifetime,
    /// `postsuper -e`.
    Forced,
}

/// qmgr: `queue_id: from=<sender>, status=expired, returned to sender`.
pub fn queue_expired(queue_id: &str, sender: &[u8], why: Expired) {
    let status = match why {
        Expired::Lifetime => "expired",
        Expired::Forced => "force-expired",
    };
    crate::info!("{queue_id}: from=<{}>, status={status}, returned to sender", show(sender));
}

/// qmgr: `queue_id: skipped, still being delivered`.
pub fn skipped(queue_id: &str) {
    crate::info!("{queue_id}: skipped, still being delivered");
}

/// qmgr: `warning: saving corrupt file "queue_id" from queue "queue" to queue "corrupt"`.
pub fn saving_corrupt(queue_id: &str, queue: &str) {
    crate::warning!("saving corrupt file \"{queue_id}\" from queue \"{queue}\" to queue \"corrupt\"");
}

/// Whom a notice goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeTo {
    /// The sender of the message.
    Sender,
    /// `bounce_notice_recipient` and the like.
    Postmaster,
}

impl NoticeTo {
    fn word(self) -> &'static str {
        match self {
            NoticeTo::Sender => "sender",
            NoticeTo::Postmaster => "postmaster",
        }
    }
}

/// bounce: `queue_id: sender non-delivery notification: notice_id`.
pub fn failure_notification(queue_id: &str, to: NoticeTo, notice_id: &str) {
    crate::info!("{queue_id}: {} non-delivery notification: {notice_id}", to.word());
}

/// bounce: `queue_id: sender delay notification: notice_id`.
pub fn delay_notification(queue_id: &str, to: NoticeTo, notice_id: &str) {
    crate::info!("{queue_id}: {} delay notification: {notice_id}", to.word());
}

/// bounce: `queue_id: sender delivery status notification: notice_id`.
pub fn success_notification(queue_id: &str, notice_id: &str) {
    crate::info!("{queue_id}: sender delivery status notification: {notice_id}");
}

/// What postsuper did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostsuperAction {
    /// `-d`
    Removed,
    /// `-r`
    Requeued,
    /// `-h`
    Held,
    /// `-H`
    Released,
    /// `-e`, `-f`
    Expired,
}

impl PostsuperAction {
    /// As in `queue_id: removed`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            PostsuperAction::Removed => "removed",
            PostsuperAction::Requeued => "requeued",
            PostsuperAction::Held => "placed on hold",
            PostsuperAction::Released => "released from hold",
            PostsuperAction::Expired => "expired",
        }
    }

    /// As in `Deleted: 3 messages`.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            PostsuperAction::Removed => "Deleted",
            PostsuperAction::Requeued => "Requeued",
            PostsuperAction::Held => "Placed on hold",
            PostsuperAction::Released => "Released from hold",
            PostsuperAction::Expired => "Force-expired",
        }
    }
}

/// postsuper: `queue_id: removed`.
pub fn postsuper(queue_id: &str, action: PostsuperAction) {
    crate::info!("{queue_id}: {}", action.word());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_of_a_message() {
        crate::capture();
        pickup("AB12", 1000, b"user", None);
        pickup("AB12", 0, b"user", Some("CD34"));
        message_id("AB12", b"<1@example.com>");
        queue_active("AB12", b"user@example.com", 300, 1);
        skipped("AB12");
        queue_expired("AB12", b"", Expired::Lifetime);
        queue_expired("AB12", b"", Expired::Forced);
        failure_notification("AB12", NoticeTo::Sender, "EF56");
        delay_notification("AB12", NoticeTo::Postmaster, "EF56");
        success_notification("AB12", "EF56");
        removed("AB12");
        saving_corrupt("AB12", "active");
        postsuper("AB12", PostsuperAction::Released);
        cleanup_discarded("AB12", "canceled");
        assert_eq!(
            crate::capture(),
            [
                "AB12: uid=1000 from=<user>",
                "AB12: uid=0 from=<user> orig_id=CD34",
                "AB12: message-id=<1@example.com>",
                "AB12: from=<user@example.com>, size=300, nrcpt=1 (queue active)",
                "AB12: skipped, still being delivered",
                "AB12: from=<>, status=expired, returned to sender",
                "AB12: from=<>, status=force-expired, returned to sender",
                "AB12: sender non-delivery notification: EF56",
                "AB12: postmaster delay notification: EF56",
                "AB12: sender delivery status notification: EF56",
                "AB12: removed",
                "warning: saving corrupt file \"AB12\" from queue \"active\" to queue \"corrupt\"",
                "AB12: released from hold",
                "AB12: removed (canceled)",
            ]
        );
    }

    #[test]
    fn a_verdict_of_header_checks() {
        let verdict = Verdict {
            queue_id: "AB12",
            action: "reject",
            class: "header",
            text: b"Subject: spam",
            origin: "h[192.0.2.1]",
            sender: b"s@example.com",
            recipient: Some(b"r@example.com"),
            protocol: Some("ESMTP"),
            helo: Some(b"h"),
            optional: Some(b"5.7.1 no spam"),
        };
        assert_eq!(
            verdict.to_string(),
            "AB12: reject: header Subject: spam from h[192.0.2.1]; from=<s@example.com> to=<r@example.com> proto=ESMTP \
             helo=<h>: 5.7.1 no spam"
        );
    }
}
