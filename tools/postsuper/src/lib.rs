//! postsuper: maintenance of the queue, for the superuser.

pub mod messages;
pub mod request;
pub mod structure;

use std::io::{self, BufRead};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use config::Config;
use config::getopt::Getopt;
use queue::{Directory, Layout, QueueId, Spool};
use sys::privileges;

use messages::{Counts, Messages};
use request::{Action, Request, Target, Usage};
use structure::Check;

/// Tells seconds since the epoch.
pub type Clock = fn() -> i64;

/// Longest line of standard input that can be an id.
const LONGEST_LINE: u64 = 4096;

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("{0}")]
    Usage(#[from] Usage),
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error("use of this command is reserved for the superuser")]
    NotSuperuser,
    #[error("chdir {}: {}", .0, sys::reason(.1))]
    Directory(String, io::Error),
    #[error("{0}")]
    Privileges(#[from] privileges::Error),
    #[error("parameter mail_owner: unknown user name value: {0}")]
    UnknownOwner(String),
    #[error("{}: {}", .0, sys::reason(.1))]
    Work(&'static str, io::Error),
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    log::init(
        log::Options { sink: log::Sink::None, ..log::Options::before_configuration("postsuper") }.also_stderr(true),
    );
    match start() {
        Ok(()) => ExitCode::SUCCESS,
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
    let request = Request::parse(Getopt::from_process(request::LETTERS))?;
    let config = config::tool::load(request.config_directory.as_deref())?;
    let root = config.string("queue_directory")?;
    if !privileges::is_root() && !owns(Path::new(&root)) {
        return Err(Fatal::NotSuperuser);
    }
    let mut options = log::Options::from_config(&config, "postsuper")?.direct_when_down(&config)?.also_stderr(true);
    options.verbose = request.verbose;
    log::init(options);
    std::env::set_current_dir(&root).map_err(|error| Fatal::Directory(root, error))?;
    become_owner(&config)?;
    let spool = Spool::new(Layout::load(&config)?);
    work(&request, &spool, now, &mut io::stdin().lock())
}

/// An instance of a plain user has no superuser but its owner.
fn owns(root: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let uid = nix::unistd::geteuid().as_raw();
    std::fs::metadata(root.join(Directory::Active.name())).is_ok_and(|metadata| metadata.uid() == uid)
}

/// Root has no business in the queue: what is made there must belong to `mail_owner`, and nothing there may lead root
/// elsewhere.
fn become_owner(config: &Config) -> Result<(), Fatal> {
    privileges::private_umask();
    if privileges::is_root() {
        let name = config.string("mail_owner")?;
        let owner = privileges::look_up(&name)?.ok_or(Fatal::UnknownOwner(name))?;
        privileges::drop_privileges(&owner, None)?;
    }
    Ok(())
}

fn work(request: &Request, spool: &Spool, clock: Clock, input: &mut dyn BufRead) -> Result<(), Fatal> {
    let mut renamed = 0;
    if request.purge || request.structure.is_some() {
        let mut check = Check::new(spool, clock, request.purge, request.structure);
        check.run(&request.queues).map_err(|error| Fatal::Work("structure check", error))?;
        renamed = check.repairs.renamed;
    }
    let mut messages = Messages::new(spool, clock);
    let done = apply(request, &mut messages, input);
    summary(request, messages.counts, renamed);
    done.map_err(|error| Fatal::Work("queue", error))
}

fn apply(request: &Request, messages: &mut Messages<'_>, input: &mut dyn BufRead) -> io::Result<()> {
    let queues = &request.queues;
    for (action, target) in &request.actions {
        match target {
            Target::Id(text) => by_name(*action, text, messages, queues)?,
            Target::StandardInput => {
                let mut line = Vec::new();
                loop {
                    line.clear();
                    if io::Read::take(&mut *input, LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                        break;
                    }
                    let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
                    by_name(*action, &text, messages, queues)?;
                }
            }
            Target::All => {}
        }
    }
    // After all that was named: `-h ID -d ALL` means something.
    for (action, target) in &request.actions {
        if *target == Target::All {
            messages.all(*action, queues)?;
        }
    }
    Ok(())
}

fn by_name(action: Action, text: &str, messages: &mut Messages<'_>, queues: &[Directory]) -> io::Result<()> {
    match text.parse::<QueueId>() {
        Ok(id) => messages.one(action, &id, queues),
        Err(_) => {
            log::warning!("invalid mail queue id: {text}");
            Ok(())
        }
    }
}

/// The lines with numbers, for what was asked for.
fn summary(request: &Request, counts: Counts, renamed: usize) {
    let asked = |actions: &[Action]| request.actions.iter().any(|(action, _)| actions.contains(action));
    let lines = [
        (asked(&[Action::Requeue]), "Requeued", counts.requeued),
        (asked(&[Action::Delete]), "Deleted", counts.deleted),
        (asked(&[Action::Expire, Action::ExpireAndRelease]), "Force-expired", counts.expired),
        (asked(&[Action::Hold]), "Placed on hold", counts.held),
        (asked(&[Action::Release, Action::ExpireAndRelease]), "Released from hold", counts.released),
        (renamed > 0, "Renamed to match inode number", renamed),
    ];
    for (shown, what, number) in lines {
        if shown {
            log::info!("{what}: {number} message{}", if number == 1 { "" } else { "s" });
        }
    }
    if renamed > 0 {
        log::warning!("QUEUE FILE NAMES WERE CHANGED TO MATCH INODE NUMBERS");
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

#[cfg(test)]
mod tests;
