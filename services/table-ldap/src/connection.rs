//! One connection: StartTLS, bind, searches (RFC 4511).

use bstr::{BString, ByteSlice};
use table_server::{Fault, Host, Tls, Trouble, Wire};

use crate::ber::{self, Reader};

/// Largest message that is taken.
const LARGEST: usize = 4 << 20;
/// Most bytes and entries of one search; what is more cannot be meant.
const MOST_BYTES: usize = 16 << 20;
const MOST_ENTRIES: usize = 100_000;
/// Most referrals of one search that are kept.
const MOST_REFERRALS: usize = 100;
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const BIND: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;

const SUCCESS: i64 = 0;
const TIME_LIMIT_EXCEEDED: i64 = 3;
const SIZE_LIMIT_EXCEEDED: i64 = 4;
const REFERRAL: i64 = 10;
const NO_SUCH_OBJECT: i64 = 32;

/// How far below the base a search looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Base,
    One,
    Sub,
}

/// How a connection logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// Not at all.
    None,
    /// With a name and a password, both may be empty.
    Simple { dn: String, password: String },
    /// SASL EXTERNAL: the server knows us by the certificate or by the user that we are.
    External { authorization: String },
    /// SASL PLAIN.
    Plain { authorization: String, user: String, password: String },
}

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) version: u8,
    pub(crate) bind: Bind,
    pub(crate) start_tls: bool,
    pub(crate) tls: Tls,
}

/// A search.
#[derive(Clone, Debug)]
pub(crate) struct Search<'s> {
    pub(crate) base: &'s [u8],
    pub(crate) scope: Scope,
    pub(crate) dereference: u8,
    pub(crate) size_limit: u32,
    pub(crate) time_limit: u32,
    /// Encoded.
    pub(crate) filter: &'s [u8],
    pub(crate) attributes: &'s [String],
}

/// An entry: attributes with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) attributes: Vec<(BString, Vec<BString>)>,
}

impl Entry {
    /// The values of an attribute, with or without options behind its name.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &BString> {
        self.attributes.iter().filter(move |(there, _)| is_same(there, name)).flat_map(|(_, values)| values)
    }
}

fn is_same(there: &[u8], wanted: &str) -> bool {
    let base = there.split(|byte| *byte == b';').next().unwrap_or_default();
    there.eq_ignore_ascii_case(wanted.as_bytes()) || base.eq_ignore_ascii_case(wanted.as_bytes())
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    pub(crate) referrals: Vec<String>,
    /// There is no entry where the search begins.
    pub(crate) no_base: bool,
}

/// A connection that is ready for searches.
pub(crate) struct Connection {
    wire: Wire,
    last_id: i32,
}

/// The result that ends every operation.
struct Outcome {
    code: i64,
    text: String,
    referrals: Vec<String>,
}

impl Outcome {
    fn parse(content: &[u8]) -> Option<Outcome> {
        let mut reader = Reader(content);
        let code = reader.number(ber::ENUMERATED)?;
        reader.expect(ber::OCTETS)?;
        let text = reader.expect(ber::OCTETS)?.to_str_lossy().into_owned();
        let mut referrals = Vec::new();
        while let Some((tag, content)) = reader.next() {
            if tag == 0xa3 {
                referrals = urls(content);
            }
        }
        Some(Outcome { code, text, referrals })
    }

    fn error(&self, what: &str) -> String {
        let name = match self.code {
            1 => "operations error",
            2 => "protocol error",
            7 => "authentication method not supported",
            8 => "stronger authentication required",
            11 => "administrative limit exceeded",
            13 => "confidentiality required",
            34 => "invalid DN syntax",
            48 => "inappropriate authentication",
            49 => "invalid credentials",
            50 => "insufficient access rights",
            51 => "busy",
            52 => "unavailable",
            53 => "unwilling to perform",
            TIME_LIMIT_EXCEEDED => "time limit exceeded",
            SIZE_LIMIT_EXCEEDED => "size limit exceeded",
            _ => "error",
        };
        format!("{what}: {name} ({}) {}", self.code, self.text).trim_end().to_owned()
    }
}

fn urls(content: &[u8]) -> Vec<String> {
    let mut reader = Reader(content);
    let next = || reader.expect(ber::OCTETS).map(|url| url.to_str_lossy().into_owned());
    std::iter::from_fn(next).take(MOST_REFERRALS).collect()
}

fn malformed() -> Trouble {
    Trouble::Final("malformed message from the server".to_owned())
}

fn as_fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Broken(text) | Trouble::Refused(text) | Trouble::Final(text) | Trouble::Unanswered(text) => {
            Fault(text)
        }
    }
}

impl Connection {
    /// Connects and logs in. `tls`: encryption from the first byte.
    pub(crate) async fn start(host: &Host, tls: bool, login: &Login, wire: Wire) -> Result<Connection, Fault> {
        let wrap = async |wire: Wire| -> Result<Wire, Fault> {
            let stream = wire.into_stream().map_err(Fault::new)?;
            login.tls.wrap(stream, host.name()).await.map_err(|error| Fault(format!("TLS: {error}")))
        };
        let wire = if tls { wrap(wire).await? } else { wire };
        let mut connection = Connection { wire, last_id: 0 };
        if login.start_tls && !tls {
            connection.ask_for_tls().await.map_err(as_fault)?;
            connection.wire = wrap(connection.wire).await?;
        }
        connection.bind(login).await.map_err(as_fault)?;
        Ok(connection)
    }

    async fn ask_for_tls(&mut self) -> Result<(), Trouble> {
        self.send(EXTENDED, |content| ber::put(content, 0x80, START_TLS)).await?;
        let (tag, content) = self.receive().await?;
        let outcome = Outcome::parse(&content).filter(|_| tag == EXTENDED_RESPONSE).ok_or_else(malformed)?;
        if outcome.code == SUCCESS { Ok(()) } else { Err(Trouble::Refused(outcome.error("StartTLS"))) }
    }

    async fn bind(&mut self, login: &Login) -> Result<(), Trouble> {
        let sasl = |mechanism: &str, credentials: &[u8]| {
            let mut content = Vec::new();
            ber::nested(&mut content, 0xa3, |sasl| {
                ber::put(sasl, ber::OCTETS, mechanism.as_bytes());
                ber::put(sasl, ber::OCTETS, credentials);
            });
            content
        };
        let (dn, authentication) = match &login.bind {
            Bind::None => return Ok(()),
            Bind::Simple { dn, password } => {
                let mut content = Vec::new();
                ber::put(&mut content, 0x80, password.as_bytes());
                (dn.as_str(), content)
            }
            Bind::External { authorization } => ("", sasl("EXTERNAL", authorization.as_bytes())),
            Bind::Plain { authorization, user, password } => {
                ("", sasl("PLAIN", format!("{authorization}\0{user}\0{password}").as_bytes()))
            }
        };
        let version = i32::from(login.version);
        self.send(BIND, |content| {
            ber::put_number(content, ber::INTEGER, version);
            ber::put(content, ber::OCTETS, dn.as_bytes());
            content.extend_from_slice(&authentication);
        })
        .await?;
        let (tag, content) = self.receive().await?;
        let outcome = Outcome::parse(&content).filter(|_| tag == BIND_RESPONSE).ok_or_else(malformed)?;
        if outcome.code == SUCCESS { Ok(()) } else { Err(Trouble::Refused(outcome.error("bind"))) }
    }

    /// Searches.
    pub(crate) async fn search(&mut self, search: &Search<'_>) -> Result<Found, Trouble> {
        self.send(SEARCH, |content| {
            ber::put(content, ber::OCTETS, search.base);
            let scope = match search.scope {
                Scope::Base => 0,
                Scope::One => 1,
                Scope::Sub => 2,
            };
            ber::put_number(content, ber::ENUMERATED, scope);
            ber::put_number(content, ber::ENUMERATED, i32::from(search.dereference));
            ber::put_number(content, ber::INTEGER, i32::try_from(search.size_limit).unwrap_or(i32::MAX));
            ber::put_number(content, ber::INTEGER, i32::try_from(search.time_limit).unwrap_or(i32::MAX));
            ber::put(content, ber::BOOLEAN, &[0]);
            content.extend_from_slice(search.filter);
            ber::nested(content, ber::SEQUENCE, |list| {
                for name in search.attributes {
                    ber::put(list, ber::OCTETS, name.as_bytes());
                }
            });
        })
        .await?;
        let mut found = Found::default();
        let mut bytes = 0;
        loop {
            let (tag, content) = self.receive().await?;
            bytes += content.len() + 32;
            if bytes > MOST_BYTES || found.entries.len() > MOST_ENTRIES {
                return Err(Trouble::Final(format!("an answer of more than {MOST_BYTES} bytes")));
            }
            match tag {
                SEARCH_ENTRY => found.entries.push(entry(&content).ok_or_else(malformed)?),
                SEARCH_REFERENCE => found.referrals.extend(urls(&content)),
                SEARCH_DONE => {
                    let outcome = Outcome::parse(&content).ok_or_else(malformed)?;
                    found.referrals.extend(outcome.referrals.iter().cloned());
                    found.referrals.truncate(MOST_REFERRALS);
                    found.no_base = outcome.code == NO_SUCH_OBJECT;
                    return match outcome.code {
                        SUCCESS | REFERRAL | NO_SUCH_OBJECT => Ok(found),
                        SIZE_LIMIT_EXCEEDED | TIME_LIMIT_EXCEEDED => Err(Trouble::Unanswered(outcome.error("search"))),
                        _ => Err(Trouble::Refused(outcome.error("search"))),
                    };
                }
                _ => return Err(malformed()),
            }
        }
    }

    async fn send(&mut self, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), Trouble> {
        self.last_id = self.last_id.checked_add(1).ok_or_else(malformed)?;
        let id = self.last_id;
        let mut message = Vec::new();
        ber::nested(&mut message, ber::SEQUENCE, |content| {
            ber::put_number(content, ber::INTEGER, id);
            ber::nested(content, tag, fill);
        });
        Ok(self.wire.write(&message).await?)
    }

    /// The next message for the operation that is under way.
    async fn receive(&mut self) -> Result<(u8, Vec<u8>), Trouble> {
        let head = self.wire.read(2).await?;
        let (tag, first) = (head[0], head[1]);
        if tag != ber::SEQUENCE {
            return Err(malformed());
        }
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return Err(malformed());
            }
            self.wire.read(count).await?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        if length > LARGEST {
            return Err(Trouble::Final(format!("message of {length} bytes from the server")));
        }
        let mut reader = Reader(self.wire.read(length).await?);
        let id = reader.number(ber::INTEGER).ok_or_else(malformed)?;
        let (tag, content) = reader.next().ok_or_else(malformed)?;
        if id == 0 {
            // Notice of disconnection (RFC 4511 4.4.1).
            return Err(Trouble::Broken("the server closes the connection".to_owned()));
        }
        if id == i64::from(self.last_id) { Ok((tag, content.to_vec())) } else { Err(malformed()) }
    }
}

fn entry(content: &[u8]) -> Option<Entry> {
    let mut reader = Reader(content);
    reader.expect(ber::OCTETS)?;
    let mut list = Reader(reader.expect(ber::SEQUENCE)?);
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut attribute = Reader(list.expect(ber::SEQUENCE)?);
        let name = attribute.expect(ber::OCTETS)?;
        let mut set = Reader(attribute.expect(0x31)?);
        let mut values = Vec::new();
        while !set.is_empty() {
            values.push(set.expect(ber::OCTETS)?.into());
        }
        attributes.push((name.into(), values));
    }
    Some(Entry { attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_with_options_are_found_by_their_names() {
        let entry =
            Entry { attributes: vec![("Mail".into(), vec!["a".into()]), ("mail;lang-de".into(), vec!["b".into()])] };
        assert_eq!(entry.values("mail").count(), 2);
        assert_eq!(entry.values("mail;lang-de").count(), 1);
        assert_eq!(entry.values("mai").count(), 0);
    }
}
