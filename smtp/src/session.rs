//! A connection to a server: greeting, EHLO, commands and replies with their time limits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use smtp_proto::client::command::{self, Greeting};
use smtp_proto::client::{Capabilities, Reply, ReplyReader};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use crate::settings::Settings;
use crate::targets::{Target, TargetAddress};
use crate::time_limit::TimeLimit;
use crate::trouble::Trouble;

/// A session that has been greeted, between transactions.
#[derive(Debug)]
pub struct Session {
    stream: Stream,
    replies: ReplyReader,
    /// Who is on the other side.
    pub target: Target,
    /// What the server announced.
    pub capabilities: Capabilities,
    /// Transactions so far.
    pub uses: u32,
    /// When the connection was made.
    pub since: Instant,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What one call reads at a time; replies are short.
const READ_SIZE: usize = 2 << 10;
/// Longest reply line that is kept (`line_length_limit` of the reference).
const REPLY_LINE_LIMIT: usize = 2048;

impl Session {
    /// Connects and introduces ourselves.
    ///
    /// # Errors
    /// Why this server cannot be used now.
    pub async fn open(target: &Target, settings: &Settings) -> Result<Session, Trouble> {
        // Zero leaves it to the operating system.
        let connected = match settings.timeouts.connect {
            Duration::ZERO => connect(target, settings).await,
            limit => timeout(limit, connect(target, settings)).await.unwrap_or_else(|_| Err(timed_out())),
        };
        let stream = connected.map_err(|error| Trouble::Connect(sys::reason(&error)))?;
        let mut session = Session {
            stream,
            replies: ReplyReader::new(REPLY_LINE_LIMIT),
            target: target.clone(),
            capabilities: Capabilities::default(),
            uses: 0,
            since: Instant::now(),
        };
        session.greet(settings).await?;
        Ok(session)
    }

    async fn greet(&mut self, settings: &Settings) -> Result<(), Trouble> {
        const GREETING: &str = "receiving the initial server greeting";
        let greeting = self.read_reply(settings.time_limit(settings.timeouts.helo), GREETING).await?;
        if greeting.code / 100 != 2 {
            // RFC 5321 3.1: 5xx in the greeting is about the host, not about the message, unless told otherwise.
            let refused = Trouble::Refused(greeting);
            self.quit(settings).await;
            return Err(refused);
        }
        if !settings.lmtp && names_us(&greeting, settings) {
            return Err(Trouble::Loop("greeted me with my own hostname"));
        }
        let announces_esmtp = greeting.text.windows(5).any(|word| word.eq_ignore_ascii_case(b"ESMTP"));
        let ehlo = settings.lmtp || (!settings.never_send_ehlo && (settings.always_send_ehlo || announces_esmtp));
        if ehlo {
            let (greeting, activity) = if settings.lmtp {
                (Greeting::Lhlo, "performing the LHLO handshake")
            } else {
                (Greeting::Ehlo, "performing the EHLO handshake")
            };
            let reply = self.introduce(greeting, activity, settings).await?;
            if reply.code / 100 == 2 {
                if !settings.lmtp && names_us(&reply, settings) {
                    return Err(Trouble::Loop("replied to HELO/EHLO with my own hostname"));
                }
                self.capabilities = Capabilities::parse(&reply, settings.discard_ehlo_keywords);
                return Ok(());
            }
            if settings.lmtp || reply.code == 421 {
                return Err(Trouble::Refused(reply));
            }
        }
        let reply = self.introduce(Greeting::Helo, "performing the HELO handshake", settings).await?;
        if reply.code / 100 == 2 { Ok(()) } else { Err(Trouble::Refused(reply)) }
    }

    async fn introduce(
        &mut self,
        greeting: Greeting,
        activity: &'static str,
        settings: &Settings,
    ) -> Result<Reply, Trouble> {
        let mut line = Vec::new();
        command::greet(&mut line, greeting, settings.helo_name.as_bytes());
        let limit = settings.time_limit(settings.timeouts.helo);
        self.write(&line, &mut limit.clone(), activity).await?;
        self.read_reply(limit, activity).await
    }

    /// Writes bytes out, within a time limit as [`TimeLimit`] counts it.
    ///
    /// # Errors
    /// [`Trouble::Lost`] and [`Trouble::TimedOut`].
    pub async fn write(&mut self, bytes: &[u8], limit: &mut TimeLimit, activity: &'static str) -> Result<(), Trouble> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = Instant::now();
            match timeout(limit.left(), self.stream.write(rest)).await {
                Ok(Ok(0) | Err(_)) => return Err(Trouble::Lost(activity)),
                Ok(Ok(written)) => {
                    limit.spend(start.elapsed(), written);
                    rest = &rest[written..];
                }
                Err(_) => return Err(Trouble::TimedOut(activity)),
            }
        }
        Ok(())
    }

    /// The next reply.
    ///
    /// # Errors
    /// [`Trouble::Lost`], [`Trouble::TimedOut`], and [`Trouble::Protocol`] for what is no reply.
    pub async fn read_reply(&mut self, mut limit: TimeLimit, activity: &'static str) -> Result<Reply, Trouble> {
        let mut buffer = [0u8; READ_SIZE];
        loop {
            match self.replies.next_reply() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(error) => return Err(Trouble::Protocol(activity, error.to_string())),
            }
            let start = Instant::now();
            match timeout(limit.left(), self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return Err(Trouble::Lost(activity)),
                Ok(Ok(read)) => {
                    limit.spend(start.elapsed(), read);
                    self.replies.receive(&buffer[..read]);
                }
                Err(_) => return Err(Trouble::TimedOut(activity)),
            }
        }
    }

    /// True when the server has neither closed nor said anything since its last reply.
    #[must_use]
    pub fn is_idle_and_open(&self) -> bool {
        if self.replies.has_input() {
            return false;
        }
        let mut byte = [0u8; 1];
        let received = match &self.stream {
            Stream::Tcp(stream) => stream.try_read(&mut byte),
            Stream::Unix(stream) => stream.try_read(&mut byte),
        };
        matches!(received, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says good-bye; errors do not matter any more.
    pub async fn quit(&mut self, settings: &Settings) {
        let activity = "sending QUIT";
        let limit = settings.time_limit(settings.timeouts.quit);
        let sent = self.write(b"QUIT\r\n", &mut limit.clone(), activity).await;
        if sent.is_ok() && !settings.skip_quit_response {
            let _ = self.read_reply(limit, activity).await;
        }
    }
}

fn names_us(reply: &Reply, settings: &Settings) -> bool {
    let name = reply.lines().next().unwrap_or_default();
    let name = name.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    !name.is_empty() && name.eq_ignore_ascii_case(settings.myhostname.as_bytes())
}

async fn connect(target: &Target, settings: &Settings) -> io::Result<Stream> {
    match &target.address {
        TargetAddress::Unix(path) => UnixStream::connect(Path::new(path)).await.map(Stream::Unix),
        TargetAddress::Inet(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            let bind: Option<IpAddr> = if address.is_ipv4() { settings.bind_address } else { settings.bind_address6 };
            if let Some(bind) = bind {
                socket.bind(SocketAddr::new(bind, 0))?;
            }
            let stream = socket.connect(*address).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
    }
}

impl Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        async fn from(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
            stream.read(buffer).await
        }
        match self {
            Stream::Tcp(stream) => from(stream, buffer).await,
            Stream::Unix(stream) => from(stream, buffer).await,
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        async fn to(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
            stream.write(bytes).await
        }
        match self {
            Stream::Tcp(stream) => to(stream, bytes).await,
            Stream::Unix(stream) => to(stream, bytes).await,
        }
    }
}

fn timed_out() -> io::Error {
    nix::errno::Errno::ETIMEDOUT.into()
}
