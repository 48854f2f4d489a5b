//! smtpd, smtp → tlsmgr (`private/tlsmgr`): certificate chains, signatures by keys that never leave tlsmgr, ticket keys.
//!
//! A connection may ask for chains ([`ToTlsmgr::Watch`]) and ticket keys ([`ToTlsmgr::Tickets`]); it hears them at once, and again
//! whenever they change. Signatures and names are numbered and answered in any order.

use serde::{Deserialize, Serialize};

/// The name of a key: the SHA-256 of its certificate, so that it means the same after tlsmgr was replaced.
pub type KeyId = [u8; 32];

/// Longest message that is signed for a server: what TLS 1.2 and 1.3 servers sign is shorter.
pub const LONGEST_SERVER_MESSAGE: usize = 1024;
/// Longest message that is signed for a client: TLS 1.2 clients sign the handshake so far.
pub const LONGEST_CLIENT_MESSAGE: usize = 128 << 10;
/// Signatures and names that a connection may ask for before it hears an answer; what comes on top waits in the socket.
pub const MOST_QUESTIONS: usize = 64;

/// Whose handshakes keys are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// smtpd's.
    #[default]
    Server,
    /// smtp's and lmtp's.
    Client,
}

/// Which keys, by the values of the parameters in the asker's configuration. tlsmgr serves those that main.cf and master.cf
/// have, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeySet {
    /// Whose.
    pub role: Role,
    /// `*_tls_chain_files`: files with keys, each followed by its chain. Others do not count then.
    pub chain_files: Vec<String>,
    /// `*_tls_cert_file` and `*_tls_key_file`, `*_tls_eccert_file` and `*_tls_eckey_file`; empty pairs are left out.
    pub pairs: Vec<(String, String)>,
    /// `tls_server_sni_maps`
    pub sni_maps: String,
    /// `tls_server_chain_directory`
    pub directory: String,
}

impl KeySet {
    /// There is nothing to ask for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chain_files.is_empty() && self.pairs.is_empty() && !self.has_names()
    }

    /// Clients may ask for chains by name.
    #[must_use]
    pub fn has_names(&self) -> bool {
        !self.sni_maps.is_empty() || !self.directory.is_empty()
    }
}

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToTlsmgr {
    /// The chains of this set, now and whenever they change: [`FromTlsmgr::Chains`]. Once per connection.
    Watch(KeySet),
    /// Ticket keys, now and whenever they change: [`FromTlsmgr::Tickets`]. Servers only.
    Tickets,
    /// The chains for a name in the set that is watched: [`FromTlsmgr::Named`].
    Name {
        /// The asker's number.
        id: u32,
        /// The name that a client wants (RFC 6066 3), as it came.
        name: String,
    },
    /// A signature of what a handshake signs: [`FromTlsmgr::Signed`].
    Sign {
        /// The asker's number.
        id: u32,
        /// The key.
        key: KeyId,
        /// The signature scheme (RFC 8446 4.2.3).
        scheme: u16,
        /// What is signed, not hashed.
        message: Vec<u8>,
    },
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromTlsmgr {
    /// The chains of the set that is watched, or why there are none.
    Chains(Result<Vec<Chain>, String>),
    /// The keys of session tickets.
    Tickets(TicketKeys),
    /// The chains for a name.
    Named {
        /// The asker's number.
        id: u32,
        /// `None` when no chain has that name; an error ends the handshake.
        outcome: Result<Option<Vec<Chain>>, String>,
    },
    /// A signature.
    Signed {
        /// The asker's number.
        id: u32,
        /// The signature, or why there is none.
        outcome: Result<Vec<u8>, String>,
    },
}

/// A certificate with its issuers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Its key.
    pub key: KeyId,
    /// DER, the end entity first.
    pub certificates: Vec<Vec<u8>>,
}

/// The keys of session tickets (RFC 5077, RFC 8446 4.6.1), the same for all workers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKeys {
    /// New tickets are sealed with the first; all of them open tickets. None: tickets are not used.
    pub keys: Vec<TicketKey>,
    /// How long a ticket may be used, in seconds.
    pub lifetime: u32,
}

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKeys").field("keys", &self.keys.len()).field("lifetime", &self.lifetime).finish()
    }
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketKey {
    /// Tickets begin with it.
    pub name: [u8; 16],
    /// AES-256-GCM.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}
