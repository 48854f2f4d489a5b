//! `default_delivery_status_filter` and its relatives: tables that rewrite the status and text of an outcome.
//!
//! The key is `status reason`, the result a replacement of the same form. A success stays a success; a failure may turn
//! from permanent to temporary and back, which is what the tables are for.

use std::str::FromStr;

use bstr::BString;
use config::Config;
use dsn::{Class, Delivery, Dsn, Status};
use tables::Maps;

/// See the module.
pub struct StatusFilter(Option<Maps>);

impl std::fmt::Debug for StatusFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().flat_map(Maps::names)).finish()
    }
}

impl StatusFilter {
    /// Changes nothing.
    #[must_use]
    pub fn none() -> StatusFilter {
        StatusFilter(None)
    }

    /// The filter of an agent program: `<program>_delivery_status_filter` where that exists.
    ///
    /// # Errors
    /// Those of the configuration, and tables that cannot be used at all.
    pub fn load(config: &Config, program: &str) -> Result<StatusFilter, config::Error> {
        const OWN: [&str; 5] = [
            "local_delivery_status_filter",
            "virtual_delivery_status_filter",
            "pipe_delivery_status_filter",
            "smtp_delivery_status_filter",
            "lmtp_delivery_status_filter",
        ];
        let own = OWN.into_iter().find(|name| name.strip_suffix("_delivery_status_filter") == Some(program));
        let name = own.unwrap_or("default_delivery_status_filter");
        let spec = config.string(name)?;
        if spec.is_empty() {
            return Ok(StatusFilter::none());
        }
        match Maps::open(&spec, config, name, tables::Flags::default()) {
            Ok(maps) => Ok(StatusFilter(Some(maps))),
            Err(error) => {
                log::warning!("{name}: {error}");
                Ok(StatusFilter::none())
            }
        }
    }

    /// The outcome that is logged and acted on.
    #[must_use]
    pub fn apply(&self, delivery: Delivery) -> Delivery {
        let Some(maps) = &self.0 else { return delivery };
        let key = key(delivery.dsn());
        match maps.lookup_blocking(&key) {
            Ok(Some(hit)) => replaced(delivery, &hit.value),
            Ok(None) => delivery,
            Err(error) => {
                log::warning!("delivery status filter: {error}");
                delivery
            }
        }
    }
}

fn key(dsn: &Dsn) -> Vec<u8> {
    let mut key = dsn.status.to_string().into_bytes();
    key.push(b' ');
    key.extend_from_slice(&dsn.reason);
    key
}

/// The outcome with a table's replacement; unchanged when the replacement makes no sense.
fn replaced(delivery: Delivery, value: &[u8]) -> Delivery {
    let Some((status, reason)) = Status::split_from(value).filter(|(_, reason)| !reason.is_empty()) else {
        log::warning!("delivery status filter: bad result \"{}\" ignored", log::show(value));
        return delivery;
    };
    let success = matches!(delivery, Delivery::Sent { .. });
    if success != (status.class == Class::Success) {
        log::warning!("delivery status filter: result \"{}\" for {} ignored", log::show(value), delivery.dsn().status);
        return delivery;
    }
    let dsn = Dsn { status, reason: BString::from(reason), ..delivery.dsn().clone() };
    match (delivery, status.class) {
        (Delivery::Sent { action, .. }, _) => Delivery::Sent { action, dsn },
        (_, Class::Permanent) => Delivery::Bounced(dsn),
        _ => Delivery::Deferred(dsn),
    }
}

/// A status from a nexthop or table text such as `5.1.1 no such user`, and the text after it.
///
/// Without a status of its own the text has `default`.
#[must_use]
pub fn split_status(text: &str, default: &str) -> (Status, String) {
    match Status::split_from(text.as_bytes()) {
        Some((status, _)) => {
            let rest = text.split_once(|c: char| c.is_ascii_whitespace()).map_or("", |(_, rest)| rest.trim_start());
            (status, rest.to_owned())
        }
        None => (Status::from_str(default).unwrap_or(Status::transient(0, 0)), text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsn::Action;

    fn bounced(text: &str) -> Delivery {
        let (status, reason) = split_status(text, "5.0.0");
        Delivery::Bounced(Dsn::new(status, reason))
    }

    #[test]
    fn replacements() {
        let deferred = replaced(bounced("5.7.1 go away"), b"4.7.1 later");
        assert_eq!(deferred, Delivery::Deferred(Dsn::new(Status::transient(7, 1), "later")));
        let again = replaced(deferred, b"5.0.0 no");
        assert_eq!(again, Delivery::Bounced(Dsn::new(Status::permanent(0, 0), "no")));
        for nonsense in [&b"2.0.0 fine"[..], b"nothing", b"5.1.1", b""] {
            assert_eq!(replaced(bounced("5.7.1 go away"), nonsense), bounced("5.7.1 go away"));
        }
        let sent = Delivery::Sent { action: Action::Delivered, dsn: Dsn::new(Status::success(0, 0), "delivered") };
        assert_eq!(replaced(sent.clone(), b"5.0.0 no"), sent);
        assert_eq!(replaced(sent, b"2.1.5 well").dsn().status, Status::success(1, 5));
    }

    #[test]
    fn a_status_in_front() {
        assert_eq!(split_status("5.1.1  no such user", "5.0.0"), (Status::permanent(1, 1), "no such user".to_owned()));
        assert_eq!(split_status("no such user", "5.0.0"), (Status::permanent(0, 0), "no such user".to_owned()));
        assert_eq!(split_status("", "4.0.0"), (Status::transient(0, 0), String::new()));
    }
}
