//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-c`: configuration directory.
    pub directory: Option<PathBuf>,
    /// `-D`: programs are told to run under a debugger.
    pub debugger: bool,
    /// `-d`: stay with the terminal and the process group.
    pub stay_attached: bool,
    /// `-e`: end after this time.
    pub exit_after: Option<Duration>,
    /// `-i`: first process of a container.
    pub init: bool,
    /// `-s`: keep standard output.
    pub keep_stdout: bool,
    /// `-t`: only say whether a master runs.
    pub test: bool,
    /// `-v`, counted.
    pub verbose: u32,
    /// `-w`: go to the background, return when initialised.
    pub wait: bool,
}

const USAGE: &str = "usage: master [-c config_dir] [-D (debug)] [-d (don't detach from terminal)] [-e exit_time] \
                     [-i (init mode)] [-s (keep stdout)] [-t (test)] [-v] [-w (wait for initialization)]";

impl Options {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, Error> {
        let usage = || Error::Usage(USAGE.to_owned());
        let mut options = Options::default();
        let mut words = arguments.into_iter();
        while let Some(word) = words.next() {
            let text = word.to_str().ok_or_else(usage)?;
            let cluster = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()).ok_or_else(usage)?;
            if cluster == "-" {
                if words.next().is_some() {
                    return Err(usage());
                }
                break;
            }
            for (at, letter) in cluster.char_indices() {
                if matches!(letter, 'c' | 'e') {
                    let glued = &cluster[at + 1..];
                    let value = if glued.is_empty() { words.next().ok_or_else(usage)? } else { glued.into() };
                    options.value(letter, value)?;
                    break;
                }
                options.switch(letter).ok_or_else(usage)?;
            }
        }
        options.check()?;
        Ok(options)
    }

    fn value(&mut self, letter: char, value: OsString) -> Result<(), Error> {
        if letter == 'c' {
            self.directory = Some(PathBuf::from(value));
            return Ok(());
        }
        let seconds = value.to_str().and_then(|text| text.parse().ok());
        let seconds = seconds.ok_or_else(|| Error::Usage(format!("bad exit time: {}", value.display())))?;
        self.exit_after = Some(Duration::from_secs(seconds));
        Ok(())
    }

    fn switch(&mut self, letter: char) -> Option<()> {
        match letter {
            'D' => self.debugger = true,
            'd' => self.stay_attached = true,
            'i' => self.init = true,
            's' => self.keep_stdout = true,
            't' => self.test = true,
            'v' => self.verbose += 1,
            'w' => self.wait = true,
            _ => return None,
        }
        Some(())
    }

    fn check(&mut self) -> Result<(), Error> {
        if self.test && self.wait {
            return Err(Error::Usage("the -t and -w options cannot be used together".to_owned()));
        }
        if self.init && (self.debugger || self.stay_attached || self.wait) {
            return Err(Error::Usage("the -i option cannot be used with -D, -d, or -w".to_owned()));
        }
        if self.init {
            self.keep_stdout = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        Options::parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_glued_and_apart() {
        let glued = parse(&["-wvvc/etc/postfix-2", "-e30"]).expect("options");
        assert_eq!(glued, parse(&["-w", "-v", "-v", "-c", "/etc/postfix-2", "-e", "30"]).expect("options"));
        assert_eq!((glued.verbose, glued.exit_after), (2, Some(Duration::from_secs(30))));
        assert!(parse(&["-i"]).expect("options").keep_stdout);
    }

    #[test]
    fn what_does_not_go_together() {
        for words in [&["-tw"][..], &["-iw"], &["-id"], &["-x"], &["-c"], &["-e", "soon"], &["word"], &["--", "word"]] {
            parse(words).expect_err("usage");
        }
    }
}
