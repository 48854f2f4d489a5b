//! Port names, from `/etc/services` and for mail's own ports without it.

use std::path::Path;

/// Ports that a mail system must know even where there is no `/etc/services` (containers).
const KNOWN: &[(&str, u16)] = &[
    ("smtp", 25),
    ("mail", 25),
    ("lmtp", 24),
    ("submission", 587),
    ("submissions", 465),
    ("smtps", 465),
    ("qmqp", 628),
];

/// The TCP port with this name or number; `None` when there is none.
#[must_use]
pub(crate) fn look_up(name: &str) -> Option<u16> {
    look_up_in(name, Path::new("/etc/services"))
}

fn look_up_in(name: &str, services: &Path) -> Option<u16> {
    if let Ok(port) = name.parse() {
        return Some(port);
    }
    std::fs::read(services)
        .ok()
        .and_then(|bytes| find(&String::from_utf8_lossy(&bytes), name))
        .or_else(|| KNOWN.iter().find(|(known, _)| *known == name).map(|(_, port)| *port))
}

/// Lines are `name port/protocol [alias...] [# comment]`.
fn find(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let official = words.next()?;
        let port = words.next()?.strip_suffix("/tcp")?;
        if official == name || words.any(|alias| alias == name) { port.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_aliases() {
        let text =
            "# services\nsmtp\t25/tcp\tmail # comment\nsmtp 25/udp\nsubmissions 465/tcp ssmtp smtps\nbad x/tcp\n";
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("services");
        std::fs::write(&path, text).expect("write");
        let cases = [
            ("25", Some(25)),
            ("smtp", Some(25)),
            ("mail", Some(25)),
            ("smtps", Some(465)),
            ("qmqp", Some(628)),
            ("bad", None),
            ("70000", None),
            ("", None),
        ];
        for (name, port) in cases {
            assert_eq!(look_up_in(name, &path), port, "{name}");
        }
        assert_eq!(look_up_in("submission", Path::new("/nonexistent")), Some(587));
    }
}
