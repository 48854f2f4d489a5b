//! SMTP dialogues from `tests/dialogues`: what a client sends, and what Postfix 3.7 replied.
//!
//! A dialogue is a name (`=== name`), parameters (`main.cf: name = value`), maybe another client address (`from: ...`), and
//! lines: `> text` is sent with CRLF, `>| text` as it is (`\r` `\n` `\t` `\\` `\xNN`, `@{c*n}` repeats), `< text` is a line
//! of the reply, `close` means that the server closes.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde::Deserialize;

/// How long a server may take for a reply. A step without an expected reply does not wait.
const REPLY_TIME: Duration = Duration::from_secs(20);

/// One dialogue.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    /// `file/name`.
    pub name: String,
    /// Settings of the server.
    pub parameters: Vec<(String, String)>,
    /// The client's address; 127.0.0.1 when not given.
    pub from: Option<Ipv4Addr>,
    steps: Vec<Step>,
}

/// Sent bytes and the reply lines that follow; the first step sends nothing and waits for the greeting.
#[derive(Clone, Debug, Default)]
struct Step {
    text: String,
    bytes: Vec<u8>,
    replies: Vec<String>,
    close: bool,
}

/// A reply of ours that is not the reference's, from `docs/differences.toml`.
#[derive(Debug, Deserialize)]
struct Difference {
    name: String,
    command: String,
    replies: Vec<String>,
    #[serde(default)]
    last: bool,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Differences {
    #[serde(default)]
    dialogue: Vec<Difference>,
}

/// `tests/dialogues`.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues")
}

/// All dialogues, with the replies of the reference.
///
/// # Panics
/// When the files cannot be read.
#[must_use]
pub fn all() -> Vec<Dialogue> {
    let mut all = Vec::new();
    for file in ["grammar", "addresses", "delivery", "newlines", "limits", "restrictions"] {
        let text = std::fs::read_to_string(directory().join(format!("{file}.txt"))).expect("dialogues");
        parse(file, &text, &mut all);
    }
    all
}

/// The same dialogues with the replies that ours gives.
///
/// # Panics
/// When a listed difference has no reason, or is of a dialogue that is not there.
#[must_use]
pub fn ours(dialogues: &[Dialogue]) -> Vec<Dialogue> {
    let path = directory().join("../../docs/differences.toml");
    let text = std::fs::read_to_string(path).expect("differences.toml");
    let differences: Differences = toml::from_str(&text).expect("differences.toml");
    let mut ours = dialogues.to_vec();
    for difference in differences.dialogue {
        assert!(!difference.reason.is_empty(), "{difference:?}");
        let found = ours.iter_mut().find(|dialogue| dialogue.name == difference.name);
        let dialogue = found.unwrap_or_else(|| panic!("no dialogue {}", difference.name));
        let at = dialogue.steps.iter().rposition(|step| step.text == difference.command);
        let at = at.unwrap_or_else(|| panic!("{}: no {}", difference.name, difference.command));
        dialogue.steps[at].replies = difference.replies;
        dialogue.steps[at].close = false;
        if difference.last {
            dialogue.steps.truncate(at + 1);
        }
    }
    ours
}

fn parse(file: &str, text: &str, all: &mut Vec<Dialogue>) {
    for line in text.split('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            all.push(Dialogue { name: format!("{file}/{name}"), steps: vec![Step::default()], ..Dialogue::default() });
            continue;
        }
        let Some(dialogue) = all.last_mut() else { continue };
        let send = |bytes: Vec<u8>| Step { text: line.to_owned(), bytes, ..Step::default() };
        if let Some(parameter) = line.strip_prefix("main.cf: ") {
            let (name, value) = parameter.split_once('=').expect("name = value");
            dialogue.parameters.push((name.trim().to_owned(), value.trim().to_owned()));
        } else if let Some(from) = line.strip_prefix("from: ") {
            dialogue.from = Some(from.parse().expect("an address"));
        } else if let Some(text) = line.strip_prefix(">| ") {
            dialogue.steps.push(send(unescape(text)));
        } else if let Some(text) = line.strip_prefix("> ") {
            let mut bytes = unescape(text);
            bytes.extend(b"\r\n");
            dialogue.steps.push(send(bytes));
        } else if let Some(reply) = line.strip_prefix("< ") {
            dialogue.steps.last_mut().expect("a step").replies.push(reply.to_owned());
        } else if line == "close" {
            dialogue.steps.last_mut().expect("a step").close = true;
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix("@{")
            && let Some((inner, after)) = tail.split_once('}')
            && let Some((byte, count)) = inner.split_once('*')
        {
            out.extend(byte.repeat(count.parse().expect("a count")).bytes());
            rest = after;
            continue;
        }
        let mut used = c.len_utf8();
        match (c, rest.as_bytes().get(1)) {
            ('\\', Some(b'x')) => {
                out.push(u8::from_str_radix(&rest[2..4], 16).expect("two digits"));
                used = 4;
            }
            ('\\', Some(escaped @ (b'n' | b'r' | b't' | b'\\'))) => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => *other,
                });
                used = 2;
            }
            _ => out.extend(rest[..used].bytes()),
        }
        rest = &rest[used..];
    }
    out
}

impl Dialogue {
    /// Holds the dialogue with the server at a port on 127.0.0.1.
    ///
    /// # Errors
    /// What it said that was not expected.
    pub fn hold(&self, port: u16) -> Result<(), String> {
        self.hold_over(connect_from(self.from.unwrap_or(Ipv4Addr::LOCALHOST), port).map_err(|e| e.to_string())?)
    }

    /// Holds the dialogue over a connection that has just been made.
    ///
    /// # Errors
    /// What the server said that was not expected.
    pub fn hold_over(&self, mut stream: TcpStream) -> Result<(), String> {
        let _ = stream.set_read_timeout(Some(REPLY_TIME));
        let mut waiting = Vec::new();
        for step in &self.steps {
            if stream.write_all(&step.bytes).is_err() {
                return Err(format!("{}: cannot write {:?}", self.name, step.text));
            }
            let (lines, closed) = replies(&mut stream, &mut waiting, step.replies.len(), step.close);
            if lines != step.replies || closed != step.close {
                let close = |yes| if yes { " and close" } else { "" };
                return Err(format!(
                    "{} after {:?}\n  expected {:?}{}\n  got      {lines:?}{}",
                    self.name,
                    step.text,
                    step.replies,
                    close(step.close),
                    close(closed),
                ));
            }
            if closed {
                break;
            }
        }
        Ok(())
    }
}

fn connect_from(from: Ipv4Addr, port: u16) -> Result<TcpStream, nix::Error> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    use std::os::fd::AsRawFd as _;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(from, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)))?;
    let stream = TcpStream::from(socket);
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Whole replies until there are `wanted` lines, or the end.
fn replies(stream: &mut TcpStream, waiting: &mut Vec<u8>, wanted: usize, close: bool) -> (Vec<String>, bool) {
    let mut lines: Vec<String> = Vec::new();
    loop {
        while let Some(end) = waiting.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            lines.push(normalized(String::from_utf8_lossy(&line).trim_end()));
        }
        let complete = lines.last().is_none_or(|line| line.as_bytes().get(3) != Some(&b'-'));
        if lines.len() >= wanted && complete && !close {
            return (lines, false);
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return (lines, true),
            Ok(count) => waiting.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                lines.push("(nothing more)".to_owned());
                return (lines, false);
            }
            Err(_) => return (lines, true),
        }
    }
}

fn normalized(line: &str) -> String {
    match line.split_once("queued as ") {
        Some((before, _)) => format!("{before}queued as QUEUEID"),
        None => line.to_owned(),
    }
}

/// The different settings that the dialogues need, each for a service of its own, and which of them a dialogue takes.
#[must_use]
pub fn services(dialogues: &[Dialogue]) -> BTreeMap<Vec<(String, String)>, u16> {
    dialogues.iter().map(|dialogue| (dialogue.parameters.clone(), crate::ports::free())).collect()
}
