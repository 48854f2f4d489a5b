//! Local time for headers.

/// `seconds` since the epoch as RFC 5322 has it, in the local zone.
pub(crate) fn date(seconds: i64) -> String {
    let offset = sys::clock::local(seconds).offset;
    let name = sys::clock::zone_name(seconds);
    message::date::format(seconds, message::date::Zone { offset, name: &name })
}
