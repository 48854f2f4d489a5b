//! virtual: mailboxes of `virtual_mailbox_domains`, whose users are table entries, not accounts of the machine.

use std::path::PathBuf;

use address::Delimiters;
use bstr::{BString, ByteSlice};
use delivery::mailbox::{self, Prepended, lock, maildir, mbox};
use delivery::{BlockingAgent, BlockingJob, recipient_process};
use dsn::{Action, Delivery, Dsn, Status};
use nix::unistd::{Gid, Uid};
use server::{Account, StartError, Startup};
use sys::privileges::{self, Identity};
use tables::{AddressQuery, Flags, LookupError, Maps, Strategy};

/// The agent.
#[derive(Debug)]
pub struct Virtual {
    base: PathBuf,
    mailboxes: Maps,
    uids: Maps,
    gids: Maps,
    minimum_uid: u32,
    limit: Option<u64>,
    locking: lock::Settings,
    delimiters: Delimiters,
    myhostname: String,
}

/// Where one recipient's mail goes, and as whom it is written.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    is_maildir: bool,
    identity: Identity,
}

impl BlockingAgent for Virtual {
    const PROGRAM: &'static str = "virtual";
    const ACCOUNT: Account = Account::Root;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let config = &start.config;
        let safe = Flags::NO_REGSUB | Flags::NO_PROXY | Flags::NO_UNAUTH;
        let maps = |name: &'static str| -> Result<Maps, StartError> {
            Maps::open(&config.string(name)?, config, name, safe).map_err(StartError::service)
        };
        Ok(Virtual {
            base: config.string("virtual_mailbox_base")?.into(),
            mailboxes: maps("virtual_mailbox_maps")?,
            uids: maps("virtual_uid_maps")?,
            gids: maps("virtual_gid_maps")?,
            minimum_uid: u32::try_from(config.int("virtual_minimum_uid")?).unwrap_or(u32::MAX),
            limit: u64::try_from(config.long("virtual_mailbox_limit")?).ok().filter(|limit| *limit > 0),
            locking: lock::Settings::load(config, "virtual_mailbox_lock")?,
            delimiters: Delimiters::new(
                config.string("recipient_delimiter")?.as_bytes(),
                config.bool("owner_request_special")?,
            ),
            myhostname: config.string("myhostname")?,
        })
    }

    fn changed_table(&self) -> Option<String> {
        [&self.mailboxes, &self.uids, &self.gids].into_iter().find_map(Maps::changed_table)
    }

    fn deliver(&mut self, job: &mut BlockingJob<'_>) {
        job.connected();
        for index in 0..job.request.recipients.len() {
            let delivery = self.deliver_recipient(job, index);
            job.report(index, b"virtual", delivery);
        }
    }
}

impl Virtual {
    fn deliver_recipient(&self, job: &BlockingJob<'_>, index: usize) -> Delivery {
        let recipient = &job.request.recipients[index];
        let place = match self.place(&recipient.address) {
            Ok(place) => place,
            Err(dsn) if dsn.is_transient() => return Delivery::Deferred(dsn),
            Err(dsn) => return Delivery::Bounced(dsn),
        };
        let success = |action, text: &str| Delivery::Sent { action, dsn: Dsn::new(Status::success(0, 0), text) };
        if job.is_probe() {
            let text = if place.is_maildir { "delivers to maildir" } else { "delivers to mailbox" };
            return success(Action::Deliverable, text);
        }
        let prepended = Prepended {
            sender: address::external(&job.request.sender),
            return_path: true,
            original_to: Some(&recipient.original)
                .filter(|original| !original.is_empty())
                .map(|original| address::external(original)),
            delivered_to: Some(address::external(&recipient.address)),
        };
        match self.write(job, &place, &prepended) {
            Ok(Ok(())) if place.is_maildir => success(Action::Delivered, "delivered to maildir"),
            Ok(Ok(())) => success(Action::Delivered, "delivered to mailbox"),
            Ok(Err(dsn)) if dsn.is_transient() => Delivery::Deferred(dsn),
            Ok(Err(dsn)) => Delivery::Bounced(dsn),
            Err(error) => {
                log::warning!("{error}");
                Delivery::Deferred(Dsn::new(Status::transient(3, 0), format!("virtual delivery process: {error}")))
            }
        }
    }

    fn write(
        &self,
        job: &BlockingJob<'_>,
        place: &Place,
        prepended: &Prepended,
    ) -> Result<Result<(), Dsn>, recipient_process::Error> {
        let mut content = job.content();
        recipient_process::run(&place.identity, || {
            let path = &place.path;
            if place.is_maildir {
                maildir::deliver(path, &self.myhostname, prepended, &mut content, self.limit)
                    .map_err(|error: mailbox::Error| error.dsn("maildir delivery failed"))
            } else {
                mbox::append(path, prepended, &mut content, self.limit, &self.locking)
                    .map_err(|error| error.dsn(&format!("delivery failed to mailbox {}", path.display())))
            }
        })
    }

    /// Looks mailbox, user id and group id of a recipient up.
    fn place(&self, address: &[u8]) -> Result<Place, Dsn> {
        let Some(mailbox) = self.look_up(&self.mailboxes, address)? else {
            let text = format!("unknown user: \"{}\"", address.to_str_lossy());
            return Err(Dsn::new(Status::permanent(1, 1), text));
        };
        let is_maildir = mailbox.ends_with(b"/");
        let path = mailbox.to_path_lossy().into_owned();
        if self.base.as_os_str().is_empty() || path.components().any(|part| part == std::path::Component::ParentDir) {
            log::warning!("virtual_mailbox_base is empty, or a mailbox path leads out of it: {}", path.display());
            return Err(configuration_error());
        }
        let path = self.base.join(path.strip_prefix("/").unwrap_or(&path));
        let identity = if privileges::is_root() {
            let uid = self.number(&self.uids, address, "virtual_uid_maps")?;
            if uid < self.minimum_uid || uid == 0 {
                log::warning!("virtual_uid_maps: user id {uid} is below virtual_minimum_uid");
                return Err(configuration_error());
            }
            let gid = self.number(&self.gids, address, "virtual_gid_maps")?;
            let gid = Gid::from_raw(gid);
            Identity { name: format!("user id {uid}"), uid: Uid::from_raw(uid), gid, groups: vec![gid] }
        } else {
            let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
            Identity { name: format!("user id {uid}"), uid, gid, groups: vec![gid] }
        };
        Ok(Place { path, is_maildir, identity })
    }

    fn number(&self, maps: &Maps, address: &[u8], parameter: &str) -> Result<u32, Dsn> {
        let Some(value) = self.look_up(maps, address)? else {
            log::warning!("recipient {}: not found in {parameter}", address.to_str_lossy());
            return Err(Dsn::new(Status::transient(3, 5), "mail system configuration error"));
        };
        value.to_str().ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            log::warning!("{parameter}: \"{value}\" is no number");
            configuration_error()
        })
    }

    fn look_up(&self, maps: &Maps, address: &[u8]) -> Result<Option<BString>, Dsn> {
        let query = AddressQuery {
            strategy: Strategy::FULL | Strategy::WITHOUT_EXTENSION | Strategy::AT_DOMAIN,
            delimiters: &self.delimiters,
            is_local: &|_: &[u8]| Ok(false),
        };
        let failed = |error: LookupError| {
            log::warning!("{error}");
            Dsn::new(Status::transient(3, 5), "mail system configuration error")
        };
        Ok(maps.lookup_address_blocking(address, &query).map_err(failed)?.map(|hit| hit.value))
    }
}

fn configuration_error() -> Dsn {
    Dsn::new(Status::transient(3, 5), "mail system configuration error")
}
