//! The program as a session service.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use config::Config;
use server::{Account, Client, SessionService, StartError, Startup, Worker};
use smtp_proto::Keywords;
use smtp_proto::server::{BareNewline, CommandLists};
use tables::{Flags, Kind, Maps, MatchList};

use crate::client::Peer;
use crate::conversation::Conversation;
use crate::footer::Footers;
use crate::notice_gate::NoticeGate;
use crate::postdrop::Postdrop;
use crate::rewrite_context::RewriteClients;
use crate::settings::{self, Settings};
use crate::starttls::Tls;
use crate::stream::Stream;
use crate::transaction::Pool;
use crate::world::World;

/// The SMTP server.
pub struct Smtpd {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) footers: Footers,
    pub(crate) rewrite_clients: RewriteClients,
    pub(crate) pool: Rc<Pool>,
    pub(crate) notice_gate: NoticeGate,
    /// Where TLS is wanted.
    pub(crate) tls: Option<Tls>,
    names: ipc::resolver::Client,
    noop_commands: MatchList,
    forbidden_commands: MatchList,
    command_filter: Maps,
    bare_newline_exclusions: MatchList,
    discard_keyword_maps: Maps,
}

impl SessionService for Smtpd {
    const PROGRAM: &'static str = "smtpd";
    const ACCOUNT: Account = Account::MailIn;
    /// The server speaks first.
    const TRIGGERS: bool = false;

    fn prepare(start: &Startup) -> Result<Self, StartError> {
        let config = &start.config;
        let root = root(config)?;
        // The invoking user's pipe has no use for TLS.
        let tls = if start.stand_alone { None } else { Tls::load(config, &root)? };
        let settings = Settings::load(config, &root, tls.as_ref())?;
        let names = ipc::resolver::Client::new(&settings.resolver, settings.ipc_timeout);
        let world = World::open(config, &settings.policy.lists.tables, names.clone())?;
        let strings = |name: &'static str, kind: Kind| {
            let spec = config.string(name)?;
            MatchList::open(&spec, config, name, kind, false).map_err(StartError::service)
        };
        let maps = |name: &'static str| {
            Maps::open(&config.string(name)?, config, name, Flags::DEFAULT).map_err(StartError::service)
        };
        Ok(Smtpd {
            footers: Footers::load(config)?,
            rewrite_clients: RewriteClients::load(config)?,
            pool: Rc::new(if start.stand_alone {
                Pool::of_postdrop(Postdrop::load(config)?, settings.ipc_timeout)
            } else {
                Pool::new(settings.cleanup.clone(), settings.ipc_timeout)
            }),
            notice_gate: NoticeGate::default(),
            noop_commands: strings("smtpd_noop_commands", Kind::Strings)?,
            forbidden_commands: strings("smtpd_forbidden_commands", Kind::Strings)?,
            command_filter: maps("smtpd_command_filter")?,
            bare_newline_exclusions: strings("smtpd_forbid_bare_newline_exclusions", Kind::Hosts)?,
            discard_keyword_maps: maps("smtpd_discard_ehlo_keyword_address_maps")?,
            names,
            world,
            tls,
            settings,
        })
    }

    async fn started(self: Rc<Self>, worker: Worker) {
        if let Some(tls) = &self.tls {
            tls.start(&worker).await;
        }
    }

    async fn session(self: Rc<Self>, client: Client, worker: Worker) {
        let (stream, peer) = match client {
            Client::Inet { stream, peer, local } => {
                let names = self.settings.peername_lookup.then_some(&self.names);
                let peer = Box::pin(Peer::from_network(peer, local, names, self.settings.log_port)).await;
                (Stream::Tcp(stream), peer)
            }
            Client::Unix { stream, .. } | Client::StandAlone { stream } => (Stream::Unix(stream), Peer::stand_alone()),
        };
        Conversation::new(self, stream, peer, worker).await.run().await;
    }

    fn reload_needed(&self) -> bool {
        let lists = [&self.noop_commands, &self.forbidden_commands, &self.bare_newline_exclusions];
        let changed = self
            .world
            .changed()
            .or_else(|| self.footers.changed())
            .or_else(|| self.rewrite_clients.changed())
            .or_else(|| lists.iter().find_map(|list| list.changed_table()))
            .or_else(|| {
                [&self.command_filter, &self.discard_keyword_maps].iter().find_map(|maps| maps.changed_table())
            });
        if let Some(table) = &changed {
            log::lines::table_changed(table);
        }
        changed.is_some()
    }

    fn last_reply(&self) -> Option<Vec<u8>> {
        Some(format!("421 4.3.0 {} Server local error\r\n", self.settings.protocol.hostname).into_bytes())
    }
}

/// What sockets are looked for below: nothing, because daemons run in the queue directory, and see nothing else in a
/// jail; otherwise the queue directory itself.
fn root(config: &Config) -> Result<PathBuf, StartError> {
    let queue_directory = PathBuf::from(config.string("queue_directory")?);
    let here = std::env::current_dir().ok().and_then(|path| path.canonicalize().ok());
    let there = queue_directory.canonicalize().ok();
    Ok(if here.is_some() && here == there { Path::new("").to_owned() } else { queue_directory })
}

impl Smtpd {
    /// `smtpd_forbid_bare_newline` for a client.
    pub(crate) async fn bare_newline(&self, peer: &Peer) -> BareNewline {
        let (name, address) = (peer.name.as_bytes(), peer.address.to_string());
        match self.bare_newline_exclusions.matches_host(name, address.as_bytes()).await {
            Ok(true) => BareNewline::Allow,
            // Failing lookups exempt nobody.
            Ok(false) | Err(_) => self.settings.bare_newline,
        }
    }

    /// The EHLO keywords that a client is not offered.
    pub(crate) async fn discarded(&self, peer: &Peer) -> Keywords {
        let mut discarded = self.settings.discard_keywords;
        if let Ok(Some(hit)) = self.discard_keyword_maps.lookup(peer.address.to_string().as_bytes()).await {
            let text = String::from_utf8_lossy(&hit.value);
            discarded = settings::keywords(&text, "smtpd_discard_ehlo_keyword_address_maps");
        }
        let named = discarded.without(Keywords::SILENT);
        if !discarded.contains(Keywords::SILENT) && !named.is_empty() {
            let names: Vec<&str> = named.names().collect();
            log::info!("discarding EHLO keywords: {}", names.join(" "));
        }
        named
    }
}

impl CommandLists for Smtpd {
    fn is_noop(&self, word: &[u8]) -> bool {
        !self.noop_commands.is_empty() && self.noop_commands.matches_blocking(word).unwrap_or(false)
    }

    fn is_forbidden(&self, word: &[u8]) -> bool {
        self.forbidden_commands.matches_blocking(word).unwrap_or(false)
    }

    fn filter(&self, command: &[u8]) -> Option<Vec<u8>> {
        if self.command_filter.is_empty() {
            return None;
        }
        let found = self.command_filter.lookup_blocking(command).ok().flatten();
        found.map(|hit| hit.value.to_vec()).filter(|value| value != command)
    }
}
