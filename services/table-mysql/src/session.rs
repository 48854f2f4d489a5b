//! One connection: log-in and queries.

use bstr::BString;
use table_server::{Fault, Host, Tls, Trouble, Wire};

use crate::authentication::{Plugin, encrypted};
use crate::packet::{self, Reader, error_text};

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 8;
const PROTOCOL_41: u32 = 0x200;
const SSL: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const MULTI_RESULTS: u32 = 0x2_0000;
const PLUGIN_AUTH: u32 = 0x8_0000;
const AUTH_LENENC: u32 = 0x20_0000;

/// Largest packet that we say we take.
const MAX_PACKET: u32 = 1 << 22;
/// Most bytes of one answer; what is more cannot be meant.
const MOST_BYTES: usize = 16 << 20;
/// Most packets of a log-in.
const MOST_STEPS: usize = 10;
/// Most columns of a result.
const MOST_COLUMNS: u64 = 4096;
const QUERY: u8 = 3;

const NO_BACKSLASH_ESCAPES: u16 = 0x200;
const MORE_RESULTS: u16 = 8;

/// Who logs in, and what for.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    pub(crate) charset: String,
}

impl Login {
    /// The character set as the handshake numbers it; others are set by a query.
    fn charset_number(&self) -> Option<u8> {
        Some(match self.charset.to_ascii_lowercase().as_str() {
            "utf8mb4" => 45,
            "utf8" | "utf8mb3" => 33,
            "latin1" => 8,
            "ascii" => 11,
            "binary" => 63,
            _ => return None,
        })
    }
}

/// A connection that is ready for queries.
pub(crate) struct Session {
    wire: Wire,
    sequence: u8,
    status: u16,
}

/// What the server says first.
struct Greeting {
    capabilities: u32,
    status: u16,
    challenge: Vec<u8>,
    plugin: Vec<u8>,
}

impl Greeting {
    fn parse(body: &[u8]) -> Option<Greeting> {
        let mut reader = Reader(body);
        if reader.byte()? != 10 {
            return None;
        }
        reader.until_nul()?;
        reader.bytes(4)?;
        let mut challenge = reader.bytes(8)?.to_vec();
        reader.byte()?;
        let low = reader.u16()?;
        reader.byte()?;
        let status = reader.u16()?;
        let high = reader.u16()?;
        let length = usize::from(reader.byte()?);
        reader.bytes(10)?;
        let capabilities = u32::from(high) << 16 | u32::from(low);
        if capabilities & SECURE_CONNECTION != 0 {
            let rest = reader.bytes(length.saturating_sub(8).max(13).min(reader.0.len()))?;
            challenge.extend_from_slice(rest.strip_suffix(b"\0").unwrap_or(rest));
        }
        let plugin =
            if capabilities & PLUGIN_AUTH == 0 { Vec::new() } else { reader.until_nul().unwrap_or(reader.0).to_vec() };
        Some(Greeting { capabilities, status, challenge, plugin })
    }
}

impl Session {
    /// Logs in, under encryption when the server has it and `tls` is given.
    pub(crate) async fn start(
        mut wire: Wire,
        login: &Login,
        tls: Option<&Tls>,
        host: &Host,
        tls_required: bool,
    ) -> Result<Session, Fault> {
        let mut sequence = 0;
        let first = packet::read(&mut wire, &mut sequence).await.map_err(as_fault)?;
        if first.first() == Some(&0xff) {
            return Err(Fault(error_text(&first)));
        }
        let greeting = Greeting::parse(&first).ok_or_else(|| Fault::new("malformed greeting"))?;
        if greeting.capabilities & PROTOCOL_41 == 0 || greeting.capabilities & SECURE_CONNECTION == 0 {
            return Err(Fault::new("the server's protocol is too old"));
        }
        let mut capabilities = LONG_PASSWORD
            | CONNECT_WITH_DB
            | PROTOCOL_41
            | TRANSACTIONS
            | SECURE_CONNECTION
            | MULTI_RESULTS
            | (greeting.capabilities & (PLUGIN_AUTH | AUTH_LENENC));
        let tls = tls.filter(|_| greeting.capabilities & SSL != 0);
        if tls.is_none() && tls_required {
            return Err(Fault::new("the server does not offer TLS"));
        }
        if tls.is_some() {
            capabilities |= SSL;
        }
        let mut head = capabilities.to_le_bytes().to_vec();
        head.extend_from_slice(&MAX_PACKET.to_le_bytes());
        head.push(login.charset_number().unwrap_or(45));
        head.extend_from_slice(&[0; 23]);
        let mut private = matches!(host, Host::Unix(_));
        if let Some(tls) = tls {
            packet::write(&mut wire, &mut sequence, &head).await.map_err(as_fault)?;
            let stream = wire.into_stream().map_err(Fault::new)?;
            wire = tls.wrap(stream, host.name()).await.map_err(|error| Fault(format!("TLS: {error}")))?;
            private = true;
        }
        let mut session = Session { wire, sequence, status: greeting.status };
        session.log_in(login, head, &greeting, private).await?;
        if login.charset_number().is_none() {
            let set = format!("SET NAMES {}", login.charset);
            session.query(set.as_bytes()).await.map_err(as_fault)?;
        }
        Ok(session)
    }

    async fn log_in(&mut self, login: &Login, head: Vec<u8>, greeting: &Greeting, private: bool) -> Result<(), Fault> {
        // A plugin that is not ours is changed by the server if the account has another one.
        let mut plugin = Plugin::named(&greeting.plugin).unwrap_or(Plugin::Native);
        let mut challenge = greeting.challenge.clone();
        let answer = match plugin {
            // Not before the server asks: an account may have another plugin.
            Plugin::Clear | Plugin::Sha256 => Vec::new(),
            plugin => plugin.first(&login.password, &challenge, private)?,
        };
        let mut body = head;
        body.extend(login.user.bytes().filter(|byte| *byte != 0));
        body.push(0);
        // Both forms of the length are the same for what is short.
        body.push(answer.len() as u8);
        body.extend_from_slice(&answer);
        body.extend(login.database.bytes().filter(|byte| *byte != 0));
        body.push(0);
        if greeting.capabilities & PLUGIN_AUTH != 0 {
            body.extend_from_slice(plugin.name().as_bytes());
            body.push(0);
        }
        self.say(&body).await?;
        for _ in 0..MOST_STEPS {
            let reply = packet::read(&mut self.wire, &mut self.sequence).await.map_err(as_fault)?;
            match reply.first() {
                Some(0) => {
                    self.status = ok_status(&reply).unwrap_or(self.status);
                    return Ok(());
                }
                Some(0xff) => return Err(Fault(error_text(&reply))),
                Some(0xfe) => {
                    let mut reader = Reader(&reply[1..]);
                    plugin = Plugin::named(reader.until_nul().unwrap_or_default())?;
                    challenge = reader.0.strip_suffix(b"\0").unwrap_or(reader.0).to_vec();
                    let answer = plugin.first(&login.password, &challenge, private)?;
                    self.say(&answer).await?;
                }
                Some(1) => match (plugin, &reply[1..]) {
                    // The server knew the password's hash; its last word follows.
                    (Plugin::CachingSha2, [3]) => {}
                    (Plugin::CachingSha2, [4]) if private => {
                        self.say(&[login.password.as_bytes(), b"\0"].concat()).await?;
                    }
                    (Plugin::CachingSha2, [4]) => self.say(&[2]).await?,
                    (Plugin::CachingSha2 | Plugin::Sha256, key) => {
                        let answer = encrypted(&login.password, &challenge, key)?;
                        self.say(&answer).await?;
                    }
                    _ => return Err(Fault::new("unexpected authentication packet")),
                },
                _ => return Err(Fault::new("unexpected packet while logging in")),
            }
        }
        Err(Fault::new("log-in without end"))
    }

    async fn say(&mut self, body: &[u8]) -> Result<(), Fault> {
        packet::write(&mut self.wire, &mut self.sequence, body).await.map_err(as_fault)
    }

    /// Whether a backslash within quotes means something.
    pub(crate) fn escapes_with_backslashes(&self) -> bool {
        self.status & NO_BACKSLASH_ESCAPES == 0
    }

    /// The values of all columns of all rows; `None` when there is no result set.
    pub(crate) async fn query(&mut self, query: &[u8]) -> Result<Option<Vec<BString>>, Trouble> {
        self.sequence = 0;
        packet::write(&mut self.wire, &mut self.sequence, &[&[QUERY], query].concat()).await?;
        let mut found = None;
        let mut bytes = 0;
        loop {
            let first = self.next(&mut bytes).await?;
            match first.first() {
                Some(0) => {
                    self.status = ok_status(&first).ok_or_else(malformed)?;
                }
                Some(0xff) => return Err(Trouble::Refused(format!("query failed: {}", error_text(&first)))),
                // LOCAL INFILE: a server that asks for our files.
                Some(0xfb) | None => return Err(Trouble::Final("the server asks for a file".to_owned())),
                Some(_) => {
                    let rows = self.rows(&first, &mut bytes).await?;
                    if found.replace(rows).is_some() {
                        return Err(Trouble::Final("the query returned more than one result set".to_owned()));
                    }
                }
            }
            if self.status & MORE_RESULTS == 0 {
                return Ok(found);
            }
        }
    }

    async fn rows(&mut self, first: &[u8], bytes: &mut usize) -> Result<Vec<BString>, Trouble> {
        let columns = Reader(first).length().flatten().filter(|count| *count <= MOST_COLUMNS).ok_or_else(malformed)?;
        for _ in 0..columns {
            self.next(bytes).await?;
        }
        if !is_end(&self.next(bytes).await?) {
            return Err(malformed());
        }
        let mut values = Vec::new();
        loop {
            let body = self.next(bytes).await?;
            if is_end(&body) {
                let mut reader = Reader(&body[1..]);
                self.status = reader.u16().and(reader.u16()).ok_or_else(malformed)?;
                return Ok(values);
            }
            if body.first() == Some(&0xff) {
                return Err(Trouble::Refused(format!("query failed: {}", error_text(&body))));
            }
            values.extend(packet::row(&body, columns).ok_or_else(malformed)?);
        }
    }

    async fn next(&mut self, bytes: &mut usize) -> Result<Vec<u8>, Trouble> {
        let body = packet::read(&mut self.wire, &mut self.sequence).await?;
        *bytes += body.len() + 32;
        if *bytes > MOST_BYTES {
            return Err(Trouble::Final(format!("an answer of more than {MOST_BYTES} bytes")));
        }
        Ok(body)
    }
}

fn is_end(body: &[u8]) -> bool {
    body.first() == Some(&0xfe) && body.len() < 9
}

fn malformed() -> Trouble {
    Trouble::Final("malformed packet from the server".to_owned())
}

/// The server's status in an OK packet.
fn ok_status(body: &[u8]) -> Option<u16> {
    let mut reader = Reader(body.get(1..)?);
    reader.length()?;
    reader.length()?;
    reader.u16()
}

fn as_fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Broken(text) | Trouble::Refused(text) | Trouble::Final(text) | Trouble::Unanswered(text) => {
            Fault(text)
        }
    }
}
