//! Headers that a message lacks (RFC 5322 3.6, RFC 6409 8).

use bstr::BString;

use crate::settings::Settings;

/// `Message-Id: <...>` without the header's name.
#[must_use]
pub(crate) fn message_id(settings: &Settings, queue_id: &str, now: i64) -> String {
    let host = &settings.myhostname;
    if settings.long_queue_ids {
        // Unique as it is.
        return format!("<{queue_id}@{host}>");
    }
    format!("<{}.{queue_id}@{host}>", compact_time(now))
}

/// `20261120102543`, in UTC.
fn compact_time(seconds: i64) -> String {
    let date = message::date::Utc::of(seconds);
    format!("{:04}{:02}{:02}{:02}{:02}{:02}", date.year, date.month, date.day, date.hour, date.minute, date.second)
}

/// The value of a From header: sender in internal form, empty for the null sender.
#[must_use]
pub(crate) fn from(settings: &Settings, sender: &[u8], full_name: Option<&[u8]>) -> BString {
    if sender.is_empty() {
        return "MAILER-DAEMON".into();
    }
    let address = address::external(sender);
    let name = full_name.map(<[u8]>::trim_ascii).unwrap_or_default();
    if name.is_empty() {
        return address;
    }
    let mut output = Vec::new();
    if settings.obsolete_from {
        output.extend_from_slice(&address);
        output.extend_from_slice(b" (");
        put_name(&mut output, name, settings, comment);
        output.push(b')');
    } else {
        put_name(&mut output, name, settings, phrase);
        output.extend_from_slice(b" <");
        output.extend_from_slice(&address);
        output.push(b'>');
    }
    output.into()
}

/// The name as `plain` writes it, or in encoded words when it needs them.
fn put_name(output: &mut Vec<u8>, name: &[u8], settings: &Settings, plain: fn(&mut Vec<u8>, &[u8])) {
    if name.is_ascii() {
        plain(output, name);
    } else if settings.full_name_charset.is_empty() {
        output.extend_from_slice(name);
    } else {
        output.extend_from_slice(&message::encoded_word::phrase(name, &settings.full_name_charset));
    }
}

/// Atoms with single blanks between them, or a quoted-string when the name is more than atoms.
fn phrase(output: &mut Vec<u8>, name: &[u8]) {
    let words = || name.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    if words().all(|word| !word.contains(&b'.') && address::is_dot_string(word)) {
        for (index, word) in words().enumerate() {
            if index > 0 {
                output.push(b' ');
            }
            output.extend_from_slice(word);
        }
    } else {
        address::put_quoted(output, name);
    }
}

fn comment(output: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        if matches!(byte, b'(' | b')' | b'\\') {
            output.push(b'\\');
        }
        output.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_headers() {
        let standard = Settings::default();
        let obsolete = Settings { obsolete_from: true, ..Settings::default() };
        let cases = [
            (&standard, "u@x", "root", "root <u@x>"),
            (&standard, "u@x", "", "u@x"),
            (&standard, "", "root", "MAILER-DAEMON"),
            (&standard, "u@x", "J. R", "\"J. R\" <u@x>"),
            (&standard, "u@x", "Jane O\"Neil", "\"Jane O\\\"Neil\" <u@x>"),
            (&standard, "u@x", "a \t b", "a b <u@x>"),
            (&standard, "u@x", "Ünal", "=?utf-8?Q?=C3=9Cnal?= <u@x>"),
            (&standard, "a b@x", "n", "n <\"a b\"@x>"),
            (&obsolete, "u@x", "Joe (x)", "u@x (Joe \\(x\\))"),
            (&obsolete, "u@x", "Ünal", "u@x (=?utf-8?Q?=C3=9Cnal?=)"),
        ];
        for (settings, sender, name, value) in cases {
            assert_eq!(from(settings, sender.as_bytes(), Some(name.as_bytes())), value, "{name}");
        }
    }

    #[test]
    fn message_ids() {
        let mut settings = Settings { myhostname: "mx.example".to_owned(), ..Settings::default() };
        assert_eq!(message_id(&settings, "C4E67", 1_795_170_343), "<20261120102543.C4E67@mx.example>");
        settings.long_queue_ids = true;
        assert_eq!(message_id(&settings, "4jWBMJ1H67z1Tpvp", 0), "<4jWBMJ1H67z1Tpvp@mx.example>");
    }
}
