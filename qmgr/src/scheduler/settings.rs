//! The limits that the scheduler keeps, each named after its `main.cf` parameter.

use std::time::Duration;

use super::Feedback;

/// Limits over all transports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// qmgr_message_active_limit: messages in the active queue.
    pub message_active: usize,
    /// qmgr_message_recipient_limit: recipients in memory.
    pub message_recipients: usize,
    /// qmgr_message_recipient_minimum: what each message may have in memory whatever the other limits say.
    pub message_recipient_minimum: usize,
    /// minimal_backoff_time: how long a dead destination rests.
    pub minimal_backoff: Duration,
    /// transport_retry_time: how long a broken transport rests.
    pub transport_retry: Duration,
    /// qmgr_clog_warn_time: the least time between two warnings about the same destination; zero is never.
    pub clog_warning: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_active: 20_000,
            message_recipients: 20_000,
            message_recipient_minimum: 10,
            minimal_backoff: Duration::from_secs(300),
            transport_retry: Duration::from_secs(60),
            clog_warning: Duration::from_secs(300),
        }
    }
}

/// What holds for one transport (`<transport>_...`, or else the `default_...` parameter).
#[derive(Clone, Debug, PartialEq)]
pub struct TransportSettings {
    /// initial_destination_concurrency.
    pub initial_concurrency: u32,
    /// destination_concurrency_limit; 0 is no limit.
    pub concurrency_limit: u32,
    /// destination_concurrency_positive_feedback.
    pub positive_feedback: Feedback,
    /// destination_concurrency_negative_feedback.
    pub negative_feedback: Feedback,
    /// destination_concurrency_failed_cohort_limit; 0 is "never dead".
    pub failed_cohort_limit: u32,
    /// destination_recipient_limit: recipients of one request; 0 is no limit.
    pub recipients_per_delivery: usize,
    /// destination_rate_delay: from the end of one delivery to the start of the next.
    pub destination_rate_delay: Duration,
    /// transport_rate_delay: from the start of one delivery to the start of the next.
    pub transport_rate_delay: Duration,
    /// recipient_limit: recipients in memory.
    pub recipients: usize,
    /// extra_recipient_limit: more of them, for messages that are small.
    pub extra_recipients: usize,
    /// recipient_refill_limit: recipients are read when there is room for so many.
    pub refill_limit: usize,
    /// recipient_refill_delay: or when so much time has gone by.
    pub refill_delay: Duration,
    /// delivery_slot_cost: deliveries of a large message that earn one slot for a smaller one; 0 is no preemption.
    pub slot_cost: u32,
    /// delivery_slot_loan: slots given in advance.
    pub slot_loan: u32,
    /// delivery_slot_discount: percent of the slots needed that are given in advance.
    pub slot_discount: u32,
    /// minimum_delivery_slots: a message that can earn fewer is not worth preempting.
    pub minimum_slots: u32,
}

impl Default for TransportSettings {
    fn default() -> TransportSettings {
        TransportSettings {
            initial_concurrency: 5,
            concurrency_limit: 20,
            positive_feedback: Feedback::Constant(1.0),
            negative_feedback: Feedback::Constant(1.0),
            failed_cohort_limit: 1,
            recipients_per_delivery: 50,
            destination_rate_delay: Duration::ZERO,
            transport_rate_delay: Duration::ZERO,
            recipients: 20_000,
            extra_recipients: 1_000,
            refill_limit: 100,
            refill_delay: Duration::from_secs(5),
            slot_cost: 5,
            slot_loan: 3,
            slot_discount: 50,
            minimum_slots: 3,
        }
    }
}

impl TransportSettings {
    /// Recipients that one request carries: the parameter, and never more than fits one message between daemons.
    pub(super) fn batch(&self) -> usize {
        /// With the longest addresses a request of so many recipients stays below the largest ipc frame.
        const MOST: usize = 1_000;
        match self.recipients_per_delivery {
            0 => MOST,
            limit => limit.min(MOST),
        }
    }
}
