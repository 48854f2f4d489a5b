//! flush: keeps a log of deferred messages for each site that may ask for its mail, and gets them going again.

mod work;

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::Config;
use ipc::flush::{Answer, Request};
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};
use tables::{Kind, MatchList};

pub use work::{Qmgr, ToSocket, Work};

/// The service.
pub struct Flush {
    domains: MatchList,
    work: Work,
}

impl SessionService for Flush {
    const PROGRAM: &'static str = "flush";
    const ACCOUNT: Account = Account::MailOwner;
    const CALLERS: Callers = Callers::ALL;

    fn prepare(start: &Startup) -> Result<Flush, StartError> {
        let config = &start.config;
        let domains = domains(config).map_err(|error| StartError::Service(error.to_string()))?;
        Ok(Flush { domains, work: Work::load(config)? })
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Some(mut connection) = client.into_connection() else { return };
        loop {
            match connection.receive::<Request>().await {
                Ok(Some(request)) => {
                    let answer = self.answer(request, &worker).await;
                    if connection.send(&answer).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    log::warning!("flush request: {error}");
                    return;
                }
            }
        }
    }

    async fn trigger(self: Rc<Self>, _characters: Vec<u8>, worker: Worker) {
        self.answer(Request::Refresh, &worker).await;
    }

    fn reload_needed(&self) -> bool {
        self.domains.changed_table().inspect(|table| log::lines::table_changed(table)).is_some()
    }
}

/// `fast_flush_domains`, as a list of domains.
fn domains(config: &Config) -> Result<MatchList, tables::Error> {
    let name = "fast_flush_domains";
    let parents = config.list("parent_domain_matches_subdomains")?;
    let parents = parents.iter().any(|feature| feature == name);
    MatchList::open(&config.string(name)?, config, name, Kind::Domains, parents)
}

impl Flush {
    async fn answer(&self, request: Request, worker: &Worker) -> Answer {
        let site = match &request {
            Request::Add { site, .. } | Request::SendSite(site) => Some(site),
            Request::SendMessage(_) | Request::Refresh | Request::Purge => None,
        };
        if let Some(site) = site
            && let Err(refusal) = self.check(site).await
        {
            return refusal;
        }
        let work = self.work.clone();
        let now = SystemTime::now();
        match worker.run_blocking(move || work.run(&request, now)).await {
            Some(Ok(())) => Answer::Ok,
            Some(Err(error)) => {
                log::warning!("flush: {}", sys::reason(&error));
                Answer::Failed
            }
            None => Answer::Failed,
        }
    }

    /// A site is a host name, or an address in brackets, of fast_flush_domains.
    async fn check(&self, site: &str) -> Result<(), Answer> {
        if !is_site(site) {
            return Err(Answer::Bad);
        }
        match self.domains.matches(site.as_bytes()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Answer::Denied),
            Err(_) => Err(Answer::Failed),
        }
    }
}

fn is_site(site: &str) -> bool {
    let bytes = site.as_bytes();
    if bytes.starts_with(b"[") {
        return address::domain::is_address_literal(bytes);
    }
    // A bare address is no host name, whatever its form.
    address::domain::is_valid_hostname(bytes) && address::domain::host_address(bytes).is_none()
}

/// Seconds since the epoch.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since: Duration| since.as_secs() as i64)
}

#[cfg(test)]
mod tests;
