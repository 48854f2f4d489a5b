//! One connection: log-in and queries.

use bstr::{BString, ByteSlice};
use md5::{Digest, Md5};
use table_server::{Fault, Scram, ScramHash, Trouble, Wire};

use crate::message::{Message, message};

/// Version 3.0 of the protocol.
const VERSION: u32 = 196_608;
/// Most bytes of one answer; what is more cannot be meant.
const MOST_BYTES: usize = 16 << 20;
/// Most messages before the server is ready.
const MOST_MESSAGES: usize = 200;

/// Who logs in, and what for.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Option<String>,
    pub(crate) database: String,
    /// Settings for the session.
    pub(crate) options: Vec<(String, String)>,
}

/// A connection that is ready for queries.
pub(crate) struct Session {
    wire: Wire,
    standard_strings: bool,
}

impl Session {
    /// Logs in.
    pub(crate) async fn start(mut wire: Wire, login: &Login) -> Result<Session, Fault> {
        let mut body = VERSION.to_be_bytes().to_vec();
        let settings = [("user", &login.user), ("database", &login.database)];
        let options = login.options.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in settings.into_iter().chain(options) {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend(value.bytes().filter(|byte| *byte != 0));
            body.push(0);
        }
        body.push(0);
        wire.write(&message(None, &body).map_err(Fault::new)?).await.map_err(Fault::new)?;
        let mut session = Session { wire, standard_strings: true };
        let mut scram = None;
        for _ in 0..MOST_MESSAGES {
            let received = Message::read(&mut session.wire).await.map_err(as_fault)?;
            match received.letter {
                b'R' => session.authenticate(&received, login, &mut scram).await?,
                b'S' => session.parameter(&received.body),
                b'K' | b'N' => {}
                b'Z' => return Ok(session),
                b'E' => return Err(Fault(received.error_text())),
                other => return Err(Fault(format!("unexpected message '{}'", char::from(other)))),
            }
        }
        Err(Fault::new("too many messages before the server is ready"))
    }

    async fn authenticate(
        &mut self,
        received: &Message,
        login: &Login,
        scram: &mut Option<Scram>,
    ) -> Result<(), Fault> {
        let password = || login.password.as_deref().ok_or_else(|| Fault::new("no password supplied"));
        let rest = received.body.get(4..).unwrap_or_default();
        let mut reply = match received.number() {
            Some(0) => {
                // Who asked for SCRAM and was let in without its last word may be anybody.
                return if scram.is_none() { Ok(()) } else { Err(Fault::new("incomplete SCRAM authentication")) };
            }
            Some(3) => password()?.as_bytes().to_vec(),
            Some(5) => {
                let inner = hex(&Md5::digest([password()?.as_bytes(), login.user.as_bytes()].concat()));
                let salted = [inner.as_bytes(), rest.get(..4).unwrap_or_default()].concat();
                format!("md5{}", hex(&Md5::digest(salted))).into_bytes()
            }
            Some(10) => {
                if !rest.split(|byte| *byte == 0).any(|mechanism| mechanism == b"SCRAM-SHA-256") {
                    return Err(Fault::new("no common authentication mechanism"));
                }
                let started = Scram::new(ScramHash::Sha256, "", password()?.as_bytes())?;
                let first = started.first();
                *scram = Some(started);
                let length = u32::try_from(first.len()).unwrap_or(0);
                let body = [b"SCRAM-SHA-256\0", length.to_be_bytes().as_slice(), first.as_bytes()].concat();
                return self.say(b'p', &body).await;
            }
            Some(11) => {
                let scram = scram.as_mut().ok_or_else(|| Fault::new("unexpected SCRAM challenge"))?;
                let answer = scram.answer(rest)?;
                return self.say(b'p', answer.as_bytes()).await;
            }
            Some(12) => {
                return scram.take().ok_or_else(|| Fault::new("unexpected SCRAM message"))?.verify(rest);
            }
            other => return Err(Fault(format!("authentication method {other:?} is not supported"))),
        };
        reply.push(0);
        self.say(b'p', &reply).await
    }

    async fn say(&mut self, letter: u8, body: &[u8]) -> Result<(), Fault> {
        self.wire.write(&message(Some(letter), body).map_err(Fault::new)?).await.map_err(Fault::new)
    }

    fn parameter(&mut self, body: &[u8]) {
        if let Some(value) = body.strip_prefix(b"standard_conforming_strings\0") {
            self.standard_strings = value == b"on\0";
        }
    }

    /// Whether a backslash within quotes means something.
    pub(crate) fn escapes_with_backslashes(&self) -> bool {
        !self.standard_strings
    }

    /// The values of all columns of all rows.
    pub(crate) async fn query(&mut self, query: &[u8]) -> Result<Vec<BString>, Trouble> {
        self.wire.write(&message(Some(b'Q'), &[query, b"\0"].concat())?).await?;
        let mut values = Vec::new();
        let mut rows = false;
        let mut error = None;
        let mut bytes = 0;
        loop {
            let received = Message::read(&mut self.wire).await?;
            bytes += received.body.len() + 32;
            if bytes > MOST_BYTES {
                return Err(Trouble::Final(format!("an answer of more than {MOST_BYTES} bytes")));
            }
            match received.letter {
                b'T' => rows = true,
                b'D' => {
                    let columns = received.columns().ok_or_else(|| Trouble::Final("malformed row".to_owned()))?;
                    values.extend(columns);
                }
                b'S' => self.parameter(&received.body),
                b'E' => error = Some(received.error_text()),
                b'Z' => break,
                b'C' | b'I' | b'N' | b'A' => {}
                // COPY: nothing that a table is for.
                other => {
                    let letter = BString::from(vec![other]);
                    return Err(Trouble::Final(format!("unexpected message '{}'", letter.as_bstr())));
                }
            }
        }
        match error {
            Some(text) => Err(Trouble::Refused(format!("query failed: {text}"))),
            None if !rows => Err(Trouble::Refused("query did not return rows".to_owned())),
            None => Ok(values),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn as_fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Broken(text) | Trouble::Refused(text) | Trouble::Final(text) | Trouble::Unanswered(text) => {
            Fault(text)
        }
    }
}
