//! What `postfix check` looks at, and `postfix start` before it starts: directories, configuration, owners.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use config::{Config, MasterCf, ServiceKind};
use nix::unistd::{Group, User, getuid};

use crate::Failure;
use crate::control::{fatal as say_fatal, run};
use crate::instance::Instance;
use crate::manifest::{self, Entry, Kind};

/// How far the warnings go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The directories themselves: a start must not read through a million queue files.
    Directories,
    /// Everything below them.
    Everything,
}

/// Warnings of one kind are not repeated without end.
const MOST_WARNINGS: usize = 1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// `postfix check`.
pub(crate) fn check(instance: &Instance) -> Result<(), Failure> {
    directories(instance)?;
    fatal(instance)?;
    warn(instance, Depth::Everything)
}

/// The directories without which no command makes sense.
pub(crate) fn directories(instance: &Instance) -> Result<(), Failure> {
    let missing = |what: &str, path: &Path| say_fatal(&format!("no Postfix {what} {}!", path.display()));
    if !instance.command_directory.is_dir() {
        return missing("command directory", &instance.command_directory);
    }
    if !instance.daemon_directory.is_dir() {
        return missing("daemon directory", &instance.daemon_directory);
    }
    let master = instance.daemon_directory.join("master");
    if !master.is_file() {
        return missing("master program", &master);
    }
    if !instance.directory.is_dir() {
        return missing("configuration directory", &instance.directory);
    }
    Ok(())
}

/// What must be right before anything starts; makes the directories that are missing.
pub(crate) fn fatal(instance: &Instance) -> Result<(), Failure> {
    let accounts = Accounts::new(instance)?;
    for entry in manifest::entries(&instance.config)?.iter().filter(|entry| entry.create) {
        if let Err(error) = make(entry, &accounts) {
            log::fatal!("{error}");
            return say_fatal("unable to create missing queue directories");
        }
    }
    let master_cf_path = instance.directory.join("master.cf");
    if !master_cf_path.is_file() {
        return say_fatal(&format!("no {} file found", master_cf_path.display()));
    }
    let master_cf = match MasterCf::load(&instance.directory) {
        Ok(master_cf) => master_cf,
        Err(error) => return say_fatal(&error.to_string()),
    };
    for warning in &master_cf.warnings {
        log::warning!("{warning}");
    }
    log_service_exists(&instance.config, &instance.daemon_directory, &master_cf)?;
    // Queue files under a wrong name or in a wrong place are not seen by anybody: put right before the start.
    log::finish();
    if has_tool(instance, "postsuper") && !run(&mut instance.tool("postsuper"))?.success() {
        return Err(Failure::Said);
    }
    Ok(())
}

/// `maillog_file` needs postlogd; an entry for it is not needed, as master has a built-in one.
fn log_service_exists(config: &Config, daemon_directory: &Path, master_cf: &MasterCf) -> Result<(), Failure> {
    if config.string("maillog_file")?.is_empty() {
        return Ok(());
    }
    let service = config.string("postlog_service_name")?;
    let listed = master_cf.find(&service, ServiceKind::UnixDgram).is_some();
    if listed || daemon_directory.join("postlogd").is_file() {
        return Ok(());
    }
    say_fatal(&format!("missing '{service}' service in master.cf"))
}

pub(crate) fn has_tool(instance: &Instance, name: &str) -> bool {
    instance.command_directory.join(name).is_file()
}

/// Who owns what here: root and the mail owner, or in a plain user's instance just that user.
struct Accounts {
    /// The plain user.
    alone: Option<u32>,
}

impl Accounts {
    fn new(instance: &Instance) -> Result<Accounts, Failure> {
        if !getuid().is_root() {
            return Ok(Accounts { alone: Some(getuid().as_raw()) });
        }
        let accounts = Accounts { alone: None };
        for (parameter, is_group) in [("mail_owner", false), ("setgid_group", true)] {
            let name = instance.config.string(parameter)?;
            let found = if is_group { accounts.group(&name).map(|_| ()) } else { accounts.user(&name).map(|_| ()) };
            if let Err(error) = found {
                return say_fatal(&format!("parameter {parameter}: {error}"));
            }
        }
        Ok(accounts)
    }

    /// User id and primary group.
    fn user(&self, name: &str) -> Result<(u32, u32), String> {
        match User::from_name(name) {
            Ok(Some(user)) => Ok((user.uid.as_raw(), user.gid.as_raw())),
            Ok(None) => Err(format!("unknown user name: {name}")),
            Err(errno) => Err(format!("cannot look up user {name}: {errno}")),
        }
    }

    fn group(&self, name: &str) -> Result<u32, String> {
        match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => Err(format!("unknown group name: {name}")),
            Err(errno) => Err(format!("cannot look up group {name}: {errno}")),
        }
    }

    /// Owner and group that an entry should have; `None` for the group where nothing asks for one.
    fn wanted(&self, entry: &Entry) -> Result<(u32, Option<u32>), String> {
        if let Some(user) = self.alone {
            return Ok((user, None));
        }
        let (uid, primary) = self.user(&entry.owner)?;
        let group = match &entry.group {
            Some(group) => self.group(group)?,
            None => primary,
        };
        Ok((uid, Some(group)))
    }
}

/// Makes a missing directory, or puts an enforced one right.
fn make(entry: &Entry, accounts: &Accounts) -> Result<(), String> {
    let shown = entry.path.display();
    let (uid, gid) = accounts.wanted(entry)?;
    let wrong = |metadata: &Metadata| {
        metadata.uid() != uid
            || gid.is_some_and(|gid| metadata.gid() != gid)
            || metadata.permissions().mode() & 0o7777 != entry.mode
    };
    match fs::symlink_metadata(&entry.path) {
        Ok(metadata) if metadata.is_dir() && !(entry.enforce && wrong(&metadata)) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => {}
        Ok(metadata) if metadata.is_symlink() && entry.path.is_dir() => return Ok(()),
        Ok(_) => return Err(format!("{shown} is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parents = entry.path.parent().map_or(Ok(()), fs::create_dir_all);
            let made = parents.and_then(|()| fs::DirBuilder::new().mode(0o700).create(&entry.path));
            made.map_err(|error| format!("mkdir {shown}: {error}"))?;
        }
        Err(error) => return Err(format!("{shown}: {error}")),
    }
    lchown(&entry.path, Some(uid), gid).map_err(|error| format!("chown {shown}: {error}"))?;
    let mode = fs::Permissions::from_mode(entry.mode);
    fs::set_permissions(&entry.path, mode).map_err(|error| format!("chmod {shown}: {error}"))
}

/// What is odd, but does not keep anything from starting.
pub(crate) fn warn(instance: &Instance, depth: Depth) -> Result<(), Failure> {
    let accounts = Accounts::new(instance)?;
    let mut checker = Checker { accounts: &accounts, warnings: 0 };
    for entry in manifest::entries(&instance.config)? {
        checker.entry(&entry, depth);
    }
    if depth == Depth::Everything {
        checker.configuration(&instance.directory);
        checker.jail(&instance.queue_directory);
    }
    checker.damaged(&instance.queue_directory.join("corrupt"));
    Ok(())
}

struct Checker<'a> {
    accounts: &'a Accounts,
    warnings: usize,
}

impl Checker<'_> {
    fn say(&mut self, text: &str) {
        self.warnings += 1;
        if self.warnings <= MOST_WARNINGS {
            log::warning!("{text}");
        }
    }

    fn entry(&mut self, entry: &Entry, depth: Depth) {
        // What is not installed is not checked: an instance may do without a program.
        let Ok(metadata) = fs::symlink_metadata(&entry.path) else { return };
        let shown = entry.path.display();
        let Ok((uid, gid)) = self.accounts.wanted(entry) else { return };
        let shared = matches!(entry.kind, Kind::Program | Kind::Link) || entry.owner == "root" && !entry.create;
        if shared && self.accounts.alone.is_some() || entry.kind == Kind::Link {
            return;
        }
        let name = if self.accounts.alone.is_some() { format!("user {uid}") } else { entry.owner.clone() };
        if metadata.uid() != uid {
            self.say(&format!("not owned by {name}: {shown}"));
        }
        if let (Some(group), Some(gid)) = (&entry.group, gid)
            && metadata.gid() != gid
        {
            self.say(&format!("not owned by group {group}: {shown}"));
        }
        let mode = metadata.permissions().mode();
        if mode & WRITABLE_BY_OTHERS & !entry.mode != 0 && !metadata.is_symlink() {
            self.say(&format!("group or other writable: {shown}"));
        }
        if entry.mode & 0o2000 != 0 && mode & 0o2111 != 0o2111 {
            self.say(&format!("not set-gid or not owner+group+world executable: {shown}"));
        }
        if entry.owns_content && depth == Depth::Everything {
            walk(&entry.path, &mut |path, metadata| {
                let kind = metadata.file_type();
                if metadata.uid() != uid && !kind.is_socket() && !kind.is_fifo() {
                    self.say(&format!("not owned by {name}: {}", path.display()));
                }
            });
        }
    }

    /// Whoever may write to the configuration may do everything.
    fn configuration(&mut self, directory: &Path) {
        let wanted = self.accounts.alone.unwrap_or(0);
        walk(directory, &mut |path, metadata| {
            if metadata.uid() != wanted && metadata.uid() != 0 {
                self.say(&format!("not owned by root: {}", path.display()));
            }
            if !metadata.is_symlink() && metadata.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
                self.say(&format!("group or other writable: {}", path.display()));
            }
        });
    }

    /// Files that an older installation copied into the jail. Nothing of ours reads them, but what belongs to somebody
    /// else there is a danger to programs that do.
    fn jail(&mut self, queue_directory: &Path) {
        if self.accounts.alone.is_some() {
            return;
        }
        for name in ["bin", "etc", "lib", "sbin", "usr"] {
            walk(&queue_directory.join(name), &mut |path, metadata| {
                if metadata.uid() != 0 {
                    self.say(&format!("not owned by root: {}", path.display()));
                }
            });
        }
    }

    fn damaged(&mut self, corrupt: &Path) {
        walk(corrupt, &mut |path, metadata| {
            if metadata.is_file() {
                let name = path.file_name().unwrap_or_default().display();
                self.say(&format!("damaged message: corrupt/{name}"));
            }
        });
    }
}

/// Everything below `directory`, without following links. What cannot be read is left out: the tools that need it will
/// complain.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path, &Metadata)) {
    let mut waiting: Vec<PathBuf> = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            visit(&path, &metadata);
            if metadata.is_dir() {
                waiting.push(path);
            }
        }
    }
}
