//! postcat: shows queue files in readable form.

mod options;
mod show;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use config::Config;
use config::getopt::Getopt;
use log::Sink;
use queue::record::Sequential;
use queue::{Directory, Layout, QueueId, Spool};

pub use options::{Options, Usage};
pub use show::{Error, show};

/// Where `-q` looks, in this order.
const SEARCHED: [Directory; 6] = [
    Directory::Maildrop,
    Directory::Incoming,
    Directory::Active,
    Directory::Deferred,
    Directory::Hold,
    Directory::Saved,
];

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}")]
    Usage(#[from] Usage),
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("chdir {}: {}", .0, sys::reason(.1))]
    Directory(String, io::Error),
    #[error("open {}: {}", .0, sys::reason(.1))]
    Open(String, io::Error),
    #[error("bad mail queue ID: {0}")]
    QueueId(String),
    #[error("open queue file {0}: No such file or directory")]
    NotQueued(String),
    #[error("record read error")]
    Record,
    #[error("{0}")]
    Show(Error),
    /// Whoever reads the output has seen enough.
    #[error("write: broken pipe")]
    Closed,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let options = log::Options::before_configuration("postcat").also_stderr(true);
    log::init(log::Options { sink: Sink::None, ..options });
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Fatal::Closed) => ExitCode::FAILURE,
        Err(error) => {
            if let Fatal::Usage(Usage::Option(mistake)) = &error {
                log::error!("{mistake}");
            }
            log::fatal!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Fatal> {
    let (options, directory, files) = Options::parse(Getopt::from_process(options::LETTERS))?;
    let config = config::tool::load(directory.as_deref())?;
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let shown = if files.is_empty() {
        one(&Sequential::new(io::stdin().lock()), "stdin", &options, &mut out)
    } else {
        files.iter().try_for_each(|file| named(file, &options, &config, &mut out))
    };
    // What was read before an error is shown before it is told.
    let flushed = out.flush().map_err(closed);
    shown.and(flushed)
}

fn named(file: &str, options: &Options, config: &Config, out: &mut dyn Write) -> Result<(), Fatal> {
    if options.search {
        let (file, path) = search(file, config)?;
        return one(&file, &path, options, out);
    }
    let source = File::open(file).map_err(|error| Fatal::Open(file.to_owned(), error))?;
    one(&source, file, options, out)
}

/// Finds a message by its id; its path is shown as it is below `queue_directory`.
fn search(name: &str, config: &Config) -> Result<(File, String), Fatal> {
    let id: QueueId = name.parse().map_err(|_| Fatal::QueueId(name.to_owned()))?;
    let root = config.string("queue_directory")?;
    if let Err(error) = std::fs::metadata(Path::new(&root)) {
        return Err(Fatal::Directory(root, error));
    }
    let layout = Layout::load(config)?;
    let spool = Spool::at(&root, layout.clone());
    for directory in SEARCHED {
        match spool.open_read(directory, &id) {
            Ok(file) => {
                let path = Spool::new(layout).path(directory, &id);
                return Ok((file, path.to_string_lossy().into_owned()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Fatal::Open(spool.path(directory, &id).to_string_lossy().into_owned(), error)),
        }
    }
    Err(Fatal::NotQueued(name.to_owned()))
}

fn one<S: queue::record::ReadAt>(source: &S, path: &str, options: &Options, out: &mut dyn Write) -> Result<(), Fatal> {
    match show(source, path, options, out, &mut |warning| log::warning!("{warning}")) {
        Ok(()) => Ok(()),
        Err(Error::Output(error)) => Err(closed(error)),
        Err(Error::Queue(error @ queue::Error::Malformed { .. })) => {
            log::warning!("{path}: {error}");
            Err(Fatal::Record)
        }
        Err(error) => Err(Fatal::Show(error)),
    }
}

fn closed(error: io::Error) -> Fatal {
    if error.kind() == io::ErrorKind::BrokenPipe { Fatal::Closed } else { Fatal::Show(Error::Output(error)) }
}
