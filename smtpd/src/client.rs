//! Who the client is: its address, and its name when the name leads back to the address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipc::resolver::{Client as Names, Failure, Found, Query};

/// Longest that a name lookup may hold up a greeting.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Verified name, or `unknown`.
    pub(crate) name: String,
    /// Name by address alone, or `unknown`.
    pub(crate) reverse_name: String,
    /// The missing verified name may turn up later.
    pub(crate) name_tempfail: bool,
    /// The missing name may turn up later.
    pub(crate) reverse_tempfail: bool,
    /// Without brackets; IPv4-mapped addresses as IPv4.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) server: SocketAddr,
    /// `name[address]`, with `:port` when smtpd_client_port_logging.
    pub(crate) display: String,
    /// Not from the network: the invoking user.
    pub(crate) stand_alone: bool,
}

impl Peer {
    /// The invoking user (`sendmail -bs`).
    pub(crate) fn stand_alone() -> Peer {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut peer = Peer::unnamed(local, local);
        peer.name = "localhost".into();
        peer.reverse_name = "localhost".into();
        peer.stand_alone = true;
        peer.set_display(false);
        peer
    }

    fn unnamed(address: SocketAddr, server: SocketAddr) -> Peer {
        Peer {
            name: "unknown".into(),
            reverse_name: "unknown".into(),
            name_tempfail: false,
            reverse_tempfail: false,
            address: address.ip().to_canonical(),
            port: address.port(),
            server: SocketAddr::new(server.ip().to_canonical(), server.port()),
            display: String::new(),
            stand_alone: false,
        }
    }

    fn set_display(&mut self, with_port: bool) {
        let port = if with_port { format!(":{}", self.port) } else { String::new() };
        self.display = format!("{}[{}]{port}", self.name, self.address);
    }

    /// A client from the network. Its name is looked up when there is a resolver to ask (`smtpd_peername_lookup`).
    pub(crate) async fn from_network(
        address: SocketAddr,
        server: SocketAddr,
        names: Option<&Names>,
        log_port: bool,
    ) -> Peer {
        let mut peer = Peer::unnamed(address, server);
        if let Some(names) = names
            && tokio::time::timeout(PATIENCE, Box::pin(peer.look_up(names))).await.is_err()
        {
            log::warning!("{}: name lookup takes too long", peer.address);
            peer.name_tempfail = true;
            peer.reverse_tempfail = peer.reverse_name == "unknown";
        }
        peer.set_display(log_port);
        peer
    }

    async fn look_up(&mut self, names: &Names) {
        let name = match names.query(Query::Name(self.address)).await {
            Ok(found) => match plain(found) {
                Found::Names(names) => names.into_iter().next(),
                _ => None,
            },
            Err(Failure::TryAgain(reason)) => {
                log::debug!("name of {}: {reason}", self.address);
                self.reverse_tempfail = true;
                self.name_tempfail = true;
                None
            }
            Err(_) => None,
        };
        let Some(name) = name else { return };
        let name = name.trim_end_matches('.').to_owned();
        // A name that is an address, or no name at all, would deceive whoever reads the log.
        if !address::domain::is_valid_hostname(name.as_bytes()) {
            log::warning!("{}: malformed hostname {name}", self.address);
            return;
        }
        self.reverse_name.clone_from(&name);
        let (ipv4, ipv6) = (self.address.is_ipv4(), self.address.is_ipv6());
        let query = Query::Addresses { name: name.clone(), ipv4, ipv6, hosts_file: true, dns: true };
        let reason = match names.query(query).await.map(plain) {
            Ok(Found::Addresses(addresses)) if addresses.iter().any(|a| a.to_canonical() == self.address) => {
                self.name = name;
                return;
            }
            Ok(_) => String::new(),
            Err(Failure::TryAgain(_)) => {
                self.name_tempfail = true;
                ": Temporary failure in name resolution".into()
            }
            Err(Failure::NoData) => ": No address associated with hostname".into(),
            Err(Failure::NotFound | Failure::Invalid) => ": Name or service not known".into(),
        };
        log::warning!("hostname {name} does not resolve to address {}{reason}", self.address);
    }

    /// The address as Received headers have it: `127.0.0.1`, `IPv6:::1`.
    pub(crate) fn literal(&self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("IPv6:{address}"),
        }
    }
}

fn plain(found: Found) -> Found {
    match found {
        Found::WithTtl(found, ..) => *found,
        found => found,
    }
}
