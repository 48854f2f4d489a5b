//! One connection: OP_MSG, log-in, `find`.

use md5::{Digest, Md5};
use table_server::{Fault, Host, Scram, ScramHash, Tls, Trouble, Wire};

use crate::bson::{Document, Value};
use crate::uri::Mechanism;

/// Largest message that is taken.
const LARGEST: usize = 16 << 20;
const OP_MSG: u32 = 2013;
/// Most steps of a log-in.
const MOST_STEPS: usize = 5;

/// How connections are made.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: String,
    pub(crate) source: String,
    pub(crate) mechanism: Mechanism,
    pub(crate) tls: Option<Tls>,
}

/// A connection that is ready for questions.
pub(crate) struct Connection {
    wire: Wire,
    last_id: u32,
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
    pub(crate) async fn start(host: &Host, mut wire: Wire, login: &Login) -> Result<Connection, Fault> {
        if let Some(tls) = &login.tls {
            let stream = wire.into_stream().map_err(Fault::new)?;
            wire = tls.wrap(stream, host.name()).await.map_err(|error| Fault(format!("TLS: {error}")))?;
        }
        let mut connection = Connection { wire, last_id: 0 };
        let mut hello = Document::default().with("hello", 1);
        if let (Some(user), Mechanism::Negotiate) = (&login.user, login.mechanism) {
            hello = hello.with("saslSupportedMechs", format!("{}.{user}", login.source).as_str());
        }
        let greeting = connection.command(hello.with("$db", "admin")).await.map_err(as_fault)?;
        if greeting.field("arbiterOnly") == Some(&Value::Boolean(true)) {
            return Err(Fault::new("the server holds no data"));
        }
        connection.log_in(login, &greeting).await?;
        Ok(connection)
    }

    async fn log_in(&mut self, login: &Login, greeting: &Document) -> Result<(), Fault> {
        let Some(user) = &login.user else {
            return if login.mechanism == Mechanism::X509 { self.log_in_with_certificate().await } else { Ok(()) };
        };
        let hash = match login.mechanism {
            Mechanism::X509 => return self.log_in_with_certificate().await,
            Mechanism::ScramSha1 => ScramHash::Sha1,
            Mechanism::ScramSha256 => ScramHash::Sha256,
            Mechanism::Negotiate => match greeting.field("saslSupportedMechs") {
                Some(Value::Array(names)) if names.contains(&Value::from("SCRAM-SHA-256")) => ScramHash::Sha256,
                // Servers before 4.0 do not say; a user whom nobody knows has no mechanisms.
                _ if greeting.field("maxWireVersion").and_then(Value::number).is_some_and(|version| version < 7.0) => {
                    ScramHash::Sha1
                }
                Some(Value::Array(names)) if names.contains(&Value::from("SCRAM-SHA-1")) => ScramHash::Sha1,
                _ => ScramHash::Sha256,
            },
        };
        let (mechanism, password) = match hash {
            ScramHash::Sha256 => ("SCRAM-SHA-256", login.password.clone()),
            // The older mechanism begins with a digest of the password.
            ScramHash::Sha1 => {
                let digest = Md5::digest(format!("{user}:mongo:{}", login.password));
                ("SCRAM-SHA-1", digest.iter().map(|byte| format!("{byte:02x}")).collect())
            }
        };
        let mut scram = Scram::new(hash, user, password.as_bytes())?;
        let start = Document::default()
            .with("saslStart", 1)
            .with("mechanism", mechanism)
            .with("payload", Value::Binary(scram.first().into_bytes()))
            .with("options", Document::default().with("skipEmptyExchange", true))
            .with("$db", login.source.as_str());
        let mut reply = self.command(start).await.map_err(as_fault)?;
        let mut verified = false;
        for step in 0..MOST_STEPS {
            let payload = match reply.field("payload") {
                Some(Value::Binary(payload)) => payload.clone(),
                _ => return Err(Fault::new("malformed SCRAM message")),
            };
            let answer = match step {
                0 => scram.answer(&payload)?.into_bytes(),
                _ => {
                    if !verified {
                        scram.verify(&payload)?;
                        verified = true;
                    }
                    if reply.field("done") == Some(&Value::Boolean(true)) {
                        return Ok(());
                    }
                    Vec::new()
                }
            };
            let conversation = reply.field("conversationId").cloned().unwrap_or(Value::Int32(1));
            let next = Document::default()
                .with("saslContinue", 1)
                .with("conversationId", conversation)
                .with("payload", Value::Binary(answer))
                .with("$db", login.source.as_str());
            reply = self.command(next).await.map_err(as_fault)?;
        }
        Err(Fault::new("log-in without end"))
    }

    async fn log_in_with_certificate(&mut self) -> Result<(), Fault> {
        let command = Document::default().with("authenticate", 1).with("mechanism", "MONGODB-X509");
        self.command(command.with("$db", "$external")).await.map(|_| ()).map_err(as_fault)
    }

    /// The documents that fit.
    pub(crate) async fn find(&mut self, find: Document) -> Result<Vec<Document>, Trouble> {
        let reply = self.command(find).await?;
        let Some(Value::Document(cursor)) = reply.field("cursor") else { return Err(malformed()) };
        if cursor.field("id").and_then(Value::number).is_some_and(|id| id != 0.0) {
            return Err(Trouble::Final("more documents than one answer holds".to_owned()));
        }
        let Some(Value::Array(batch)) = cursor.field("firstBatch") else { return Err(malformed()) };
        let document = |value: &Value| match value {
            Value::Document(document) => Ok(document.clone()),
            _ => Err(malformed()),
        };
        batch.iter().map(document).collect()
    }

    /// Sends a command and takes its answer.
    async fn command(&mut self, command: Document) -> Result<Document, Trouble> {
        self.last_id = self.last_id.wrapping_add(1);
        let mut message = Vec::new();
        for number in [0, self.last_id, 0, OP_MSG, 0] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        // One section: the body.
        message.push(0);
        command.write(&mut message);
        let length = (message.len() as u32).to_le_bytes();
        message[..4].copy_from_slice(&length);
        self.wire.write(&message).await?;

        let header = self.wire.read(16).await?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (length, answers, kind) = (number(0) as usize, number(8), number(12));
        if length > LARGEST {
            return Err(Trouble::Final(format!("message of {length} bytes from the server")));
        }
        if kind != OP_MSG || answers != self.last_id || length < 16 + 5 {
            return Err(malformed());
        }
        let body = self.wire.read(length - 16).await?;
        let flags = u32::from_le_bytes([body[0], body[1], body[2], body[3]]);
        // A checksum may follow; nothing else was asked for.
        let end = if flags & 1 == 0 { body.len() } else { body.len().saturating_sub(4) };
        let document = body.get(4..end).and_then(|rest| rest.strip_prefix(&[0])).and_then(Document::read);
        let document = document.ok_or_else(malformed)?;
        if document.field("ok").and_then(Value::number) == Some(1.0) {
            return Ok(document);
        }
        let text = match document.field("errmsg") {
            Some(Value::Text(text)) => text.to_string(),
            _ => "the command failed".to_owned(),
        };
        Err(Trouble::Refused(text))
    }
}
