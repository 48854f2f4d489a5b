//! The parameters that decisions depend on, besides the lists.

use bstr::BString;

use super::parse::Lists;

/// SMTP codes of refusals.
#[derive(Clone, Debug)]
pub struct Codes {
    /// `reject_code`
    pub reject: u16,
    /// `defer_code`
    pub defer: u16,
    /// `access_map_reject_code`
    pub access_reject: u16,
    /// `access_map_defer_code`
    pub access_defer: u16,
    /// `relay_domains_reject_code`
    pub relay: u16,
    /// `non_fqdn_reject_code`
    pub non_fqdn: u16,
    /// `invalid_hostname_reject_code`
    pub invalid_hostname: u16,
    /// `unknown_hostname_reject_code`
    pub unknown_hostname: u16,
    /// `unknown_client_reject_code`
    pub unknown_client: u16,
    /// `unknown_address_reject_code`
    pub unknown_address: u16,
    /// `unknown_local_recipient_reject_code`
    pub unknown_local: u16,
    /// `unknown_relay_recipient_reject_code`
    pub unknown_relay: u16,
    /// `unknown_virtual_alias_reject_code`
    pub unknown_virtual_alias: u16,
    /// `unknown_virtual_mailbox_reject_code`
    pub unknown_virtual_mailbox: u16,
    /// `multi_recipient_bounce_reject_code`
    pub multi_recipient_bounce: u16,
    /// `plaintext_reject_code`
    pub plaintext: u16,
}

impl Default for Codes {
    fn default() -> Codes {
        Codes {
            reject: 554,
            defer: 450,
            access_reject: 554,
            access_defer: 450,
            relay: 554,
            non_fqdn: 504,
            invalid_hostname: 501,
            unknown_hostname: 450,
            unknown_client: 450,
            unknown_address: 450,
            unknown_local: 550,
            unknown_relay: 550,
            unknown_virtual_alias: 550,
            unknown_virtual_mailbox: 550,
            multi_recipient_bounce: 550,
            plaintext: 450,
        }
    }
}

/// `reject_tempfail_action` and its relatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TempfailAction {
    /// `defer_if_permit`: other restrictions may still reject for good.
    #[default]
    DeferIfPermit,
    /// `defer`: refuse at once.
    Defer,
}

impl TempfailAction {
    /// The parameter's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<TempfailAction> {
        match text {
            "defer_if_permit" => Some(TempfailAction::DeferIfPermit),
            "defer" => Some(TempfailAction::Defer),
            _ => None,
        }
    }
}

/// Everything that decisions depend on.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent parameters")]
pub struct Policy {
    /// The lists.
    pub lists: Lists,
    /// Codes of refusals.
    pub codes: Codes,
    /// `smtpd_delay_reject`
    pub delay_reject: bool,
    /// `smtpd_relay_before_recipient_restrictions`
    pub relay_first: bool,
    /// `smtpd_reject_unlisted_recipient`
    pub reject_unlisted_recipient: bool,
    /// `smtpd_reject_unlisted_sender`
    pub reject_unlisted_sender: bool,
    /// `allow_untrusted_routing`
    pub allow_untrusted_routing: bool,
    /// `show_user_unknown_table_name`
    pub show_table_name: bool,
    /// `smtpd_access_maps` is in `parent_domain_matches_subdomains`.
    pub parents_match: bool,
    /// `smtpd_null_access_lookup_key`
    pub null_key: BString,
    /// `unknown_address_tempfail_action`
    pub address_tempfail: TempfailAction,
    /// `unknown_helo_hostname_tempfail_action`
    pub helo_tempfail: TempfailAction,
    /// `smtpd_log_access_permit_actions`: permits by restrictions of these names are logged.
    pub log_permits: Vec<String>,
}
