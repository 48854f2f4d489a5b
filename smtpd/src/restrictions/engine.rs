//! Evaluation of the lists.

use bstr::BString;
use dsn::Status;
use smtp_proto::server::Problems;

use super::decision::{Cause, Decision, Effect, Refusal, Verdict};
use super::lookup::{Lookup, TableFailure};
use super::parse::Lists;
use super::policy::Policy;
use super::rule::{Restriction, Rule, Stage};
use super::{Subject, access::AccessOutcome};

/// Pending `defer_if_permit` and `defer_if_reject`, carried from one stage of a session to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// A permit becomes this.
    pub if_permit: Option<Refusal>,
    /// A permanent refusal becomes this.
    pub if_reject: Option<Refusal>,
}

/// What a restriction or list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No opinion: go on.
    Dunno,
    /// The list ends, nothing to object.
    Permit,
    /// The list ends; nothing is asked any more about this message.
    Discard,
    /// Refused.
    Refuse(Refusal),
    /// Close without a word.
    HangUp,
}

/// Decides about one command of one client.
pub struct Engine<'a, L> {
    pub(super) policy: &'a Policy,
    pub(super) lookup: &'a L,
    pub(super) subject: &'a Subject,
    pub(super) effects: Vec<Effect>,
    pub(super) only_warns: bool,
    carried: Carried,
    cause: Option<Cause>,
    pub(super) table: Option<(String, BString)>,
}

impl<'a, L: Lookup> Engine<'a, L> {
    /// An engine for one decision; `carried` is what earlier stages left pending.
    pub fn new(policy: &'a Policy, lookup: &'a L, subject: &'a Subject, carried: Carried) -> Engine<'a, L> {
        Engine { policy, lookup, subject, effects: Vec::new(), only_warns: false, carried, cause: None, table: None }
    }

    /// At the connection.
    pub async fn client(mut self) -> (Decision, Carried) {
        let outcome = self.list(Stage::Client).await;
        self.finish(outcome)
    }

    /// At HELO or EHLO.
    pub async fn helo(mut self) -> (Decision, Carried) {
        let outcome = self.list(Stage::Helo).await;
        self.finish(outcome)
    }

    /// At MAIL.
    pub async fn mail(mut self) -> (Decision, Carried) {
        let outcome = self.sender().await;
        self.finish(outcome)
    }

    /// At RCPT and VRFY, with all that `smtpd_delay_reject` put off.
    pub async fn recipient(mut self) -> (Decision, Carried) {
        let outcome = self.recipient_outcome().await;
        self.finish(outcome)
    }

    /// At DATA.
    pub async fn data(self) -> (Decision, Carried) {
        self.late(Stage::Data).await
    }

    /// After the content.
    pub async fn end_of_data(self) -> (Decision, Carried) {
        self.late(Stage::EndOfData).await
    }

    /// At ETRN, with all that `smtpd_delay_reject` put off.
    pub async fn etrn(mut self) -> (Decision, Carried) {
        let mut outcome =
            if self.policy.delay_reject { self.delayed(&[Stage::Client, Stage::Helo]).await } else { Outcome::Dunno };
        if matches!(outcome, Outcome::Dunno | Outcome::Permit) {
            outcome = self.list(Stage::Etrn).await;
            outcome = self.settle_permit(outcome);
        }
        self.finish(outcome)
    }

    async fn late(mut self, stage: Stage) -> (Decision, Carried) {
        let mut outcome = Outcome::Dunno;
        if !self.policy.lists.of(stage).is_empty() {
            outcome = self.list(stage).await;
            outcome = self.settle_permit(outcome);
        }
        self.finish(outcome)
    }

    async fn sender(&mut self) -> Outcome {
        let outcome = self.list(Stage::Sender).await;
        let known = self.subject.sender.as_ref().is_some_and(|sender| !sender.is_empty());
        if self.policy.reject_unlisted_sender && known && matches!(outcome, Outcome::Dunno | Outcome::Permit) {
            let unlisted = self.unlisted_sender().await;
            self.note_cause(&unlisted, Stage::Sender, "smtpd_reject_unlisted_sender");
            return if unlisted == Outcome::Dunno { outcome } else { unlisted };
        }
        outcome
    }

    async fn delayed(&mut self, stages: &[Stage]) -> Outcome {
        for stage in stages {
            let outcome = match stage {
                // Nothing was said that could be judged.
                Stage::Helo if self.subject.helo.is_none() => Outcome::Dunno,
                Stage::Sender if self.subject.sender.is_none() => Outcome::Dunno,
                Stage::Sender => self.sender().await,
                other => self.list(*other).await,
            };
            if !matches!(outcome, Outcome::Dunno | Outcome::Permit) {
                return outcome;
            }
        }
        Outcome::Dunno
    }

    async fn recipient_outcome(&mut self) -> Outcome {
        if self.subject.discarded {
            return Outcome::Permit;
        }
        // RFC 5321 4.5.1: postmaster without a domain is always reachable.
        if self.subject.recipient.as_ref().is_some_and(|address| address.eq_ignore_ascii_case(b"postmaster")) {
            return Outcome::Permit;
        }
        if self.policy.delay_reject {
            let outcome = self.delayed(&[Stage::Client, Stage::Helo, Stage::Sender]).await;
            if outcome != Outcome::Dunno {
                return outcome;
            }
        }
        let order =
            if self.policy.relay_first { [Stage::Relay, Stage::Recipient] } else { [Stage::Recipient, Stage::Relay] };
        let mut outcome = Outcome::Dunno;
        for stage in order {
            outcome = self.list(stage).await;
            if !matches!(outcome, Outcome::Dunno | Outcome::Permit) {
                return outcome;
            }
        }
        outcome = self.settle_permit(outcome);
        if self.policy.reject_unlisted_recipient && matches!(outcome, Outcome::Dunno | Outcome::Permit) {
            let unlisted = self.unlisted_recipient().await;
            self.note_cause(&unlisted, Stage::Recipient, "smtpd_reject_unlisted_recipient");
            if unlisted != Outcome::Dunno {
                return unlisted;
            }
        }
        outcome
    }

    /// A permit while `defer_if_permit` is pending is none.
    fn settle_permit(&mut self, outcome: Outcome) -> Outcome {
        match (outcome, self.carried.if_permit.clone()) {
            (Outcome::Dunno | Outcome::Permit, Some(refusal)) => self.refuse(refusal),
            (outcome, _) => outcome,
        }
    }

    fn finish(self, outcome: Outcome) -> (Decision, Carried) {
        let verdict = match outcome {
            Outcome::Dunno | Outcome::Permit | Outcome::Discard => Verdict::Permit,
            Outcome::Refuse(refusal) => Verdict::Refuse(refusal),
            Outcome::HangUp => Verdict::HangUp,
        };
        (Decision { verdict, effects: self.effects, cause: self.cause }, self.carried)
    }

    async fn list(&mut self, stage: Stage) -> Outcome {
        let policy = self.policy;
        self.rules(policy.lists.of(stage), stage, 0).await
    }

    /// Evaluates rules in order. `warn_if_reject` holds for the rule after it, a class counts as one rule.
    pub(super) async fn rules(&mut self, rules: &[Rule], stage: Stage, depth: usize) -> Outcome {
        if depth > Lists::deepest() {
            self.effects.push(Effect::Warning("restriction classes are nested too deeply".to_owned()));
            return self.refuse(Refusal::configuration_error());
        }
        let outer_warns = self.only_warns;
        for rule in rules {
            if rule.restriction == Restriction::WarnIfReject {
                self.only_warns = true;
                continue;
            }
            self.table = None;
            let outcome = self.rule(rule, stage, depth).await;
            self.note_cause(&outcome, stage, &rule.name);
            if outcome == Outcome::Permit {
                self.log_permit(rule);
            }
            self.only_warns = outer_warns;
            if outcome != Outcome::Dunno {
                return outcome;
            }
        }
        self.only_warns = outer_warns;
        Outcome::Dunno
    }

    fn note_cause(&mut self, outcome: &Outcome, stage: Stage, name: &str) {
        if *outcome == Outcome::Dunno || (*outcome != Outcome::Permit && self.cause_is_final()) {
            return;
        }
        let (table, value) = self.table.take().unzip();
        self.cause = Some(Cause { list: stage.parameter(), restriction: name.to_owned(), table, value });
    }

    /// A class's inner restriction has been noted already.
    fn cause_is_final(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| cause.value.is_some())
    }

    /// `smtpd_log_access_permit_actions`
    fn log_permit(&mut self, rule: &Rule) {
        let word = rule.name.split_whitespace().next().unwrap_or_default();
        let wanted = |name: &String| name.eq_ignore_ascii_case(word) || name == "static:all";
        if self.policy.log_permits.iter().any(wanted) {
            let mut text = BString::from("action=");
            text.extend_from_slice(word.as_bytes());
            self.effects.push(Effect::Log { action: "permit", text });
        }
    }

    async fn rule(&mut self, rule: &Rule, stage: Stage, depth: usize) -> Outcome {
        let codes = &self.policy.codes;
        match &rule.restriction {
            Restriction::Permit => Outcome::Permit,
            Restriction::Reject => self.generic(stage, codes.reject, Status::permanent(7, 1), "Access denied"),
            Restriction::Defer => self.generic(stage, codes.defer, Status::transient(3, 2), "Try again later"),
            Restriction::DeferIfPermit => {
                let refusal = self.named(stage, 450, Status::transient(7, 0), "defer_if_permit requested");
                self.defer_if_permit(refusal)
            }
            Restriction::DeferIfReject => {
                let refusal = self.named(stage, 450, Status::transient(7, 0), "defer_if_reject requested");
                self.defer_if_reject(refusal)
            }
            Restriction::WarnIfReject => Outcome::Dunno,
            Restriction::Sleep(seconds) => {
                if *seconds > 0 {
                    self.effects.push(Effect::Sleep(*seconds));
                }
                Outcome::Dunno
            }
            Restriction::RejectUnauthPipelining if self.subject.pipelines_unasked => {
                let text = "Improper use of SMTP command pipelining";
                let mut refusal = self.named(stage, 503, Status::permanent(5, 0), text);
                refusal.problem = Problems::PROTOCOL;
                self.refuse(refusal)
            }
            Restriction::RejectPlaintextSession if self.subject.tls.is_some() => Outcome::Dunno,
            Restriction::PermitCertificate(which) => self.permit_certificate(*which).await,
            Restriction::RejectPlaintextSession => self.refuse(Refusal::new(
                Problems::POLICY,
                codes.plaintext,
                Status::transient(7, 1),
                "Session encryption is required",
            )),
            Restriction::Class(name) => match self.policy.lists.class(name, stage) {
                Some(rules) => Box::pin(self.rules(&rules, stage, depth + 1)).await,
                None => self.refuse(Refusal::configuration_error()),
            },
            Restriction::Access(key, table) => match self.access(*key, *table, &rule.name, stage).await {
                AccessOutcome::Done(outcome) => outcome,
                AccessOutcome::Restrictions(text) => {
                    let rules = self.policy.lists.of_result(stage, &text);
                    Box::pin(self.rules(&rules, stage, depth + 1)).await
                }
            },
            Restriction::Misconfigured(text) => {
                self.effects.push(Effect::Warning(text.clone()));
                self.refuse(Refusal::configuration_error())
            }
            Restriction::RejectUnauthPipelining | Restriction::PermitNobody => Outcome::Dunno,
            other => self.check(other, stage).await,
        }
    }

    /// `<name>: class rejected: text` for the list's own subject.
    pub(super) fn named(&self, stage: Stage, code: u16, status: Status, text: &str) -> Refusal {
        let (name, class) = stage.reply_name(self.subject);
        Refusal::new(Problems::POLICY, code, status, rejected(&name, class, text.as_bytes()))
    }

    fn generic(&mut self, stage: Stage, code: u16, status: Status, text: &str) -> Outcome {
        let refusal = self.named(stage, code, status, text);
        self.refuse(refusal)
    }

    /// A refusal, unless it is only to be warned about, or a pending `defer_if_reject` softens it.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Outcome {
        let our_fault = Problems::SOFTWARE | Problems::RESOURCE | Problems::DATA;
        if self.only_warns && !refusal.problem.meets(our_fault) {
            self.effects.push(Effect::RejectWarning(refusal));
            return Outcome::Dunno;
        }
        if refusal.code / 100 == 5
            && let Some(softer) = self.carried.if_reject.take()
        {
            return Outcome::Refuse(softer);
        }
        Outcome::Refuse(refusal)
    }

    pub(super) fn defer_if_permit(&mut self, refusal: Refusal) -> Outcome {
        if self.only_warns {
            return self.refuse(refusal);
        }
        self.carried.if_permit.get_or_insert(refusal);
        Outcome::Dunno
    }

    pub(super) fn defer_if_reject(&mut self, refusal: Refusal) -> Outcome {
        if self.only_warns {
            return self.refuse(refusal);
        }
        self.carried.if_reject.get_or_insert(refusal);
        Outcome::Dunno
    }

    /// A table that routing needs has no answer now.
    pub(super) fn lookup_failure(&mut self, name: &[u8], _: TableFailure) -> Outcome {
        self.refuse(Refusal::lookup_failure(name))
    }
}

/// `<name>: class rejected: text`
pub(super) fn rejected(name: &[u8], class: &str, text: &[u8]) -> BString {
    [b"<", name, b">: ", class.as_bytes(), b" rejected: ", text].concat().into()
}
