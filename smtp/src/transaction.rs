//! One mail transaction with a server, as a state machine: replies in, commands out (RFC 5321 3.3, RFC 2920).
//!
//! With PIPELINING, MAIL, the RCPTs and DATA leave in one group; without, one by one. The window of commands whose
//! replies are still missing is bounded, so that neither side can block the other with full socket buffers.

use std::collections::VecDeque;

use bstr::BString;
use dsn::{Notify, Return};
use smtp_proto::Keywords;
use smtp_proto::client::command::{self, Body, Mail};
use smtp_proto::client::{Capabilities, Reply, Size};

/// Bytes of commands that may be under way without a reply.
const COMMAND_WINDOW: usize = 8 << 10;

/// What the commands say.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// External form; empty for the null sender.
    pub sender: BString,
    /// Message size for `SIZE=`.
    pub size: u64,
    /// `BODY=8BITMIME` is wanted.
    pub eight_bit: bool,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<BString>,
    /// `RET=`.
    pub ret: Option<Return>,
    /// The recipients of this transaction.
    pub recipients: Vec<Recipient>,
}

/// One recipient.
#[derive(Clone, Debug, Default)]
pub struct Recipient {
    /// External form.
    pub address: BString,
    /// `NOTIFY=`.
    pub notify: Notify,
    /// `ORCPT=`, decoded: `type;address`.
    pub original: Option<BString>,
}

/// A place in the conversation that a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `MAIL FROM`
    Mail,
    /// `RCPT TO` of a recipient.
    Rcpt(usize),
    /// `DATA`
    Data,
    /// The end of the message; under LMTP one reply per accepted recipient.
    EndOfData(Option<usize>),
    /// A lone dot after a DATA that was accepted although no recipient was.
    EmptyData,
}

impl Step {
    /// As in "in reply to ... command".
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Step::Mail => "MAIL FROM command",
            Step::Rcpt(_) => "RCPT TO command",
            Step::Data => "DATA command",
            Step::EndOfData(_) | Step::EmptyData => "end of DATA command",
        }
    }

    /// As in "lost connection while ...".
    #[must_use]
    pub const fn activity(self) -> &'static str {
        match self {
            Step::Mail => "sending MAIL FROM",
            Step::Rcpt(_) => "sending RCPT TO",
            Step::Data => "sending DATA command",
            Step::EndOfData(_) | Step::EmptyData => "sending end of data -- message may be sent more than once",
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send what [`Transaction::commands`] gave, and read the next reply.
    Continue,
    /// Send the message and its final dot, then [`Transaction::body_sent`].
    SendBody,
    /// Send a lone dot, then read on.
    SendEmptyBody,
    /// Every recipient has its result.
    Done,
}

/// What became of a recipient in this transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No reply yet.
    Open,
    /// RCPT was accepted.
    Accepted,
    /// The server took responsibility.
    Sent(Reply),
    /// The server refused, in reply to this step.
    Refused(Reply, Step),
}

/// The state of a transaction.
#[derive(Debug)]
pub struct Transaction {
    capabilities: Capabilities,
    lmtp: bool,
    envelope: Envelope,
    outcomes: Vec<Outcome>,
    next_step: Option<Step>,
    waiting: VecDeque<(Step, usize)>,
    under_way: usize,
    mail_accepted: bool,
    aborted: bool,
}

impl Transaction {
    /// A transaction; `envelope.recipients` must not be empty.
    #[must_use]
    pub fn new(envelope: Envelope, capabilities: Capabilities, lmtp: bool) -> Transaction {
        let outcomes = vec![Outcome::Open; envelope.recipients.len()];
        Transaction {
            capabilities,
            lmtp,
            envelope,
            outcomes,
            next_step: Some(Step::Mail),
            waiting: VecDeque::new(),
            under_way: 0,
            mail_accepted: false,
            aborted: false,
        }
    }

    /// What became of each recipient so far.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The step whose reply is due, for timeouts and error texts.
    #[must_use]
    pub fn waiting_for(&self) -> Option<Step> {
        self.waiting.front().map(|(step, _)| *step)
    }

    /// True when no reply has come yet: a reused connection that breaks now says nothing about the message.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        !self.mail_accepted && self.outcomes.iter().all(|outcome| *outcome == Outcome::Open)
    }

    /// Appends the commands that may be sent now.
    pub fn commands(&mut self, output: &mut Vec<u8>) {
        while let Some(step) = self.next_step {
            let may_send = if self.capabilities.has(Keywords::PIPELINING) {
                self.waiting.is_empty() || self.under_way < COMMAND_WINDOW
            } else {
                self.waiting.is_empty()
            };
            if !may_send {
                return;
            }
            let start = output.len();
            match step {
                Step::Mail => self.put_mail(output),
                Step::Rcpt(index) => self.put_rcpt(index, output),
                _ => command::data(output),
            }
            let length = output.len() - start;
            self.waiting.push_back((step, length));
            self.under_way += length;
            self.next_step = match step {
                Step::Mail => Some(Step::Rcpt(0)),
                Step::Rcpt(index) if index + 1 < self.envelope.recipients.len() => Some(Step::Rcpt(index + 1)),
                // Without pipelining DATA waits until it is known that there is a recipient for it.
                Step::Rcpt(_) => Some(Step::Data),
                _ => None,
            };
        }
    }

    /// Takes the reply to the step that is due.
    pub fn reply(&mut self, reply: Reply) -> Next {
        let Some((step, length)) = self.waiting.pop_front() else { return Next::Done };
        self.under_way -= length;
        match step {
            Step::Mail if is_ok(&reply) => self.mail_accepted = true,
            Step::Mail => self.refuse_all(&reply, step),
            Step::Rcpt(index) => {
                if is_ok(&reply) && self.mail_accepted {
                    self.outcomes[index] = Outcome::Accepted;
                } else if self.outcomes[index] == Outcome::Open {
                    self.outcomes[index] = Outcome::Refused(reply, step);
                }
            }
            Step::Data => return self.data_reply(&reply),
            Step::EndOfData(None) => {
                for outcome in self.outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Accepted) {
                    *outcome = final_outcome(reply.clone(), step);
                }
            }
            Step::EndOfData(Some(index)) => self.outcomes[index] = final_outcome(reply, step),
            Step::EmptyData => {}
        }
        self.skip_data_without_recipients();
        if self.waiting.is_empty() && self.next_step.is_none() { Next::Done } else { Next::Continue }
    }

    /// The message and its final dot are on the way.
    pub fn body_sent(&mut self) {
        if self.aborted {
            self.waiting.push_back((Step::EmptyData, 0));
        } else if self.lmtp {
            let accepted = (0..self.outcomes.len()).filter(|index| self.outcomes[*index] == Outcome::Accepted);
            self.waiting.extend(accepted.map(|index| (Step::EndOfData(Some(index)), 0)));
        } else {
            self.waiting.push_back((Step::EndOfData(None), 0));
        }
    }

    fn data_reply(&mut self, reply: &Reply) -> Next {
        let accepted = self.outcomes.contains(&Outcome::Accepted);
        if reply.code / 100 == 3 {
            self.aborted = !accepted;
            return if accepted { Next::SendBody } else { Next::SendEmptyBody };
        }
        for outcome in self.outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Accepted) {
            *outcome = Outcome::Refused(reply.clone(), Step::Data);
        }
        Next::Done
    }

    fn refuse_all(&mut self, reply: &Reply, step: Step) {
        for outcome in &mut self.outcomes {
            if *outcome == Outcome::Open {
                *outcome = Outcome::Refused(reply.clone(), step);
            }
        }
    }

    /// Without pipelining, nothing is said to a server that accepted neither sender nor recipients.
    fn skip_data_without_recipients(&mut self) {
        let settled = !self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Open | Outcome::Accepted));
        if settled && self.next_step.is_some() {
            self.next_step = None;
        }
    }

    fn put_mail(&self, output: &mut Vec<u8>) {
        let envelope = &self.envelope;
        let offers = |keyword| self.capabilities.has(keyword);
        let dsn = offers(Keywords::DSN);
        command::mail(
            output,
            &Mail {
                sender: &envelope.sender,
                size: Some(envelope.size).filter(|size| *size > 0 && self.capabilities.size != Size::Absent),
                body: Some(Body::EightBitMime).filter(|_| envelope.eight_bit && offers(Keywords::EIGHTBITMIME)),
                ret: envelope.ret.filter(|_| dsn),
                envelope_id: envelope.envelope_id.as_ref().map(|id| id.as_slice()).filter(|_| dsn),
                smtputf8: offers(Keywords::SMTPUTF8) && self.needs_smtputf8(),
                ..Mail::default()
            },
        );
    }

    fn needs_smtputf8(&self) -> bool {
        !self.envelope.sender.is_ascii() || self.envelope.recipients.iter().any(|rcpt| !rcpt.address.is_ascii())
    }

    fn put_rcpt(&self, index: usize, output: &mut Vec<u8>) {
        let recipient = &self.envelope.recipients[index];
        let dsn = self.capabilities.has(Keywords::DSN);
        command::rcpt(
            output,
            &command::Recipient {
                recipient: &recipient.address,
                notify: if dsn { recipient.notify } else { Notify::UNSPECIFIED },
                original: recipient.original.as_ref().map(|original| original.as_slice()).filter(|_| dsn),
            },
        );
    }
}

/// 2xx: the only promise there is.
fn is_ok(reply: &Reply) -> bool {
    reply.code / 100 == 2
}

fn final_outcome(reply: Reply, step: Step) -> Outcome {
    if is_ok(&reply) { Outcome::Sent(reply) } else { Outcome::Refused(reply, step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(recipients: &[&str]) -> Envelope {
        Envelope {
            sender: "s@x.example".into(),
            size: 100,
            recipients: recipients
                .iter()
                .map(|address| Recipient { address: (*address).into(), ..Recipient::default() })
                .collect(),
            ..Envelope::default()
        }
    }

    fn reply(code: u16) -> Reply {
        Reply { code, text: format!("{code} text").into() }
    }

    fn pipelining() -> Capabilities {
        Capabilities { keywords: Keywords::PIPELINING, ..Capabilities::default() }
    }

    fn summary(transaction: &Transaction) -> Vec<String> {
        let word = |outcome: &Outcome| match outcome {
            Outcome::Open => "open".to_owned(),
            Outcome::Accepted => "accepted".to_owned(),
            Outcome::Sent(reply) => format!("sent {}", reply.code),
            Outcome::Refused(reply, step) => format!("{} {}", reply.code, step.command()),
        };
        transaction.outcomes().iter().map(word).collect()
    }

    /// Runs a conversation from a list of reply codes; the result is what was sent and the outcomes.
    fn run(recipients: &[&str], capabilities: Capabilities, lmtp: bool, codes: &[u16]) -> (String, Vec<String>) {
        let mut transaction = Transaction::new(envelope(recipients), capabilities, lmtp);
        let mut sent = Vec::new();
        transaction.commands(&mut sent);
        for code in codes {
            sent.push(b'|');
            match transaction.reply(reply(*code)) {
                Next::Continue => transaction.commands(&mut sent),
                Next::SendBody => {
                    sent.extend_from_slice(b"body");
                    transaction.body_sent();
                }
                Next::SendEmptyBody => {
                    sent.push(b'.');
                    transaction.body_sent();
                }
                Next::Done => sent.push(b'$'),
            }
        }
        (String::from_utf8(sent).expect("ascii").replace("\r\n", ";"), summary(&transaction))
    }

    #[test]
    fn one_by_one() {
        let (sent, outcomes) = run(&["a@y", "b@y"], Capabilities::default(), false, &[250, 250, 550, 354, 250]);
        assert_eq!(sent, "MAIL FROM:<s@x.example>;|RCPT TO:<a@y>;|RCPT TO:<b@y>;|DATA;|body|$");
        assert_eq!(outcomes, ["sent 250", "550 RCPT TO command"]);
    }

    #[test]
    fn pipelined() {
        let features = Capabilities { size: Size::Unlimited, ..pipelining() };
        let (sent, outcomes) = run(&["a@y", "b@y"], features, false, &[250, 450, 250, 354, 452]);
        assert_eq!(sent, "MAIL FROM:<s@x.example> SIZE=100;RCPT TO:<a@y>;RCPT TO:<b@y>;DATA;||||body|$");
        assert_eq!(outcomes, ["450 RCPT TO command", "452 end of DATA command"]);
    }

    #[test]
    fn refused_sender() {
        let (sent, outcomes) = run(&["a@y"], Capabilities::default(), false, &[553]);
        assert_eq!(sent, "MAIL FROM:<s@x.example>;|$");
        assert_eq!(outcomes, ["553 MAIL FROM command"]);
        let features = pipelining();
        let (sent, outcomes) = run(&["a@y"], features, false, &[553, 503, 503]);
        assert_eq!(sent, "MAIL FROM:<s@x.example>;RCPT TO:<a@y>;DATA;|||$");
        assert_eq!(outcomes, ["553 MAIL FROM command"], "later replies do not matter");
    }

    #[test]
    fn a_server_that_leaves_owes_replies() {
        let mut transaction = Transaction::new(envelope(&["a@y"]), pipelining(), false);
        transaction.commands(&mut Vec::new());
        transaction.reply(reply(553));
        transaction.reply(reply(421));
        assert_eq!(summary(&transaction), ["553 MAIL FROM command"]);
        assert_eq!(transaction.waiting_for(), Some(Step::Data), "its session is of no use for another message");
    }

    #[test]
    fn data_accepted_without_recipients_gets_an_empty_message() {
        let features = pipelining();
        let (sent, outcomes) = run(&["a@y"], features, false, &[250, 550, 354, 554]);
        assert_eq!(sent, "MAIL FROM:<s@x.example>;RCPT TO:<a@y>;DATA;|||.|$");
        assert_eq!(outcomes, ["550 RCPT TO command"]);
    }

    #[test]
    fn a_server_that_accepts_an_empty_message_has_taken_nothing() {
        let features = pipelining();
        let (_, outcomes) = run(&["a@y"], features, false, &[250, 550, 354, 250]);
        assert_eq!(outcomes, ["550 RCPT TO command"]);
    }

    #[test]
    fn lmtp_answers_for_each_recipient() {
        let features = pipelining();
        let (sent, outcomes) = run(&["a@y", "b@y", "c@y"], features, true, &[250, 250, 550, 250, 354, 250, 452]);
        assert!(sent.ends_with("|body||$"), "{sent}");
        assert_eq!(outcomes, ["sent 250", "550 RCPT TO command", "452 end of DATA command"]);
    }

    #[test]
    fn refused_data() {
        let (_, outcomes) = run(&["a@y"], Capabilities::default(), false, &[250, 250, 451]);
        assert_eq!(outcomes, ["451 DATA command"]);
        let (_, outcomes) = run(&["a@y"], Capabilities::default(), false, &[250, 250, 250]);
        assert_eq!(outcomes, ["250 DATA command"], "2xx is no go-ahead, and nothing was sent");
    }

    #[test]
    fn dsn_parameters_only_where_announced() {
        let mut envelope = envelope(&["a@y"]);
        envelope.ret = Some(Return::Headers);
        envelope.envelope_id = Some("id+1".into());
        envelope.recipients[0].notify = Notify::NEVER;
        envelope.recipients[0].original = Some("rfc822;a+b@z".into());
        let commands = |features: Capabilities| {
            let mut output = Vec::new();
            Transaction::new(envelope.clone(), features, false).commands(&mut output);
            String::from_utf8(output).expect("ascii").replace("\r\n", ";")
        };
        let with = commands(Capabilities { keywords: Keywords::PIPELINING | Keywords::DSN, ..pipelining() });
        assert_eq!(
            with,
            "MAIL FROM:<s@x.example> RET=HDRS ENVID=id+2B1;RCPT TO:<a@y> NOTIFY=NEVER ORCPT=rfc822;a+2Bb@z;DATA;"
        );
        let without = commands(pipelining());
        assert_eq!(without, "MAIL FROM:<s@x.example>;RCPT TO:<a@y>;DATA;");
    }

    #[test]
    fn the_window_is_bounded() {
        let many: Vec<String> = (0..2000).map(|n| format!("recipient-{n}@example.com")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let features = pipelining();
        let mut transaction = Transaction::new(envelope(&names), features, false);
        let mut output = Vec::new();
        transaction.commands(&mut output);
        assert!(output.len() < COMMAND_WINDOW + 100, "{}", output.len());
        let mut replies = 0;
        loop {
            replies += 1;
            match transaction.reply(reply(if replies == 2002 { 354 } else { 250 })) {
                Next::Continue => transaction.commands(&mut output),
                next => {
                    assert_eq!(next, Next::SendBody);
                    break;
                }
            }
        }
        assert_eq!(replies, 2002);
    }
}
