//! The command line of a daemon: what master says, then the arguments of the master.cf entry.

use std::ffi::OsString;

use config::getopt::Getopt;

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
    /// `name=value`, or `{ name = value }`.
    pub(crate) overrides: Vec<String>,
    pub(crate) rest: Vec<String>,
}

/// The options of every daemon. A debugger (`D`), the foreground (`d`), and what the reference's master says about
/// process limits (`l`, `z`) and output (`V`) are accepted.
const OPTIONS: &str = "cdDi:lm:n:o:s:St:uvVz";

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, StartError> {
        let mut arguments = Arguments { listeners: 1, ..Arguments::default() };
        let mut options = Getopt::new(words, OPTIONS);
        while let Some(option) = options.next_option().map_err(|error| StartError::Usage(error.to_string()))? {
            let value = option.text();
            let bad = || StartError::Usage(format!("bad value for -{}: {value}", option.letter));
            match option.letter {
                'u' => arguments.unprivileged = true,
                'c' => arguments.chroot = true,
                'v' => arguments.verbose += 1,
                'S' => arguments.stand_alone = true,
                't' => arguments.kind = Some(Kind::from_name(&value).ok_or_else(bad)?),
                's' => arguments.listeners = value.parse().ok().filter(|n| *n <= 1024).ok_or_else(bad)?,
                'i' => arguments.overrides.push(format!("max_idle={value}")),
                'm' => arguments.overrides.push(format!("max_use={value}")),
                'n' => arguments.service = Some(value),
                'o' => arguments.overrides.push(value),
                _ => {}
            }
        }
        arguments.rest = options.into_operands().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok(arguments)
    }
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
        assert_eq!(arguments.overrides, ["a=b"]);
    }

    #[test]
    fn options_end_where_the_words_begin() {
        let arguments =
            parse(&["-vuc", "-osyslog_name=postfix/x", "flags=DRhu", "-o", "user=vmail"]).expect("arguments");
        assert_eq!(arguments.rest, ["flags=DRhu", "-o", "user=vmail"]);
        assert_eq!(arguments.overrides, ["syslog_name=postfix/x"]);
        for bad in [&["-Q"][..], &["-n"], &["-t", "udp"], &["-s", "x"], &["-o"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
