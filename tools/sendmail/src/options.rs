//! The command line. What other mailers' options mean nothing here is taken and ignored.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use config::getopt::{Getopt, Opt};
use dsn::{Notify, Return};

use crate::Fatal;

/// The letters of getopt.
const LETTERS: &str = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx";
/// Longest envelope id (RFC 3461 4.4).
const LONGEST_ENVELOPE_ID: usize = 100;

/// Send option of the size record: SMTPUTF8 asked for.
const SMTPUTF8: u32 = 1;
/// Send option of the size record: REQUIRETLS asked for.
const REQUIRETLS: u32 = 32;

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `-bm`
    #[default]
    Deliver,
    /// `-bv`
    Verify,
    /// `-bp`, `mailq`
    List,
    /// `-bi`, `-I`, `newaliases`
    Aliases,
    /// `-bd`, `-bl`
    Daemon,
    /// `-bs`
    StandAlone,
    /// `-q`
    Flush,
    /// `-bh`, `-bH`
    Nothing,
}

/// The command line, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) config: Option<OsString>,
    pub(crate) full_name: Option<OsString>,
    pub(crate) sender: Option<OsString>,
    pub(crate) gateway: bool,
    pub(crate) dots_are_text: bool,
    pub(crate) extract: bool,
    pub(crate) verbose: u32,
    /// `7bit` or `8bit`
    pub(crate) encoding: Option<&'static str>,
    pub(crate) notify: Notify,
    pub(crate) ret: Option<Return>,
    pub(crate) envelope_id: Option<OsString>,
    /// `Some(None)`: the default delimiters.
    #[expect(clippy::option_option, reason = "no VERP, VERP with default delimiters, VERP with others")]
    pub(crate) verp: Option<Option<OsString>>,
    /// Bits of the size record; `None` when the user did not say.
    pub(crate) send_options: Option<u32>,
    pub(crate) flush_site: Option<String>,
    pub(crate) flush_id: Option<String>,
    pub(crate) alias_file: Option<OsString>,
    pub(crate) operands: Vec<OsString>,
}

impl Options {
    /// Reads the command line; `name` is what the program was called.
    pub(crate) fn parse(name: &str, words: Vec<OsString>) -> Result<Options, Fatal> {
        let mut options = Options {
            mode: match name {
                "mailq" => Mode::List,
                "newaliases" => Mode::Aliases,
                "smtpd" => Mode::Daemon,
                _ => Mode::Deliver,
            },
            ..Options::default()
        };
        let mut getopt = Getopt::new(words.into_iter().map(old_verp), LETTERS);
        loop {
            // These have an argument only sometimes, which getopt cannot know.
            let next = getopt.operands().first().map(|word| word.as_bytes().to_vec());
            match next.as_deref() {
                Some(b"-q") => {
                    options.mode = Mode::Flush;
                    getopt.next_word();
                    continue;
                }
                Some(b"-XV") => {
                    options.verp = Some(None);
                    getopt.next_word();
                    continue;
                }
                _ => {}
            }
            match getopt.next_option() {
                Ok(Some(option)) => options.take(option, &mut getopt)?,
                Ok(None) => break,
                Err(mistake) => {
                    // As getopt(3) says it; not for the log.
                    let _ = writeln!(std::io::stderr(), "sendmail: {mistake}");
                    return Err(Fatal::Usage);
                }
            }
        }
        options.operands = getopt.into_operands();
        Ok(options)
    }

    fn take(&mut self, option: Opt, getopt: &mut Getopt) -> Result<(), Fatal> {
        let text = option.text();
        match option.letter {
            'B' => {
                self.encoding = match text.to_ascii_uppercase().as_str() {
                    "8BITMIME" => Some("8bit"),
                    "7BIT" => Some("7bit"),
                    _ => return Err(Fatal::Text("-B option needs 8BITMIME or 7BIT".to_owned())),
                };
            }
            'C' => self.config = option.value,
            'F' => self.full_name = option.value,
            'G' => self.gateway = true,
            'I' => self.mode = Mode::Aliases,
            'N' => self.take_notify(&text),
            'O' => self.take_send_option(&text),
            'R' => match Return::parse(text.as_bytes()) {
                Some(ret) => self.ret = Some(ret),
                None => log::warning!("bad -R option value -- ignored"),
            },
            'V' => {
                let value = option.into_value();
                let printable = value.as_bytes().iter().all(|byte| (32..127).contains(byte));
                if value.len() > LONGEST_ENVELOPE_ID || !printable {
                    log::warning!("bad -V option value -- ignored");
                } else {
                    self.envelope_id = Some(value);
                }
            }
            'X' => match text.strip_prefix('V') {
                Some(delimiters) if delimiters.len() == 2 => self.verp = Some(Some(delimiters.into())),
                _ => return Err(Fatal::Text(format!("unsupported: -X{text}"))),
            },
            'b' => self.take_mode(&text)?,
            'f' | 'r' => self.sender = option.value,
            'i' => self.dots_are_text = true,
            'n' => return Err(Fatal::Text("-n option not supported".to_owned())),
            'o' => self.take_o(&text, getopt)?,
            'q' => self.take_q(&text)?,
            't' => self.extract = true,
            'v' => self.verbose += 1,
            // A c e h L m p U x: other mailers'.
            _ => {}
        }
        Ok(())
    }

    fn take_notify(&mut self, text: &str) {
        match Notify::parse(text.as_bytes()) {
            Some(notify) => self.notify = notify,
            None => {
                let words = ["NEVER", "SUCCESS", "FAILURE", "DELAY"];
                let unknown = text.split(',').find(|word| !words.iter().any(|known| known.eq_ignore_ascii_case(word)));
                if let Some(unknown) = unknown {
                    log::warning!("unknown DSN NOTIFY command value \"{unknown}\" in \"{text}\"");
                }
                log::warning!("bad -N option value -- ignored");
            }
        }
    }

    fn take_send_option(&mut self, text: &str) {
        let Some((name, value)) = text.split_once('=') else { return };
        let bit = match name.trim().to_ascii_lowercase().as_str() {
            "smtputf8" => SMTPUTF8,
            "requiretls" => REQUIRETLS,
            // Options of other mailers.
            _ => return,
        };
        let bits = self.send_options.unwrap_or(0);
        match value.trim().to_ascii_lowercase().as_str() {
            "yes" => self.send_options = Some(bits | bit),
            "no" => self.send_options = Some(bits & !bit),
            _ => log::warning!("bad -O {name} option value -- ignored"),
        }
    }

    fn take_mode(&mut self, text: &str) -> Result<(), Fatal> {
        self.mode = match text.bytes().next() {
            Some(b'd' | b'l') => Mode::Daemon,
            Some(b'h' | b'H') => Mode::Nothing,
            Some(b'i') => Mode::Aliases,
            Some(b'm') => Mode::Deliver,
            Some(b'p') => Mode::List,
            Some(b's') => Mode::StandAlone,
            Some(b'v') => Mode::Verify,
            _ => return Err(Fatal::Text(format!("unsupported: -b{text}"))),
        };
        Ok(())
    }

    fn take_o(&mut self, text: &str, getopt: &mut Getopt) -> Result<(), Fatal> {
        match text.bytes().next() {
            Some(b'A') if text.len() > 1 => self.alias_file = Some(text[1..].into()),
            Some(b'A') => {
                let file = getopt.next_word().ok_or_else(|| Fatal::Text("-oA requires pathname".to_owned()))?;
                self.alias_file = Some(file);
            }
            Some(b'i') => self.dots_are_text = true,
            // 7 8 e m and the rest.
            _ => {}
        }
        Ok(())
    }

    fn take_q(&mut self, text: &str) -> Result<(), Fatal> {
        match text.bytes().next() {
            Some(b'0'..=b'9') => {}
            Some(b'I') if text.len() > 1 => self.flush_id = Some(text[1..].to_owned()),
            Some(b'R') if text.len() > 1 => self.flush_site = Some(text[1..].to_owned()),
            Some(b'I' | b'R') => return Err(Fatal::Text(format!("-q{text} requires a value"))),
            Some(b'S') => return Err(Fatal::Text("-qS is not implemented".to_owned())),
            _ => return Err(Fatal::Text(format!("unsupported: -q{text}"))),
        }
        Ok(())
    }

    /// `-C`: a directory, or a file in it.
    pub(crate) fn config_directory(&self) -> Option<PathBuf> {
        let given = Path::new(self.config.as_deref()?);
        if given.is_dir() {
            return Some(given.to_owned());
        }
        Some(given.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned())
    }
}

/// `-Vxy`, as it was before `-V` meant the envelope id.
fn old_verp(word: OsString) -> OsString {
    let bytes = word.as_bytes();
    let is_old = bytes.len() == 4 && bytes.starts_with(b"-V") && bytes[2..].iter().all(u8::is_ascii_punctuation);
    if !is_old {
        return word;
    }
    log::warning!("option -V is deprecated with Postfix 2.3; specify -XV instead");
    let mut new = OsString::from("-XV");
    new.push(OsStr::from_bytes(&bytes[2..]));
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, words: &str) -> Result<Options, String> {
        let words = words.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        Options::parse(name, words).map_err(|error| error.to_string())
    }

    #[test]
    fn modes() {
        let cases = [
            ("sendmail", "-bm a", Mode::Deliver),
            ("sendmail", "-bp", Mode::List),
            ("mailq", "", Mode::List),
            ("newaliases", "", Mode::Aliases),
            ("sendmail", "-bi", Mode::Aliases),
            ("sendmail", "-I", Mode::Aliases),
            ("sendmail", "-bd -q30m", Mode::Daemon),
            ("sendmail", "-bs", Mode::StandAlone),
            ("sendmail", "-bv a", Mode::Verify),
            ("sendmail", "-q", Mode::Flush),
            ("sendmail", "-v -q", Mode::Flush),
            ("sendmail", "-bh", Mode::Nothing),
            ("sendmail", "-q5 a", Mode::Deliver),
        ];
        for (name, words, mode) in cases {
            assert_eq!(parse(name, words).map(|options| options.mode), Ok(mode), "{name} {words}");
        }
    }

    #[test]
    fn submission_options() {
        let options = parse(
            "sendmail",
            "-oi -oem -oA/f -odb -om -i -t -fme -Fname -G -N success,delay -R hdrs -V id -XV+= -B8BITMIME -v -Am -hnn -L x -O smtputf8=yes -O x=y -- -a b",
        )
        .expect("options");
        assert!(options.dots_are_text && options.extract && options.gateway);
        assert_eq!((options.sender, options.full_name), (Some("me".into()), Some("name".into())));
        assert_eq!((options.notify.bits(), options.ret), (10, Some(Return::Headers)));
        assert_eq!((options.envelope_id, options.verp), (Some("id".into()), Some(Some("+=".into()))));
        assert_eq!((options.encoding, options.verbose, options.send_options), (Some("8bit"), 1, Some(1)));
        assert_eq!(options.alias_file, Some("/f".into()));
        assert_eq!(options.operands, ["-a", "b"]);
        let options = parse("sendmail", "-XV -qIABC -r x a -f y").expect("options");
        assert_eq!(
            (options.verp, options.flush_id.as_deref(), options.sender),
            (Some(None), Some("ABC"), Some("x".into()))
        );
        assert_eq!(options.operands, ["a", "-f", "y"]);
        assert_eq!(parse("sendmail", "-V+= a").expect("options").verp, Some(Some("+=".into())));
        // Ignored with a warning.
        let options = parse("sendmail", "-N foo -R foo a").expect("options");
        assert_eq!((options.notify, options.ret), (Notify::UNSPECIFIED, None));
    }

    #[test]
    fn mistakes() {
        let cases = [
            ("-Q", "usage: sendmail [options]"),
            ("-V", "usage: sendmail [options]"),
            ("-bz", "unsupported: -bz"),
            ("-n", "-n option not supported"),
            ("-X x", "unsupported: -Xx"),
            ("-B foo", "-B option needs 8BITMIME or 7BIT"),
            ("-qSx", "-qS is not implemented"),
        ];
        for (words, problem) in cases {
            assert_eq!(parse("sendmail", words), Err(problem.to_owned()), "{words}");
        }
    }
}
