//! Delivery to a user of this machine, in a child that has become the user.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};
use delivery::mailbox::{Prepended, maildir, mbox};
use delivery::{BlockingJob, recipient_process};
use dsn::{Delivery, Dsn, Status};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, User};
use serde::{Deserialize, Serialize};
use sys::privileges::{self, Identity};

use crate::command;
use crate::list_file::LARGEST_LIST;
use crate::names::Names;
use crate::recipient::sent;
use crate::settings::Settings;

/// A user and the extension of the address.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who the user is.
    pub identity: Identity,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
    /// What followed the recipient delimiter.
    pub extension: Option<BString>,
}

/// What came of a delivery to a user.
#[derive(Debug)]
pub enum Outcome {
    /// The mailbox took it, or did not.
    Done(Delivery),
    /// The user has a `.forward` file with this content.
    Forward(Vec<u8>),
    /// There is none, and the mailbox is another agent's.
    Elsewhere,
}

/// What the child found and did.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Forward(Vec<u8>),
    Elsewhere,
    Delivered(String),
    Failed(Dsn),
}

/// A delivery to a user.
pub struct Mailbox<'a, 'b> {
    /// The settings.
    pub settings: &'a Settings,
    /// The message.
    pub job: &'a BlockingJob<'b>,
    /// Which recipient of the request.
    pub index: usize,
    /// The user.
    pub user: &'a Found,
    /// Look at the `.forward` file first.
    pub follow_forward: bool,
    /// The mailbox is another agent's (`mailbox_transport`).
    pub elsewhere: bool,
    /// The command that takes the mail (`mailbox_command`, `mailbox_command_maps`); empty for none.
    pub command: String,
}

/// The user of a name, which may carry an extension.
///
/// # Errors
/// The account database cannot be asked now.
pub fn find(name: &[u8], settings: &Settings) -> Result<Option<Found>, Dsn> {
    if let Some(found) = find_exactly(name, None)? {
        return Ok(Some(found));
    }
    match settings.delimiters.split(name) {
        Some((base, extension)) => find_exactly(base, Some(extension)),
        None => Ok(None),
    }
}

fn find_exactly(name: &[u8], extension: Option<&[u8]>) -> Result<Option<Found>, Dsn> {
    let failed = |why: &dyn std::fmt::Display| {
        log::warning!("account database: {why}");
        Dsn::new(Status::transient(3, 0), "user lookup error")
    };
    let Ok(name) = name.to_str() else { return Ok(None) };
    if name.is_empty() || name.contains(['/', '\0', ':']) {
        return Ok(None);
    }
    let Some(user) = User::from_name(name).map_err(|error| failed(&error))? else { return Ok(None) };
    let Some(identity) = privileges::look_up(name).map_err(|error| failed(&error))? else { return Ok(None) };
    Ok(Some(Found { identity, home: user.dir, shell: user.shell, extension: extension.map(BString::from) }))
}

/// The account with a user id.
///
/// # Errors
/// The account database cannot be asked now.
pub fn identity_of(uid: Uid) -> Result<Option<Identity>, Dsn> {
    let failed = |why: &dyn std::fmt::Display| {
        log::warning!("account database: {why}");
        Dsn::new(Status::transient(3, 0), "user lookup error")
    };
    let Some(user) = User::from_uid(uid).map_err(|error| failed(&error.desc()))? else { return Ok(None) };
    privileges::look_up(&user.name).map_err(|error| failed(&error))
}

/// Who runs commands and writes files that no user answers for (`default_privs`).
///
/// # Errors
/// The account does not exist, or has the rights of root.
pub fn default_identity(settings: &Settings) -> Result<Identity, Dsn> {
    if !privileges::is_root() {
        let own = User::from_uid(nix::unistd::geteuid()).ok().flatten();
        if let Some(identity) = own.and_then(|user| privileges::look_up(&user.name).ok().flatten()) {
            return Ok(identity);
        }
    }
    match privileges::look_up(&settings.default_privs) {
        Ok(Some(identity)) if !identity.uid.is_root() => Ok(identity),
        other => {
            log::warning!("default_privs = {}: no usable account: {other:?}", settings.default_privs);
            Err(Dsn::new(Status::transient(3, 5), "mail system configuration error"))
        }
    }
}

impl Mailbox<'_, '_> {
    /// Delivers, or finds the `.forward` file.
    #[must_use]
    pub fn deliver(&self) -> Outcome {
        let (user, settings) = (self.user, self.settings);
        let mut identity = user.identity.clone();
        let target = self.target();
        // Only the administrator's directory lends a group: one below a home directory is the user's choice.
        if settings.home_mailbox.is_empty()
            && let Target::Mbox(path) = &target
        {
            identity.add_groups(&spool_groups(path));
        }
        // What runs for root's mail would run as root: only its mailbox file is written, and commands are default_privs'.
        let for_root = user.identity.uid.is_root();
        if for_root && matches!(target, Target::Command(_)) {
            identity = match default_identity(settings) {
                Ok(identity) => identity,
                Err(dsn) => return Outcome::Done(Delivery::Deferred(dsn)),
            };
        }
        let forwards = if self.follow_forward && !for_root { self.forward_paths() } else { Vec::new() };
        if self.elsewhere && forwards.is_empty() {
            return Outcome::Elsewhere;
        }
        let mut content = self.job.content();
        let for_file = prepended(self.job, self.index, settings.delivered_to.1);
        let for_command = prepended(self.job, self.index, settings.delivered_to.0);
        let environment = environment_of(self.job, self.index, user, settings);
        let directory = match command_directory(settings, Some(user), &self.job.request.recipients[self.index].address)
        {
            Ok(directory) => directory.unwrap_or_else(|| existing(&user.home).to_owned()),
            Err(dsn) => return Outcome::Done(Delivery::Deferred(dsn)),
        };
        let work = || {
            if settings.require_home_directory
                && let Err(error) = fs::metadata(&user.home)
            {
                let text = format!("cannot access home directory {}: {}", user.home.display(), sys::reason(&error));
                return Said::Failed(Dsn::new(Status::transient(3, 0), text));
            }
            for path in &forwards {
                match read_forward(path, &user.identity) {
                    Ok(Some(list)) => return Said::Forward(list),
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        log::warning!("cannot read {}: {}", path.display(), sys::reason(&error));
                        let dsn = Dsn::new(Status::transient(2, 4), "cannot read .forward file");
                        return Said::Failed(dsn);
                    }
                }
            }
            if self.elsewhere {
                return Said::Elsewhere;
            }
            let limit = settings.mailbox_size_limit;
            let name = &user.identity.name;
            let done = match &target {
                Target::Command(text) => {
                    let job = command::Job {
                        command: text,
                        shell: &settings.shell,
                        environment,
                        directory: &directory,
                        exported: &settings.exported,
                        prepended: for_command,
                        time_limit: settings.command_time_limit,
                    };
                    command::run(&job, &mut content).map(|()| format!("delivered to command: {text}"))
                }
                Target::Maildir(path) => maildir::deliver(path, &settings.myhostname, &for_file, &mut content, limit)
                    .map(|()| "delivered to maildir".to_owned())
                    .map_err(|error| error.dsn("maildir delivery failed")),
                Target::Mbox(path) => mbox::append(path, &for_file, &mut content, limit, &settings.locking)
                    .map(|()| "delivered to mailbox".to_owned())
                    .map_err(|error| error.dsn(&format!("cannot update mailbox {} for user {name}", path.display()))),
            };
            match done {
                Ok(text) => Said::Delivered(text),
                Err(dsn) => Said::Failed(dsn),
            }
        };
        let said = if for_root && privileges::is_root() && !matches!(target, Target::Command(_)) {
            recipient_process::run_as_root(work)
        } else {
            recipient_process::run(&identity, work)
        };
        match said {
            Ok(Said::Forward(list)) => Outcome::Forward(list),
            Ok(Said::Elsewhere) => Outcome::Elsewhere,
            Ok(Said::Delivered(text)) => Outcome::Done(sent(text)),
            Ok(Said::Failed(dsn)) => Outcome::Done(failed(dsn)),
            Err(error) => Outcome::Done(process_failed(&error)),
        }
    }

    fn target(&self) -> Target {
        let settings = self.settings;
        if !self.command.is_empty() {
            return Target::Command(self.command.clone());
        }
        if !settings.home_mailbox.is_empty() {
            let path = self.user.home.join(&settings.home_mailbox);
            return if settings.home_mailbox.ends_with('/') { Target::Maildir(path) } else { Target::Mbox(path) };
        }
        let path = format!("{}/{}", settings.mail_spool_directory.trim_end_matches('/'), self.user.identity.name);
        if settings.mail_spool_directory.ends_with('/') {
            Target::Maildir(path.into())
        } else {
            Target::Mbox(path.into())
        }
    }

    /// The files of `forward_path` for this user.
    fn forward_paths(&self) -> Vec<PathBuf> {
        let settings = self.settings;
        let user = self.user;
        let raw = settings.config.raw("forward_path").unwrap_or_default();
        let address = &self.job.request.recipients[self.index].address;
        let names = Names { settings, user: Some(user), address };
        let mut paths: Vec<PathBuf> = Vec::new();
        for item in config::list::split(&raw) {
            match names.expand(&item, &settings.forward_filter) {
                Ok(path) if path.starts_with('/') => {
                    let path = PathBuf::from(path);
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
                Ok(_) => {}
                Err(error) => log::warning!("forward_path: {error}"),
            }
        }
        paths
    }
}

enum Target {
    Command(String),
    Maildir(PathBuf),
    Mbox(PathBuf),
}

/// A mail spool that only a group may write to (`/var/mail`, 2775 root:mail) lends that group to the child.
fn spool_groups(mailbox: &Path) -> Vec<Gid> {
    let Some(metadata) = mailbox.parent().and_then(|directory| fs::metadata(directory).ok()) else { return Vec::new() };
    let writable = metadata.mode() & 0o020 != 0;
    if writable && metadata.gid() != 0 { vec![Gid::from_raw(metadata.gid())] } else { Vec::new() }
}

/// A `.forward` file, when it is one: regular, the user's or root's, not writable by everybody.
fn read_forward(path: &Path, user: &Identity) -> std::io::Result<Option<Vec<u8>>> {
    // Neither a link to what only lent groups can read nor a FIFO that holds delivery up.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            log::warning!("{} is not a regular file", path.display());
            return Ok(None);
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        // A home directory that the user itself cannot read.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let shown = path.display();
    if !metadata.is_file() {
        log::warning!("{shown} is not a regular file");
        return Ok(None);
    }
    if metadata.uid() != user.uid.as_raw() && metadata.uid() != 0 {
        log::warning!("{shown} has the wrong owner");
        return Ok(None);
    }
    if metadata.mode() & 0o002 != 0 {
        log::warning!("{shown} is writable by everybody");
        return Ok(None);
    }
    if metadata.len() > LARGEST_LIST {
        // Half of it could end in the middle of an address.
        return Err(std::io::Error::other("file too large"));
    }
    let mut list = Vec::new();
    file.take(LARGEST_LIST).read_to_end(&mut list)?;
    Ok(Some(list))
}

/// The headers that delivery puts on top.
#[must_use]
pub fn prepended(job: &BlockingJob<'_>, index: usize, delivered_to: bool) -> Prepended {
    let recipient = &job.request.recipients[index];
    Prepended {
        sender: address::external(&job.request.sender),
        return_path: true,
        original_to: Some(&recipient.original)
            .filter(|original| !original.is_empty())
            .map(|original| address::external(original)),
        delivered_to: delivered_to.then(|| address::external(&recipient.address)),
    }
}

/// The environment of commands that act for an account.
#[must_use]
pub fn environment(
    job: &BlockingJob<'_>,
    index: usize,
    identity: &Identity,
    settings: &Settings,
) -> Vec<(String, BString)> {
    match account_of(identity) {
        Some(found) => environment_of(job, index, &found, settings),
        None => Vec::new(),
    }
}

fn environment_of(job: &BlockingJob<'_>, index: usize, user: &Found, settings: &Settings) -> Vec<(String, BString)> {
    let request = &job.request;
    let recipient = &request.recipients[index];
    let (local, domain) = address::split(&recipient.address);
    let extension = settings.delimiters.split(local).map(|(_, extension)| extension).unwrap_or_default();
    let mut environment: Vec<(String, BString)> = vec![
        ("HOME".into(), user.home.to_string_lossy().as_bytes().into()),
        ("USER".into(), user.identity.name.as_str().into()),
        ("LOGNAME".into(), user.identity.name.as_str().into()),
        ("SHELL".into(), user.shell.to_string_lossy().as_bytes().into()),
        ("SENDER".into(), request.sender.clone()),
        ("RECIPIENT".into(), recipient.address.clone()),
        ("LOCAL".into(), local.into()),
        ("DOMAIN".into(), domain.unwrap_or_default().into()),
        ("EXTENSION".into(), extension.into()),
        ("ORIGINAL_RECIPIENT".into(), recipient.original.clone()),
    ];
    for (name, attribute) in [
        ("CLIENT_ADDRESS", "log_client_address"),
        ("CLIENT_HOSTNAME", "log_client_name"),
        ("CLIENT_HELO", "log_helo_name"),
        ("CLIENT_PROTOCOL", "log_protocol_name"),
        ("SASL_METHOD", "sasl_method"),
        ("SASL_SENDER", "sasl_sender"),
        ("SASL_USERNAME", "sasl_username"),
    ] {
        if let Some(value) = request.attribute(attribute) {
            environment.push((name.into(), value.clone()));
        }
    }
    // What a sender chose must not mean anything to a shell that a command hands it to.
    let allowed = settings.config.string("command_expansion_filter").unwrap_or_default();
    for (name, value) in &mut environment {
        if !matches!(name.as_str(), "HOME" | "SHELL" | "USER" | "LOGNAME") {
            for byte in value.iter_mut().filter(|byte| !allowed.as_bytes().contains(byte)) {
                *byte = b'_';
            }
        }
    }
    environment
}

/// The account behind an identity, as far as it can be found.
#[must_use]
pub fn account_of(identity: &Identity) -> Option<Found> {
    find_exactly(identity.name.as_bytes(), None).ok().flatten()
}

/// The home directory of an account; `/` when it has none.
#[must_use]
pub fn home_of(account: Option<&Found>) -> PathBuf {
    existing(account.map_or(Path::new("/"), |found| &found.home)).to_owned()
}

/// The working directory of commands that the administrator chose (`command_execution_directory`).
///
/// # Errors
/// It cannot be expanded.
pub fn command_directory(settings: &Settings, user: Option<&Found>, address: &[u8]) -> Result<Option<PathBuf>, Dsn> {
    let text = settings.config.raw("command_execution_directory").unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    match (Names { settings, user, address }).expand(&text, &settings.directory_filter) {
        Ok(path) => Ok(Some(path.into())),
        Err(error) => {
            log::warning!("command_execution_directory: {error}");
            Err(Dsn::new(Status::transient(3, 5), "mail system configuration error"))
        }
    }
}

fn existing(home: &Path) -> &Path {
    if home.is_dir() { home } else { Path::new("/") }
}

/// The result of a child's work as the outcome of a recipient.
#[must_use]
pub fn settle(result: Result<Result<(), Dsn>, recipient_process::Error>, text: &str) -> Delivery {
    match result {
        Ok(Ok(())) => sent(text),
        Ok(Err(dsn)) => failed(dsn),
        Err(error) => process_failed(&error),
    }
}

fn failed(dsn: Dsn) -> Delivery {
    if dsn.is_transient() { Delivery::Deferred(dsn) } else { Delivery::Bounced(dsn) }
}

/// The child did not do its work: try again later.
#[must_use]
pub fn process_failed(error: &recipient_process::Error) -> Delivery {
    log::warning!("{error}");
    Delivery::Deferred(Dsn::new(Status::transient(3, 0), format!("local delivery process: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_no_forward_file() {
        let home = tempfile::tempdir().expect("directory");
        let user = Identity {
            name: "joe".into(),
            uid: nix::unistd::geteuid(),
            gid: nix::unistd::getegid(),
            groups: Vec::new(),
        };
        let file = home.path().join("file");
        fs::write(&file, "joe@far.example").expect("write");
        let (link, fifo) = (home.path().join("link"), home.path().join("fifo"));
        symlink(&file, &link).expect("link");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        let read = |path: &Path| read_forward(path, &user).expect("no failure");
        assert_eq!(read(&file).as_deref(), Some(b"joe@far.example".as_slice()));
        assert_eq!(read(&link), None);
        assert_eq!(read(&fifo), None, "and nobody waits for a writer");
        assert_eq!(read(&home.path().join("none")), None);
        fs::File::options().write(true).open(&file).and_then(|file| file.set_len(LARGEST_LIST + 1)).expect("grow");
        assert!(read_forward(&file, &user).is_err());
    }
}
