//! TLS of a session: STARTTLS and the wrapper mode, and what a client's certificate must be like.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use config::Config;
use server::{StartError, Worker};
use smtp_proto::server::Problems;
use tls::{HandshakeError, Level, Server, ServerSettings, TlsFacts};

use crate::conversation::{Broken, Conversation};
use crate::stream::Stream;

/// How long the first clients of a worker may wait for the certificates.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a handshake may wait for a signature.
const SIGNATURE_PATIENCE: Duration = Duration::from_secs(10);

/// The server's TLS.
pub(crate) struct Tls {
    settings: ServerSettings,
    /// Nothing when TLS is impossible by the settings.
    server: Option<Rc<Server>>,
}

impl Tls {
    /// Reads the settings and the files of authorities; `None` where no TLS is wanted.
    pub(crate) fn load(config: &Config, root: &Path) -> Result<Option<Tls>, StartError> {
        let mut settings = ServerSettings::load(config).map_err(StartError::service)?;
        if settings.level == Level::None {
            return Ok(None);
        }
        for warning in &settings.warnings {
            log::warning!("{warning}");
        }
        for note in &settings.notes {
            log::info!("{note}");
        }
        if settings.log.verbose {
            log::info!("initializing the server-side TLS engine");
        }
        let tlsmgr = root.join("private").join(config.string("tlsmgr_service_name")?);
        let mut server = None;
        if settings.unusable.is_none() {
            match Server::new(settings.clone(), &tlsmgr, SIGNATURE_PATIENCE) {
                Ok(made) => server = Some(Rc::new(made)),
                Err(problem) => settings.unusable = Some(format!("{problem}: disabling TLS support")),
            }
        }
        if let Some(problem) = &settings.unusable {
            log::warning!("{problem}");
        }
        Ok(Some(Tls { settings, server }))
    }

    /// Begins to keep in touch with tlsmgr, and waits for its first word.
    pub(crate) async fn start(&self, worker: &Worker) {
        let Some(server) = &self.server else { return };
        worker.spawn_background(Rc::clone(server).run());
        server.wait(PATIENCE).await;
    }

    pub(crate) fn is_required(&self) -> bool {
        self.settings.level == Level::Encrypt
    }

    pub(crate) fn is_wrapper(&self) -> bool {
        self.settings.wrapper
    }

    /// Lines for the Received header, when they are wanted.
    pub(crate) fn received_lines(&self, facts: &TlsFacts) -> Vec<String> {
        if self.settings.received_header { facts.received_lines() } else { Vec::new() }
    }

    fn ready(&self) -> Option<&Rc<Server>> {
        self.server.as_ref().filter(|server| server.is_ready())
    }

    /// Why a client is turned away after its handshake (`smtpd_tls_req_ccert`).
    fn objection(&self, facts: &TlsFacts) -> Option<&'static str> {
        match &facts.peer {
            _ if !self.settings.require => None,
            None => Some("No client certificate presented"),
            Some(peer) if !peer.is_trusted() => Some("Client certificate not trusted"),
            Some(_) => None,
        }
    }
}

impl Conversation {
    /// The whole session is under TLS (`smtpd_tls_wrappermode`).
    pub(crate) async fn wrap(&mut self) -> Result<(), Broken> {
        let service = Rc::clone(&self.service);
        match service.tls.as_ref().filter(|tls| tls.is_wrapper() && !self.peer.stand_alone) {
            None => Ok(()),
            Some(tls) => match tls.ready() {
                Some(server) => self.handshake(tls, server).await,
                None => {
                    log::warning!("Wrapper-mode request dropped from {}: no TLS", self.peer.display);
                    Err(Broken::Lost)
                }
            },
        }
    }

    /// STARTTLS.
    pub(crate) async fn start_tls(&mut self) -> Result<(), Broken> {
        let service = Rc::clone(&self.service);
        let ready = service.tls.as_ref().and_then(|tls| tls.ready().map(|server| (tls, server)));
        let Some((tls, server)) = ready else {
            self.session.refuse(b"454 4.7.0 TLS not available due to local problem", Problems::RESOURCE);
            return Ok(());
        };
        self.session.accept();
        self.collect().await?;
        self.flush().await?;
        self.session.begin_tls();
        self.log_notes();
        self.handshake(tls, server).await
    }

    async fn handshake(&mut self, tls: &Tls, server: &Server) -> Result<(), Broken> {
        let client = self.peer.display.clone();
        if tls.settings.log.verbose {
            log::info!("setting up TLS connection from {client}");
        }
        let Stream::Tcp(tcp) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(Broken::Lost);
        };
        let timeout = tls.settings.handshake_timeout;
        let outcome = tokio::time::timeout(timeout, Box::pin(server.accept(tcp, &client))).await;
        let (stream, facts) = match outcome {
            Ok(Ok(done)) => done,
            Ok(Err(HandshakeError::Lost)) => {
                log::lines::handshake_error(&client, "lost connection");
                return Err(Broken::Lost);
            }
            Ok(Err(HandshakeError::Failed(problem))) => {
                log::lines::handshake_error(&client, "-1");
                log::warning!("TLS library problem: {problem}");
                return Err(Broken::Lost);
            }
            Err(_) => {
                log::lines::handshake_error(&client, "Connection timed out");
                return Err(Broken::Lost);
            }
        };
        self.stream = Stream::Tls(Box::new(stream));
        // Nothing that was said before counts.
        self.forget().await;
        self.carried = Default::default();
        self.session.tls_begun();
        self.log_tls(tls, &facts);
        let objection = tls.objection(&facts);
        self.tls = Some(Rc::new(facts));
        if let Some(objection) = objection {
            log::lines::tls_abort(&client, objection);
            let hostname = &self.service.settings.protocol.hostname;
            let reply = format!("421 4.7.1 {hostname} Error: {objection}");
            self.session.close_with(reply.as_bytes());
        }
        Ok(())
    }

    fn log_tls(&self, tls: &Tls, facts: &TlsFacts) {
        let client = &self.peer.display;
        if let Some(Err(reason)) = facts.peer.as_ref().map(|peer| &peer.trust)
            && tls.settings.log.untrusted
        {
            log::info!("certificate verification failed for {client}: {reason}");
        }
        if tls.settings.log.summary {
            let name = facts.server_name.as_deref().filter(|_| facts.server_name_matched);
            log::lines::tls_established(facts.peer_status(), client, name, &facts.summary());
        }
    }
}
