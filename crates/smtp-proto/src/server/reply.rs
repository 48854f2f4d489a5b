//! How a reply goes out: soft_bounce, the length limit, printable bytes only, the reject footer.

use bstr::ByteSlice;
use dsn::Status;

/// Longest reply line without CRLF (RFC 5321 4.5.3.1.5).
const REPLY_LIMIT: usize = 510;

/// `smtpd_reject_footer`, expanded for this reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The text follows the reply's text on the same line (`\c`).
    pub same_line: bool,
    /// Lines; the first goes to the end of the reply with `same_line`.
    pub lines: Vec<Vec<u8>>,
}

impl Footer {
    /// From the parameter's text after expansion: `\c` at the start continues the line, `\n` starts another.
    #[must_use]
    pub fn parse(text: &[u8]) -> Footer {
        let (same_line, text) = match text.strip_prefix(b"\\c") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        Footer { same_line, lines: text.replace(b"\\n", b"\n").split_str("\n").map(<[u8]>::to_vec).collect() }
    }
}

/// Turns a reply into what is sent, without the last CRLF: soft_bounce makes 5xx to 4xx, each line is cut at 510 bytes, what
/// is not printable becomes a blank, and refusals get the footer.
#[must_use]
pub fn finish_reply(reply: &[u8], soft_bounce: bool, footer: Option<&Footer>) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = reply.split_str("\r\n").map(<[u8]>::to_vec).collect();
    if soft_bounce && reply.first() == Some(&b'5') {
        for line in &mut lines {
            soften(line);
        }
    }
    if let Some(footer) = footer
        && matches!(reply.first(), Some(b'4' | b'5'))
        && lines.first().is_some_and(|line| line.len() > 3)
    {
        add_footer(&mut lines, footer);
    }
    for line in &mut lines {
        line.truncate(REPLY_LIMIT);
        for byte in line.iter_mut().filter(|byte| !(32..127).contains(*byte)) {
            *byte = b' ';
        }
    }
    lines.join(&b"\r\n"[..])
}

/// 5yz 5.x.y becomes 4yz 4.x.y.
fn soften(line: &mut [u8]) {
    if line.first() == Some(&b'5') {
        line[0] = b'4';
    }
    let starts_status = line.get(4..).is_some_and(|text| Status::split_from(text).is_some());
    if starts_status && line[4] == b'5' {
        line[4] = b'4';
    }
}

fn add_footer(lines: &mut Vec<Vec<u8>>, footer: &Footer) {
    let Some(last) = lines.last_mut() else { return };
    let code = last[..3].to_vec();
    let status = Status::split_from(&last[4..]).map(|(status, _)| status.to_string());
    let mut more = footer.lines.iter();
    if footer.same_line {
        last.extend_from_slice(more.next().map(Vec::as_slice).unwrap_or_default());
    }
    for text in more {
        if let Some(last) = lines.last_mut() {
            last[3] = b'-';
        }
        let mut line = code.clone();
        line.push(b' ');
        if let Some(status) = &status {
            line.extend_from_slice(status.as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(text);
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(reply: &str, soft: bool, footer: Option<&str>) -> String {
        let footer = footer.map(|text| Footer::parse(text.as_bytes()));
        String::from_utf8_lossy(&finish_reply(reply.as_bytes(), soft, footer.as_ref())).into_owned()
    }

    #[test]
    fn table() {
        assert_eq!(finish("250 2.0.0 Ok", true, Some("x")), "250 2.0.0 Ok");
        assert_eq!(finish("500 5.5.2 Error: bad", true, None), "400 4.5.2 Error: bad");
        assert_eq!(finish("501 Syntax: HELO hostname", true, None), "401 Syntax: HELO hostname");
        assert_eq!(finish("550 5.1.1 <\u{1}>: no", false, None), "550 5.1.1 < >: no");
        assert_eq!(finish("550 5.1.1 no", false, Some("\\c. Call us")), "550 5.1.1 no. Call us");
        assert_eq!(finish("550 5.1.1 no", false, Some("a\\nb")), "550-5.1.1 no\r\n550-5.1.1 a\r\n550 5.1.1 b");
        assert_eq!(finish("501 no", false, Some("a")), "501-no\r\n501 a");
        assert_eq!(finish(&format!("550 {}", "x".repeat(600)), false, None).len(), 510);
    }
}
