//! The client's settings: `smtp_*`, or `lmtp_*` when the program runs as lmtp.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use config::Config;
use smtp_proto::Keywords;

use crate::time_limit::TimeLimit;

/// `smtp_address_preference`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPreference {
    /// IPv4 before IPv6.
    Ipv4,
    /// IPv6 before IPv4.
    Ipv6,
    /// As they come.
    Any,
}

/// Time limits of the steps of a session.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `smtp_connect_timeout`
    pub connect: Duration,
    /// `smtp_helo_timeout`, which the greeting has too.
    pub helo: Duration,
    /// `smtp_mail_timeout`
    pub mail: Duration,
    /// `smtp_rcpt_timeout`
    pub rcpt: Duration,
    /// `smtp_data_init_timeout`
    pub data_init: Duration,
    /// `smtp_data_xfer_timeout`
    pub data_xfer: Duration,
    /// `smtp_data_done_timeout`
    pub data_done: Duration,
    /// `smtp_quit_timeout`
    pub quit: Duration,
}

/// Everything that the client reads from main.cf.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one field per parameter")]
pub struct Settings {
    /// True when the program is lmtp.
    pub lmtp: bool,
    /// `myhostname`
    pub myhostname: String,
    /// `smtp_helo_name` (`lmtp_lhlo_name`)
    pub helo_name: String,
    /// `smtp_tcp_port`: the port of destinations that name none.
    pub default_port: String,
    /// `smtp_fallback_relay`
    pub fallback_relay: String,
    /// `disable_dns_lookups`, or `smtp_dns_support_level = disabled`.
    pub disable_dns: bool,
    /// `smtp_host_lookup` has `dns`.
    pub dns: bool,
    /// `smtp_host_lookup` has `native`.
    pub hosts_file: bool,
    /// `inet_protocols` has IPv4.
    pub ipv4: bool,
    /// `inet_protocols` has IPv6.
    pub ipv6: bool,
    /// `smtp_address_preference`
    pub address_preference: AddressPreference,
    /// `smtp_balance_inet_protocols`
    pub balance_inet_protocols: bool,
    /// `smtp_randomize_addresses`
    pub randomize_addresses: bool,
    /// `smtp_mx_address_limit`; none: no limit.
    pub mx_address_limit: Option<usize>,
    /// `smtp_mx_session_limit`; none: no limit.
    pub mx_session_limit: Option<usize>,
    /// `ignore_mx_lookup_error`
    pub ignore_mx_lookup_error: bool,
    /// `smtp_defer_if_no_mx_address_found`
    pub defer_if_no_mx_address_found: bool,
    /// `smtp_skip_5xx_greeting`
    pub skip_5xx_greeting: bool,
    /// `smtp_always_send_ehlo`
    pub always_send_ehlo: bool,
    /// `smtp_never_send_ehlo`
    pub never_send_ehlo: bool,
    /// `smtp_skip_quit_response`
    pub skip_quit_response: bool,
    /// `smtp_discard_ehlo_keywords`
    pub discard_ehlo_keywords: Keywords,
    /// `smtp_line_length_limit`; none: no limit.
    pub line_length_limit: Option<usize>,
    /// `disable_mime_output_conversion`
    pub disable_mime_output_conversion: bool,
    /// `smtp_send_dummy_mail_auth`, `smtp_quote_rfc821_envelope`: quoting of envelope addresses.
    pub quote_envelope: bool,
    /// `smtp_bind_address`
    pub bind_address: Option<IpAddr>,
    /// `smtp_bind_address6`
    pub bind_address6: Option<IpAddr>,
    /// `smtp_connection_cache_on_demand`
    pub cache_on_demand: bool,
    /// `smtp_connection_cache_destinations`
    pub cache_destinations: Vec<String>,
    /// `smtp_connection_cache_time_limit`
    pub cache_time_limit: Duration,
    /// `smtp_connection_reuse_time_limit`
    pub reuse_time_limit: Duration,
    /// `smtp_connection_reuse_count_limit`; none: no limit.
    pub reuse_count_limit: Option<u32>,
    /// `soft_bounce` is qmgr's business; `ipc_timeout` bounds questions to the resolver.
    pub ipc_timeout: Duration,
    /// The resolver's socket below the queue directory.
    pub resolver: PathBuf,
    /// `smtp_per_request_deadline`
    pub per_request_deadline: bool,
    /// `smtp_min_data_rate`, bytes per second.
    pub min_data_rate: u32,
    /// Time limits.
    pub timeouts: Timeouts,
    own_addresses: Vec<IpAddr>,
    listening_ports: Vec<u16>,
}

impl Settings {
    /// Reads the settings; `lmtp` picks the other half of the parameter names.
    ///
    /// # Errors
    /// The first parameter that is wrong.
    pub fn load(config: &Config, lmtp: bool) -> Result<Settings, config::Error> {
        let prefix = if lmtp { "lmtp" } else { "smtp" };
        let name = |suffix: &str| format!("{prefix}_{suffix}");
        let limit = |suffix: &str| -> Result<Option<usize>, config::Error> {
            Ok(usize::try_from(config.int(&name(suffix))?).ok().filter(|limit| *limit > 0))
        };
        let time = |suffix: &str| config.time(&name(suffix));
        let lookup = config.list(&name("host_lookup"))?;
        let protocols = config.list("inet_protocols")?;
        let protocol = |wanted: &str| protocols.iter().any(|have| have == wanted || have == "all");
        let address = |suffix: &str| -> Result<Option<IpAddr>, config::Error> {
            Ok(config.string(&name(suffix))?.trim_matches(['[', ']']).parse().ok())
        };
        let level = config.string(&name("dns_support_level"))?;
        Ok(Settings {
            lmtp,
            myhostname: config.string("myhostname")?,
            helo_name: config.string(if lmtp { "lmtp_lhlo_name" } else { "smtp_helo_name" })?,
            default_port: if lmtp { config.string("lmtp_tcp_port")? } else { config.string("smtp_tcp_port")? },
            fallback_relay: config.string(&name("fallback_relay"))?,
            disable_dns: config.bool("disable_dns_lookups")? || level == "disabled",
            dns: lookup.iter().any(|method| method == "dns"),
            hosts_file: lookup.iter().any(|method| method == "native"),
            ipv4: protocol("ipv4"),
            ipv6: protocol("ipv6"),
            address_preference: match config.string(&name("address_preference"))?.as_str() {
                "ipv4" => AddressPreference::Ipv4,
                "ipv6" => AddressPreference::Ipv6,
                _ => AddressPreference::Any,
            },
            balance_inet_protocols: config.bool(&name("balance_inet_protocols"))?,
            randomize_addresses: config.bool(&name("randomize_addresses"))?,
            mx_address_limit: limit("mx_address_limit")?,
            mx_session_limit: limit("mx_session_limit")?,
            ignore_mx_lookup_error: config.bool("ignore_mx_lookup_error")?,
            defer_if_no_mx_address_found: config.bool("smtp_defer_if_no_mx_address_found")?,
            skip_5xx_greeting: config.bool(&name("skip_5xx_greeting"))?,
            always_send_ehlo: lmtp || config.bool("smtp_always_send_ehlo")?,
            never_send_ehlo: !lmtp && config.bool("smtp_never_send_ehlo")?,
            skip_quit_response: config.bool(&name("skip_quit_response"))?,
            discard_ehlo_keywords: {
                let name = if lmtp { "lmtp_discard_lhlo_keywords" } else { "smtp_discard_ehlo_keywords" };
                let value = config.string(name)?;
                Keywords::parse(&value).map_err(|_| config.invalid_value("EHLO keyword list", name, value.clone()))?
            },
            line_length_limit: limit("line_length_limit")?,
            disable_mime_output_conversion: config.bool("disable_mime_output_conversion")?,
            quote_envelope: config.bool(&name("quote_rfc821_envelope"))?,
            bind_address: address("bind_address")?,
            bind_address6: address("bind_address6")?,
            cache_on_demand: config.bool(&name("connection_cache_on_demand"))?,
            cache_destinations: config.list(&name("connection_cache_destinations"))?,
            cache_time_limit: time("connection_cache_time_limit")?,
            reuse_time_limit: time("connection_reuse_time_limit")?,
            reuse_count_limit: limit("connection_reuse_count_limit")?.and_then(|limit| limit.try_into().ok()),
            ipc_timeout: config.time("ipc_timeout")?,
            resolver: PathBuf::from(format!("private/{}", config.string("resolver_service_name")?)),
            per_request_deadline: config.bool(&name("per_request_deadline"))?,
            min_data_rate: u32::try_from(config.int(&name("min_data_rate"))?).unwrap_or(u32::MAX),
            timeouts: Timeouts {
                connect: time("connect_timeout")?,
                helo: time(if lmtp { "lhlo_timeout" } else { "helo_timeout" })?,
                mail: time("mail_timeout")?,
                rcpt: time("rcpt_timeout")?,
                data_init: time("data_init_timeout")?,
                data_xfer: time("data_xfer_timeout")?,
                data_done: time("data_done_timeout")?,
                quit: time("quit_timeout")?,
            },
            own_addresses: config.own_interfaces()?.iter().map(|interface| interface.address).collect(),
            listening_ports: vec![25],
        })
    }

    /// The time limit of a command or reply.
    #[must_use]
    pub const fn time_limit(&self, limit: Duration) -> TimeLimit {
        TimeLimit::new(limit, self.per_request_deadline)
    }

    /// True for a host name that is our own.
    #[must_use]
    pub fn is_me(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.myhostname)
    }

    /// True for an address at which our own server listens, on the mail port.
    #[must_use]
    pub fn is_own_address(&self, address: &SocketAddr) -> bool {
        self.own_addresses.contains(&address.ip()) && self.listening_ports.contains(&address.port())
    }
}
