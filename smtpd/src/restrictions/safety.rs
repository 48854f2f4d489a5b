//! The check that a server is no open relay by mistake.

use super::parse::Lists;
use super::rule::{Restriction, Rule, Stage};

/// The text of the `fatal:` line.
pub const RELAY_CONTROL_MISSING: &str = "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify \
                                         at least one working instance of: reject_unauth_destination, \
                                         defer_unauth_destination, reject, defer, defer_if_permit or check_relay_domains";

impl Lists {
    /// True when the relay or recipient list has a restriction that keeps strangers from relaying and that is reached.
    #[must_use]
    pub fn control_relaying(&self) -> bool {
        self.restrain(&self.relay, Stage::Relay, 0) || self.restrain(&self.recipient, Stage::Recipient, 0)
    }

    fn restrain(&self, rules: &[Rule], stage: Stage, depth: usize) -> bool {
        let mut only_warns = false;
        for rule in rules {
            match &rule.restriction {
                Restriction::Permit => return false,
                Restriction::WarnIfReject => {
                    only_warns = true;
                    continue;
                }
                _ if only_warns => {}
                Restriction::Reject
                | Restriction::Defer
                | Restriction::DeferIfPermit
                | Restriction::RejectUnauthDestination
                | Restriction::DeferUnauthDestination => return true,
                Restriction::Misconfigured(_) if rule.name.eq_ignore_ascii_case("check_relay_domains") => return true,
                Restriction::Class(name)
                    if depth < Lists::deepest()
                        && self.class(name, stage).is_some_and(|rules| self.restrain(&rules, stage, depth + 1)) =>
                {
                    return true;
                }
                _ => {}
            }
            only_warns = false;
        }
        false
    }
}
