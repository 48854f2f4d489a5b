//! What the command line asks for.

use std::ffi::OsString;

use config::getopt::{Getopt, OptionError};
use queue::Directory;

/// The option letters, for getopt.
pub(crate) const LETTERS: &str = "c:d:e:f:h:H:pr:sSv";

/// What is done to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `-d`
    Delete,
    /// `-e`
    Expire,
    /// `-f`: expire, and release what is on hold.
    ExpireAndRelease,
    /// `-h`
    Hold,
    /// `-H`
    Release,
    /// `-r`
    Requeue,
}

/// To which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `ALL`
    All,
    /// `-`: ids come from standard input, one a line.
    StandardInput,
    /// What should be an id.
    Id(String),
}

/// How file names are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// `-s`
    Usual,
    /// `-S`: long names too must have the number of their inode.
    Redundant,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `-p`
    pub purge: bool,
    /// `-s`, `-S`
    pub structure: Option<Structure>,
    /// In the order of the command line.
    pub actions: Vec<(Action, Target)>,
    /// The queues named; empty when none is.
    pub queues: Vec<Directory>,
    /// `-v`, counted.
    pub verbose: u32,
    /// `-c`
    pub config_directory: Option<OsString>,
}

/// A mistake on the command line.
#[derive(Debug, thiserror::Error)]
pub enum Usage {
    /// An unknown letter, or a missing value.
    #[error(
        "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] [-f queue_id (expire and/or \
         un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] \
         [-s (structure fix)] [-S (redundant structure fix)] [-v (verbose)] [queue...]"
    )]
    Option(OptionError),
    /// `-c` with a relative path.
    #[error("-c requires absolute pathname")]
    RelativePath,
    /// Not one of [`QUEUES`].
    #[error("invalid directory name: {0}")]
    Queue(String),
}

/// All directories that can be named, logs first: a log must be in its place before its message may look for it.
pub const QUEUES: [Directory; 9] = [
    Directory::Defer,
    Directory::Bounce,
    Directory::Trace,
    Directory::Maildrop,
    Directory::Incoming,
    Directory::Active,
    Directory::Deferred,
    Directory::Hold,
    Directory::Flush,
];

/// True for directories with messages; the others have logs.
#[must_use]
pub fn has_messages(directory: Directory) -> bool {
    use Directory::{Active, Deferred, Hold, Incoming, Maildrop};
    matches!(directory, Maildrop | Incoming | Active | Deferred | Hold)
}

impl Request {
    /// Reads the command line.
    ///
    /// # Errors
    /// See [`Usage`].
    pub fn parse(mut arguments: Getopt) -> Result<Request, Usage> {
        let mut request = Request::default();
        while let Some(option) = arguments.next_option().map_err(Usage::Option)? {
            let action = match option.letter {
                'c' => {
                    let path = option.into_value();
                    if !std::path::Path::new(&path).is_absolute() {
                        return Err(Usage::RelativePath);
                    }
                    request.config_directory = Some(path);
                    continue;
                }
                'd' => Action::Delete,
                'e' => Action::Expire,
                'f' => Action::ExpireAndRelease,
                'h' => Action::Hold,
                'H' => Action::Release,
                'r' => Action::Requeue,
                'p' => {
                    request.purge = true;
                    continue;
                }
                's' => {
                    request.structure.get_or_insert(Structure::Usual);
                    continue;
                }
                'S' => {
                    request.structure = Some(Structure::Redundant);
                    continue;
                }
                _ => {
                    request.verbose += 1;
                    continue;
                }
            };
            let target = match option.text().as_str() {
                "ALL" => Target::All,
                "-" => Target::StandardInput,
                id => Target::Id(id.to_owned()),
            };
            request.actions.push((action, target));
        }
        for queue in arguments.operands() {
            let name = queue.to_string_lossy();
            let directory = Directory::from_name(&name).filter(|directory| QUEUES.contains(directory));
            request.queues.push(directory.ok_or_else(|| Usage::Queue(name.into_owned()))?);
        }
        if request.actions.is_empty() && !request.purge && request.structure.is_none() {
            request.purge = true;
            request.structure = Some(Structure::Usual);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, Usage> {
        Request::parse(Getopt::new(words.iter().map(OsString::from), LETTERS))
    }

    #[test]
    fn command_lines() {
        let plain = parse(&[]).expect("good");
        assert!(plain.purge && plain.structure == Some(Structure::Usual));
        let one = parse(&["-vpdALL", "-h", "-", "-r", "A1", "-c/etc", "hold", "defer"]).expect("good");
        assert_eq!(
            one.actions,
            [
                (Action::Delete, Target::All),
                (Action::Hold, Target::StandardInput),
                (Action::Requeue, Target::Id("A1".into()))
            ]
        );
        assert!(one.purge && one.structure.is_none() && one.verbose == 1);
        assert_eq!(one.queues, [Directory::Hold, Directory::Defer]);
        assert_eq!(parse(&["-s", "-S"]).expect("good").structure, Some(Structure::Redundant));
        for bad in [&["-x"][..], &["-d"], &["-c", "etc"], &["corrupt"], &["nosuch"], &["-d", "X", "saved"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
