//! The answer to EHLO.

use super::settings::Settings;
use crate::Keywords;

/// The reply's lines, without the last CRLF. `discarded` are the keywords that this client is not offered.
pub(super) fn reply(settings: &Settings, discarded: Keywords) -> Vec<u8> {
    let offered = settings.offered().without(discarded);
    let mut lines: Vec<String> = vec![settings.hostname.clone()];
    let mut offer = |keyword: Keywords, line: &str| {
        if offered.contains(keyword) {
            lines.push(line.to_owned());
        }
    };
    offer(Keywords::PIPELINING, "PIPELINING");
    match settings.message_size_limit {
        0 => offer(Keywords::SIZE, "SIZE"),
        limit => offer(Keywords::SIZE, &format!("SIZE {limit}")),
    }
    offer(Keywords::VRFY, "VRFY");
    offer(Keywords::ETRN, "ETRN");
    offer(Keywords::STARTTLS, "STARTTLS");
    offer(Keywords::ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES");
    offer(Keywords::EIGHTBITMIME, "8BITMIME");
    offer(Keywords::DSN, "DSN");
    let last = lines.len() - 1;
    let mut out = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(if number == last { b"250 " } else { b"250-" });
        out.extend_from_slice(line.as_bytes());
    }
    out
}
