//! Tables of decisions over a world made of literals.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use super::*;

/// Tables `x:name` hold what is here; a table called `x:broken` has no answers.
#[derive(Default)]
struct Fake {
    tables: Vec<String>,
    entries: HashMap<(String, String), String>,
}

impl Fake {
    fn of(lists: &Lists, entries: &[(&str, &str, &str)]) -> Fake {
        let entries = entries.iter().map(|(t, k, v)| (((*t).to_owned(), (*k).to_owned()), (*v).to_owned())).collect();
        Fake { tables: lists.tables.clone(), entries }
    }

    fn get(&self, table: usize, key: &str) -> Result<Option<BString>, TableFailure> {
        let table = &self.tables[table];
        if table == "x:broken" {
            return Err(TableFailure);
        }
        Ok(self.entries.get(&(table.clone(), key.to_ascii_lowercase())).map(|value| value.as_str().into()))
    }
}

impl Lookup for Fake {
    fn table_name(&self, table: usize) -> String {
        self.tables[table].clone()
    }

    async fn access(&self, table: usize, key: &[u8], _: bool) -> Result<Option<BString>, TableFailure> {
        self.get(table, &key.to_str_lossy())
    }

    async fn access_address(&self, table: usize, address: &[u8]) -> Result<Option<BString>, TableFailure> {
        let domain = address::split(address).1.unwrap_or_default();
        let whole = self.get(table, &address.to_str_lossy())?;
        Ok(whole.or(self.get(table, &domain.to_str_lossy())?))
    }

    async fn in_mynetworks(&self, _: &str, address: &str) -> Result<bool, TableFailure> {
        Ok(address == "10.0.0.1")
    }

    async fn is_relay_certificate(&self, fingerprint: &str) -> Result<bool, TableFailure> {
        match fingerprint {
            "BROKEN" => Err(TableFailure),
            other => Ok(other == "LISTED"),
        }
    }

    fn asks_for_certificates(&self) -> bool {
        false
    }

    fn is_own_address(&self, address: &str) -> bool {
        address == "10.0.0.2"
    }

    async fn destination(&self, address: &[u8]) -> Result<Destination, TableFailure> {
        match address::split(address).1 {
            Some(b"here") => Ok(Destination::Final),
            Some(b"relay") => Ok(Destination::Relay),
            Some(b"broken") => Err(TableFailure),
            _ => Ok(Destination::Other),
        }
    }

    async fn unlisted(&self, address: &[u8]) -> Result<Option<Unlisted>, TableFailure> {
        Ok(if address.starts_with(b"nobody@here") { Some(Unlisted::Local) } else { None })
    }

    async fn mail_domain(&self, domain: &[u8]) -> MailDomain {
        match domain {
            b"null" => MailDomain::NullMx,
            b"gone" => MailDomain::NotFound,
            b"later" => MailDomain::TryAgain,
            _ => MailDomain::Exists,
        }
    }

    async fn host(&self, name: &[u8]) -> HostFound {
        if name == b"gone" { HostFound::NotFound } else { HostFound::Exists }
    }
}

fn subject() -> Subject {
    Subject {
        client_name: "mail.client.example".into(),
        reverse_name: "mail.client.example".into(),
        client_address: "192.0.2.7".into(),
        client: "mail.client.example[192.0.2.7]".into(),
        helo: Some("helo.example".into()),
        sender: Some("s@client.example".into()),
        recipient: Some("r@here".into()),
        ..Subject::default()
    }
}

const TABLE: &[(&str, &str, &str)] = &[
    ("x:t", "r@here", "REJECT go"),
    ("x:ok", "r@here", "OK"),
    ("x:ok", "r%there@here", "OK"),
    ("x:net", "192.0.2", "450 4.2.0 net"),
    ("x:dom", "client.example", "DUNNO"),
    ("x:dom", "example", "REJECT never seen"),
    ("x:class", "r@here", "strict"),
    ("x:inner", "r@here", "permit_mynetworks, reject"),
    ("x:hold", "r@here", "HOLD"),
    ("x:pre", "r@here", "PREPEND X-A: b"),
    ("x:drop", "r@here", "DISCARD"),
    ("x:hang", "r@here", "HANGUP"),
    ("x:loop", "r@here", "self"),
];

fn decide_with(subject: &Subject, set: &dyn Fn(&mut Policy), lists: &[(Stage, &str)]) -> Decision {
    let classes = [("strict", "reject_non_fqdn_recipient, reject"), ("self", "self"), ("mild", "permit_mynetworks")];
    let mut policy = Policy {
        lists: Lists::new(classes.map(|(name, text)| (name.to_owned(), text.to_owned())).into()),
        delay_reject: true,
        relay_first: true,
        show_table_name: true,
        parents_match: true,
        null_key: "<>".into(),
        ..Policy::default()
    };
    for (stage, text) in lists {
        policy.lists.set(*stage, text);
    }
    set(&mut policy);
    let fake = Fake::of(&policy.lists, TABLE);
    server::testing::run(async { Engine::new(&policy, &fake, subject, Carried::default()).recipient().await.0 })
}

fn decide(subject: &Subject, lists: &[(Stage, &str)]) -> Decision {
    decide_with(subject, &|_| {}, lists)
}

/// The reply to RCPT, or `ok`.
fn reply(subject: &Subject, lists: &[(Stage, &str)]) -> String {
    match decide(subject, lists).verdict {
        Verdict::Permit => "ok".to_owned(),
        Verdict::Refuse(refusal) => String::from_utf8_lossy(&refusal.reply()).into_owned(),
        Verdict::HangUp => "hangup".to_owned(),
    }
}

#[test]
fn recipient_list() {
    for (list, expected) in [
        ("", "ok"),
        ("permit", "ok"),
        ("reject", "554 5.7.1 <r@here>: Recipient address rejected: Access denied"),
        ("defer", "450 4.3.2 <r@here>: Recipient address rejected: Try again later"),
        ("permit, reject", "ok"),
        ("permit_auth_destination, reject", "ok"),
        (
            "permit_mynetworks, permit_inet_interfaces, permit_sasl_authenticated, reject",
            "554 5.7.1 <r@here>: Recipient address rejected: Access denied",
        ),
        ("check_recipient_access x:t", "554 5.7.1 <r@here>: Recipient address rejected: go"),
        ("x:t", "554 5.7.1 <r@here>: Recipient address rejected: go"),
        ("check_recipient_access x:ok, reject", "ok"),
        ("check_client_access x:net", "450 4.2.0 <mail.client.example[192.0.2.7]>: Client host rejected: net"),
        ("check_client_access x:dom, check_sender_access x:dom", "ok"),
        (
            "check_recipient_access x:broken",
            "451 4.3.5 <r@here>: Recipient address rejected: Server configuration error",
        ),
        (
            "warn_if_reject check_recipient_access x:broken",
            "451 4.3.5 <r@here>: Recipient address rejected: Server configuration error",
        ),
        ("warn_if_reject reject", "ok"),
        ("warn_if_reject strict", "ok"),
        ("strict", "504 5.5.2 <r@here>: Recipient address rejected: need fully-qualified address"),
        (
            "check_recipient_access x:class",
            "504 5.5.2 <r@here>: Recipient address rejected: need fully-qualified address",
        ),
        ("check_recipient_access x:inner", "554 5.7.1 <r@here>: Recipient address rejected: Access denied"),
        ("check_recipient_access x:loop", "451 4.3.5 Server configuration error"),
        ("defer_if_permit", "450 4.7.0 <r@here>: Recipient address rejected: defer_if_permit requested"),
        ("defer_if_permit, reject", "554 5.7.1 <r@here>: Recipient address rejected: Access denied"),
        ("defer_if_reject, reject", "450 4.7.0 <r@here>: Recipient address rejected: defer_if_reject requested"),
        ("defer_if_reject, permit", "ok"),
        ("reject_rbl_client zen.example, permit", "451 4.3.5 Server configuration error"),
        ("check_policy_service unix:private/policy", "451 4.3.5 Server configuration error"),
        ("check_sender_mx_access x:t", "451 4.3.5 Server configuration error"),
        ("frobnicate", "451 4.3.5 Server configuration error"),
        ("check_recipient_access", "451 4.3.5 Server configuration error"),
        ("check_recipient_access x:drop, reject", "ok"),
        ("check_recipient_access x:hang", "hangup"),
        ("reject_plaintext_session", "450 4.7.1 Session encryption is required"),
    ] {
        assert_eq!(reply(&subject(), &[(Stage::Recipient, list)]), expected, "{list}");
    }
}

#[test]
fn relay_control() {
    let rule: &[(Stage, &str)] = &[(Stage::Relay, "permit_mynetworks, reject_unauth_destination")];
    for (client, recipient, expected) in [
        ("192.0.2.7", "r@here", "ok"),
        ("192.0.2.7", "r@relay", "ok"),
        ("192.0.2.7", "r", "ok"),
        ("192.0.2.7", "r@there", "554 5.7.1 <r@there>: Relay access denied"),
        ("192.0.2.7", "r%there@relay", "554 5.7.1 <r%there@relay>: Relay access denied"),
        ("192.0.2.7", "r@broken", "451 4.3.0 <r@broken>: Temporary lookup failure"),
        ("10.0.0.1", "r@there", "ok"),
    ] {
        let subject = Subject { client_address: client.into(), recipient: Some(recipient.into()), ..subject() };
        assert_eq!(reply(&subject, rule), expected, "{client} {recipient}");
    }
    let subject = Subject { recipient: Some("r@there".into()), ..subject() };
    assert_eq!(
        reply(&subject, &[(Stage::Relay, "defer_unauth_destination")]),
        "454 4.7.1 <r@there>: Relay access denied"
    );
    // What a table permits here must not lead elsewhere.
    let routed = Subject { recipient: Some("r%there@here".into()), ..subject };
    assert_ne!(reply(&routed, &[(Stage::Relay, "check_recipient_access x:ok, reject")]), "ok");
}

#[test]
fn put_off_lists_come_first_and_in_order() {
    let all = [
        (Stage::Client, "permit"),
        (Stage::Helo, "reject_unknown_helo_hostname"),
        (Stage::Sender, "reject_unknown_sender_domain"),
        (Stage::Recipient, "reject"),
    ];
    let gone = Subject { helo: Some("gone".into()), sender: Some("s@gone".into()), ..subject() };
    assert_eq!(reply(&gone, &all), "450 4.7.1 <gone>: Helo command rejected: Host not found");
    let gone = Subject { sender: Some("s@gone".into()), ..subject() };
    assert_eq!(reply(&gone, &all), "450 4.1.8 <s@gone>: Sender address rejected: Domain not found");
    let null = Subject { sender: Some("s@null".into()), ..subject() };
    assert_eq!(
        reply(&null, &all),
        "550 5.7.27 <s@null>: Sender address rejected: Domain null does not accept mail (nullMX)"
    );
    assert_eq!(reply(&subject(), &all), "554 5.7.1 <r@here>: Recipient address rejected: Access denied");
    // A lookup that fails defers only what would be permitted.
    let later = Subject { sender: Some("s@later".into()), ..subject() };
    assert_eq!(reply(&later, &all), "554 5.7.1 <r@here>: Recipient address rejected: Access denied");
    assert_eq!(reply(&later, &all[..3]), "450 4.1.8 <s@later>: Sender address rejected: Domain not found");
}

#[test]
fn postmaster_and_unlisted_recipients() {
    let reject = [(Stage::Recipient, "reject")];
    let postmaster = Subject { recipient: Some("PostMaster".into()), ..subject() };
    assert_eq!(reply(&postmaster, &reject), "ok");
    let nobody = Subject { recipient: Some("nobody@here".into()), ..subject() };
    let check = |policy: &mut Policy| policy.reject_unlisted_recipient = true;
    let Verdict::Refuse(refusal) = decide_with(&nobody, &check, &[]).verdict else { panic!("permitted") };
    assert_eq!(
        refusal.reply().as_bstr(),
        "550 5.1.1 <nobody@here>: Recipient address rejected: User unknown in local recipient table"
    );
    assert_eq!(decide_with(&subject(), &check, &[]).verdict, Verdict::Permit);
    let discarded = Subject { discarded: true, ..nobody };
    assert_eq!(decide_with(&discarded, &check, &reject).verdict, Verdict::Permit);
}

#[test]
fn decisions_say_what_made_them_and_what_goes_along() {
    let lists = [(Stage::Recipient, "check_recipient_access x:hold, check_recipient_access x:pre, x:t")];
    let decision = decide(&subject(), &lists);
    assert_eq!(
        decision.cause,
        Some(Cause {
            list: "smtpd_recipient_restrictions",
            restriction: "x:t".into(),
            table: Some("x:t".into()),
            value: Some("REJECT go".into()),
        })
    );
    assert_eq!(
        decision.effects,
        [
            Effect::Log { action: "hold", text: "<r@here>: Recipient address triggers HOLD action".into() },
            Effect::Hold,
            Effect::Prepend("X-A: b".into()),
        ]
    );
    let decision = decide(&subject(), &[(Stage::Recipient, "warn_if_reject reject, sleep 3, permit")]);
    assert!(matches!(decision.effects[..], [Effect::RejectWarning(_), Effect::Sleep(3)]));
    let Some(cause) = decision.cause else { panic!("no cause") };
    assert_eq!(cause.restriction, "permit");
}

#[test]
fn safety() {
    let classes = [("guard", "permit_mynetworks, reject_unauth_destination"), ("open", "permit")];
    let controls = |relay: &str, recipient: &str| {
        let mut lists = Lists::new(classes.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
        lists.set(Stage::Relay, relay);
        lists.set(Stage::Recipient, recipient);
        lists.control_relaying()
    };
    for (relay, recipient, safe) in [
        ("", "", false),
        ("permit_mynetworks, defer_unauth_destination", "", true),
        ("", "permit_mynetworks, reject_unauth_destination", true),
        ("permit, reject_unauth_destination", "", false),
        ("warn_if_reject reject_unauth_destination", "", false),
        ("warn_if_reject permit_mynetworks, reject", "", true),
        ("guard", "", true),
        ("open", "", false),
        ("check_recipient_access x:t", "", false),
        ("", "defer_if_permit", true),
    ] {
        assert_eq!(controls(relay, recipient), safe, "{relay} / {recipient}");
    }
}

#[test]
fn what_follows_a_last_word_is_warned_about() {
    let mut lists = Lists::default();
    lists.set(Stage::Recipient, "permit, reject_unauth_destination");
    assert_eq!(lists.warnings, ["restriction `reject_unauth_destination' after `permit' is ignored"]);
}
