//! An SMTP server for tests: it keeps what it gets, and answers as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::PATIENCE;

/// A message that came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The argument of MAIL, parameters included.
    pub sender: String,
    /// The arguments of RCPT, parameters included.
    pub recipients: Vec<String>,
    /// The content, dots undone, CRLF line ends.
    pub content: Vec<u8>,
    /// Which connection it came over, from 0.
    pub connection: usize,
}

/// What the server says to a command.
pub type Answer = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    commands: Vec<String>,
    connections: usize,
}

/// The server.
pub struct Sink {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The extensions that a sink announces by default.
pub const EXTENSIONS: &str =
    "250-sink.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250 DSN\r\n";

impl Sink {
    /// A server that accepts everything.
    #[must_use]
    pub fn start() -> Sink {
        Sink::with_answers(|_| None)
    }

    /// A server that answers a command line with what `answer` gives for it; `None` takes the usual answer. The greeting
    /// is asked for as `CONNECT`, the end of the message as `.`; an answer `CLOSE` closes without a word.
    #[must_use]
    pub fn with_answers(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Sink {
        Sink::over(TcpListener::bind("127.0.0.1:0").expect("listen"), answer)
    }

    /// A server that accepts everything, on a port where a test had none before.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start_on(port: u16) -> Sink {
        Sink::over(TcpListener::bind(("127.0.0.1", port)).expect("listen"), |_| None)
    }

    /// A server on a socket that listens already.
    ///
    /// # Panics
    /// When the socket has no address.
    #[must_use]
    pub fn over(listener: TcpListener, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Sink {
        let port = listener.local_addr().expect("address").port();
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let answer: Answer = Arc::new(answer);
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, answer) = (Arc::clone(&for_thread), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &shared, &answer));
            }
        });
        Sink { port, shared }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until `count` messages are in, and returns all that are.
    ///
    /// # Panics
    /// When they do not come in time.
    #[must_use]
    pub fn wait_for(&self, count: usize) -> Vec<Message> {
        let (state, changed) = &*self.shared;
        let end = Instant::now() + PATIENCE;
        let mut state = state.lock().expect("lock");
        while state.messages.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {count} messages in time", state.messages.len());
            state = changed.wait_timeout(state, left).expect("lock").0;
        }
        state.messages.clone()
    }

    /// Waits until the messages that are in are as wanted. It may take long as long as more come.
    ///
    /// # Panics
    /// When no further message comes in time.
    pub fn wait_until(&self, what: &str, mut wanted: impl FnMut(&[Message]) -> bool) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().expect("lock");
        let mut end = Instant::now() + PATIENCE;
        let mut seen = 0;
        while !wanted(&state.messages) {
            if state.messages.len() > seen {
                seen = state.messages.len();
                end = Instant::now() + PATIENCE;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not {what}: {} messages", state.messages.len());
            // One look for many messages.
            let hundred_more = state.messages.len() + 100;
            let soon = Instant::now() + std::time::Duration::from_millis(200).min(left);
            while state.messages.len() < hundred_more && Instant::now() < soon {
                let left = soon.saturating_duration_since(Instant::now());
                state = changed.wait_timeout(state, left).expect("lock").0;
            }
        }
    }

    /// The commands so far, of all connections.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.shared.0.lock().expect("lock").commands.clone()
    }

    /// The number of connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.0.lock().expect("lock").connections
    }
}

fn serve(stream: TcpStream, shared: &(Mutex<State>, Condvar), answer: &Answer) -> Option<()> {
    let (state, changed) = shared;
    let number = {
        let mut state = state.lock().ok()?;
        state.connections += 1;
        state.connections - 1
    };
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    let mut say = |line: &str, usual: &str| -> Option<String> {
        let text = answer(line).unwrap_or_else(|| usual.to_owned());
        if text == "CLOSE" {
            return None;
        }
        let text = if text.ends_with('\n') { text } else { format!("{text}\r\n") };
        writer.write_all(text.as_bytes()).ok()?;
        Some(text)
    };
    say("CONNECT", "220 sink.example ESMTP")?;
    let mut message = Message { connection: number, ..Message::default() };
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        state.lock().ok()?.commands.push(line.clone());
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let argument = line.split_once(':').map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default();
        match verb.as_str() {
            "EHLO" => drop(say(&line, EXTENSIONS)?),
            "MAIL" => {
                if say(&line, "250 2.1.0 Ok")?.starts_with('2') {
                    message = Message { sender: argument, connection: number, ..Message::default() };
                }
            }
            "RCPT" => {
                if say(&line, "250 2.1.5 Ok")?.starts_with('2') {
                    message.recipients.push(argument);
                }
            }
            "DATA" => {
                let usual =
                    if message.recipients.is_empty() { "554 5.5.1 No valid recipients" } else { "354 Go ahead" };
                if say(&line, usual)?.starts_with('3') {
                    message.content = content(&mut reader)?;
                    if say(".", "250 2.0.0 Ok: queued as SINK")?.starts_with('2') {
                        state.lock().ok()?.messages.push(message.clone());
                        changed.notify_all();
                    }
                }
            }
            "QUIT" => {
                say(&line, "221 2.0.0 Bye")?;
                return None;
            }
            _ => drop(say(&line, "250 2.0.0 Ok")?),
        }
    }
}

fn content(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
