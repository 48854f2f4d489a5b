//! Options as getopt(3) reads them: combined flags, glued values, `--`, and an end at the first word that is no option.
//!
//! ```
//! use posthouse_config::getopt::Getopt;
//! let mut options = Getopt::new(["-vc", "/etc/postfix", "-oname=value", "rest"].map(Into::into), "c:o:v");
//! let mut seen = Vec::new();
//! while let Some(option) = options.next_option().unwrap() {
//!     seen.push((option.letter, option.text()));
//! }
//! assert_eq!(seen, [('v', ""), ('c', "/etc/postfix"), ('o', "name=value")].map(|(l, t)| (l, t.to_owned())));
//! assert_eq!(options.operands(), ["rest"]);
//! ```

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opt {
    /// Its letter.
    pub letter: char,
    /// Its value, for letters that have one.
    pub value: Option<OsString>,
}

impl Opt {
    /// The value as text, unreadable bytes replaced; empty when there is none.
    #[must_use]
    pub fn text(&self) -> String {
        self.value.as_deref().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The value; empty when there is none.
    #[must_use]
    pub fn into_value(self) -> OsString {
        self.value.unwrap_or_default()
    }
}

/// A mistake in the options. The texts are those of getopt(3), without the program's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A letter that the program does not have.
    #[error("invalid option -- '{0}'")]
    Unknown(char),
    /// A letter without the value that it needs.
    #[error("option requires an argument -- '{0}'")]
    MissingValue(char),
}

/// Reads options one by one.
#[derive(Clone, Debug)]
pub struct Getopt {
    arguments: VecDeque<OsString>,
    letters: String,
    /// What is left of a word such as `-abc`.
    word: Vec<u8>,
}

impl Getopt {
    /// `arguments` is without the program's name. In `letters`, `:` behind a letter means that it has a value, `::`
    /// that it may have one, glued.
    pub fn new(arguments: impl IntoIterator<Item = OsString>, letters: &str) -> Getopt {
        Getopt { arguments: arguments.into_iter().collect(), letters: letters.to_owned(), word: Vec::new() }
    }

    /// The arguments of this process.
    #[must_use]
    pub fn from_process(letters: &str) -> Getopt {
        Getopt::new(std::env::args_os().skip(1), letters)
    }

    /// The next option; `None` at the first word that is none.
    ///
    /// # Errors
    /// [`OptionError`]; reading may go on after it.
    pub fn next_option(&mut self) -> Result<Option<Opt>, OptionError> {
        if self.word.is_empty() {
            match self.arguments.front().map(|word| word.as_bytes()) {
                Some(b"--") => {
                    self.arguments.pop_front();
                    return Ok(None);
                }
                Some([b'-', first, ..]) if *first != 0 => {
                    let word = self.arguments.pop_front().unwrap_or_default();
                    self.word = word.as_bytes()[1..].to_vec();
                }
                _ => return Ok(None),
            }
        }
        let letter = char::from(self.word.remove(0));
        match self.takes(letter) {
            None => Err(OptionError::Unknown(letter)),
            Some(0) => Ok(Some(Opt { letter, value: None })),
            Some(colons) => {
                let glued = std::mem::take(&mut self.word);
                if !glued.is_empty() {
                    return Ok(Some(Opt { letter, value: Some(OsString::from_vec(glued)) }));
                }
                if colons == 2 {
                    return Ok(Some(Opt { letter, value: None }));
                }
                let value = self.arguments.pop_front().ok_or(OptionError::MissingValue(letter))?;
                Ok(Some(Opt { letter, value: Some(value) }))
            }
        }
    }

    /// How many colons stand behind the letter.
    fn takes(&self, letter: char) -> Option<usize> {
        if letter == ':' || !letter.is_ascii() {
            return None;
        }
        let at = self.letters.find(letter)?;
        Some(self.letters[at + 1..].bytes().take_while(|b| *b == b':').count().min(2))
    }

    /// The words that have not been read; the operands once [`Getopt::next_option`] gave `None`.
    #[must_use]
    pub fn operands(&self) -> Vec<&OsStr> {
        self.arguments.iter().map(OsString::as_os_str).collect()
    }

    /// As [`Getopt::operands`], owned.
    #[must_use]
    pub fn into_operands(self) -> Vec<OsString> {
        self.arguments.into()
    }

    /// Takes the next word, whatever it is; for grammars with operands between options.
    pub fn next_word(&mut self) -> Option<OsString> {
        if self.word.is_empty() { self.arguments.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], letters: &str) -> (Vec<String>, Vec<OsString>) {
        let mut options = Getopt::new(arguments.iter().map(OsString::from), letters);
        let mut seen = Vec::new();
        loop {
            match options.next_option() {
                Ok(Some(option)) => seen.push(match &option.value {
                    Some(_) => format!("{}={}", option.letter, option.text()),
                    None => option.letter.to_string(),
                }),
                Ok(None) => return (seen, options.into_operands()),
                Err(error) => seen.push(error.to_string()),
            }
        }
    }

    #[test]
    fn grammar() {
        type Case<'a> = (&'a [&'a str], &'a str, &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 9] = [
            (&["-ab", "-c", "d", "e", "-a"], "abc:", &["a", "b", "c=d"], &["e", "-a"]),
            (&["-acd", "--", "-a"], "ac:", &["a", "c=d"], &["-a"]),
            (&["-", "-a"], "a", &[], &["-", "-a"]),
            (&["-x"], "a", &["invalid option -- 'x'"], &[]),
            (&["-xa"], "a", &["invalid option -- 'x'", "a"], &[]),
            (&["-c"], "c:", &["option requires an argument -- 'c'"], &[]),
            (&["-c", "-a"], "ac:", &["c=-a"], &[]),
            (&["-O", "-Ox", "-:"], "O::", &["O", "O=x", "invalid option -- ':'"], &[]),
            (&["-#"], "#", &["#"], &[]),
        ];
        for (arguments, letters, seen, rest) in cases {
            let (options, operands) = read(arguments, letters);
            assert_eq!(options, seen, "{arguments:?}");
            assert_eq!(operands, rest, "{arguments:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let word = OsString::from_vec(b"-c\xff".to_vec());
        let option = Getopt::new([word], "c:").next_option().unwrap().unwrap();
        assert_eq!(option.into_value().into_vec(), b"\xff");
        assert!(Getopt::new([OsString::from_vec(b"-\xff".to_vec())], "c:").next_option().is_err());
    }
}
