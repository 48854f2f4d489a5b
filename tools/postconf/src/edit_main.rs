//! Changes `main.cf` and keeps the rest of it: comments, order, layout.

use std::path::Path;

use config::logical_line::is_ignored;
use config::main_cf;

use crate::Output;
use crate::error::Error;
use crate::options::Change;
use crate::replace_file::Replacement;

/// Carries out the requests.
///
/// # Errors
/// A request of the wrong form, or the file cannot be replaced.
pub(crate) fn edit(directory: &Path, change: Change, operands: &[String], output: &mut Output) -> Result<(), Error> {
    let requests = operands.iter().map(|text| request(change, text)).collect::<Result<Vec<_>, _>>()?;
    for (at, (name, value)) in requests.iter().enumerate() {
        if change == Change::Set && requests[at + 1..].iter().any(|(later, _)| later == name) {
            output.warn(&format!("ignoring earlier request: '{name} = {value}'"));
        }
    }
    let path = directory.join("main.cf");
    let replacement = Replacement::begin(&path)?;
    let old = replacement.present()?;
    let mut warnings = Vec::new();
    let new = changed(&old, change, &requests, &mut warnings);
    for name in warnings {
        output.warn(&format!("{}: multiple entries for \"{name}\"", path.display()));
    }
    if new == old {
        replacement.abandon();
        return Ok(());
    }
    replacement.commit(&new)
}

/// A name and, for [`Change::Set`], its value.
fn request(change: Change, text: &str) -> Result<(String, String), Error> {
    match change {
        Change::Set => {
            let (name, value) =
                main_cf::split_name_value(text).map_err(|problem| Error::Request(format!("{problem}: \"{text}\"")))?;
            Ok((name.to_owned(), value.to_owned()))
        }
        Change::Exclude | Change::CommentOut => {
            let name = text.trim();
            if name.is_empty() {
                return Err(Error::request("-X or -# requires non-blank parameter names"));
            }
            if name.contains('=') {
                let option = if change == Change::Exclude { "-X" } else { "-#" };
                return Err(Error::Request(format!("specify one of -e {option}")));
            }
            Ok((name.to_owned(), String::new()))
        }
    }
}

/// The changed text. Every entry of a name is changed; new names go to the end.
fn changed(old: &[u8], change: Change, requests: &[(String, String)], multiple: &mut Vec<String>) -> Vec<u8> {
    let mut new = Vec::with_capacity(old.len() + 256);
    let mut seen: Vec<&str> = Vec::new();
    let mut applies = false;
    for line in old.split_inclusive(|b| *b == b'\n') {
        if is_ignored(line) {
            new.extend_from_slice(line);
            continue;
        }
        let continues = line[0].is_ascii_whitespace();
        if !continues {
            let end = line.iter().position(|b| *b == b'=' || b.is_ascii_whitespace()).unwrap_or(line.len());
            // The last request for a name counts.
            let request = requests.iter().rev().find(|(name, _)| name.as_bytes() == &line[..end]);
            applies = request.is_some();
            if let Some((name, value)) = request {
                if seen.contains(&name.as_str()) && change == Change::Set && !multiple.contains(name) {
                    multiple.push(name.clone());
                }
                seen.push(name);
                if change == Change::Set {
                    put_assignment(&mut new, name, value);
                    continue;
                }
            }
        }
        match (applies, change) {
            (true, Change::Set | Change::Exclude) => {}
            (true, Change::CommentOut) => {
                new.push(b'#');
                new.extend_from_slice(line);
            }
            (false, _) => new.extend_from_slice(line),
        }
    }
    if change == Change::Set {
        for (at, (name, value)) in requests.iter().enumerate() {
            let repeated = requests[at + 1..].iter().any(|(later, _)| later == name);
            if !seen.contains(&name.as_str()) && !repeated {
                if new.last().is_some_and(|last| *last != b'\n') {
                    new.push(b'\n');
                }
                put_assignment(&mut new, name, value);
            }
        }
    }
    new
}

fn put_assignment(new: &mut Vec<u8>, name: &str, value: &str) {
    new.extend_from_slice(format!("{name} = {value}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# first\n\nmyhostname = a.b\n# relay\nrelayhost = [x]\n  # inner\n  more\n\n\
                       myhostname = c.d\nbiff=no\n# last\n";

    fn apply(old: &str, change: Change, operands: &[&str]) -> (String, Vec<String>) {
        let requests: Vec<_> = operands.iter().map(|text| request(change, text).unwrap()).collect();
        let mut multiple = Vec::new();
        let new = changed(old.as_bytes(), change, &requests, &mut multiple);
        (String::from_utf8(new).unwrap(), multiple)
    }

    #[test]
    fn comments_and_layout_stay() {
        let cases: [(Change, &[&str], String); 6] = [
            (Change::Set, &["relayhost=y"], OLD.replace("[x]", "y").replace("  more\n", "")),
            (
                Change::Set,
                &["biff = yes", "new= v w ", "biff=maybe"],
                OLD.replace("biff=no", "biff = maybe") + "new = v w\n",
            ),
            (Change::Set, &["biff="], OLD.replace("biff=no", "biff = ")),
            (Change::Exclude, &["relayhost", "nosuch"], OLD.replace("relayhost = [x]\n", "").replace("  more\n", "")),
            (
                Change::CommentOut,
                &["relayhost", "biff"],
                OLD.replace("relay\nr", "relay\n#r").replace("  more", "#  more").replace("biff", "#biff"),
            ),
            (Change::Set, &["a=1", "b=2"], OLD.to_owned() + "a = 1\nb = 2\n"),
        ];
        for (change, operands, expected) in cases {
            assert_eq!(apply(OLD, change, operands).0, expected, "{operands:?}");
        }
        assert_eq!(apply("a=b", Change::Set, &["c=d"]).0, "a=b\nc = d\n");
        assert_eq!(apply("a=b", Change::CommentOut, &["a"]).0, "#a=b");
    }

    #[test]
    fn every_entry_of_a_name_changes() {
        let (new, multiple) = apply(OLD, Change::Set, &["myhostname=z"]);
        assert_eq!(new.matches("myhostname = z\n").count(), 2);
        assert_eq!(multiple, ["myhostname"]);
    }

    #[test]
    fn bytes_that_are_no_text_stay() {
        let requests = [("a".to_owned(), "1".to_owned())];
        let new = changed(b"# \xff\nb = \xfe\na=\xfd\n", Change::Set, &requests, &mut Vec::new());
        assert_eq!(new, b"# \xff\nb = \xfe\na = 1\n");
    }

    #[test]
    fn requests_of_the_wrong_form() {
        for bad in ["x", "=x", "a b=c"] {
            assert!(request(Change::Set, bad).is_err(), "{bad}");
        }
        assert!(request(Change::Exclude, "a=b").is_err());
    }
}
