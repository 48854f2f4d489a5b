//! What all transactions of the process share.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ipc::Connection;
use ipc::bounce::{Answer, Request};
use queue::log_file::Append;
use queue::{Layout, Spool};
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};

use crate::checks::Checks;
use crate::mapping::Mapping;
use crate::queue_manager::{QueueManager, Talker};
use crate::session;
use crate::settings::Settings;
use crate::trust::{Receivers, Trust};

/// The service.
pub struct Service {
    pub(crate) settings: Settings,
    pub(crate) mapping: Mapping,
    pub(crate) checks: Checks,
    pub(crate) receivers: Receivers,
    pub(crate) spool: Spool,
    pub(crate) queue_manager: QueueManager,
    talker: std::cell::Cell<Option<Talker>>,
    /// Where the sockets of the other daemons are.
    root: PathBuf,
}

impl Service {
    /// Puts a service together; `root` is the queue directory, as this process sees it.
    #[must_use]
    pub fn new(
        settings: Settings,
        mapping: Mapping,
        checks: Checks,
        receivers: Receivers,
        spool: Spool,
        root: &Path,
    ) -> Service {
        let (queue_manager, talker) = QueueManager::new(root.join("public").join(&settings.queue_service));
        Service {
            settings,
            mapping,
            checks,
            receivers,
            spool,
            queue_manager,
            talker: std::cell::Cell::new(Some(talker)),
            root: root.to_owned(),
        }
    }

    pub(crate) fn log_append(&self) -> Append {
        Append { old_form: self.settings.old_bounce_log, ..Append::default() }
    }

    /// Has a notice sent.
    pub(crate) async fn ask_bounce(&self, request: &Request) -> Result<Answer, ipc::Error> {
        let path = self.root.join("private").join(&self.settings.bounce_service);
        let mut connection = Connection::connect(&path).await?;
        connection.send(request).await?;
        connection.expect().await
    }
}

impl SessionService for Service {
    const PROGRAM: &'static str = "cleanup";
    const ACCOUNT: Account = Account::MailOwner;
    // Who may bring mail into the queue: smtpd and its like, and what runs as the queue's owner or root. A program that
    // only talks to the outside for others (smtp, resolver, table servers) has no business here.
    const CALLERS: Callers = Callers::OWNER.and(Callers::MAIL_IN);

    fn prepare(start: &Startup) -> Result<Service, StartError> {
        sys::clock::load_time_zone();
        let config = &start.config;
        let layout = Layout::new(
            &config.string("hash_queue_names")?,
            usize::try_from(config.int("hash_queue_depth")?).unwrap_or(1),
            config.bool("enable_long_queue_ids")?,
        );
        let fatal = |error: crate::mapping::Error| StartError::Service(error.to_string());
        Ok(Service::new(
            Settings::load(config)?,
            Mapping::open(config).map_err(fatal)?,
            Checks::open(config).map_err(fatal)?,
            Receivers::load(config)?,
            Spool::new(layout),
            // Daemons run in the queue directory.
            Path::new(""),
        ))
    }

    async fn started(self: Rc<Self>, worker: Worker) {
        if let Some(talker) = self.talker.take() {
            worker.spawn_background(talker.run());
        }
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let trust = match &client {
            Client::Unix { peer, .. } => Trust::of(*peer, worker.peers()),
            // `-S`: whoever runs cleanup by hand has the rights that it has.
            Client::StandAlone { .. } => Trust::Owner,
            Client::Inet { .. } => Trust::Receiver,
        };
        if let Some(connection) = client.into_connection() {
            session::serve(self, connection, trust, worker).await;
        }
    }

    fn reload_needed(&self) -> bool {
        let changed = self.mapping.changed_table().or_else(|| self.checks.changed_table());
        if let Some(table) = &changed {
            log::lines::table_changed(table);
        }
        changed.is_some()
    }
}
