//! Carries decisions out: the log, what the message is told, the pause.

use std::time::Duration;

use bstr::BString;
use ipc::cleanup::Action;
use log::lines::Rejection;
use smtp_proto::server::{Problems, finish_reply};

use crate::conversation::Conversation;
use crate::restrictions::{Decision, Effect, Refusal, Subject, Verdict};

/// What decisions want done with the message, beyond its recipients; told to cleanup when there is a queue file.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    hold: bool,
    pub(crate) discard: bool,
    filter: Option<String>,
    redirect: Option<BString>,
    bcc: Vec<BString>,
    prepend: Vec<BString>,
}

/// Most BCC recipients or prepended headers of one message.
const MOST_ADDITIONS: usize = 1000;

/// How a decision ends.
pub(crate) enum Done {
    Permitted,
    Refused(Vec<u8>, Problems),
    HungUp,
}

impl Conversation {
    /// A line `queue_id: action: STAGE from client: text; from=<> to=<> ...`.
    pub(crate) fn log_decision(&self, action: &str, stage: &str, text: &[u8], subject: &Subject) {
        let external = |address: &BString| address::external(address);
        let sender = subject.sender.as_ref().map(external);
        let recipient = subject.recipient.as_ref().map(external);
        let queue_id = self.queue_id();
        log::lines::decision(&Rejection {
            action,
            queue_id: queue_id.as_deref(),
            stage,
            client: &self.peer.display,
            text,
            sender: sender.as_ref().map(|address| address.as_slice()),
            recipient: recipient.as_ref().map(|address| address.as_slice()),
            protocol: Some(self.session.protocol()),
            helo: subject.helo.as_ref().map(|helo| helo.as_slice()),
            ..Rejection::default()
        });
    }

    /// Logs a refusal as `reject` and gives the reply, which soft_bounce may have softened.
    pub(crate) fn log_refusal(&self, refusal: &Refusal, stage: &str, subject: &Subject) -> Vec<u8> {
        let reply = finish_reply(&refusal.reply(), self.service.settings.protocol.soft_bounce, None);
        self.log_decision("reject", stage, &reply, subject);
        reply
    }

    /// Does what the decision says.
    pub(crate) async fn execute(&mut self, decision: Decision, stage: &str, subject: &Subject) -> Done {
        let mut pause = 0;
        for effect in decision.effects {
            self.apply(effect, stage, subject, &mut pause);
        }
        if pause > 0 {
            tokio::time::sleep(Duration::from_secs(u64::from(pause))).await;
        }
        if let Some(cause) = &decision.cause {
            log::debug!("{stage}: {} {}: {:?}", cause.list, cause.restriction, cause.table);
        }
        match decision.verdict {
            Verdict::Permit => Done::Permitted,
            Verdict::Refuse(refusal) => {
                let reply = self.log_refusal(&refusal, stage, subject);
                Done::Refused(reply, refusal.problem)
            }
            Verdict::HangUp => Done::HungUp,
        }
    }

    fn apply(&mut self, effect: Effect, stage: &str, subject: &Subject, pause: &mut u32) {
        match effect {
            Effect::RejectWarning(refusal) => self.log_decision("reject_warning", stage, &refusal.reply(), subject),
            // Hold and discard are said once per message.
            Effect::Log { action: "hold", .. } if self.wishes.hold => {}
            Effect::Log { action, text } => self.log_decision(action, stage, &text, subject),
            Effect::Warning(text) => log::warning!("{text}"),
            Effect::Info(text) => log::info!("{text}"),
            Effect::Sleep(seconds) => *pause = pause.saturating_add(seconds),
            Effect::Hold => self.wishes.hold = true,
            Effect::Discard => self.wishes.discard = true,
            Effect::Filter(filter) => self.wishes.filter = Some(filter),
            Effect::Redirect(address) => self.wishes.redirect = Some(address),
            Effect::Bcc(address) if self.wishes.bcc.len() < MOST_ADDITIONS => self.wishes.bcc.push(address),
            Effect::Prepend(header) if self.wishes.prepend.len() < MOST_ADDITIONS => self.wishes.prepend.push(header),
            Effect::Bcc(_) | Effect::Prepend(_) => {
                log::warning!("{}: too many BCC or PREPEND actions for one message", self.peer.display);
            }
        }
    }

    /// Tells cleanup, before the content; and once more after it, for what end-of-data restrictions added.
    pub(crate) fn tell_wishes(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let wishes = &mut self.wishes;
        if std::mem::take(&mut wishes.hold) {
            transaction.action(Action::Hold);
        }
        if wishes.discard {
            transaction.action(Action::Discard);
        }
        if let Some(filter) = wishes.filter.take() {
            transaction.action(Action::Filter(filter));
        }
        if let Some(address) = wishes.redirect.take() {
            transaction.action(Action::Redirect(address));
        }
        for address in wishes.bcc.drain(..) {
            transaction.bcc(&address);
        }
        for header in wishes.prepend.drain(..) {
            transaction.header(&header);
        }
    }
}
