//! Questions to the DNS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use ipc::resolver::{Failure, Found};

/// A caching stub resolver.
#[derive(Debug)]
pub struct Dns {
    resolver: TokioResolver,
}

/// Which name servers to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// Those of the system: the text of `/etc/resolv.conf`.
    System(Vec<u8>),
    /// These.
    Listed(Vec<SocketAddr>),
}

impl Dns {
    /// A resolver; must be made inside a tokio runtime.
    ///
    /// # Errors
    /// Why the system's settings cannot be used.
    pub fn new(servers: &Servers) -> Result<Dns, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match servers {
            Servers::System(text) => {
                let (config, options) = system_settings(text);
                TokioResolver::builder_with_config(config, provider).with_options(options)
            }
            Servers::Listed(addresses) => {
                let servers = addresses.iter().map(|address| name_server(*address)).collect();
                TokioResolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), servers), provider)
            }
        };
        let options: &mut ResolverOpts = builder.options_mut();
        // The hosts file is ours; search domains never apply to mail.
        options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
        options.cache_size = 10_000;
        options.negative_max_ttl = Some(Duration::from_secs(300));
        options.positive_max_ttl = Some(Duration::from_secs(3600));
        builder.build().map(|resolver| Dns { resolver }).map_err(|error| error.to_string())
    }

    /// Mail exchangers; preference and host.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn mx(&self, domain: &str) -> Result<Found, Failure> {
        self.found(domain, RecordType::MX, |data| match data {
            RData::MX(mx) => Some((mx.preference, host(&mx.exchange))),
            _ => None,
        })
        .await
        .map(Found::Mx)
    }

    /// Addresses of the wanted families, asked for at the same time. One family's failure is hidden by the other's
    /// answer only when it is permanent.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn addresses(&self, name: &str, ipv4: bool, ipv6: bool) -> Result<Vec<IpAddr>, Failure> {
        let of = |kind: RecordType, wanted: bool| async move {
            if !wanted {
                return Err(Failure::NoData);
            }
            self.found(name, kind, |data| match data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                _ => None,
            })
            .await
        };
        let (v4, v6) = tokio::join!(of(RecordType::A, ipv4), of(RecordType::AAAA, ipv6));
        match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.extend(v6);
                Ok(v4)
            }
            (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
            (Err(Failure::TryAgain(why)), _) | (_, Err(Failure::TryAgain(why))) => Err(Failure::TryAgain(why)),
            (Err(Failure::NoData), Err(other)) | (Err(other), Err(_)) => Err(other),
        }
    }

    /// Names of an address.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn names(&self, address: IpAddr) -> Result<Found, Failure> {
        let name = Name::from(address);
        self.lookup(name, RecordType::PTR, |data| match data {
            RData::PTR(ptr) => Some(host(&ptr.0)),
            _ => None,
        })
        .await
        .map(Found::Names)
    }

    /// Text records.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn txt(&self, name: &str) -> Result<Found, Failure> {
        self.found(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect()),
            _ => None,
        })
        .await
        .map(Found::Txt)
    }

    /// Name servers.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ns(&self, domain: &str) -> Result<Found, Failure> {
        self.found(domain, RecordType::NS, |data| match data {
            RData::NS(ns) => Some(host(&ns.0)),
            _ => None,
        })
        .await
        .map(Found::Ns)
    }

    /// Service records.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn srv(&self, name: &str) -> Result<Found, Failure> {
        self.found(name, RecordType::SRV, |data| match data {
            RData::SRV(srv) => Some((srv.priority, srv.weight, srv.port, host(&srv.target))),
            _ => None,
        })
        .await
        .map(Found::Srv)
    }

    async fn found<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let mut name = Name::from_ascii(name).map_err(|_| Failure::Invalid)?;
        name.set_fqdn(true);
        self.lookup(name, kind, pick).await
    }

    async fn lookup<T>(
        &self,
        name: Name,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let started = Instant::now();
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let found: Vec<T> = lookup.answers().iter().filter_map(|record| pick(&record.data)).collect();
                if found.is_empty() { Err(Failure::NoData) } else { Ok(found) }
            }
            Err(error) => Err(failure(&error, started.elapsed())),
        }
    }
}

/// What resolv.conf(5) says about servers and patience. Without a server it is the one of this machine, as for the C
/// library.
fn system_settings(text: &[u8]) -> (ResolverConfig, ResolverOpts) {
    let is_search = |line: &[u8]| {
        let word = line.trim_ascii_start().split(u8::is_ascii_whitespace).next().unwrap_or_default();
        word == b"search" || word == b"domain"
    };
    // Search domains never apply to mail, and a bad one would spoil the rest.
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !is_search(line)).collect();
    parse_resolv_conf(lines.join(&b'\n')).unwrap_or_else(|_| {
        let here = name_server(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        (ResolverConfig::from_parts(None, Vec::new(), vec![here]), ResolverOpts::default())
    })
}

fn failure(error: &NetError, waited: Duration) -> Failure {
    if error.is_nx_domain() {
        Failure::NotFound
    } else if error.is_no_records_found() {
        Failure::NoData
    } else {
        Failure::TryAgain(format!("{error} after {} ms", waited.as_millis()))
    }
}

fn host(name: &Name) -> String {
    let text = name.to_ascii();
    if text == "." { text } else { text.strip_suffix('.').map(str::to_owned).unwrap_or(text) }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_system() {
        let cases: [(&str, &[&str]); 5] = [
            ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", &["192.0.2.1", "2001:db8::1"]),
            ("search -- \u{fc}.example b@d..\n# x\n  domain ...\nnameserver 192.0.2.1\n", &["192.0.2.1"]),
            ("options timeout:2\n", &["127.0.0.1"]),
            ("", &["127.0.0.1"]),
            ("\u{0}garbage", &["127.0.0.1"]),
        ];
        for (text, wanted) in cases {
            let (config, _) = system_settings(text.as_bytes());
            let servers: Vec<String> = config.name_servers().iter().map(|server| server.ip.to_string()).collect();
            assert_eq!(servers, wanted, "{text:?}");
        }
        assert_eq!(system_settings(b"options timeout:2 attempts:4\nnameserver 192.0.2.1").1.attempts, 4);
    }
}
