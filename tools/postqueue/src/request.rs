//! What the command line asks for.

use std::ffi::OsString;

use config::getopt::{Getopt, OptionError};

/// The option letters, for getopt.
const LETTERS: &str = "c:fi:jps:v";

/// The same for `mailq`, which takes what sendmail takes for a listing.
const MAILQ_LETTERS: &str = "C:c:v";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `-p`
    List,
    /// `-j`
    Json,
    /// `-f`
    Flush,
    /// `-i`
    Message(String),
    /// `-s`
    Site(String),
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// What is asked for.
    pub request: Request,
    /// `-c`
    pub config_directory: Option<OsString>,
    /// `-v`, counted.
    pub verbose: u32,
}

/// A mistake on the command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site")]
pub struct Usage(pub Option<OptionError>);

impl CommandLine {
    /// Reads the arguments of `program`; as `mailq` it lists.
    ///
    /// # Errors
    /// [`Usage`]: exactly one thing can be asked for.
    pub fn parse(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, Usage> {
        let is_mailq = program == "mailq";
        let mut arguments = Getopt::new(arguments, if is_mailq { MAILQ_LETTERS } else { LETTERS });
        let mut request = is_mailq.then_some(Request::List);
        let (mut config_directory, mut verbose) = (None, 0);
        while let Some(option) = arguments.next_option().map_err(|mistake| Usage(Some(mistake)))? {
            let asked = match option.letter {
                'f' => Request::Flush,
                'i' => Request::Message(option.text()),
                'j' => Request::Json,
                'p' => Request::List,
                's' => Request::Site(option.text()),
                'v' => {
                    verbose += 1;
                    continue;
                }
                _ => {
                    config_directory = option.value;
                    continue;
                }
            };
            if request.replace(asked).is_some() {
                return Err(Usage(None));
            }
        }
        match request {
            Some(request) if arguments.operands().is_empty() => Ok(CommandLine { request, config_directory, verbose }),
            _ => Err(Usage(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, Usage> {
        let words = words.iter().map(OsString::from);
        CommandLine::parse("postqueue", words).map(|line| line.request)
    }

    #[test]
    fn exactly_one_request() {
        let cases = [
            (&["-p"][..], Request::List),
            (&["-vj", "-c/etc/postfix"], Request::Json),
            (&["-f"], Request::Flush),
            (&["-i", "A1"], Request::Message("A1".into())),
            (&["-sexample.com"], Request::Site("example.com".into())),
        ];
        for (words, request) in cases {
            assert_eq!(parse(words), Ok(request));
        }
        for bad in [&[][..], &["-p", "-f"], &["-p", "x"], &["-x"], &["-i"], &["-s", "a", "-i", "b"], &["x"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let mailq = CommandLine::parse("mailq", ["-v".into()]).expect("mailq");
        assert_eq!((mailq.request, mailq.verbose), (Request::List, 1));
    }
}
