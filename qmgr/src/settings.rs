//! What the queue manager reads from `main.cf`.

use std::time::Duration;

use config::Config;

use crate::scheduler::{Feedback, Limits, TransportSettings};

/// Read once at start; transports are read when they are first used.
#[derive(Debug)]
pub struct Settings {
    config: Config,
    /// Limits of the scheduler.
    pub limits: Limits,
    /// minimal_backoff_time.
    pub minimal_backoff: Duration,
    /// maximal_backoff_time.
    pub maximal_backoff: Duration,
    /// maximal_queue_lifetime.
    pub lifetime: Duration,
    /// bounce_queue_lifetime, for the null sender.
    pub notice_lifetime: Duration,
    /// queue_run_delay.
    pub queue_run_delay: Duration,
    /// defer_transports.
    pub defer_transports: Vec<String>,
    /// default_filter_nexthop.
    pub filter_nexthop: String,
    /// address_verify_pending_request_limit.
    pub probe_limit: usize,
    /// confirm_delay_cleared.
    pub confirm_delay_cleared: bool,
    /// disable_verp_bounces.
    pub disable_verp_bounces: bool,
    /// double_bounce_sender.
    pub double_bounce_sender: String,
    /// backwards_bounce_logfile_compatibility.
    pub old_log_form: bool,
    /// deliver_lock_attempts.
    pub lock_attempts: u32,
    /// deliver_lock_delay.
    pub lock_delay: Duration,
    /// qmgr_ipc_timeout: how long rewrite may take.
    pub ipc_timeout: Duration,
    /// ipc_timeout: how long bounce may take.
    pub notice_timeout: Duration,
    /// qmgr_daemon_timeout: how long the event loop may be stuck.
    pub watchdog: Duration,
    /// ipc_idle: idle connections to agents are closed after so long.
    pub idle: Duration,
    /// ipc_ttl: connections to agents that take one delivery at a time are closed after so long.
    pub connection_lifetime: Duration,
    /// bounce_service_name.
    pub bounce_service: String,
    /// defer_service_name.
    pub defer_service: String,
    /// trace_service_name.
    pub trace_service: String,
    /// rewrite_service_name.
    pub rewrite_service: String,
    /// flush_service_name.
    pub flush_service: String,
}

impl Settings {
    /// Reads everything but the transports.
    ///
    /// # Errors
    /// Those of the configuration; a value of the `default_` feedback parameters that makes no sense.
    pub fn load(config: &Config) -> Result<Settings, config::Error> {
        let count = |name: &str| -> Result<usize, config::Error> {
            Ok(usize::try_from(config.int(name)?).unwrap_or(usize::MAX))
        };
        Ok(Settings {
            limits: Limits {
                message_active: count("qmgr_message_active_limit")?,
                message_recipients: count("qmgr_message_recipient_limit")?,
                message_recipient_minimum: count("qmgr_message_recipient_minimum")?,
                minimal_backoff: config.time("minimal_backoff_time")?,
                transport_retry: config.time("transport_retry_time")?,
                clog_warning: config.time("qmgr_clog_warn_time")?,
            },
            minimal_backoff: config.time("minimal_backoff_time")?,
            maximal_backoff: config.time("maximal_backoff_time")?,
            lifetime: config.time("maximal_queue_lifetime")?,
            notice_lifetime: config.time("bounce_queue_lifetime")?,
            queue_run_delay: config.time("queue_run_delay")?,
            defer_transports: config.list("defer_transports")?,
            filter_nexthop: config.string("default_filter_nexthop")?,
            probe_limit: count("address_verify_pending_request_limit")?,
            confirm_delay_cleared: config.bool("confirm_delay_cleared")?,
            disable_verp_bounces: config.bool("disable_verp_bounces")?,
            double_bounce_sender: config.string("double_bounce_sender")?,
            old_log_form: config.bool("backwards_bounce_logfile_compatibility")?,
            lock_attempts: u32::try_from(config.int("deliver_lock_attempts")?).unwrap_or(20),
            lock_delay: config.time("deliver_lock_delay")?,
            ipc_timeout: config.time("qmgr_ipc_timeout")?,
            notice_timeout: config.time("ipc_timeout")?,
            watchdog: config.time("qmgr_daemon_timeout")?,
            idle: config.time("ipc_idle")?,
            connection_lifetime: config.time("ipc_ttl")?,
            bounce_service: config.string("bounce_service_name")?,
            defer_service: config.string("defer_service_name")?,
            trace_service: config.string("trace_service_name")?,
            rewrite_service: config.string("rewrite_service_name")?,
            flush_service: config.string("flush_service_name")?,
            config: config.clone(),
        })
    }

    /// The settings of a transport. What is wrong in them is warned about and replaced by the built-in default: mail
    /// for other transports must not wait for it.
    #[must_use]
    pub fn transport(&self, name: &str) -> TransportSettings {
        let built_in = TransportSettings::default();
        let whole = |suffix: &str, built_in: usize| match self.config.service_int(name, suffix) {
            Ok(value) => usize::try_from(value).unwrap_or(usize::MAX),
            Err(error) => {
                log::warning!("transport {name}: {error}");
                built_in
            }
        };
        let small = |suffix: &str, built_in: u32| u32::try_from(whole(suffix, built_in as usize)).unwrap_or(u32::MAX);
        let time = |suffix: &str, built_in: Duration| {
            self.config.service_time(name, suffix).unwrap_or_else(|error| {
                log::warning!("transport {name}: {error}");
                built_in
            })
        };
        let feedback = |suffix: &str, built_in: Feedback| match self.config.service_string(name, suffix) {
            Ok(text) => text.parse().unwrap_or_else(|error| {
                log::warning!("parameter {name}_{suffix}: \"{text}\": {error}");
                built_in
            }),
            Err(error) => {
                log::warning!("transport {name}: {error}");
                built_in
            }
        };
        TransportSettings {
            initial_concurrency: small("initial_destination_concurrency", built_in.initial_concurrency),
            concurrency_limit: small("destination_concurrency_limit", built_in.concurrency_limit),
            positive_feedback: feedback("destination_concurrency_positive_feedback", built_in.positive_feedback),
            negative_feedback: feedback("destination_concurrency_negative_feedback", built_in.negative_feedback),
            failed_cohort_limit: small("destination_concurrency_failed_cohort_limit", built_in.failed_cohort_limit),
            recipients_per_delivery: whole("destination_recipient_limit", built_in.recipients_per_delivery),
            destination_rate_delay: time("destination_rate_delay", built_in.destination_rate_delay),
            transport_rate_delay: time("transport_rate_delay", built_in.transport_rate_delay),
            recipients: whole("recipient_limit", built_in.recipients),
            extra_recipients: whole("extra_recipient_limit", built_in.extra_recipients),
            refill_limit: whole("recipient_refill_limit", built_in.refill_limit),
            refill_delay: time("recipient_refill_delay", built_in.refill_delay),
            slot_cost: small("delivery_slot_cost", built_in.slot_cost),
            slot_loan: small("delivery_slot_loan", built_in.slot_loan),
            slot_discount: small("delivery_slot_discount", built_in.slot_discount),
            minimum_slots: small("minimum_delivery_slots", built_in.minimum_slots),
        }
    }
}
