//! Entries of `master.cf` as `postconf` shows and changes them: eight fields as text, and arguments.

use std::path::Path;

use config::logical_line::LogicalLines;
use config::{MasterCf, list, main_cf};

use crate::error::Error;
use crate::line::Line;

/// Names of the fields, in their order; the last holds the command with its arguments.
pub(crate) const FIELDS: [&str; 8] =
    ["service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command"];

/// Where each field begins in a line.
const COLUMNS: [usize; 8] = [0, 11, 17, 25, 33, 41, 49, 57];

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// As [`FIELDS`]; the command without arguments.
    pub(crate) fields: [String; 8],
    /// Arguments, `{long ones}` without their braces.
    pub(crate) arguments: Vec<String>,
}

impl Entry {
    /// Reads one logical line.
    ///
    /// # Errors
    /// As [`MasterCf::parse`], in words without a place.
    pub(crate) fn parse(text: &str) -> Result<Entry, String> {
        let words = list::split_words(text);
        let Some((fields, _)) = words.split_first_chunk::<8>() else {
            return Err("bad field count".to_owned());
        };
        for (at, value) in fields.iter().enumerate().skip(1).take(6) {
            check_field(at, value)?;
        }
        let entry = MasterCf::parse(text.trim()).map_err(|error| error.to_string())?;
        let service = entry.services.into_iter().next().ok_or("bad field count")?;
        let mut entry = Entry { fields: fields.clone(), arguments: service.arguments };
        // Blanks around the `=` of an option in braces mean nothing.
        let options: Vec<_> =
            entry.overrides().into_iter().map(|(range, name, value)| (range, format!("{name}={value}"))).collect();
        for (range, option) in options.into_iter().filter(|(range, _)| range.len() == 2) {
            entry.arguments[range.end - 1] = option;
        }
        Ok(entry)
    }

    pub(crate) fn service(&self) -> &str {
        &self.fields[0]
    }

    pub(crate) fn kind(&self) -> &str {
        &self.fields[1]
    }

    pub(crate) fn command(&self) -> &str {
        &self.fields[7]
    }

    /// Ranges of the `-o` options in `arguments`, with what they set.
    pub(crate) fn overrides(&self) -> Vec<(std::ops::Range<usize>, &str, &str)> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(argument) = self.arguments.get(at) {
            let Some(glued) = argument.strip_prefix("-o") else {
                if argument == "--" || !argument.starts_with('-') {
                    break;
                }
                at += 1;
                continue;
            };
            let end = if glued.is_empty() { at + 2 } else { at + 1 };
            let text = if glued.is_empty() { self.arguments.get(at + 1).map_or("", String::as_str) } else { glued };
            if let Ok((name, value)) = main_cf::split_name_value(text) {
                found.push((at..end, name, value));
            }
            at = end;
        }
        found
    }

    /// Sets `-o name=value`, or removes it; true when something changed.
    pub(crate) fn set_override(&mut self, name: &str, value: Option<&str>) -> bool {
        let ranges: Vec<_> = self
            .overrides()
            .into_iter()
            .filter(|(_, known, _)| *known == name)
            .map(|(range, _, old)| (range, Some(old) == value))
            .collect();
        let Some(value) = value else {
            for (range, _) in ranges.iter().rev() {
                self.arguments.drain(range.clone());
            }
            return !ranges.is_empty();
        };
        let text = format!("{name}={value}");
        if ranges.is_empty() {
            let at = self.overrides().last().map_or(0, |(range, _, _)| range.end);
            let at = if at == 0 { self.options_end() } else { at };
            self.arguments.splice(at..at, ["-o".to_owned(), text]);
            return true;
        }
        let changes = ranges.iter().any(|(_, same)| !same);
        for (range, _) in ranges.into_iter().rev() {
            self.arguments.splice(range, ["-o".to_owned(), text.clone()]);
        }
        changes
    }

    /// How many arguments at the beginning are options.
    fn options_end(&self) -> usize {
        self.arguments.iter().take_while(|word| word.starts_with('-') && *word != "--").count()
    }

    /// One field as text; the command with its arguments.
    pub(crate) fn field(&self, at: usize) -> String {
        if at < 7 { self.fields[at].clone() } else { self.command_line() }
    }

    pub(crate) fn command_line(&self) -> String {
        let mut line = Line::new(false);
        self.put_command(&mut line, &|text| text.to_owned());
        line.finish()
    }

    /// Changes one field.
    ///
    /// # Errors
    /// A value that the field cannot have, in words.
    pub(crate) fn set_field(&mut self, at: usize, value: &str) -> Result<(), String> {
        if at == 7 {
            let text = format!("{} {value}", self.fields[..7].join(" "));
            *self = Entry::parse(&text)?;
            return Ok(());
        }
        if value.is_empty() || value.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(format!("invalid {} field \"{value}\"", FIELDS[at]));
        }
        check_field(at, value)?;
        value.clone_into(&mut self.fields[at]);
        Ok(())
    }

    /// The whole entry, as `-M` shows it and as it is written to the file (folded).
    pub(crate) fn show(&self, fold: bool, value: &dyn Fn(&str) -> String) -> String {
        let mut line = Line::new(fold);
        let mut column = 0;
        for (at, field) in self.fields[..7].iter().enumerate() {
            line.put(field);
            column += field.len();
            let pad = COLUMNS[at + 1].saturating_sub(column).max(1);
            line.put(&" ".repeat(pad));
            column += pad;
        }
        self.put_command_after(&mut line, value);
        line.finish()
    }

    /// The command and its arguments; options go to lines of their own when the line is folded.
    pub(crate) fn put_command(&self, line: &mut Line, value: &dyn Fn(&str) -> String) {
        line.word(self.command());
        self.put_arguments(line, value);
    }

    fn put_command_after(&self, line: &mut Line, value: &dyn Fn(&str) -> String) {
        line.put(self.command());
        self.put_arguments(line, value);
    }

    fn put_arguments(&self, line: &mut Line, value: &dyn Fn(&str) -> String) {
        let overrides = self.overrides();
        let mut at = 0;
        let mut behind_option = false;
        while let Some(argument) = self.arguments.get(at) {
            if let Some((range, name, text)) = overrides.iter().find(|(range, _, _)| range.start == at) {
                line.next_line();
                line.word("-o");
                line.put(" ");
                line.put(&protected(&format!("{name}={}", value(text))));
                at = range.end;
                behind_option = true;
                continue;
            }
            if std::mem::take(&mut behind_option) {
                line.next_line();
            }
            line.word(&protected(argument));
            at += 1;
        }
    }
}

/// In braces when it would otherwise be read as something else.
fn protected(argument: &str) -> String {
    if argument.is_empty() || argument.starts_with('{') || argument.contains(|c: char| c.is_ascii_whitespace()) {
        format!("{{{argument}}}")
    } else {
        argument.to_owned()
    }
}

fn check_field(at: usize, value: &str) -> Result<(), String> {
    let number = |text: &str| !text.is_empty() && text.len() < 10 && text.bytes().all(|b| b.is_ascii_digit());
    let fine = match at {
        1 => value.parse::<config::ServiceKind>().is_ok(),
        2..=4 => ["-", "y", "n"].contains(&value),
        5 => value == "-" || number(value.strip_suffix('?').unwrap_or(value)),
        6 => value == "-" || number(value),
        _ => true,
    };
    if fine { Ok(()) } else { Err(format!("invalid {} field \"{value}\"", FIELDS[at])) }
}

/// Reads all entries of `directory/master.cf`, in the order of the file.
///
/// # Errors
/// The file cannot be read, or an entry is wrong.
pub(crate) fn load(directory: &Path) -> Result<Vec<Entry>, Error> {
    let path = directory.join("master.cf");
    let name = path.display().to_string();
    let text = std::fs::read(&path).map_err(|source| Error::File { what: "open", path: name.clone(), source })?;
    LogicalLines::new(&text)
        .map(|logical| {
            let text = String::from_utf8_lossy(&logical.text);
            Entry::parse(&text).map_err(|problem| {
                Error::Request(format!("{name}: line {}: {problem} in \"{}\"", logical.line, text.trim()))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "foo unix - - n - - smtp -o a=b\n -o { c = d e } -v -o x=$y {z z} w";

    #[test]
    fn shown_in_columns() {
        let entry = Entry::parse(TEXT).unwrap();
        let same = |text: &str| text.to_owned();
        assert_eq!(
            entry.show(false, &same),
            "foo        unix  -       -       n       -       -       smtp -o a=b -o {c=d e} -v -o x=$y {z z} w"
        );
        assert_eq!(
            entry.show(true, &|text| text.replace("$y", "Y")),
            "foo        unix  -       -       n       -       -       smtp\n    -o a=b\n    -o {c=d e}\n    -v\n    -o x=Y\n    {z z} w"
        );
        assert_eq!(entry, Entry::parse(&entry.show(true, &same)).unwrap());
        let long = Entry::parse("scalemail-backend unix - n n - 2 pipe flags=R").unwrap();
        assert_eq!(long.show(false, &same), "scalemail-backend unix - n       n       -       2       pipe flags=R");
    }

    #[test]
    fn overrides_change() {
        let mut entry = Entry::parse(TEXT).unwrap();
        assert!(entry.set_override("c", None));
        assert!(!entry.set_override("c", None));
        assert!(entry.set_override("a", Some("new")));
        assert!(!entry.set_override("a", Some("new")));
        assert!(entry.set_override("n", Some("1")));
        assert_eq!(entry.command_line(), "smtp -o a=new -v -o x=$y -o n=1 {z z} w");
        let mut plain = Entry::parse("p unix - n n - - pipe user=x argv=y").unwrap();
        plain.set_override("n", Some("1"));
        assert_eq!(plain.command_line(), "pipe -o n=1 user=x argv=y");
    }

    #[test]
    fn fields_change() {
        let mut entry = Entry::parse(TEXT).unwrap();
        entry.set_field(4, "y").unwrap();
        entry.set_field(7, "lmtp -o q=r").unwrap();
        assert_eq!(entry.field(7), "lmtp -o q=r");
        assert_eq!(entry.set_field(4, "zz").unwrap_err(), "invalid chroot field \"zz\"");
        assert!(entry.set_field(1, "tcp").is_err() && entry.set_field(6, "-1").is_err());
        assert!(Entry::parse("foo unix").is_err() && Entry::parse("a unix - - - - - b -o c").is_err());
    }
}
