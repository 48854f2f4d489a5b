//! Parameters that still work and should not be used any more, and what to do instead.

const LEVEL_INSTEAD_OF_SWITCH: [(&str, &str); 13] = [
    ("lmtp_use_tls", "lmtp_tls_security_level"),
    ("lmtp_enforce_tls", "lmtp_tls_security_level"),
    ("postscreen_use_tls", "postscreen_tls_security_level"),
    ("postscreen_enforce_tls", "postscreen_tls_security_level"),
    ("smtp_use_tls", "smtp_tls_security_level"),
    ("smtp_enforce_tls", "smtp_tls_security_level"),
    ("smtpd_use_tls", "smtpd_tls_security_level"),
    ("smtpd_enforce_tls", "smtpd_tls_security_level"),
    ("tlsproxy_client_use_tls", "tlsproxy_client_security_level"),
    ("tlsproxy_client_enforce_tls", "tlsproxy_client_security_level"),
    ("tlsproxy_use_tls", "tlsproxy_tls_security_level"),
    ("tlsproxy_enforce_tls", "tlsproxy_tls_security_level"),
    ("disable_dns_lookups", "smtp_dns_support_level"),
];

const POLICY_INSTEAD_OF_SITES: [(&str, &str); 3] = [
    ("lmtp_tls_per_site", "lmtp_tls_policy_maps"),
    ("smtp_tls_per_site", "smtp_tls_policy_maps"),
    ("tlsproxy_client_per_site", "tlsproxy_client_policy_maps"),
];

const LEAVE_ALONE: [&str; 2] = ["smtpd_tls_dh1024_param_file", "smtpd_tls_eecdh_grade"];

/// What to do instead of setting `name`, as the end of a sentence such as `specify "smtp_tls_policy_maps"`.
#[must_use]
pub fn deprecated(name: &str) -> Option<String> {
    if LEAVE_ALONE.contains(&name) {
        return Some("do not specify (leave at default)".to_owned());
    }
    let newer = |pairs: &[(&str, &str)]| pairs.iter().find(|(old, _)| *old == name).map(|(_, new)| (*new).to_owned());
    let new = newer(&LEVEL_INSTEAD_OF_SWITCH).or_else(|| newer(&POLICY_INSTEAD_OF_SITES))?;
    Some(format!("specify \"{new}\""))
}
