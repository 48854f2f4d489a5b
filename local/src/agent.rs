//! The program: one delivery after the other.

use bstr::ByteSlice;
use config::Config;
use delivery::{BlockingAgent, BlockingJob};
use dsn::{Delivery, Dsn, Status};
use routing::Resolver;
use server::{Account, StartError, Startup};
use tables::{Flags, Maps};

use crate::recipient::Expansion;
use crate::settings::Settings;

/// The agent.
#[derive(Debug)]
pub struct Local {
    pub(crate) settings: Settings,
    pub(crate) aliases: Maps,
    pub(crate) resolver: Resolver,
}

impl BlockingAgent for Local {
    const PROGRAM: &'static str = "local";
    const ACCOUNT: Account = Account::Root;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let config: &Config = &start.config;
        let settings = Settings::load(config)?;
        for name in &settings.unsupported {
            log::warning!("{name} is not available yet: mail for local users is deferred");
        }
        let spec = config.string("alias_maps")?;
        let aliases = Maps::open(&spec, config, "alias_maps", Flags::NO_REGSUB | Flags::NO_PROXY | Flags::NO_UNAUTH)
            .map_err(StartError::service)?;
        let resolver = Resolver::open(config, false).map_err(StartError::service)?;
        Ok(Local { settings, aliases, resolver })
    }

    fn changed_table(&self) -> Option<String> {
        self.aliases.changed_table().or_else(|| self.resolver.changed_table())
    }

    fn deliver(&mut self, job: &mut BlockingJob<'_>) {
        job.connected();
        for index in 0..job.request.recipients.len() {
            let delivery = self.deliver_recipient(job, index);
            job.report(index, b"local", delivery);
        }
    }
}

impl Local {
    fn deliver_recipient(&self, job: &mut BlockingJob<'_>, index: usize) -> Delivery {
        if !self.settings.unsupported.is_empty() {
            let text = format!("mail system configuration: {} is not available", self.settings.unsupported.join(", "));
            return Delivery::Deferred(Dsn::new(Status::transient(3, 5), text));
        }
        let address = job.request.recipients[index].address.clone();
        match delivered_before(job, &address) {
            Ok(false) => {}
            Ok(true) => {
                let shown = address::external(&address);
                let text = format!("mail forwarding loop for {}", shown.to_str_lossy());
                return Delivery::Bounced(Dsn::new(Status::permanent(4, 6), text));
            }
            Err(error) => {
                log::warning!("{}: {error}", job.request.queue_id);
                return Delivery::Deferred(Dsn::new(Status::transient(3, 0), "queue file read error"));
            }
        }
        if job.is_probe() {
            return self.probe(&address);
        }
        Expansion::new(self, job, index).deliver(&address)
    }

    /// Whether mail for this address would be delivered.
    fn probe(&self, address: &[u8]) -> Delivery {
        let (local, _) = address::split(address);
        match self.name_exists(local) {
            Ok(true) => Delivery::Sent {
                action: dsn::Action::Deliverable,
                dsn: Dsn::new(Status::success(0, 0), "delivers to mailbox"),
            },
            Ok(false) => Delivery::Bounced(crate::recipient::unknown_user(local)),
            Err(dsn) => Delivery::Deferred(dsn),
        }
    }

    fn name_exists(&self, local: &[u8]) -> Result<bool, Dsn> {
        Ok(self.alias(local)?.is_some() || crate::user::find(local, &self.settings)?.is_some())
    }
}

/// Whether the message carries our own mark for this address already (`Delivered-To:`).
fn delivered_before(job: &BlockingJob<'_>, address: &[u8]) -> Result<bool, queue::Error> {
    let external = address::external(address);
    let mut content = job.content();
    let mut at_line_start = true;
    while let Some(line) = content.next_line()? {
        if at_line_start {
            if line.complete && line.bytes.is_empty() {
                break;
            }
            if message::name_length(line.bytes).is_none()
                && !line.bytes.starts_with_str(b" ")
                && !line.bytes.starts_with_str(b"\t")
            {
                break;
            }
            let name = b"Delivered-To:";
            let matches = line.bytes.get(..name.len()).is_some_and(|have| have.eq_ignore_ascii_case(name));
            if matches && line.bytes[name.len()..].trim_ascii().eq_ignore_ascii_case(&external) {
                return Ok(true);
            }
        }
        at_line_start = line.complete;
    }
    Ok(false)
}
