//! What a recipient's name stands for: followed through aliases, lists and `.forward` files to mailboxes, commands,
//! files and other addresses.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use address::Delimiters;
use bstr::{BString, ByteSlice};
use config::Config;
use delivery::mailbox::{lock, maildir, mbox};
use delivery::{BlockingJob, recipient_process};
use dsn::{Action, Delivery, Dsn, Notify, Status};
use ipc::rewrite::{Class, Resolved};
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use sys::privileges::Identity;

use crate::agent::Local;
use crate::command;
use crate::destination::{Destination, parse_list};
use crate::forward::{Forward, Onward};
use crate::settings::Source;
use crate::user::{self, Found, Mailbox};

/// How deep lists may name lists.
const DEEPEST: usize = 100;
/// Largest `:include:` or `.forward` file, bytes.
pub const LARGEST_LIST: u64 = 16 << 20;

/// For whom, and on whose behalf, destinations are delivered.
#[derive(Clone, Debug)]
struct Context {
    source: Source,
    /// Who runs commands and writes files; none: `default_privs`.
    identity: Option<Identity>,
    /// Sender of forwarded mail, when an `owner-` alias changes it.
    owner: Option<BString>,
    depth: usize,
}

/// One recipient on its way through aliases and lists.
pub struct Expansion<'a, 'b> {
    local: &'a Local,
    job: &'a mut BlockingJob<'b>,
    index: usize,
    /// Names and destinations that were done: each gets one copy, and cycles end.
    done: HashSet<BString>,
    onward: Vec<Onward>,
    results: Vec<Delivery>,
    /// An alias without owner was expanded: success is reported as "expanded".
    expanded: bool,
}

/// The outcome for a name that nobody has.
#[must_use]
pub fn unknown_user(local: &[u8]) -> Dsn {
    Dsn::new(Status::permanent(1, 1), format!("unknown user: \"{}\"", local.to_str_lossy()))
}

impl Local {
    /// The alias of a name, with its extension or without.
    pub(crate) fn alias(&self, local: &[u8]) -> Result<Option<BString>, Dsn> {
        let failed = |error: tables::LookupError| {
            log::warning!("{error}");
            Dsn::new(Status::transient(3, 0), "alias database unavailable")
        };
        if self.aliases.is_empty() {
            return Ok(None);
        }
        let name = local.to_ascii_lowercase();
        if let Some(hit) = self.aliases.lookup_blocking(&name).map_err(failed)? {
            return Ok(Some(hit.value));
        }
        match self.settings.delimiters.split(&name) {
            Some((base, _)) => Ok(self.aliases.lookup_blocking(base).map_err(failed)?.map(|hit| hit.value)),
            None => Ok(None),
        }
    }
}

impl<'a, 'b> Expansion<'a, 'b> {
    /// For one recipient of a job.
    pub fn new(local: &'a Local, job: &'a mut BlockingJob<'b>, index: usize) -> Expansion<'a, 'b> {
        Expansion { local, job, index, done: HashSet::new(), onward: Vec::new(), results: Vec::new(), expanded: false }
    }

    /// Delivers, and says what became of the recipient as a whole.
    pub fn deliver(mut self, address: &[u8]) -> Delivery {
        let (name, _) = address::split(address);
        let context = Context { source: Source::Alias, identity: None, owner: None, depth: 0 };
        self.name(name, &context);
        if !self.onward.is_empty() {
            let forward = Forward { settings: &self.local.settings, job: self.job, index: self.index };
            let onward = std::mem::take(&mut self.onward);
            self.results.extend(forward.send(&onward));
        }
        self.combine()
    }

    /// A failure of one part is the outcome of the whole: first what must be tried again, then what is returned.
    fn combine(self) -> Delivery {
        let worst = |delivery: &Delivery| match delivery {
            Delivery::Deferred(_) => 0,
            Delivery::Bounced(_) => 1,
            Delivery::Sent { .. } => 2,
        };
        let expanded = self.expanded;
        let chosen = self.results.into_iter().min_by_key(worst);
        match chosen {
            Some(Delivery::Sent { dsn, .. }) if expanded => Delivery::Sent { action: Action::Expanded, dsn },
            Some(delivery) => delivery,
            // Every destination had got its copy already.
            None => sent("alias expanded"),
        }
    }

    /// A name of ours: an alias, or a user.
    fn name(&mut self, local: &[u8], context: &Context) {
        let name = BString::from(local.to_ascii_lowercase());
        if context.depth > DEEPEST {
            let text = format!("unreasonable alias or list nesting for \"{name}\"");
            return self.results.push(Delivery::Bounced(Dsn::new(Status::permanent(4, 6), text)));
        }
        if let Some(user) = name.strip_prefix(b"\\") {
            return self.user(user, context, false);
        }
        if !self.done.insert([b"name ", name.as_slice()].concat().into()) {
            // Named again below its own expansion: now the mailbox is meant.
            return self.user(&name, context, false);
        }
        match self.local.alias(&name) {
            Ok(Some(value)) => self.alias(&name, &value, context),
            Ok(None) => self.user(&name, context, true),
            Err(dsn) => self.results.push(Delivery::Deferred(dsn)),
        }
    }

    fn alias(&mut self, name: &[u8], value: &[u8], context: &Context) {
        let settings = &self.local.settings;
        let base = settings.delimiters.split(name).map_or(name, |(base, _)| base);
        let owner_name = [b"owner-", base].concat();
        let owner = match self.local.alias(&owner_name) {
            Ok(owner) => owner,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let owner = match owner {
            Some(value) if settings.expand_owner_alias => {
                self.members(&value).into_iter().find_map(|destination| match destination {
                    Destination::Address(address) => Some(address),
                    _ => None,
                })
            }
            Some(_) => Some(BString::from(owner_name)),
            None if settings.reset_owner_alias => None,
            None => context.owner.clone(),
        };
        self.expanded |= owner.is_none();
        let inner = Context { source: Source::Alias, identity: None, owner, depth: context.depth + 1 };
        for destination in self.members(value) {
            self.destination(destination, &inner);
        }
    }

    /// The members of a list. One that is too long is a mistake that somebody will mend: the mail waits.
    fn members(&mut self, list: &[u8]) -> Vec<Destination> {
        match parse_list(list) {
            Ok(members) => {
                if members.is_empty() {
                    log::warning!("{}: an alias or list has no members", self.job.request.queue_id);
                }
                members
            }
            Err(error) => {
                log::warning!("{}: {error}", self.job.request.queue_id);
                self.results.push(Delivery::Deferred(Dsn::new(Status::transient(3, 5), error.to_string())));
                Vec::new()
            }
        }
    }

    fn destination(&mut self, destination: Destination, context: &Context) {
        match destination {
            Destination::Address(address) => self.address(&address, context),
            Destination::Mailbox(user) => self.user(&user.to_ascii_lowercase(), context, false),
            Destination::Command(command) => self.command(&command, context),
            Destination::File(path) => self.file(&path, context),
            Destination::Include(path) => self.include(&path, context),
        }
    }

    /// An address: ours is followed here, others get the mail forwarded.
    fn address(&mut self, address: &[u8], context: &Context) {
        if !address.contains(&b'@') && !address.contains(&b'!') && !address.contains(&b'%') {
            return self.name(address, context);
        }
        let resolved = futures_now(self.local.resolver.resolve(&self.job.request.sender, address));
        match resolved {
            Resolved::Route(route) if route.class == Class::Local && route.transport == "local" => {
                let (local, _) = address::split(&route.recipient);
                self.name(local, context);
            }
            Resolved::Route(_) => self.send_on(address, context),
            Resolved::Defer(why) => {
                log::warning!("{why}");
                let dsn = Dsn::new(Status::transient(3, 0), "address resolver failure");
                self.results.push(Delivery::Deferred(dsn));
            }
            Resolved::Reject(why) => {
                let (status, text) =
                    Status::split_from(why.as_bytes()).unwrap_or((Status::permanent(1, 3), why.as_bytes()));
                self.results.push(Delivery::Bounced(Dsn::new(status, text)));
            }
        }
    }

    fn send_on(&mut self, address: &[u8], context: &Context) {
        if self.onward.len() >= self.local.settings.duplicate_filter_limit.max(1) * 100 {
            let dsn = Dsn::new(Status::permanent(4, 6), "unreasonable number of destinations");
            return self.results.push(Delivery::Bounced(dsn));
        }
        if self.done.insert([b"to ", address.to_ascii_lowercase().as_slice()].concat().into()) {
            self.onward.push(Onward { recipient: address.into(), owner: context.owner.clone() });
        }
    }

    /// A user of this machine; `follow` looks at the `.forward` file.
    fn user(&mut self, name: &[u8], context: &Context, follow: bool) {
        let found = match user::find(name, &self.local.settings) {
            Ok(Some(found)) => found,
            Ok(None) => return self.unknown(name, context),
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let key = [if follow { b"user " } else { b"mbox " }, found.identity.name.as_bytes()].concat();
        if !self.done.insert(key.into()) {
            return;
        }
        let mailbox = Mailbox {
            settings: &self.local.settings,
            job: self.job,
            index: self.index,
            user: &found,
            follow_forward: follow,
        };
        match mailbox.deliver() {
            user::Outcome::Done(delivery) => self.results.push(delivery),
            user::Outcome::Forward(list) => self.forward_file(&found, &list, context),
        }
    }

    fn forward_file(&mut self, user: &Found, list: &[u8], context: &Context) {
        let inner = Context {
            source: Source::Forward,
            identity: Some(user.identity.clone()),
            owner: context.owner.clone(),
            depth: context.depth + 1,
        };
        let Ok(destinations) = parse_list(list) else {
            self.members(list);
            return;
        };
        if destinations.is_empty() {
            // An empty file forwards nowhere: the mailbox is meant.
            return self.user(user.identity.name.as_bytes(), context, false);
        }
        for destination in destinations {
            self.destination(destination, &inner);
        }
    }

    /// Nobody has this name: `luser_relay`, or back to the sender.
    fn unknown(&mut self, name: &[u8], context: &Context) {
        let relay = self.local.settings.config.raw("luser_relay").unwrap_or_default();
        if relay.is_empty() {
            return self.results.push(Delivery::Bounced(unknown_user(name)));
        }
        let (_, domain) = address::split(&self.job.request.recipients[self.index].address);
        let settings = &self.local.settings;
        match relay_address(&relay, name, domain.unwrap_or_default(), &settings.config, &settings.delimiters) {
            Ok(Some(relay)) => {
                let inner = Context { depth: context.depth + 1, ..context.clone() };
                self.address(&relay, &inner);
            }
            Ok(None) => self.results.push(Delivery::Bounced(unknown_user(name))),
            Err(error) => {
                log::warning!("luser_relay: {error}");
                let dsn = Dsn::new(Status::transient(3, 5), "mail system configuration error");
                self.results.push(Delivery::Deferred(dsn));
            }
        }
    }

    fn command(&mut self, text: &[u8], context: &Context) {
        let settings = &self.local.settings;
        if !settings.commands_from.contains(&context.source) {
            return self.refuse("mail to command is restricted");
        }
        if !self.done.insert([b"| ", text].concat().into()) {
            return;
        }
        let identity = match self.identity(context) {
            Ok(identity) => identity,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let command = text.to_str_lossy().into_owned();
        let directory = if context.identity.is_some() { user::home_of(&identity) } else { "/".into() };
        let prepended = user::prepended(self.job, self.index, settings.delivered_to.0);
        let job = command::Job {
            command: &command,
            shell: &settings.shell,
            environment: user::environment(self.job, self.index, &identity, settings),
            directory: &directory,
            prepended,
            time_limit: settings.command_time_limit,
        };
        let mut content = self.job.content();
        let result = recipient_process::run(&identity, || command::run(&job, &mut content));
        self.results.push(user::settle(result, &format!("delivered to command: {command}")));
    }

    fn file(&mut self, path: &[u8], context: &Context) {
        let settings = &self.local.settings;
        if !settings.files_from.contains(&context.source) {
            return self.refuse("mail to file is restricted");
        }
        if !self.done.insert([b"/ ", path].concat().into()) {
            return;
        }
        let identity = match self.identity(context) {
            Ok(identity) => identity,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let prepended = user::prepended(self.job, self.index, settings.delivered_to.1);
        let mut content = self.job.content();
        let shown = path.to_str_lossy().into_owned();
        let target = path.to_path_lossy().into_owned();
        let is_maildir = path.ends_with(b"/");
        // A file that an alias names need not belong to whom the mail is for.
        let locking = lock::Settings { strict_ownership: false, ..settings.locking.clone() };
        let result = recipient_process::run(&identity, || {
            let done = if is_maildir {
                maildir::deliver(&target, &settings.myhostname, &prepended, &mut content, settings.mailbox_size_limit)
            } else {
                mbox::append(&target, &prepended, &mut content, settings.mailbox_size_limit, &locking)
            };
            done.map_err(|error| error.dsn(&format!("cannot append message to file {shown}")))
        });
        let text = if is_maildir { "delivered to maildir".to_owned() } else { format!("delivered to file: {shown}") };
        self.results.push(user::settle(result, &text));
    }

    fn include(&mut self, path: &[u8], context: &Context) {
        if context.depth > DEEPEST || !path.starts_with(b"/") {
            return self.refuse("bad :include: file");
        }
        if !self.done.insert([b"include ", path].concat().into()) {
            return;
        }
        let identity = match self.identity(context) {
            Ok(identity) => identity,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let target = path.to_path_lossy().into_owned();
        let read = recipient_process::run(&identity, || read_list(&target).map_err(|error| error.to_string()));
        match read {
            Ok(Ok(list)) => {
                let inner = Context { source: Source::Include, depth: context.depth + 1, ..context.clone() };
                for destination in self.members(&list) {
                    self.destination(destination, &inner);
                }
            }
            Ok(Err(why)) => {
                log::warning!("open include file {}: {why}", target.display());
                let dsn = Dsn::new(Status::transient(2, 4), "cannot open include file");
                self.results.push(Delivery::Deferred(dsn));
            }
            Err(error) => self.results.push(user::process_failed(&error)),
        }
    }

    /// Who acts: the user whose `.forward` file it is, or `default_privs`.
    fn identity(&self, context: &Context) -> Result<Identity, Dsn> {
        match &context.identity {
            Some(identity) => Ok(identity.clone()),
            None => user::default_identity(&self.local.settings),
        }
    }

    fn refuse(&mut self, text: &str) {
        self.results.push(Delivery::Bounced(Dsn::new(Status::permanent(7, 1), text)));
    }
}

/// The one address that `luser_relay` stands for, internal form; none for a name with which the sender would choose where
/// mail goes, and for what is no address. The name is the sender's text: it must not be taken for a list.
fn relay_address(
    relay: &str,
    name: &[u8],
    domain: &[u8],
    config: &Config,
    delimiters: &Delimiters,
) -> Result<Option<BString>, config::ExpansionError> {
    if relay.contains('$') && name.iter().any(|byte| b"@!%".contains(byte)) {
        return Ok(None);
    }
    let (user, extension) = delimiters.split(name).unwrap_or((name, b""));
    let domain = domain.to_str_lossy();
    let value = |wanted: &str| match wanted {
        "user" => Some(user.to_str_lossy().into_owned()),
        "local" => Some(name.to_str_lossy().into_owned()),
        "extension" => Some(extension.to_str_lossy().into_owned()),
        "domain" => Some(domain.clone().into_owned()),
        "recipient" => Some(format!("{}@{domain}", name.to_str_lossy())),
        _ => None,
    };
    let address = config.expand(relay, &value)?;
    let address = address.trim();
    let is_address = !address.is_empty() && !address.starts_with(['/', '|', ':', '\\']);
    Ok(is_address.then(|| address.into()))
}

/// A success with its text.
pub fn sent(text: impl Into<BString>) -> Delivery {
    Delivery::Sent { action: Action::Delivered, dsn: Dsn::new(Status::success(0, 0), text) }
}

/// What forwarded mail may still ask for: its own success is reported here already.
pub fn without_success(notify: Notify) -> Notify {
    if !notify.contains(Notify::SUCCESS) {
        return notify;
    }
    let rest = notify.bits() & !Notify::SUCCESS.bits();
    if rest == 0 { Notify::NEVER } else { Notify::from_bits(rest).unwrap_or(Notify::NEVER) }
}

fn read_list(path: &Path) -> std::io::Result<Vec<u8>> {
    // A FIFO must not hold delivery up.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    if metadata.len() > LARGEST_LIST {
        return Err(std::io::Error::other("file too large"));
    }
    let mut list = Vec::new();
    file.take(LARGEST_LIST).read_to_end(&mut list)?;
    Ok(list)
}

/// The result of a future that only asks local tables, which answer at once.
fn futures_now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// True for the user that runs this process without privilege.
#[must_use]
pub fn is_present_user(uid: Uid) -> bool {
    uid == nix::unistd::geteuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_mail_for_unknown_users() {
        let config = Config::from_text("").expect("configuration");
        let delimiters = Delimiters::new(b"+", true);
        let cases = [
            ("admin@x.example", "nobody", Some("admin@x.example")),
            ("admin", "a@evil.example", Some("admin")),
            ("$local@far.example", "joe+ext", Some("joe+ext@far.example")),
            ("$user@far.example", "joe+ext", Some("joe@far.example")),
            // One address, however it looks.
            ("$local@far.example", "a, b <c>", Some("a, b <c>@far.example")),
            // The sender does not choose where mail goes.
            ("$local@far.example", "victim@evil.example,x", None),
            ("admin+$local", "victim@evil.example", None),
            ("admin+$local", "victim%evil.example", None),
            ("$local", "|/bin/sh", None),
            ("$local", "/etc/passwd", None),
            ("$extension", "joe", None),
        ];
        for (relay, name, expected) in cases {
            let address = relay_address(relay, name.as_bytes(), b"x.example", &config, &delimiters).expect("expanded");
            assert_eq!(address, expected.map(BString::from), "{relay} {name}");
        }
    }

    #[test]
    fn a_list_that_is_a_fifo_does_not_hold_delivery_up() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        assert_eq!(read_list(&path).map_err(|error| error.to_string()), Err("not a regular file".to_owned()));
    }
}
