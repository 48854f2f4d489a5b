//! The parameters of the program, read once at its start.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use config::Config;
use server::StartError;
use smtp_proto::Keywords;
use smtp_proto::server::{BareNewline, Problems, Settings as Protocol};

use crate::restrictions::{Codes, Lists, Policy, RELAY_CONTROL_MISSING, Stage, TempfailAction};
use crate::starttls::Tls;

/// `receive_override_options`
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub(crate) struct Overrides {
    pub(crate) no_unknown_recipient_checks: bool,
    pub(crate) no_address_mappings: bool,
    pub(crate) no_header_body_checks: bool,
    pub(crate) no_milters: bool,
}

/// Everything but tables.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) protocol: Rc<Protocol>,
    pub(crate) policy: Policy,
    pub(crate) timeout: Duration,
    pub(crate) per_request_deadline: bool,
    pub(crate) minimum_rate: u32,
    pub(crate) error_sleep: Duration,
    pub(crate) bare_newline: BareNewline,
    pub(crate) discard_keywords: Keywords,
    pub(crate) peername_lookup: bool,
    pub(crate) log_port: bool,
    pub(crate) queue_minfree: u64,
    pub(crate) queue_directory: PathBuf,
    pub(crate) cleanup: PathBuf,
    pub(crate) flush: PathBuf,
    pub(crate) resolver: PathBuf,
    pub(crate) ipc_timeout: Duration,
    pub(crate) overrides: Overrides,
    pub(crate) content_filter: Option<String>,
    pub(crate) hide_client: bool,
    pub(crate) error_notice_recipient: String,
    pub(crate) double_bounce_sender: String,
    pub(crate) mail_name: String,
    pub(crate) delay_open: bool,
}

fn number(config: &Config, name: &str) -> Result<u32, StartError> {
    Ok(u32::try_from(config.int(name)?).unwrap_or(0))
}

fn code(config: &Config, name: &str) -> Result<u16, StartError> {
    let value = config.int(name)?;
    match u16::try_from(value) {
        Ok(code) if (200..600).contains(&code) => Ok(code),
        _ => Err(StartError::service(format!("bad value of {name}: {value} is no SMTP reply code"))),
    }
}

fn tempfail(config: &Config, name: &str) -> Result<TempfailAction, StartError> {
    let value = config.string(name)?;
    TempfailAction::parse(&value).ok_or_else(|| StartError::service(format!("bad value of {name}: {value}")))
}

impl Settings {
    /// Reads all of it, and refuses a configuration that would relay for everybody.
    pub(crate) fn load(config: &Config, root: &std::path::Path, tls: Option<&Tls>) -> Result<Settings, StartError> {
        refuse_what_is_missing(config)?;
        let policy = policy(config)?;
        if !policy.lists.control_relaying() {
            return Err(StartError::service(RELAY_CONTROL_MISSING));
        }
        let hostname = config.string("myhostname")?;
        let bare_newline = config.string("smtpd_forbid_bare_newline")?;
        let at = |kind: &str, name: String| root.join(kind).join(name);
        let myorigin = config.string("myorigin")?;
        let complete = |address: String| if address.contains('@') { address } else { format!("{address}@{myorigin}") };
        Ok(Settings {
            protocol: Rc::new(protocol(config, hostname, tls)?),
            policy,
            timeout: config.time("smtpd_timeout")?,
            per_request_deadline: config.bool("smtpd_per_request_deadline")?,
            minimum_rate: number(config, "smtpd_min_data_rate")?,
            error_sleep: config.time("smtpd_error_sleep_time")?,
            bare_newline: BareNewline::parse(&bare_newline).ok_or_else(|| {
                StartError::service(format!("bad value of smtpd_forbid_bare_newline: {bare_newline}"))
            })?,
            discard_keywords: keywords(&config.string("smtpd_discard_ehlo_keywords")?, "smtpd_discard_ehlo_keywords"),
            peername_lookup: config.bool("smtpd_peername_lookup")?,
            log_port: config.bool("smtpd_client_port_logging")?,
            queue_minfree: u64::try_from(config.long("queue_minfree")?).unwrap_or(0),
            queue_directory: if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_owned() },
            cleanup: at("public", config.string("cleanup_service_name")?),
            flush: at("public", config.string("flush_service_name")?),
            resolver: at("private", config.string("resolver_service_name")?),
            ipc_timeout: config.time("ipc_timeout")?,
            overrides: overrides(config)?,
            content_filter: Some(config.string("content_filter")?).filter(|filter| !filter.is_empty()),
            hide_client: config.bool("smtpd_hide_client_session")?,
            error_notice_recipient: complete(config.string("error_notice_recipient")?),
            double_bounce_sender: complete(config.string("double_bounce_sender")?),
            mail_name: config.string("mail_name")?,
            delay_open: config.bool("smtpd_delay_open_until_valid_rcpt")?,
        })
    }
}

/// Settings that ask for what this version does not have. What would weaken the server when it is left out ends the
/// program; the rest is said once.
fn refuse_what_is_missing(config: &Config) -> Result<(), StartError> {
    for name in ["smtpd_proxy_filter", "smtpd_upstream_proxy_protocol"] {
        if !config.string(name)?.is_empty() {
            return Err(StartError::service(format!("{name} is not available in this version")));
        }
    }
    for name in ["smtpd_sasl_auth_enable"] {
        if config.bool(name)? {
            log::warning!("{name} is not available in this version");
        }
    }
    for name in ["smtpd_milters", "smtpd_milter_maps", "smtpd_reject_filter_maps"] {
        if !config.string(name)?.is_empty() {
            log::warning!("{name} is not available in this version");
        }
    }
    Ok(())
}

/// A set of EHLO keywords; an unknown one is warned about and left out.
pub(crate) fn keywords(text: &str, source: &str) -> Keywords {
    let mut set = Keywords::NONE;
    for word in text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
        match Keywords::parse(word) {
            Ok(keyword) => set |= keyword,
            Err(word) => log::warning!("unknown EHLO keyword \"{word}\" in {source}"),
        }
    }
    set
}

fn protocol(config: &Config, hostname: String, tls: Option<&Tls>) -> Result<Protocol, StartError> {
    Ok(Protocol {
        tls_offered: tls.is_some(),
        tls_required: tls.is_some_and(Tls::is_required),
        banner: config.string("smtpd_banner")?,
        hostname,
        message_size_limit: u64::try_from(config.long("message_size_limit")?).unwrap_or(0),
        line_length_limit: usize::try_from(config.int("line_length_limit")?).unwrap_or(2048),
        soft_error_limit: number(config, "smtpd_soft_error_limit")?,
        hard_error_limit: number(config, "smtpd_hard_error_limit")?,
        junk_command_limit: number(config, "smtpd_junk_command_limit")?,
        recipient_limit: number(config, "smtpd_recipient_limit")?,
        recipient_overshoot_limit: number(config, "smtpd_recipient_overshoot_limit")?,
        helo_required: config.bool("smtpd_helo_required")?,
        disable_vrfy: config.bool("disable_vrfy_command")?,
        strict_envelopes: config.bool("strict_rfc821_envelopes")?,
        dash_allowed: config.bool("allow_min_user")?,
        utf8: config.bool("smtputf8_enable")?,
        soft_bounce: config.bool("soft_bounce")?,
        forbid_unauth_pipelining: config.bool("smtpd_forbid_unauth_pipelining")?,
        bare_newline_code: code(config, "smtpd_forbid_bare_newline_reject_code")?,
        history_threshold: usize::try_from(config.int("smtpd_history_flush_threshold")?).unwrap_or(100),
        notify: Problems::parse(&config.string("notify_classes")?),
    })
}

fn policy(config: &Config) -> Result<Policy, StartError> {
    let mut classes = HashMap::new();
    for name in config.list("smtpd_restriction_classes")? {
        let text = config.optional_string(&name)?.unwrap_or_default();
        if text.trim().is_empty() {
            log::warning!("restriction class `{name}' needs a definition");
        }
        classes.insert(name, text);
    }
    let mut lists = Lists::new(classes);
    for stage in [
        Stage::Client,
        Stage::Helo,
        Stage::Sender,
        Stage::Relay,
        Stage::Recipient,
        Stage::Data,
        Stage::EndOfData,
        Stage::Etrn,
    ] {
        lists.set(stage, &config.string(stage.parameter())?);
    }
    for warning in &lists.warnings {
        log::warning!("{warning}");
    }
    for name in ["smtpd_relay_restrictions", "smtpd_relay_before_recipient_restrictions"] {
        if config.is_backwards_compatible_default(name) {
            let value = config.string(name)?;
            log::info!("using backwards-compatible default setting {name}={value}");
        }
    }
    let parents = config.list("parent_domain_matches_subdomains")?;
    let unlisted_recipient = config.bool("smtpd_reject_unlisted_recipient")?;
    Ok(Policy {
        lists,
        codes: codes(config)?,
        delay_reject: config.bool("smtpd_delay_reject")?,
        relay_first: config.bool("smtpd_relay_before_recipient_restrictions")?,
        reject_unlisted_recipient: unlisted_recipient && !overrides(config)?.no_unknown_recipient_checks,
        reject_unlisted_sender: config.bool("smtpd_reject_unlisted_sender")?,
        allow_untrusted_routing: config.bool("allow_untrusted_routing")?,
        show_table_name: config.bool("show_user_unknown_table_name")?,
        parents_match: parents.iter().any(|name| name == "smtpd_access_maps"),
        null_key: config.string("smtpd_null_access_lookup_key")?.into(),
        address_tempfail: tempfail(config, "unknown_address_tempfail_action")?,
        helo_tempfail: tempfail(config, "unknown_helo_hostname_tempfail_action")?,
        log_permits: config.list("smtpd_log_access_permit_actions")?,
    })
}

fn codes(config: &Config) -> Result<Codes, StartError> {
    Ok(Codes {
        reject: code(config, "reject_code")?,
        defer: code(config, "defer_code")?,
        access_reject: code(config, "access_map_reject_code")?,
        access_defer: code(config, "access_map_defer_code")?,
        relay: code(config, "relay_domains_reject_code")?,
        non_fqdn: code(config, "non_fqdn_reject_code")?,
        invalid_hostname: code(config, "invalid_hostname_reject_code")?,
        unknown_hostname: code(config, "unknown_hostname_reject_code")?,
        unknown_client: code(config, "unknown_client_reject_code")?,
        unknown_address: code(config, "unknown_address_reject_code")?,
        unknown_local: code(config, "unknown_local_recipient_reject_code")?,
        unknown_relay: code(config, "unknown_relay_recipient_reject_code")?,
        unknown_virtual_alias: code(config, "unknown_virtual_alias_reject_code")?,
        unknown_virtual_mailbox: code(config, "unknown_virtual_mailbox_reject_code")?,
        multi_recipient_bounce: code(config, "multi_recipient_bounce_reject_code")?,
        plaintext: code(config, "plaintext_reject_code")?,
    })
}

fn overrides(config: &Config) -> Result<Overrides, StartError> {
    let mut found = Overrides::default();
    for word in config.list("receive_override_options")? {
        match word.as_str() {
            "no_unknown_recipient_checks" => found.no_unknown_recipient_checks = true,
            "no_address_mappings" => found.no_address_mappings = true,
            "no_header_body_checks" => found.no_header_body_checks = true,
            "no_milters" => found.no_milters = true,
            other => log::warning!("unknown receive_override_options element: {other}"),
        }
    }
    Ok(found)
}
