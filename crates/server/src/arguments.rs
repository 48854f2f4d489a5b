//! The command line of a daemon: what master says, then the arguments of the master.cf entry.

use std::ffi::OsString;

use crate::error::StartError;

/// Type of a master.cf entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `inet`
    Inet,
    /// `unix`
    Unix,
    /// `unix-dgram`
    UnixDatagram,
    /// `fifo`
    Fifo,
    /// `pass`: connections whose client was accepted by another daemon.
    Pass,
    /// `-S`: one client, on standard input and output.
    StandAlone,
}

impl Kind {
    /// The name in master.cf.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Inet => "inet",
            Kind::Unix => "unix",
            Kind::UnixDatagram => "unix-dgram",
            Kind::Fifo => "fifo",
            Kind::Pass => "pass",
            Kind::StandAlone => "stand-alone",
        }
    }

    fn from_name(name: &str) -> Option<Kind> {
        [Kind::Inet, Kind::Unix, Kind::UnixDatagram, Kind::Fifo, Kind::Pass].into_iter().find(|k| k.name() == name)
    }
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) service: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) unprivileged: bool,
    pub(crate) chroot: bool,
    pub(crate) listeners: usize,
    pub(crate) verbose: u32,
    pub(crate) stand_alone: bool,
    pub(crate) overrides: Vec<(String, String)>,
    pub(crate) rest: Vec<String>,
}

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, StartError> {
        let mut arguments = Arguments { listeners: 1, ..Arguments::default() };
        let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
                arguments.rest.push(word);
                break;
            };
            for (at, letter) in cluster.char_indices() {
                if takes_value(letter) {
                    let glued = &cluster[at + letter.len_utf8()..];
                    let value = if glued.is_empty() { words.next() } else { Some(glued.to_owned()) };
                    let Some(value) = value else {
                        return Err(StartError::Usage(format!("option requires an argument -- '{letter}'")));
                    };
                    arguments.option(letter, value)?;
                    break;
                }
                arguments.switch(letter)?;
            }
        }
        arguments.rest.extend(words);
        Ok(arguments)
    }

    fn switch(&mut self, letter: char) -> Result<(), StartError> {
        match letter {
            'u' => self.unprivileged = true,
            'c' => self.chroot = true,
            'v' => self.verbose += 1,
            'S' => self.stand_alone = true,
            // A debugger (`-D`), the foreground (`-d`), and what the reference's master says about process limits.
            'D' | 'd' | 'l' | 'z' | 'V' => {}
            other => return Err(StartError::Usage(format!("invalid option -- '{other}'"))),
        }
        Ok(())
    }

    fn option(&mut self, letter: char, value: String) -> Result<(), StartError> {
        let bad = |value: &str| StartError::Usage(format!("bad value for -{letter}: {value}"));
        match letter {
            'n' => self.service = Some(value),
            't' => self.kind = Some(Kind::from_name(&value).ok_or_else(|| bad(&value))?),
            's' => self.listeners = value.parse().ok().filter(|n| *n <= 1024).ok_or_else(|| bad(&value))?,
            'i' => self.overrides.push(("max_idle".to_owned(), value)),
            'm' => self.overrides.push(("max_use".to_owned(), value)),
            _ => self.overrides.push(assignment(&value).ok_or_else(|| bad(&value))?),
        }
        Ok(())
    }
}

fn takes_value(letter: char) -> bool {
    matches!(letter, 'n' | 't' | 's' | 'o' | 'i' | 'm')
}

/// `name=value`, or `{ name = value with blanks }`.
fn assignment(text: &str) -> Option<(String, String)> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let (name, value) = inner.split_once('=')?;
    let name = name.trim();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    Some((name.to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, StartError> {
        Arguments::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn what_master_says() {
        let arguments = parse(&["-n", "submission", "-t", "inet", "-u", "-c", "-s", "2", "-v", "-v", "-o", "a=b"]);
        let arguments = arguments.expect("arguments");
        assert_eq!(arguments.service.as_deref(), Some("submission"));
        assert_eq!(arguments.kind, Some(Kind::Inet));
        assert!(arguments.unprivileged && arguments.chroot && !arguments.stand_alone);
        assert_eq!((arguments.listeners, arguments.verbose), (2, 2));
        assert_eq!(arguments.overrides, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn overrides_have_several_forms() {
        let cases: [(&str, Option<(&str, &str)>); 7] = [
            ("a=b", Some(("a", "b"))),
            ("a=", Some(("a", ""))),
            ("{ a = b c }", Some(("a", "b c"))),
            ("{a=b=c}", Some(("a", "b=c"))),
            ("stress=", Some(("stress", ""))),
            ("a", None),
            ("=b", None),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(|(n, v)| (n.to_owned(), v.to_owned()));
            assert_eq!(assignment(text), wanted, "{text}");
        }
    }

    #[test]
    fn options_end_where_the_words_begin() {
        let arguments =
            parse(&["-vuc", "-osyslog_name=postfix/x", "flags=DRhu", "-o", "user=vmail"]).expect("arguments");
        assert_eq!(arguments.rest, ["flags=DRhu", "-o", "user=vmail"]);
        assert_eq!(arguments.overrides.len(), 1);
        for bad in [&["-Q"][..], &["-n"], &["-t", "udp"], &["-s", "x"], &["-o", "novalue"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
