//! The server's end of handshakes.
//!
//! The client's first message is read on the event loop, because the name in it may have to be looked up. The step that
//! answers it signs, and rustls waits for the signature: it runs on a thread of the pool, together with the key exchange. What
//! comes after it is cheap and happens on the event loop again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{Accepted, Acceptor, NoServerSessionStorage, ProducesTickets};
use rustls::{Connection, ServerConfig};
use tokio::net::TcpStream;

use crate::facts::{PeerCertificate, Signature, TlsFacts};
use crate::keys::Keys;
use crate::settings::ServerSettings;
use crate::signing::{Chains, Signers};
use crate::stream::{Socket, TlsStream, flush};
use crate::tickets::Tickets;
use crate::verify::ClientProof;
use crate::witness::{self, Seen};

/// Names whose chains are remembered until tlsmgr says that something has changed.
const MOST_NAMES: usize = 1000;
/// The longest name of a host (RFC 1035 2.3.4).
const LONGEST_NAME: usize = 253;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client has gone.
    #[error("lost connection")]
    Lost,
    /// The client and we do not come to terms; the text is for the log.
    #[error("{0}")]
    Failed(String),
}

/// What a server needs for handshakes.
#[derive(Debug)]
pub struct Server {
    settings: ServerSettings,
    keys: Keys,
    signers: Arc<Signers>,
    template: ServerConfig,
    configs: RefCell<Configs>,
}

/// What was made from the chains of some version of [`Keys`].
#[derive(Debug, Default)]
struct Configs {
    version: u64,
    default: Option<Arc<ServerConfig>>,
    named: HashMap<String, Option<Arc<ServerConfig>>>,
}

impl Server {
    /// A server by these settings, whose keys are in the service at `tlsmgr`; each question there takes at most `timeout`.
    ///
    /// # Errors
    /// Settings that rustls does not take, for the log.
    pub fn new(settings: ServerSettings, tlsmgr: &Path, timeout: Duration) -> Result<Server, String> {
        let provider = CryptoProvider {
            cipher_suites: settings.suites.clone(),
            kx_groups: settings.groups.clone(),
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        let tickets = settings.tickets.then(Arc::<Tickets>::default);
        let mut template = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&settings.protocols.versions())
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(ClientProof::new(settings.ask, &settings.roots))
            .with_cert_resolver(Arc::<Chains>::default());
        // Sessions are kept by their clients, in tickets, which every worker can open.
        template.session_storage = Arc::new(NoServerSessionStorage {});
        template.send_tls13_tickets = usize::from(tickets.is_some());
        template.ignore_client_order = settings.own_order;
        if let Some(tickets) = &tickets {
            template.ticketer = Arc::clone(tickets) as Arc<dyn ProducesTickets>;
        }
        let keys = Keys::new(tlsmgr, timeout, settings.keys.clone(), tickets);
        let signers = Signers::new(tlsmgr.to_owned(), timeout);
        Ok(Server { settings, keys, signers, template, configs: RefCell::default() })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Keeps in touch with tlsmgr; to be run in the background for as long as the server lives.
    pub async fn run(self: Rc<Self>) {
        self.keys.run().await;
    }

    /// Waits until tlsmgr has said which chains there are, or until time is up.
    pub async fn wait(&self, patience: Duration) {
        self.keys.wait(patience).await;
    }

    /// There is a chain to show: handshakes make sense.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.keys.is_ready()
    }

    /// Does the handshake with a client, `client` in log lines. The caller bounds its time.
    ///
    /// # Errors
    /// Why it has failed; it has been told to the client as far as TLS says it.
    pub async fn accept(&self, tcp: TcpStream, client: &str) -> Result<(TlsStream, TlsFacts), HandshakeError> {
        let accepted = read_hello(&tcp).await?;
        let (name, config) = self.config_for(&accepted, client).await?;
        let matched = config.matched;
        let (mut connection, mut seen) = answer(accepted, config.config, &tcp).await?;
        loop {
            flush(&mut connection, &tcp).await.map_err(|error| lost(&error))?;
            if !connection.is_handshaking() {
                break;
            }
            receive(&mut connection, &tcp).await?;
            connection = proceed(connection, &mut seen, &tcp).await?;
        }
        let facts = self.facts(&connection, &seen, name, matched);
        Ok((TlsStream::new(tcp, connection), facts))
    }

    /// The configuration for a client, and the name it wanted.
    async fn config_for(&self, accepted: &Accepted, client: &str) -> Result<(Option<String>, Chosen), HandshakeError> {
        let name = accepted.client_hello().server_name().map(str::to_owned);
        let wanted = name.as_deref().filter(|name| self.settings.keys.has_names() && name.len() <= LONGEST_NAME);
        if let Some(wanted) = wanted {
            match self.named(wanted).await {
                Ok(Some(config)) => return Ok((name, Chosen { config, matched: true })),
                Ok(None) => log::info!("TLS SNI {wanted} from {client} not matched, using default chain"),
                Err(problem) => {
                    log::warning!("{problem}: aborting TLS handshake");
                    return Err(HandshakeError::Failed("no certificate for the name".to_owned()));
                }
            }
        }
        match self.default() {
            Some(config) => Ok((name, Chosen { config, matched: false })),
            None => Err(HandshakeError::Failed("no certificate".to_owned())),
        }
    }

    fn fresh(&self) -> std::cell::RefMut<'_, Configs> {
        let mut configs = self.configs.borrow_mut();
        if configs.version != self.keys.version() {
            *configs = Configs { version: self.keys.version(), ..Configs::default() };
        }
        configs
    }

    fn with_chains(&self, chains: Vec<ipc::tlsmgr::Chain>) -> Option<Arc<ServerConfig>> {
        let chains = Chains::new(chains, &self.signers);
        (!chains.is_empty()).then(|| {
            let mut config = self.template.clone();
            config.cert_resolver = Arc::new(chains);
            Arc::new(config)
        })
    }

    fn default(&self) -> Option<Arc<ServerConfig>> {
        let mut configs = self.fresh();
        if configs.default.is_none() {
            configs.default = self.with_chains(self.keys.chains()?);
        }
        configs.default.clone()
    }

    async fn named(&self, name: &str) -> Result<Option<Arc<ServerConfig>>, String> {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.fresh().named.get(&name) {
            return Ok(known.clone());
        }
        let version = self.keys.version();
        let found = self.keys.named(&name).await?.and_then(|chains| self.with_chains(chains));
        let mut configs = self.fresh();
        if configs.version == version {
            if configs.named.len() >= MOST_NAMES {
                configs.named.clear();
            }
            configs.named.insert(name, found.clone());
        }
        Ok(found)
    }

    fn facts(&self, connection: &Connection, seen: &Seen, name: Option<String>, matched: bool) -> TlsFacts {
        let settings = &self.settings;
        let mut facts = TlsFacts::of(connection);
        let tls13 = facts.key_exchange.is_some();
        facts.asked = settings.ask;
        facts.server_end_point = seen.end_point.as_ref().map(|digest| digest.to_vec());
        // Before TLS 1.3 it is not bound to the handshake (RFC 9266 4.2).
        facts.exporter = connection
            .export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .ok()
            .filter(|_| tls13);
        facts.server_name_matched = matched;
        facts.server_name = name;
        if tls13 {
            facts.own_signature = seen.chosen.map(|kind| Signature::new(kind, seen.signed));
        }
        if let Some(chain @ [first, ..]) = connection.peer_certificates() {
            let trust = settings.roots.check_client(chain, settings.depth, settings.server_usage, UnixTime::now());
            if tls13 {
                let kind = crate::certificate::Certificate::parse(first).map(|first| first.key_kind());
                facts.peer_signature = kind.map(|kind| Signature::new(kind, seen.peer_signed));
            }
            facts.peer = Some(PeerCertificate::new(first, settings.digest, trust));
        }
        facts
    }
}

struct Chosen {
    config: Arc<ServerConfig>,
    /// For the name that the client wanted.
    matched: bool,
}

/// Reads the client's first message.
async fn read_hello(tcp: &TcpStream) -> Result<Accepted, HandshakeError> {
    let mut acceptor = Acceptor::default();
    loop {
        tcp.readable().await.map_err(|error| lost(&error))?;
        match acceptor.read_tls(&mut Socket(tcp)) {
            Ok(0) => return Err(HandshakeError::Lost),
            Ok(_) => match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    // As far as the socket takes it at once.
                    let _ = alert.write_all(&mut Socket(tcp));
                    return Err(HandshakeError::Failed(error.to_string()));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&error)),
        }
    }
}

/// Answers the client's first message, on a thread where the signature can be waited for.
async fn answer(
    accepted: Accepted,
    config: Arc<ServerConfig>,
    tcp: &TcpStream,
) -> Result<(Connection, Seen), HandshakeError> {
    let (outcome, seen) = on_a_thread(move || {
        let mut seen = Seen::default();
        let outcome = witness::watch(&mut seen, || accepted.into_connection(config));
        (outcome, seen)
    })
    .await?;
    match outcome {
        Ok(connection) => Ok((Connection::Server(connection), seen)),
        Err((error, mut alert)) => {
            let _ = alert.write_all(&mut Socket(tcp));
            Err(failure(&error, seen))
        }
    }
}

/// Reads more of the client's messages.
async fn receive(connection: &mut Connection, tcp: &TcpStream) -> Result<(), HandshakeError> {
    loop {
        tcp.readable().await.map_err(|error| lost(&error))?;
        match connection.read_tls(&mut Socket(tcp)) {
            Ok(0) => return Err(HandshakeError::Lost),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(lost(&error)),
        }
    }
}

/// Handles what was read.
async fn proceed(mut connection: Connection, seen: &mut Seen, tcp: &TcpStream) -> Result<Connection, HandshakeError> {
    let outcome;
    if seen.signed.is_some() || connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        outcome = witness::watch(seen, || connection.process_new_packets().map(|_| ()));
    } else {
        // The client had to begin again with another group (RFC 8446 4.1.4): the signature is still to come.
        let mut moved = std::mem::take(seen);
        (connection, *seen, outcome) = on_a_thread(move || {
            let outcome = witness::watch(&mut moved, || connection.process_new_packets().map(|_| ()));
            (connection, moved, outcome)
        })
        .await?;
    }
    match outcome {
        Ok(()) => Ok(connection),
        Err(error) => {
            while connection.wants_write() {
                match connection.write_tls(&mut Socket(tcp)) {
                    Ok(count) if count > 0 => {}
                    _ => break,
                }
            }
            Err(failure(&error, std::mem::take(seen)))
        }
    }
}

async fn on_a_thread<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, HandshakeError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(|_| HandshakeError::Failed("handshake ended by a defect of the program".to_owned()))
}

fn lost(error: &io::Error) -> HandshakeError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            HandshakeError::Lost
        }
        _ => HandshakeError::Failed(error.to_string()),
    }
}

fn failure(error: &rustls::Error, seen: Seen) -> HandshakeError {
    HandshakeError::Failed(seen.problem.unwrap_or_else(|| error.to_string()))
}
