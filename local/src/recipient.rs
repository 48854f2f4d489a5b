//! What a recipient's name stands for: followed through aliases, lists and `.forward` files to mailboxes, commands,
//! files and other addresses.

use std::collections::HashSet;

use bstr::{BString, ByteSlice};
use delivery::mailbox::{lock, maildir, mbox};
use delivery::{BlockingJob, Passed, recipient_process};
use dsn::{Action, Delivery, Dsn, Notify, Status};
use ipc::rewrite::{Class, Resolved};
use nix::unistd::Uid;
use sys::privileges::{self, Identity};
use tables::Owner;

use crate::agent::Local;
use crate::command;
use crate::destination::{Destination, parse_list};
use crate::forward::{Forward, Onward};
use crate::list_file;
use crate::luser_relay::relay_address;
use crate::settings::Source;
use crate::user::{self, Found, Mailbox};

/// How deep lists may name lists.
const DEEPEST: usize = 100;

/// For whom, and on whose behalf, destinations are delivered.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    source: Source,
    /// Who runs commands and writes files; none: `default_privs`.
    identity: Option<Identity>,
    /// Sender of forwarded mail, when an `owner-` alias changes it.
    pub(crate) owner: Option<BString>,
    depth: usize,
}

/// What became of a recipient.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What this program did itself, in one word.
    pub own: Option<Delivery>,
    /// What other agents did, and logged.
    pub passed: Vec<Passed>,
    /// An agent could not read the queue file.
    pub corrupt: bool,
}

/// An alias, and whose word it is.
pub(crate) struct Alias {
    value: BString,
    /// Who acts for it: none for `default_privs`.
    identity: Option<Identity>,
}

/// One recipient on its way through aliases and lists.
pub struct Expansion<'a, 'b> {
    pub(crate) local: &'a Local,
    pub(crate) job: &'a BlockingJob<'b>,
    pub(crate) index: usize,
    /// Names and destinations that were done: each gets one copy, and cycles end.
    done: HashSet<BString>,
    onward: Vec<Onward>,
    pub(crate) results: Vec<Delivery>,
    /// What other agents did.
    pub(crate) passed: Vec<Passed>,
    /// An agent could not read the queue file.
    pub(crate) corrupt: bool,
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
    pub(crate) fn alias(&self, local: &[u8]) -> Result<Option<Alias>, Dsn> {
        let failed = |error: tables::LookupError| {
            log::warning!("{error}");
            Dsn::new(Status::transient(3, 0), "alias database unavailable")
        };
        if self.aliases.is_empty() {
            return Ok(None);
        }
        let name = local.to_ascii_lowercase();
        let mut hit = self.aliases.lookup_blocking(&name).map_err(failed)?;
        if hit.is_none()
            && let Some((base, _)) = self.settings.delimiters.split(&name)
        {
            hit = self.aliases.lookup_blocking(base).map_err(failed)?;
        }
        let Some(hit) = hit else { return Ok(None) };
        let identity = self.alias_identity(hit.table)?;
        Ok(Some(Alias { value: hit.value, identity }))
    }

    /// Who acts for the aliases of a table: the owner of its file, or `default_privs` when that is root.
    fn alias_identity(&self, table: &str) -> Result<Option<Identity>, Dsn> {
        let uid = match self.aliases.owner(table) {
            _ if !privileges::is_root() => return Ok(None),
            Owner::Root => return Ok(None),
            Owner::User(uid) => Some(uid),
            Owner::Unknown => None,
        };
        let identity = match uid {
            Some(uid) => user::identity_of(Uid::from_raw(uid))?,
            None => None,
        };
        if identity.is_none() {
            log::warning!("cannot find alias database owner for {table}");
            return Err(Dsn::new(Status::transient(3, 0), "cannot find alias database owner"));
        }
        Ok(identity)
    }

    /// A name or address as the mail system completes it: `joe` is `joe@$myorigin`.
    fn complete(&self, address: &[u8]) -> BString {
        self.rewriter.rewrite(address)
    }
}

impl<'a, 'b> Expansion<'a, 'b> {
    /// For one recipient of a job.
    pub fn new(local: &'a Local, job: &'a BlockingJob<'b>, index: usize) -> Expansion<'a, 'b> {
        Expansion {
            local,
            job,
            index,
            done: HashSet::new(),
            onward: Vec::new(),
            results: Vec::new(),
            passed: Vec::new(),
            corrupt: false,
            expanded: false,
        }
    }

    /// Delivers, and says what became of the recipient as a whole.
    pub fn deliver(mut self, address: &[u8]) -> Verdict {
        let (name, _) = address::split(address);
        self.name(name, address, &Context::default());
        if !self.onward.is_empty() {
            let forward = Forward { settings: &self.local.settings, job: self.job, index: self.index };
            let onward = std::mem::take(&mut self.onward);
            self.results.extend(forward.send(&onward));
        }
        self.combine()
    }

    /// A failure of one part is the outcome of the whole: first what must be tried again, then what is returned.
    fn combine(self) -> Verdict {
        let own = match self.results.into_iter().min_by_key(rank) {
            Some(Delivery::Sent { dsn, .. }) if self.expanded => Some(Delivery::Sent { action: Action::Expanded, dsn }),
            // Every destination had got its copy already.
            None if self.passed.is_empty() => Some(sent("alias expanded")),
            other => other,
        };
        Verdict { own, passed: self.passed, corrupt: self.corrupt }
    }

    /// A name of ours: an alias, or a user. `address` is the name with its domain.
    fn name(&mut self, local: &[u8], address: &[u8], context: &Context) {
        let name = BString::from(local.to_ascii_lowercase());
        if context.depth > DEEPEST {
            let text = format!("unreasonable alias or list nesting for \"{name}\"");
            return self.results.push(Delivery::Bounced(Dsn::new(Status::permanent(4, 6), text)));
        }
        if let Some(user) = name.strip_prefix(b"\\") {
            return self.user(user, &self.local.complete(user), context, false);
        }
        if !self.done.insert([b"name ", name.as_slice()].concat().into()) {
            // Named again below its own expansion: now the mailbox is meant.
            return self.user(&name, address, context, false);
        }
        match self.local.alias(&name) {
            Ok(Some(alias)) => self.alias(&name, alias, context),
            Ok(None) => self.user(&name, address, context, true),
            Err(dsn) => self.results.push(Delivery::Deferred(dsn)),
        }
    }

    fn alias(&mut self, name: &[u8], alias: Alias, context: &Context) {
        let settings = &self.local.settings;
        let base = settings.delimiters.split(name).map_or(name, |(base, _)| base);
        let owner_name = [b"owner-", base].concat();
        let owner = match self.local.alias(&owner_name) {
            Ok(owner) => owner,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let owner = match owner {
            Some(owner) if settings.expand_owner_alias => {
                self.members(&owner.value).into_iter().find_map(|destination| match destination {
                    Destination::Address(address) => Some(address),
                    _ => None,
                })
            }
            Some(_) => Some(BString::from(owner_name)),
            None if settings.reset_owner_alias => None,
            None => context.owner.clone(),
        };
        self.expanded |= owner.is_none();
        let inner = Context { source: Source::Alias, identity: alias.identity, owner, depth: context.depth + 1 };
        for destination in self.members(&alias.value) {
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
            Destination::Mailbox(user) => {
                self.user(&user.to_ascii_lowercase(), &self.local.complete(&user), context, false);
            }
            Destination::Command(command) => self.command(&command, context),
            Destination::File(path) => self.file(&path, context),
            Destination::Include(path) => self.include(&path, context),
        }
    }

    /// An address: ours is followed here, others get the mail forwarded.
    fn address(&mut self, address: &[u8], context: &Context) {
        let address = self.local.complete(address);
        let resolved = futures_now(self.local.resolver.resolve(&self.job.request.sender, &address));
        match resolved {
            Resolved::Route(route) if route.class == Class::Local && route.transport == self.local.service => {
                let (local, _) = address::split(&route.recipient);
                self.name(local, &route.recipient, context);
            }
            Resolved::Route(_) => self.send_on(&address, context),
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

    /// A user of this machine; `follow` looks at the `.forward` file. Names that nobody has come here too:
    /// mailbox_transport may know them.
    fn user(&mut self, name: &[u8], address: &[u8], context: &Context, follow: bool) {
        let found = match user::find(name, &self.local.settings) {
            Ok(found) => found,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let own = found.as_ref().map_or(self.base(name), |found| found.identity.name.as_bytes());
        let key = [if follow { b"user " } else { b"mbox " }, own].concat();
        if !self.done.insert(key.into()) {
            return;
        }
        let transport = match self.local.mailbox_transport(self.base(name)) {
            Ok(transport) => transport,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let Some(found) = found else {
            return match transport {
                Some(transport) => self.pass(&transport, address, context),
                None => self.unknown(name, address, context),
            };
        };
        let command = match self.local.mailbox_command(self.base(name)) {
            Ok(command) => command,
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let mailbox = Mailbox {
            settings: &self.local.settings,
            job: self.job,
            index: self.index,
            user: &found,
            follow_forward: follow,
            elsewhere: transport.is_some(),
            command,
        };
        match (mailbox.deliver(), transport) {
            (user::Outcome::Done(delivery), _) => self.results.push(delivery),
            (user::Outcome::Forward(list), _) => self.forward_file(&found, &list, address, context),
            (user::Outcome::Elsewhere, Some(transport)) => self.pass(&transport, address, context),
            (user::Outcome::Elsewhere, None) => {}
        }
    }

    /// A name without its extension: what the tables of mailboxes are asked for.
    fn base<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        self.local.settings.delimiters.split(name).map_or(name, |(base, _)| base)
    }

    fn forward_file(&mut self, user: &Found, list: &[u8], address: &[u8], context: &Context) {
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
            return self.user(user.identity.name.as_bytes(), address, context, false);
        }
        for destination in destinations {
            self.destination(destination, &inner);
        }
    }

    /// Nobody has this name: `fallback_transport`, `luser_relay`, or back to the sender.
    fn unknown(&mut self, name: &[u8], address: &[u8], context: &Context) {
        match self.local.fallback_transport(self.base(name)) {
            Ok(Some(transport)) => return self.pass(&transport, address, context),
            Ok(None) => {}
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        }
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
        let account = context.identity.as_ref().and_then(user::account_of);
        let address = &self.job.request.recipients[self.index].address;
        let directory = match user::command_directory(settings, account.as_ref(), address) {
            Ok(directory) => directory.unwrap_or_else(|| user::home_of(account.as_ref())),
            Err(dsn) => return self.results.push(Delivery::Deferred(dsn)),
        };
        let prepended = user::prepended(self.job, self.index, settings.delivered_to.0);
        let job = command::Job {
            command: &command,
            shell: &settings.shell,
            environment: user::environment(self.job, self.index, &identity, settings),
            directory: &directory,
            exported: &settings.exported,
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
        if context.depth > DEEPEST {
            return self.refuse("unreasonable list nesting");
        }
        if !path.starts_with(b"/") {
            log::warning!(":include:{} uses a relative path", path.to_str_lossy());
            let dsn = Dsn::new(Status::transient(3, 5), "mail system configuration error");
            return self.results.push(Delivery::Deferred(dsn));
        }
        if !self.done.insert([b"include ", path].concat().into()) {
            return;
        }
        match list_file::read(&path.to_path_lossy(), context.identity.as_ref(), &self.local.settings) {
            Ok(list) => {
                let inner = Context {
                    source: Source::Include,
                    identity: list.identity,
                    owner: context.owner.clone(),
                    depth: context.depth + 1,
                };
                for destination in self.members(&list.text) {
                    self.destination(destination, &inner);
                }
            }
            Err(delivery) => self.results.push(delivery),
        }
    }

    /// Who acts: the user whose `.forward` file, alias table or list it is, or `default_privs`.
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

/// Which outcome of several counts: the one with the lowest rank.
pub(crate) fn rank(delivery: &Delivery) -> u8 {
    match delivery {
        Delivery::Deferred(_) => 0,
        Delivery::Bounced(_) => 1,
        Delivery::Sent { .. } => 2,
    }
}

impl Default for Context {
    /// The recipient itself.
    fn default() -> Context {
        Context { source: Source::Alias, identity: None, owner: None, depth: 0 }
    }
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
