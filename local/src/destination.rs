//! What an alias, an `:include:` file or a `.forward` file names: addresses, commands, files, further lists.

use bstr::{BString, ByteSlice};

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A mail address, internal form; without a domain it is one of ours.
    Address(BString),
    /// `\user`: that user's mailbox, aliases and `.forward` left alone.
    Mailbox(BString),
    /// `|command`
    Command(BString),
    /// `/path`: an mbox file; with a final `/` a Maildir.
    File(BString),
    /// `:include:/path`
    Include(BString),
}

/// Most destinations of one list.
const MOST_DESTINATIONS: usize = 100_000;
/// Most tokens of one address that are looked at.
const ADDRESS_TOKENS: usize = 10_000;

/// A list that nobody can have meant; nothing of it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of more than {MOST_DESTINATIONS} destinations")]
pub struct TooMany;

/// Splits a list at commas and line ends outside quotes. In files, lines that begin with `#` are comments.
///
/// # Errors
/// [`TooMany`].
pub fn parse_list(text: &[u8]) -> Result<Vec<Destination>, TooMany> {
    let mut found = Vec::new();
    for item in items(text) {
        parse_item(&item, &mut found);
        if found.len() >= MOST_DESTINATIONS {
            return Err(TooMany);
        }
    }
    Ok(found)
}

fn items(text: &[u8]) -> Vec<BString> {
    let mut items = Vec::new();
    for line in text.lines() {
        if line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        let mut item = BString::default();
        let (mut quoted, mut escaped, mut depth) = (false, false, 0u32);
        for byte in line {
            let splits = *byte == b',' && !quoted && !escaped && depth == 0;
            if splits {
                items.push(std::mem::take(&mut item));
                continue;
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = quoted || depth > 0,
                b'"' if depth == 0 => quoted = !quoted,
                b'(' if !quoted => depth += 1,
                b')' if !quoted => depth = depth.saturating_sub(1),
                _ => {}
            }
            item.push(*byte);
        }
        items.push(item);
    }
    items
}

fn parse_item(item: &[u8], found: &mut Vec<Destination>) {
    let item = item.trim_ascii();
    if item.is_empty() {
        return;
    }
    // "|command with blanks" and "/file" are quoted as a whole.
    let unquoted = item.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).map(unescape);
    let text: &[u8] = match &unquoted {
        Some(inner) if matches!(inner.first(), Some(b'|' | b'/' | b':' | b'\\')) => inner,
        _ => item,
    };
    if let Some(command) = text.strip_prefix(b"|") {
        found.push(Destination::Command(command.trim_ascii().into()));
    } else if text.starts_with(b"/") {
        found.push(Destination::File(text.into()));
    } else if text.get(..9).is_some_and(|tag| tag.eq_ignore_ascii_case(b":include:")) {
        found.push(Destination::Include(text[9..].trim_ascii().into()));
    } else if let Some(user) = text.strip_prefix(b"\\") {
        found.push(Destination::Mailbox(user.into()));
    } else {
        let list = address::header::AddressList::parse(item, ADDRESS_TOKENS);
        found.extend(list.into_addresses().filter(|address| !address.is_empty()).map(Destination::Address));
    }
}

fn unescape(text: &[u8]) -> BString {
    let mut output = BString::default();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if output.is_empty() && bytes.as_slice().first() != Some(&b'"') => output.push(*byte),
            b'\\' => output.extend(bytes.next()),
            _ => output.push(*byte),
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        use Destination::{Address, Command, File, Include, Mailbox};
        let cases: [(&str, Vec<Destination>); 9] = [
            ("root", vec![Address("root".into())]),
            ("a@x.example, b@y.example", vec![Address("a@x.example".into()), Address("b@y.example".into())]),
            ("Full Name <a@x.example>", vec![Address("a@x.example".into())]),
            ("\"|/usr/bin/vacation -a \\\"x, y\\\" joe\"", vec![Command("/usr/bin/vacation -a \"x, y\" joe".into())]),
            ("|/usr/bin/procmail", vec![Command("/usr/bin/procmail".into())]),
            (
                "/var/mail/archive, \"/dir with blank/\"",
                vec![File("/var/mail/archive".into()), File("/dir with blank/".into())],
            ),
            (":include:/etc/list", vec![Include("/etc/list".into())]),
            ("\\joe, joe@far.example", vec![Mailbox("joe".into()), Address("joe@far.example".into())]),
            ("# comment\n\na\nb # no comment", vec![Address("a".into())]),
        ];
        for (text, expected) in cases {
            let found = parse_list(text.as_bytes()).expect("few");
            assert!(found.starts_with(&expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn an_enormous_list_is_refused_as_a_whole() {
        assert_eq!(parse_list(&b"a,".repeat(MOST_DESTINATIONS + 1)), Err(TooMany));
    }

    #[test]
    fn anything_is_parsed_without_end() {
        for text in ["\"", "\"|", "((((", "\\", ",,,,", "\"\\", "|", ":include:"] {
            let _ = parse_list(text.as_bytes()).expect("few");
        }
    }
}
