//! One file of `maildrop`: is it what it should be?

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use queue::message::{Place, Reader};
use queue::record::{self, RecordType};
use queue::state::{self, State};

/// Attributes that a submission may have; postdrop lets no others through.
const ATTRIBUTES: [&str; 7] =
    ["encoding", "envelope_id", "ret_flags", "notify_flags", "dsn_orig_rcpt", "trace_flags", "rewrite_context"];

/// A file that passed.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The envelope, recipients and content.
    pub(crate) reader: Reader<Arc<File>>,
    /// Who submitted it.
    pub(crate) uid: u32,
    /// `postsuper -r` put a queue file here: it has been through cleanup before.
    pub(crate) requeued: bool,
    /// What the submitter asked for (`sendmail -O`), or what the queue file had; as in the size record.
    pub(crate) send_options: u32,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// Somebody is still writing it, or it has gone.
    #[error("not ready")]
    NotReady,
    /// It cannot be opened or read now.
    #[error("{}", sys::reason(.0))]
    Io(#[from] io::Error),
    /// It will never be right.
    #[error("uid={uid}: {problem}")]
    Malformed {
        /// Its owner.
        uid: u32,
        /// What is wrong with it.
        problem: String,
    },
}

impl Submission {
    /// Opens and checks a file.
    pub(crate) fn open(path: &Path) -> Result<Submission, Unfit> {
        // What is still being written cannot be opened by others than its owner: that is not worth a word.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if state::of(&metadata, now) != State::Ready => return Err(Unfit::NotReady),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfit::NotReady),
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unfit::NotReady),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if state::of(&metadata, now) != State::Ready {
            return Err(Unfit::NotReady);
        }
        let uid = metadata.uid();
        // Files of postdrop can be read by all; those of the mail system itself cannot.
        let requeued = uid == geteuid().as_raw() && metadata.mode() & 0o004 == 0;
        let file = Arc::new(file);
        let malformed = |error: queue::Error| match error {
            queue::Error::Io(error) => Unfit::Io(error),
            other => Unfit::Malformed { uid, problem: other.to_string() },
        };
        if !requeued {
            check(&file).map_err(malformed)?.map_err(|problem| Unfit::Malformed { uid, problem })?;
        }
        let send_options = send_options(&file).map_err(malformed)?;
        let records = record::Reader::new(Arc::clone(&file), 0);
        let reader = Reader::open_with(records, Place::Maildrop).map_err(malformed)?;
        Ok(Submission { reader, uid, requeued, send_options })
    }
}

/// The sixth field of a size record among the first records; the other fields mean nothing in `maildrop`.
fn send_options(file: &Arc<File>) -> Result<u32, queue::Error> {
    let mut records = record::Reader::new(Arc::clone(file), 0);
    for _ in 0..2 {
        let Some(record) = records.read_raw()? else { break };
        if record.kind == RecordType::Size {
            let last = record.data.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).nth(5);
            let bits =
                last.and_then(|field| std::str::from_utf8(field).ok()).and_then(|field| field.parse::<u32>().ok());
            return Ok(bits.unwrap_or(0) & 0x3f);
        }
    }
    Ok(0)
}

/// The segments of a submission, and the records that each may have.
#[derive(Clone, Copy)]
enum Segment {
    Envelope,
    Content,
    Extracted,
}

/// Reads all records in file order; pointers have no place in what users write.
fn check(file: &Arc<File>) -> Result<Result<(), String>, queue::Error> {
    let mut records = record::Reader::new(Arc::clone(file), 0);
    let mut segment = Segment::Envelope;
    let mut sender = false;
    loop {
        let Some(record) = records.read_raw()? else { return Ok(Err("unexpected end of file".to_owned())) };
        use RecordType as R;
        match (segment, record.kind) {
            (Segment::Envelope, R::Message) => segment = Segment::Content,
            (Segment::Content, R::Extracted) => segment = Segment::Extracted,
            (Segment::Extracted, R::End) => {
                return Ok(if sender { Ok(()) } else { Err("no sender".to_owned()) });
            }
            (Segment::Envelope, R::Sender) if !sender => sender = true,
            (Segment::Envelope, R::Size | R::Time | R::FullName | R::Verp | R::Inspector)
            | (Segment::Content, R::Text | R::Continued)
            | (Segment::Extracted, R::Recipient) => {}
            (Segment::Envelope, R::Recipient) if sender => {}
            (Segment::Envelope | Segment::Extracted, R::Attribute) => {
                let name = record::attribute(record.data).map(|(name, _)| name);
                if !name.is_some_and(|name| ATTRIBUTES.contains(&name)) {
                    return Ok(Err(format!("unexpected attribute {}", name.unwrap_or("without a name"))));
                }
            }
            (_, kind) => return Ok(Err(format!("unexpected record type {:?}", kind.byte() as char))),
        }
    }
}
