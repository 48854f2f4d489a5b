//! `socketmap:` and `tcp:`: tables behind a server of the administrator's, asked over a small protocol.

mod socketmap;
mod tcp;

use std::time::Duration;

use bstr::BString;
use config::Config;
use table_server::{Connector, Fault, Host, Pool, PoolSettings, TableType, Wire};

/// For one answer, as in the reference.
const TIME_LIMIT: Duration = Duration::from_secs(100);
/// How long a connection without questions stays, and how long a server that does not work is left alone.
const IDLE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

/// Which of the protocols is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Protocol {
    Socketmap { map: String, longest_query: usize, longest_reply: usize },
    Tcp,
}

/// A table behind a socket.
pub struct SocketTable {
    protocol: Protocol,
    pool: Pool<Plain>,
}

/// Connections without any log-in.
struct Plain;

impl Connector for Plain {
    type Connection = Wire;

    async fn connect(&self, host: &Host) -> Result<Wire, Fault> {
        Wire::connect(host, TIME_LIMIT).await.map_err(Fault::new)
    }
}

impl TableType for SocketTable {
    const PROGRAM: &'static str = "table-socketmap";
    const KINDS: &'static [&'static str] = &["socketmap", "tcp"];

    fn open(kind: &str, name: &str, config: &Config) -> Result<Self, Fault> {
        let title = format!("{kind}:{name}");
        let bad = |reason: &str| Fault(format!("{title}: {reason}"));
        let size = |name: &str| -> Result<usize, Fault> {
            Ok(usize::try_from(config.int(name).map_err(Fault::new)?).unwrap_or(usize::MAX))
        };
        let (protocol, host) = if kind == "tcp" {
            let (host, port) = name.rsplit_once(':').ok_or_else(|| bad("need \"tcp:host:port\""))?;
            (Protocol::Tcp, Host::parse(&format!("inet:{host}:{port}"), 0).map_err(|reason| bad(&reason))?)
        } else {
            let usage = "need \"socketmap:inet:host:port:name\" or \"socketmap:unix:path:name\"";
            let (host, map) = name.rsplit_once(':').filter(|(_, map)| !map.is_empty()).ok_or_else(|| bad(usage))?;
            if !host.starts_with("inet:") && !host.starts_with("unix:") {
                return Err(bad(usage));
            }
            let (longest_query, longest_reply) = (size("socketmap_max_query_size")?, size("socketmap_max_reply_size")?);
            let protocol = Protocol::Socketmap { map: map.to_owned(), longest_query, longest_reply };
            (protocol, Host::parse(host, 0).map_err(|reason| bad(&reason))?)
        };
        if matches!(host, Host::Inet(_, 0)) {
            return Err(bad("no port"));
        }
        let connections = usize::try_from(config.int("table_server_connections").map_err(Fault::new)?).unwrap_or(1);
        let settings = PoolSettings {
            hosts: vec![host],
            random: false,
            connections,
            retry_interval: PAUSE,
            idle_interval: IDLE,
            timeout: TIME_LIMIT,
        };
        Ok(SocketTable { protocol, pool: Pool::new(&title, Plain, settings) })
    }

    async fn lookup(&self, key: &[u8]) -> Result<Option<BString>, Fault> {
        match &self.protocol {
            Protocol::Tcp => {
                let Some(request) = tcp::request(key) else { return Ok(None) };
                self.pool.ask(async |wire: &mut Wire| tcp::ask(wire, &request).await).await
            }
            Protocol::Socketmap { map, longest_query, longest_reply } => {
                let Some(request) = socketmap::request(map, key, *longest_query) else { return Ok(None) };
                self.pool.ask(async |wire: &mut Wire| socketmap::ask(wire, &request, *longest_reply).await).await
            }
        }
    }
}
