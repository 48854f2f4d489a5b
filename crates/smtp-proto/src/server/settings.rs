//! What a session depends on.

use crate::Keywords;
use crate::server::problem::Problems;

/// `smtpd_forbid_bare_newline`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareNewline {
    /// `no`: LF alone is as good as CRLF, also around the final dot.
    Allow,
    /// `normalize`, `yes`: LF alone ends a line, but only CRLF `.` CRLF ends content.
    #[default]
    Normalize,
    /// `note`: as `normalize`, and what was seen is noted.
    Note,
    /// `reject`: commands and content with LF alone are refused.
    Reject,
}

impl BareNewline {
    /// The parameter's value, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<BareNewline> {
        Some(match text.to_ascii_lowercase().as_str() {
            "no" => BareNewline::Allow,
            "normalize" | "yes" => BareNewline::Normalize,
            "note" => BareNewline::Note,
            "reject" => BareNewline::Reject,
            _ => return None,
        })
    }
}

/// Numbers and names of the server. Shared by the sessions of a process.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent parameters")]
pub struct Settings {
    /// `myhostname`
    pub hostname: String,
    /// `smtpd_banner`, without the code.
    pub banner: String,
    /// `message_size_limit`, bytes; 0: none.
    pub message_size_limit: u64,
    /// `line_length_limit`, bytes.
    pub line_length_limit: usize,
    /// `smtpd_soft_error_limit`
    pub soft_error_limit: u32,
    /// `smtpd_hard_error_limit`
    pub hard_error_limit: u32,
    /// `smtpd_junk_command_limit`
    pub junk_command_limit: u32,
    /// `smtpd_recipient_limit`
    pub recipient_limit: u32,
    /// `smtpd_recipient_overshoot_limit`
    pub recipient_overshoot_limit: u32,
    /// `smtpd_helo_required`
    pub helo_required: bool,
    /// `disable_vrfy_command`
    pub disable_vrfy: bool,
    /// `strict_rfc821_envelopes`
    pub strict_envelopes: bool,
    /// `allow_min_user`: addresses may begin with a dash.
    pub dash_allowed: bool,
    /// `smtputf8_enable`: commands must be valid UTF-8.
    pub utf8: bool,
    /// `soft_bounce`
    pub soft_bounce: bool,
    /// `smtpd_forbid_unauth_pipelining`
    pub forbid_unauth_pipelining: bool,
    /// TLS is wanted (`smtpd_tls_security_level`): STARTTLS is offered.
    pub tls_offered: bool,
    /// `smtpd_tls_security_level = encrypt`: nothing goes in the clear.
    pub tls_required: bool,
    /// `smtpd_forbid_bare_newline_reject_code`
    pub bare_newline_code: u16,
    /// `smtpd_history_flush_threshold`, lines.
    pub history_threshold: usize,
    /// The classes of `notify_classes` that concern a server.
    pub notify: Problems,
}

impl Default for Settings {
    /// As with an empty main.cf on a host of that name.
    fn default() -> Settings {
        Settings {
            hostname: "localhost".into(),
            banner: "localhost ESMTP Posthouse".into(),
            message_size_limit: 10_240_000,
            line_length_limit: 2048,
            soft_error_limit: 10,
            hard_error_limit: 20,
            junk_command_limit: 100,
            recipient_limit: 1000,
            recipient_overshoot_limit: 1000,
            helo_required: false,
            disable_vrfy: false,
            strict_envelopes: false,
            dash_allowed: false,
            utf8: true,
            soft_bounce: false,
            forbid_unauth_pipelining: true,
            tls_offered: false,
            tls_required: false,
            bare_newline_code: 550,
            history_threshold: 100,
            notify: Problems::RESOURCE | Problems::SOFTWARE,
        }
    }
}

impl Settings {
    /// The keywords that this server could offer at all, before `smtpd_discard_ehlo_keywords`.
    #[must_use]
    pub fn offered(&self) -> Keywords {
        let mut set = Keywords::PIPELINING
            | Keywords::SIZE
            | Keywords::ETRN
            | Keywords::ENHANCEDSTATUSCODES
            | Keywords::EIGHTBITMIME
            | Keywords::DSN;
        if self.tls_offered {
            set |= Keywords::STARTTLS;
        }
        if !self.disable_vrfy {
            set |= Keywords::VRFY;
        }
        set
    }
}

/// `smtpd_noop_commands` and `smtpd_forbidden_commands`: lists that may hold tables. Failing lookups count as "no".
pub trait CommandLists {
    /// The word is in `smtpd_noop_commands`.
    fn is_noop(&self, word: &[u8]) -> bool;
    /// The word is in `smtpd_forbidden_commands`.
    fn is_forbidden(&self, word: &[u8]) -> bool;
    /// What `smtpd_command_filter` makes of a command; `None` when it stays as it is.
    fn filter(&self, command: &[u8]) -> Option<Vec<u8>>;
}
