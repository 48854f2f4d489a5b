//! From the text of a list to rules.

use std::collections::HashMap;

use super::certificate_checks::{ClientCertificates, FingerprintOrder, table_and_order};
use super::rule::{AccessKey, Restriction, Rule, Stage};

/// How deep classes may name classes.
const DEEPEST: usize = 100;

/// All lists of a server, and the tables that they name.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// `smtpd_client_restrictions`
    pub client: Vec<Rule>,
    /// `smtpd_helo_restrictions`
    pub helo: Vec<Rule>,
    /// `smtpd_sender_restrictions`
    pub sender: Vec<Rule>,
    /// `smtpd_relay_restrictions`
    pub relay: Vec<Rule>,
    /// `smtpd_recipient_restrictions`
    pub recipient: Vec<Rule>,
    /// `smtpd_data_restrictions`
    pub data: Vec<Rule>,
    /// `smtpd_end_of_data_restrictions`
    pub end_of_data: Vec<Rule>,
    /// `smtpd_etrn_restrictions`
    pub etrn: Vec<Rule>,
    /// `type:name` of each access table, in the order of their indexes.
    pub tables: Vec<String>,
    /// What is odd about the lists, for warnings at the start.
    pub warnings: Vec<String>,
    /// `smtpd_restriction_classes` and their texts.
    classes: HashMap<String, String>,
}

impl Lists {
    /// Lists that know these classes.
    #[must_use]
    pub fn new(classes: HashMap<String, String>) -> Lists {
        Lists { classes, ..Lists::default() }
    }

    /// Sets the list of a stage.
    pub fn set(&mut self, stage: Stage, text: &str) {
        let rules = self.parse(stage, text);
        self.warn_about_dead_rules(&rules);
        *match stage {
            Stage::Client => &mut self.client,
            Stage::Helo => &mut self.helo,
            Stage::Sender => &mut self.sender,
            Stage::Relay => &mut self.relay,
            Stage::Recipient => &mut self.recipient,
            Stage::Data => &mut self.data,
            Stage::EndOfData => &mut self.end_of_data,
            Stage::Etrn => &mut self.etrn,
        } = rules;
        // Classes are evaluated where they stand, but their tables are opened now.
        let classes: Vec<String> = self.classes.values().cloned().collect();
        for text in classes {
            self.parse(stage, &text);
        }
    }

    /// The list of a stage.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &[Rule] {
        match stage {
            Stage::Client => &self.client,
            Stage::Helo => &self.helo,
            Stage::Sender => &self.sender,
            Stage::Relay => &self.relay,
            Stage::Recipient => &self.recipient,
            Stage::Data => &self.data,
            Stage::EndOfData => &self.end_of_data,
            Stage::Etrn => &self.etrn,
        }
    }

    /// The rules of a restriction class, read as part of a stage's list.
    #[must_use]
    pub fn class(&self, name: &str, stage: Stage) -> Option<Vec<Rule>> {
        let text = self.classes.get(name)?;
        Some(self.parse_known(stage, text, true))
    }

    /// The rules of a table's result, which names restrictions. Tables inside tables are not possible: they could not be
    /// opened any more.
    #[must_use]
    pub fn of_result(&self, stage: Stage, text: &str) -> Vec<Rule> {
        self.parse_known(stage, text, false)
    }

    /// Deepest nesting of classes and results.
    #[must_use]
    pub const fn deepest() -> usize {
        DEEPEST
    }

    fn parse(&mut self, stage: Stage, text: &str) -> Vec<Rule> {
        for word in config_words(text) {
            // `{type:table, {search_order = ...}}` of check_ccert_access
            let word = table_and_order(&word).map_or(word, |(table, _)| table);
            if is_table(&word) && !self.tables.contains(&word) {
                self.tables.push(word);
            }
        }
        self.parse_known(stage, text, true)
    }

    fn parse_known(&self, stage: Stage, text: &str, tables_allowed: bool) -> Vec<Rule> {
        let words = config_words(text);
        let mut rules = Vec::new();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            let (rule, used) = self.rule(stage, word, words.get(at + 1).map(String::as_str), tables_allowed);
            rules.push(rule);
            at += used;
        }
        rules
    }

    fn rule(&self, stage: Stage, word: &str, next: Option<&str>, tables_allowed: bool) -> (Rule, usize) {
        let rule = |restriction: Restriction| Rule { name: word.to_owned(), restriction };
        if is_table(word) {
            let restriction = match (self.tables.iter().position(|name| name == word), stage.default_access()) {
                _ if !tables_allowed => Restriction::Misconfigured(format!(
                    "lookup table {word} inside an access table: define a restriction class and specify its name instead"
                )),
                (Some(index), Some(key)) => Restriction::Access(key, index),
                _ => Restriction::Misconfigured(format!(
                    "specify a check_ restriction before {word} in {}",
                    stage.parameter()
                )),
            };
            return (rule(restriction), 1);
        }
        let lower = word.to_ascii_lowercase();
        if let Some(key) = access_key(&lower) {
            let with_order = next.filter(|_| lower == "check_ccert_access").and_then(table_and_order);
            let (table, key) = match with_order {
                Some((table, order)) => (Some(table), AccessKey::Certificate(order)),
                None => (next.filter(|next| is_table(next)).map(str::to_owned), key),
            };
            let restriction = match table.and_then(|table| self.tables.iter().position(|name| *name == table)) {
                Some(index) if tables_allowed => Restriction::Access(key, index),
                _ => Restriction::Misconfigured(format!(
                    "restriction {lower}: bad argument \"{}\": need maptype:mapname",
                    next.unwrap_or_default()
                )),
            };
            let name = next.map_or_else(|| word.to_owned(), |next| format!("{word} {next}"));
            return (Rule { name, restriction }, 1 + usize::from(next.is_some()));
        }
        if lower == "sleep" {
            let seconds = next.and_then(|text| text.parse::<u32>().ok());
            let restriction = seconds.map_or_else(
                || Restriction::Misconfigured("restriction sleep must be followed by number".to_owned()),
                Restriction::Sleep,
            );
            return (rule(restriction), 1 + usize::from(next.is_some()));
        }
        if let Some(arguments) = not_available(&lower) {
            let text = format!("restriction {lower} is not available in this version");
            let used = 1 + if next.is_some() { arguments } else { 0 };
            return (rule(Restriction::Misconfigured(text)), used);
        }
        if self.classes.contains_key(word) {
            return (rule(Restriction::Class(word.to_owned())), 1);
        }
        let restriction = plain(&lower)
            .unwrap_or_else(|| Restriction::Misconfigured(format!("unknown smtpd restriction: \"{word}\"")));
        (rule(restriction), 1)
    }

    fn warn_about_dead_rules(&mut self, rules: &[Rule]) {
        for (at, rule) in rules.iter().enumerate() {
            let final_word = matches!(rule.restriction, Restriction::Permit | Restriction::Reject | Restriction::Defer);
            let only_warns = at > 0 && rules[at - 1].restriction == Restriction::WarnIfReject;
            if final_word && !only_warns {
                if let Some(dead) = rules.get(at + 1) {
                    self.warnings.push(format!("restriction `{}' after `{}' is ignored", dead.name, rule.name));
                }
                return;
            }
        }
    }
}

/// Words between commas and blanks; `{...}` stays together, so that inline tables are one word.
fn config_words(text: &str) -> Vec<String> {
    tables::list::split(text).map(str::to_owned).collect()
}

fn is_table(word: &str) -> bool {
    word.split_once(':').is_some_and(|(kind, name)| {
        !kind.is_empty() && !name.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

fn access_key(name: &str) -> Option<AccessKey> {
    Some(match name {
        "check_client_access" => AccessKey::Client,
        "check_reverse_client_hostname_access" => AccessKey::ReverseClient,
        "check_helo_access" => AccessKey::Helo,
        "check_sender_access" => AccessKey::Sender,
        "check_recipient_access" => AccessKey::Recipient,
        "check_etrn_access" => AccessKey::Etrn,
        "check_ccert_access" => AccessKey::Certificate(FingerprintOrder::default()),
        _ => return None,
    })
}

fn plain(name: &str) -> Option<Restriction> {
    Some(match name {
        "permit" => Restriction::Permit,
        "reject" => Restriction::Reject,
        "defer" => Restriction::Defer,
        "defer_if_permit" => Restriction::DeferIfPermit,
        "defer_if_reject" => Restriction::DeferIfReject,
        "warn_if_reject" => Restriction::WarnIfReject,
        "reject_unauth_pipelining" => Restriction::RejectUnauthPipelining,
        "reject_plaintext_session" => Restriction::RejectPlaintextSession,
        "permit_mynetworks" => Restriction::PermitMynetworks,
        "permit_inet_interfaces" => Restriction::PermitInetInterfaces,
        "permit_sasl_authenticated" => Restriction::PermitNobody,
        "permit_tls_clientcerts" => Restriction::PermitCertificate(ClientCertificates::Listed),
        "permit_tls_all_clientcerts" => Restriction::PermitCertificate(ClientCertificates::Trusted),
        "reject_unknown_client_hostname" | "reject_unknown_client" => Restriction::RejectUnknownClientHostname,
        "reject_unknown_reverse_client_hostname" => Restriction::RejectUnknownReverseClientHostname,
        "reject_invalid_helo_hostname" | "reject_invalid_hostname" => Restriction::RejectInvalidHeloHostname,
        "reject_non_fqdn_helo_hostname" | "reject_non_fqdn_hostname" => Restriction::RejectNonFqdnHeloHostname,
        "reject_unknown_helo_hostname" | "reject_unknown_hostname" => Restriction::RejectUnknownHeloHostname,
        "reject_non_fqdn_sender" => Restriction::RejectNonFqdnSender,
        "reject_unknown_sender_domain" | "reject_unknown_address" => Restriction::RejectUnknownSenderDomain,
        "reject_unlisted_sender" => Restriction::RejectUnlistedSender,
        "permit_auth_destination" => Restriction::PermitAuthDestination,
        "reject_unauth_destination" => Restriction::RejectUnauthDestination,
        "defer_unauth_destination" => Restriction::DeferUnauthDestination,
        "reject_non_fqdn_recipient" => Restriction::RejectNonFqdnRecipient,
        "reject_unknown_recipient_domain" => Restriction::RejectUnknownRecipientDomain,
        "reject_unlisted_recipient" | "check_recipient_maps" => Restriction::RejectUnlistedRecipient,
        "reject_multi_recipient_bounce" => Restriction::RejectMultiRecipientBounce,
        _ => return None,
    })
}

/// Restrictions that are known but need what is not there yet, with the number of their arguments; and those that the
/// reference removed in 3.9, which are a configuration error there too.
fn not_available(name: &str) -> Option<usize> {
    let arguments = match name {
        "check_policy_service" | "check_sasl_access" => 1,
        "reject_rbl_client" | "reject_rbl" | "reject_rhsbl_client" | "reject_rhsbl_reverse_client" => 1,
        "reject_rhsbl_helo" | "reject_rhsbl_sender" | "reject_rhsbl_recipient" => 1,
        "permit_dnswl_client" | "permit_rhswl_client" => 1,
        "permit_mx_backup" | "reject_unverified_sender" | "reject_unverified_recipient" => 0,
        "reject_sender_login_mismatch" | "reject_authenticated_sender_login_mismatch" => 0,
        "reject_known_sender_login_mismatch" | "reject_unauthenticated_sender_login_mismatch" => 0,
        "reject_maps_rbl" | "permit_naked_ip_address" | "check_relay_domains" => 0,
        _ => {
            let middle = name.strip_prefix("check_")?.strip_suffix("_access")?;
            let dns = ["_a", "_mx", "_ns"].iter().any(|suffix| middle.ends_with(suffix));
            return dns.then_some(1);
        }
    };
    Some(arguments)
}
