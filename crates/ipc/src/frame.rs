//! The wire form: `length (u32, little endian) kind (u8) payload`, where `length` counts kind and payload.
//!
//! A [`Kind::Message`] payload is a value in postcard's compact form; [`Kind::Data`] is mail content, raw, so that a
//! body is never copied through a serializer; [`Kind::Trigger`] holds the wake-up characters that every service
//! understands (`W`, and for qmgr `D` `I` `F` `A`), as `postkick` and master send them.

use std::io;
use std::os::fd::OwnedFd;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest frame that a reader takes (bytes after the length). Content travels in frames of at most [`DATA_CHUNK`].
pub const MAX_FRAME: usize = 4 << 20;
/// How much content a sender puts into one data frame.
pub const DATA_CHUNK: usize = 128 << 10;
/// Descriptors that may wait for their message before the peer is cut off.
pub const MAX_WAITING_DESCRIPTORS: usize = 16;
/// Bytes before the payload.
pub const HEADER: usize = 5;

/// What went wrong between two daemons.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed.
    #[error("{}", sys::reason(.0))]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a frame.
    #[error("premature end-of-input")]
    Truncated,
    /// The peer closed where an answer was due.
    #[error("connection closed by peer")]
    Closed,
    /// A frame longer than [`MAX_FRAME`], or without a kind.
    #[error("unreasonable frame length {0}")]
    Length(usize),
    /// A kind that this protocol version does not have.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A frame of another kind than the protocol has at this place.
    #[error("unexpected {0:?} frame")]
    UnexpectedKind(Kind),
    /// The payload is not the message that it should be.
    #[error("malformed message: {0}")]
    Malformed(#[from] postcard::Error),
    /// The message is fine but not allowed here.
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    /// More descriptors than any message carries.
    #[error("too many descriptors")]
    Descriptors,
    /// A message promised a descriptor that did not come.
    #[error("message without its descriptor")]
    NoDescriptor,
    /// No answer in time (`ipc_timeout`).
    #[error("timeout")]
    Timeout,
}

impl Error {
    /// What a process that says nothing useful and leaves gives rise to: it has closed, at whatever place, or it only
    /// meant to wake the service up. Where the service speaks first, this is how `postkick` and port scanners look.
    #[must_use]
    pub fn is_idle_visit(&self) -> bool {
        match self {
            Error::Io(error) => matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
            Error::Truncated | Error::Closed | Error::UnexpectedKind(Kind::Trigger) => true,
            _ => false,
        }
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A typed message.
    Message,
    /// Mail content.
    Data,
    /// Wake-up characters.
    Trigger,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Message => 0,
            Kind::Data => 1,
            Kind::Trigger => 2,
        }
    }

    fn from_code(code: u8) -> Result<Kind, Error> {
        match code {
            0 => Ok(Kind::Message),
            1 => Ok(Kind::Data),
            2 => Ok(Kind::Trigger),
            other => Err(Error::UnknownKind(other)),
        }
    }
}

/// One received frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: Kind,
    /// The bytes after the kind.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The typed message of this frame.
    ///
    /// # Errors
    /// [`Error::UnexpectedKind`] and [`Error::Malformed`].
    pub fn message<T: DeserializeOwned>(&self) -> Result<T, Error> {
        if self.kind != Kind::Message {
            return Err(Error::UnexpectedKind(self.kind));
        }
        let (value, rest) = postcard::take_from_bytes(self.payload)?;
        if rest.is_empty() { Ok(value) } else { Err(Error::Protocol("bytes after the message")) }
    }
}

/// Appends a typed message to `output`.
///
/// # Errors
/// [`Error::Malformed`] when the value cannot be serialized, [`Error::Length`] when it is larger than a frame may be.
pub fn put_message<T: Serialize + ?Sized>(output: &mut Vec<u8>, message: &T) -> Result<(), Error> {
    let start = output.len();
    output.extend_from_slice(&[0, 0, 0, 0, Kind::Message.code()]);
    let taken = std::mem::take(output);
    *output = postcard::to_extend(message, taken)?;
    let length = output.len() - start - 4;
    if length > MAX_FRAME {
        output.truncate(start);
        return Err(Error::Length(length));
    }
    output[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Appends a frame of raw bytes to `output`; `payload` must be shorter than [`MAX_FRAME`].
pub fn put_raw(output: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    debug_assert!(payload.len() < MAX_FRAME);
    output.extend_from_slice(&((payload.len() + 1) as u32).to_le_bytes());
    output.push(kind.code());
    output.extend_from_slice(payload);
}

/// Received bytes and descriptors, cut into frames.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    descriptors: std::collections::VecDeque<OwnedFd>,
}

impl Inbox {
    /// The place for the next `receive`, with at least `room` bytes.
    pub(crate) fn receive_with(
        &mut self,
        receive: impl FnOnce(&mut [u8], &mut Vec<OwnedFd>) -> io::Result<usize>,
    ) -> Result<usize, Error> {
        const ROOM: usize = 16 << 10;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > ROOM {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let end = self.bytes.len();
        let room = match self.missing() {
            Some(missing) if missing > ROOM => missing,
            _ => ROOM,
        };
        self.bytes.resize(end + room, 0);
        let mut received = Vec::new();
        let outcome = receive(&mut self.bytes[end..], &mut received);
        self.bytes.truncate(end + *outcome.as_ref().unwrap_or(&0));
        self.descriptors.extend(received);
        if self.descriptors.len() > MAX_WAITING_DESCRIPTORS {
            return Err(Error::Descriptors);
        }
        Ok(outcome?)
    }

    /// How many bytes the frame at hand still lacks, once its length is known.
    fn missing(&self) -> Option<usize> {
        let have = &self.bytes[self.start..];
        let length = u32::from_le_bytes(have.get(..4)?.try_into().ok()?) as usize;
        if length > MAX_FRAME { None } else { (length + 4).checked_sub(have.len()) }
    }

    /// Extent of the next whole frame: (kind, payload start, payload end); consumes it.
    pub(crate) fn take(&mut self) -> Result<Option<(Kind, usize, usize)>, Error> {
        let have = &self.bytes[self.start..];
        let Some(header) = have.get(..4) else { return Ok(None) };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(Error::Length(length));
        }
        if have.len() < 4 + length {
            return Ok(None);
        }
        let kind = Kind::from_code(have[4])?;
        let from = self.start + HEADER;
        let to = self.start + 4 + length;
        self.start = to;
        Ok(Some((kind, from, to)))
    }

    pub(crate) fn payload(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from..to]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn take_descriptor(&mut self) -> Result<OwnedFd, Error> {
        self.descriptors.pop_front().ok_or(Error::NoDescriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbox: &mut Inbox, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            inbox
                .receive_with(|room, _| {
                    let n = room.len().min(left.len());
                    room[..n].copy_from_slice(&left[..n]);
                    left = &left[n..];
                    Ok(n)
                })
                .expect("receive");
        }
    }

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        put_message(&mut wire, &("queue", 7u32)).expect("serialize");
        put_raw(&mut wire, Kind::Data, &[b'x'; 4_000]);
        put_raw(&mut wire, Kind::Trigger, b"W");
        for cut in [1, 3, 5, 11, 1000, wire.len()] {
            let mut inbox = Inbox::default();
            let mut kinds = Vec::new();
            for piece in wire.chunks(cut) {
                feed(&mut inbox, piece);
                while let Some((kind, from, to)) = inbox.take().expect("frame") {
                    let frame = Frame { kind, payload: inbox.payload(from, to) };
                    if kind == Kind::Message {
                        assert_eq!(frame.message::<(String, u32)>().expect("message"), ("queue".to_owned(), 7));
                    }
                    kinds.push((kind, to - from));
                }
            }
            assert_eq!(kinds[1..], [(Kind::Data, 4_000), (Kind::Trigger, 1)]);
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn unreasonable_frames_are_errors() {
        let cases: [&[u8]; 3] = [&[0, 0, 0, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0], &[1, 0, 0, 0, 9]];
        for bytes in cases {
            let mut inbox = Inbox::default();
            feed(&mut inbox, bytes);
            assert!(inbox.take().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_message_with_a_tail_is_refused() {
        let frame = Frame { kind: Kind::Message, payload: &[1, 2, 3] };
        assert!(matches!(frame.message::<u8>(), Err(Error::Protocol(_))));
    }
}
