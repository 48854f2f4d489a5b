//! trivial-rewrite: completes and resolves addresses for daemons that must not wait for tables themselves.

use std::rc::Rc;

use ipc::Connection;
use ipc::rewrite::{Answer, Request};
use routing::{Context, Resolver, Rewriter};
use server::{Account, Client, SessionService, StartError, Startup, Worker};

/// The service.
#[derive(Debug)]
pub struct Rewrite {
    local: Rewriter,
    remote: Rewriter,
    resolver: Resolver,
    /// With the `address_verify_` forms of the parameters.
    probe_resolver: Resolver,
}

impl SessionService for Rewrite {
    const PROGRAM: &'static str = "trivial-rewrite";
    const ACCOUNT: Account = Account::MailOwner;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let config = &start.config;
        Ok(Rewrite {
            local: Rewriter::new(config, Context::Local).map_err(StartError::service)?,
            remote: Rewriter::new(config, Context::Remote).map_err(StartError::service)?,
            resolver: Resolver::open(config, false).map_err(StartError::service)?,
            probe_resolver: Resolver::open(config, true).map_err(StartError::service)?,
        })
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Some(mut connection) = client.into_connection() else { return };
        if let Err(error) = self.serve(&mut connection, &worker).await {
            log::warning!("problem talking to a client: {error}");
        }
    }

    fn reload_needed(&self) -> bool {
        let changed = self.resolver.changed_table().or_else(|| self.probe_resolver.changed_table());
        if let Some(table) = &changed {
            log::lines::table_changed(table);
        }
        changed.is_some()
    }
}

impl Rewrite {
    async fn serve(&self, connection: &mut Connection, worker: &Worker) -> Result<(), ipc::Error> {
        loop {
            let request = tokio::select! {
                request = connection.receive::<Request>() => request?,
                () = worker.draining() => return Ok(()),
            };
            let Some(request) = request else { return Ok(()) };
            let answer = self.answer(request).await;
            connection.send(&answer).await?;
            if worker.drain_if_reload_needed() {
                return Ok(());
            }
        }
    }

    async fn answer(&self, request: Request) -> Answer {
        match request {
            Request::Resolve { sender, recipients, probe } => {
                let resolver = if probe { &self.probe_resolver } else { &self.resolver };
                let mut resolved = Vec::with_capacity(recipients.len());
                for recipient in &recipients {
                    resolved.push(resolver.resolve(&sender, recipient).await);
                }
                Answer::Resolved(resolved)
            }
            Request::Rewrite { local, addresses } => {
                let rewriter = if local { &self.local } else { &self.remote };
                Answer::Rewritten(addresses.iter().map(|address| rewriter.rewrite(address)).collect())
            }
        }
    }
}
