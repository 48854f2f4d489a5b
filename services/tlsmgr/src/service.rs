//! The program as a session service.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ipc::Connection;
use ipc::tlsmgr::{Chain, FromTlsmgr, KeyId, KeySet, Role, TicketKeys, ToTlsmgr};
use rustls::SignatureScheme;
use server::{Account, Callers, Client, SessionService, StartError, Startup, Worker};
use tables::{Flags, Maps};
use tls::certificate::KeyKind;
use tokio::sync::watch;

use crate::keeper::{self, Files, FromKeeper};
use crate::pairs::{self, Pair};
use crate::rotation::Rotation;
use crate::settings::Settings;
use crate::shape::is_handshake;
use crate::store::{self, Store};

/// Names of `tls_server_sni_maps` whose keys are remembered; after as many others they are read again.
const MOST_NAMES: usize = 1000;

/// The holder of keys.
pub struct Tlsmgr {
    settings: Settings,
    store: RefCell<Store>,
    rotation: RefCell<Rotation>,
    /// Tables of names, by the text of the parameter.
    maps: HashMap<String, Maps>,
    named: RefCell<Named>,
    keeper: RefCell<Option<StdStream>>,
    /// Counts changes of chains and ticket keys.
    changes: watch::Sender<u64>,
}

/// Keys that came from a table: the recent ones, and those before them.
#[derive(Default)]
struct Named {
    recent: HashMap<KeyId, Pair>,
    before: HashMap<KeyId, Pair>,
}

impl Named {
    fn add(&mut self, pair: &Pair) {
        if self.recent.len() >= MOST_NAMES && !self.recent.contains_key(&pair.id) {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(pair.id, pair.clone());
    }

    fn find(&self, id: &KeyId) -> Option<&Pair> {
        self.recent.get(id).or_else(|| self.before.get(id))
    }
}

impl SessionService for Tlsmgr {
    const PROGRAM: &'static str = "tlsmgr";
    const ACCOUNT: Account = Account::Keys;
    const CALLERS: Callers = Callers::MAIL_IN.and(Callers::MAIL_OUT);
    const SOLITARY: bool = true;
    const LASTING: bool = true;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let settings = Settings::load(&start.config)?;
        let mut maps = HashMap::new();
        for set in settings.sets.iter().filter(|set| !set.sni_maps.is_empty()) {
            let opened = Maps::open(&set.sni_maps, &start.config, "tls_server_sni_maps", Flags::FILE_VALUES);
            maps.insert(set.sni_maps.clone(), opened.map_err(StartError::service)?);
        }
        let paths = store::paths(&settings.sets);
        let (files, keeper) = if paths == keeper::Paths::default() {
            (Files::new(), None)
        } else {
            // Only as root are there files that we cannot read again later.
            let as_child = start.privileged || nix::unistd::geteuid().is_root();
            let started = keeper::start(paths.clone(), as_child && sys::fork::threads() == Some(1));
            let (files, socket) =
                started.map_err(|error| StartError::service(format!("keeper of key files: {error}")))?;
            (files, Some(socket))
        };
        let (store, warnings) = Store::new(settings.sets.clone(), &files);
        for warning in warnings {
            log::warning!("{warning}");
        }
        Ok(Tlsmgr {
            rotation: RefCell::new(Rotation::new(settings.ticket_lifetime, Instant::now())),
            settings,
            store: RefCell::new(store),
            maps,
            named: RefCell::default(),
            keeper: RefCell::new(keeper),
            changes: watch::Sender::new(0),
        })
    }

    async fn started(self: Rc<Self>, worker: Worker) {
        if let Some(socket) = self.keeper.take() {
            let service = Rc::clone(&self);
            let minder = worker.clone();
            worker.spawn_background(async move {
                if let Err(error) = service.hear_keeper(socket).await {
                    log::warning!("keeper of key files: {error}");
                }
                // Without it renewals go unnoticed; the next process has another.
                minder.start_draining();
            });
        }
        worker.spawn_background(async move { self.rotate().await });
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let Client::Unix { stream, peer } = client else { return };
        let roles = worker.peers().roles(peer);
        let may = May { server: roles.meets(Callers::MAIL_IN), client: roles.meets(Callers::MAIL_OUT) };
        let mut session = Session { service: self, may, watched: None, told: None, tickets: None };
        let mut connection = Connection::new(stream);
        if let Err(error) = session.serve(&mut connection, &worker).await
            && !error.is_idle_visit()
        {
            log::warning!("problem talking to a client: {error}");
        }
    }

    fn reload_needed(&self) -> bool {
        let changed = self.maps.values().find_map(Maps::changed_table);
        if let Some(table) = &changed {
            log::lines::table_changed(table);
        }
        changed.is_some()
    }
}

impl Tlsmgr {
    async fn hear_keeper(&self, socket: StdStream) -> Result<(), ipc::Error> {
        socket.set_nonblocking(true)?;
        let mut connection = Connection::new(tokio::net::UnixStream::from_std(socket)?);
        let mut files = Files::new();
        while let Some(word) = connection.receive::<FromKeeper>().await? {
            match word {
                FromKeeper::File(path, content) => drop(files.insert(path, content)),
                FromKeeper::End => self.renew(&std::mem::take(&mut files)),
            }
        }
        Ok(())
    }

    fn renew(&self, files: &Files) {
        let warnings = self.store.borrow_mut().renew(files);
        for warning in warnings {
            log::warning!("{warning}");
        }
        if self.settings.log_level.verbose {
            log::info!("certificates read again: {} keys", self.store.borrow().len());
        }
        self.changes.send_modify(|count| *count += 1);
    }

    async fn rotate(&self) {
        loop {
            let due = self.rotation.borrow().due();
            let Some(due) = due else { return };
            tokio::time::sleep_until(due.into()).await;
            if self.rotation.borrow_mut().rotate(Instant::now()) {
                self.changes.send_modify(|count| *count += 1);
            }
        }
    }

    /// `tls_server_sni_maps`: the name, then its parents with a leading dot; else the directory.
    async fn chains_for(&self, set: &KeySet, name: &str) -> Result<Option<Vec<Chain>>, String> {
        let name = name.to_ascii_lowercase();
        if let Some(maps) = self.maps.get(&set.sni_maps) {
            let parents = name.match_indices('.').map(|(at, _)| &name[at..]);
            for (key, partial) in std::iter::once((name.as_str(), false)).chain(parents.map(|parent| (parent, true))) {
                let found =
                    if partial { maps.lookup_partial(key.as_bytes()).await } else { maps.lookup(key.as_bytes()).await };
                let found = found.map_err(|_| format!("tls_server_sni_maps: lookup of {name} failed"))?;
                if let Some(hit) = found {
                    return self.take_from_table(&name, &hit.value).map(Some);
                }
            }
        }
        let chains = self.store.borrow().named(set, &name);
        Ok((!chains.is_empty()).then_some(chains))
    }

    fn take_from_table(&self, name: &str, value: &[u8]) -> Result<Vec<Chain>, String> {
        let pairs = pairs::keys_with_chains(value).map_err(|problem| {
            log::warning!("{problem} (SNI data for {name})");
            format!("error loading private keys and certificates from: SNI data for {name}")
        })?;
        let mut named = self.named.borrow_mut();
        pairs.iter().for_each(|pair| named.add(pair));
        Ok(pairs.iter().map(Pair::chain).collect())
    }

    /// The key for a signature by a caller with these rights.
    fn key_for(
        &self,
        may: May,
        id: &KeyId,
        message: &[u8],
    ) -> Result<(Arc<dyn rustls::sign::SigningKey>, KeyKind), String> {
        let allowed = |role: Role| may.is(role) && is_handshake(role, message);
        let store = self.store.borrow();
        if let Some(key) = store.key(id) {
            let fine = [Role::Server, Role::Client].into_iter().any(|role| key.is_for(role) && allowed(role));
            return if fine { Ok((Arc::clone(&key.key), key.kind)) } else { Err(REFUSED.to_owned()) };
        }
        match self.named.borrow().find(id) {
            Some(pair) if allowed(Role::Server) => Ok((Arc::clone(&pair.key), pair.kind)),
            Some(_) => Err(REFUSED.to_owned()),
            None => Err("the key is not in use any more".to_owned()),
        }
    }
}

const REFUSED: &str = "not a handshake that this program may sign";

/// Whose handshakes a caller is about.
#[derive(Clone, Copy)]
struct May {
    server: bool,
    client: bool,
}

impl May {
    fn is(self, role: Role) -> bool {
        match role {
            Role::Server => self.server,
            Role::Client => self.client,
        }
    }
}

/// One caller.
struct Session {
    service: Rc<Tlsmgr>,
    may: May,
    watched: Option<KeySet>,
    /// The version of the store that the caller knows.
    told: Option<u64>,
    /// The ticket keys that the caller knows, once it has asked for them.
    tickets: Option<Option<TicketKeys>>,
}

impl Session {
    async fn serve(&mut self, connection: &mut Connection, worker: &Worker) -> Result<(), ipc::Error> {
        let mut changes = self.service.changes.subscribe();
        loop {
            tokio::select! {
                question = connection.receive::<ToTlsmgr>() => {
                    let Some(question) = question? else { return Ok(()) };
                    let answer = self.answer(question, worker).await?;
                    if let Some(answer) = answer {
                        connection.queue(&answer)?;
                    }
                    self.tell(connection)?;
                }
                changed = changes.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.tell(connection)?;
                }
                () = worker.draining() => return Ok(()),
            }
            connection.flush().await?;
        }
    }

    /// Says what the caller wants to hear of and has not heard yet.
    fn tell(&mut self, connection: &mut Connection) -> Result<(), ipc::Error> {
        if let Some(set) = &self.watched {
            let store = self.service.store.borrow();
            if self.told != Some(store.version()) {
                connection.queue(&FromTlsmgr::Chains(store.chains(set)))?;
                self.told = Some(store.version());
            }
        }
        if let Some(told) = &mut self.tickets {
            let now = self.service.rotation.borrow().keys().clone();
            if told.as_ref() != Some(&now) {
                connection.queue(&FromTlsmgr::Tickets(now.clone()))?;
                *told = Some(now);
            }
        }
        Ok(())
    }

    async fn answer(&mut self, question: ToTlsmgr, worker: &Worker) -> Result<Option<FromTlsmgr>, ipc::Error> {
        match question {
            ToTlsmgr::Watch(set) if self.watched.is_none() && self.may.is(set.role) => {
                if self.service.store.borrow().knows(&set) {
                    self.watched = Some(set);
                    return Ok(None);
                }
                if self.service.settings.have_changed() {
                    // Who comes next reads the settings as they are now.
                    worker.start_draining();
                }
                Ok(Some(FromTlsmgr::Chains(Err("tlsmgr does not know these settings yet".to_owned()))))
            }
            ToTlsmgr::Tickets if self.may.server => {
                self.tickets.get_or_insert(None);
                Ok(None)
            }
            ToTlsmgr::Name { id, name } if self.may.server => {
                let outcome = match &self.watched {
                    Some(set) => self.service.chains_for(set, &name).await,
                    None => Ok(None),
                };
                Ok(Some(FromTlsmgr::Named { id, outcome }))
            }
            ToTlsmgr::Sign { id, key, scheme, message } => {
                let outcome = self.sign(&key, scheme, message, worker).await;
                if let Err(problem) = &outcome {
                    log::warning!("signature refused: {problem}");
                }
                Ok(Some(FromTlsmgr::Signed { id, outcome }))
            }
            _ => Err(ipc::Error::Protocol("not for this caller")),
        }
    }

    async fn sign(&self, id: &KeyId, scheme: u16, message: Vec<u8>, worker: &Worker) -> Result<Vec<u8>, String> {
        let (key, kind) = self.service.key_for(self.may, id, &message)?;
        let signer = key.choose_scheme(&[SignatureScheme::from(scheme)]).ok_or("the key cannot sign like that")?;
        let sign = move || signer.sign(&message).map_err(|error| error.to_string());
        // RSA takes as long as everything else in a handshake together.
        match kind {
            KeyKind::Rsa(_) => worker.run_blocking(sign).await.unwrap_or_else(|| Err("no signature".to_owned())),
            _ => sign(),
        }
    }
}
