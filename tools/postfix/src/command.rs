//! The command line.

use std::ffi::OsString;

use config::getopt::Getopt;

use crate::Failure;

const USAGE: &str = "usage: postfix [-c config_dir] [-Dv] command";

/// What stands before the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-c`.
    pub(crate) directory: Option<OsString>,
    /// `-D`.
    pub(crate) debugger: bool,
    /// `-v`, counted.
    pub(crate) verbose: u32,
}

/// The commands of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Start,
    StartForeground,
    Stop,
    Abort,
    Drain,
    QuickStop,
    Reload,
    Flush,
    Status,
    Check,
    /// `start_msg`, `stop_msg`: a text for boot scripts.
    Message(&'static str),
}

/// Commands of the reference that this version does not have.
const NOT_AVAILABLE: [&str; 10] = [
    "set-permissions",
    "upgrade-configuration",
    "logrotate",
    "tls",
    "non-bdb",
    "post-install",
    "check-fatal",
    "check-warn",
    "check-alias-maps-migration",
    "upgrade-permissions",
];

/// Options and words.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Options, Vec<String>), Failure> {
    let mut options = Options::default();
    let mut getopt = Getopt::new(arguments, "c:Dv");
    loop {
        match getopt.next_option() {
            Ok(Some(option)) => match option.letter {
                'c' => options.directory = option.value,
                'D' => options.debugger = true,
                _ => options.verbose += 1,
            },
            Ok(None) => break,
            Err(error) => return Err(Failure::Fatal(format!("{error}; {USAGE}"))),
        }
    }
    let words: Vec<String> = getopt.operands().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if words.is_empty() { Err(Failure::Fatal(USAGE.to_owned())) } else { Ok((options, words)) }
}

impl Command {
    /// The command that the words are; the inner error is for the log of the instance.
    pub(crate) fn find(words: &[String]) -> Result<Result<Command, String>, Failure> {
        let [name, rest @ ..] = words else { return Err(Failure::Fatal(USAGE.to_owned())) };
        let command = match name.as_str() {
            "start" => Command::Start,
            "start-fg" => Command::StartForeground,
            "stop" => Command::Stop,
            "abort" => Command::Abort,
            "drain" => Command::Drain,
            "quick-stop" => Command::QuickStop,
            "reload" => Command::Reload,
            "flush" => Command::Flush,
            "status" => Command::Status,
            "check" => Command::Check,
            "start_msg" => Command::Message("Start postfix"),
            "stop_msg" => Command::Message("Stop postfix"),
            other if NOT_AVAILABLE.contains(&other) || other.starts_with('/') => {
                return Ok(Err(format!("the command '{other}' is not available in this version")));
            }
            other => {
                return Ok(Err(format!(
                    "unknown command: '{other}'. Usage: postfix start (or stop, start-fg, reload, abort, flush, \
                     check, status, drain, quick-stop)"
                )));
            }
        };
        // As the reference does, further words are not looked at.
        let _ = rest;
        Ok(Ok(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn options_come_before_the_command() {
        let arguments = ["-vvc", "/etc/postfix-out", "-D", "start"].map(OsString::from);
        let (options, rest) = parse(arguments).expect("options");
        assert_eq!((options.verbose, options.debugger), (2, true));
        assert_eq!(options.directory, Some("/etc/postfix-out".into()));
        assert_eq!(rest, ["start"]);
        for bad in [&["-x", "start"][..], &[], &["-c"]] {
            assert!(parse(bad.iter().map(OsString::from)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commands() {
        let find = |text: &[&str]| Command::find(&words(text)).expect("a word");
        assert_eq!(find(&["start-fg"]), Ok(Command::StartForeground));
        assert_eq!(find(&["reload", "now"]), Ok(Command::Reload));
        let missing = find(&["tls", "enable-server"]).expect_err("later");
        assert_eq!(missing, "the command 'tls' is not available in this version");
        assert!(
            find(&["restart"]).expect_err("unknown").starts_with("unknown command: 'restart'. Usage: postfix start")
        );
    }
}
