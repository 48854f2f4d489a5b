//! The program: one delivery after the other.

use bstr::ByteSlice;
use config::Config;
use delivery::{BlockingAgent, BlockingJob};
use dsn::{Delivery, Dsn, Status};
use routing::{Context, Resolver, Rewriter};
use server::{Account, StartError, Startup};
use tables::{Flags, Maps};

use crate::recipient::{Expansion, Verdict, rank};
use crate::settings::Settings;

/// The agent.
#[derive(Debug)]
pub struct Local {
    pub(crate) settings: Settings,
    pub(crate) aliases: Maps,
    pub(crate) resolver: Resolver,
    pub(crate) rewriter: Rewriter,
    /// The name in master.cf: what it passes to itself would come back for ever.
    pub(crate) service: String,
    pub(crate) mailbox_transports: Maps,
    pub(crate) fallback_transports: Maps,
    pub(crate) mailbox_commands: Maps,
}

impl BlockingAgent for Local {
    const PROGRAM: &'static str = "local";
    const ACCOUNT: Account = Account::Root;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let config: &Config = &start.config;
        let settings = Settings::load(config)?;
        let maps = |name: &'static str| -> Result<Maps, StartError> {
            // A sender must not have a hand in who acts, and on what.
            let safe = Flags::NO_REGSUB | Flags::NO_PROXY | Flags::NO_UNAUTH;
            Maps::open(&config.string(name)?, config, name, safe).map_err(StartError::service)
        };
        Ok(Local {
            settings,
            aliases: maps("alias_maps")?,
            resolver: Resolver::open(config, false).map_err(StartError::service)?,
            rewriter: Rewriter::new(config, Context::Local).map_err(StartError::service)?,
            service: start.service.clone(),
            mailbox_transports: maps("mailbox_transport_maps")?,
            fallback_transports: maps("fallback_transport_maps")?,
            mailbox_commands: maps("mailbox_command_maps")?,
        })
    }

    fn changed_table(&self) -> Option<String> {
        self.aliases.changed_table().or_else(|| self.resolver.changed_table())
    }

    fn deliver(&mut self, job: &mut BlockingJob<'_>) {
        job.connected();
        for index in 0..job.request.recipients.len() {
            let verdict = self.deliver_recipient(job, index);
            if verdict.corrupt {
                return job.corrupt();
            }
            report(job, index, verdict);
        }
    }
}

/// Other agents have logged what they did; the queue manager hears one outcome.
fn report(job: &mut BlockingJob<'_>, index: usize, Verdict { own, passed, .. }: Verdict) {
    if passed.is_empty() {
        return job.report(index, b"local", own.unwrap_or_else(|| crate::recipient::sent("alias expanded")));
    }
    let own = own.map(|own| job.log(index, b"local", own));
    if own.is_none() && passed.iter().all(|one| one.notices_passed_on) {
        job.report.pass_on_notices(index);
    }
    let own = own.map(|delivery| (delivery, "local".into()));
    let all = own.into_iter().chain(passed.into_iter().map(|one| (one.delivery, one.relay)));
    if let Some((delivery, relay)) = all.min_by_key(|(delivery, _)| rank(delivery)) {
        job.report_logged(index, &relay, delivery);
    }
}

impl Local {
    fn deliver_recipient(&self, job: &BlockingJob<'_>, index: usize) -> Verdict {
        let own = |delivery| Verdict { own: Some(delivery), ..Verdict::default() };
        let address = job.request.recipients[index].address.clone();
        match delivered_before(job, &address) {
            Ok(false) => {}
            Ok(true) => {
                let shown = address::external(&address);
                let text = format!("mail forwarding loop for {}", shown.to_str_lossy());
                return own(Delivery::Bounced(Dsn::new(Status::permanent(4, 6), text)));
            }
            Err(error) => {
                log::warning!("{}: {error}", job.request.queue_id);
                return own(Delivery::Deferred(Dsn::new(Status::transient(3, 0), "queue file read error")));
            }
        }
        let expansion = Expansion::new(self, job, index);
        if job.is_probe() { expansion.probe(&address) } else { expansion.deliver(&address) }
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
