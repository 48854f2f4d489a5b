//! The traditional listing, as sendmail's `mailq` has it.

use std::io::{self, Write};

use queue::Directory;
use queue::listing::{Entry, Reason};
use sys::clock;

/// Where reasons end on their line.
const REASON_END: usize = 76;

/// Blanks are most of the listing.
const BLANKS: [u8; REASON_END] = [b' '; REASON_END];

/// Widths of the columns.
struct Columns {
    id: usize,
    size: usize,
    time: usize,
    heading: [&'static str; 4],
}

const SHORT: Columns = Columns {
    id: 11,
    size: 7,
    time: 20,
    heading: ["-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------"],
};

const LONG: Columns = Columns {
    id: 17,
    size: 8,
    time: 19,
    heading: ["----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------"],
};

/// Writes the listing as entries come.
pub struct Text {
    columns: &'static Columns,
    messages: u64,
    bytes: u64,
    /// The last entry was a part of a message of which more comes.
    inside: bool,
    /// The reason shown last, of this message.
    reason: Vec<u8>,
}

impl Text {
    /// `long_ids` (`enable_long_queue_ids`) makes room for them.
    #[must_use]
    pub fn new(long_ids: bool) -> Text {
        let columns = if long_ids { &LONG } else { &SHORT };
        Text { columns, messages: 0, bytes: 0, inside: false, reason: Vec::new() }
    }

    /// Writes a message, or a part of one.
    ///
    /// # Errors
    /// Those of the output.
    pub fn entry(&mut self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let Columns { id: id_width, size: size_width, time: time_width, heading } = self.columns;
        if !self.inside {
            if self.messages == 0 {
                let [id, size, time, sender] = heading;
                writeln!(out, "{id:<id_width$} {size:>size_width$} {time:<time_width$} {sender}")?;
            } else {
                out.write_all(b"\n")?;
            }
            self.messages += 1;
            self.bytes += entry.size;
            self.reason.clear();
            let status = match entry.directory {
                Directory::Active => "*",
                Directory::Hold => "!",
                _ => "",
            };
            let expire = if entry.forced_expire { "#" } else { "" };
            let id = format!("{}{status}{expire}", entry.queue_id);
            let time = clock::local(entry.arrival).asctime();
            let time = time.get(..*time_width).unwrap_or(&time);
            write!(out, "{id:<id_width$} {:>size_width$} {time:<time_width$} ", entry.size)?;
            out.write_all(&entry.sender)?;
            out.write_all(b"\n")?;
        }
        for recipient in &entry.recipients {
            let reason: &[u8] = match &recipient.reason {
                Reason::None => b"",
                Reason::Delay(reason) | Reason::Bounce(reason) => reason,
            };
            if reason != self.reason {
                let shown = if reason.is_empty() { b"reason unavailable" } else { reason };
                out.write_all(&BLANKS[..REASON_END.saturating_sub(shown.len())])?;
                out.write_all(b"(")?;
                out.write_all(shown)?;
                out.write_all(b")\n")?;
                self.reason = reason.to_vec();
            }
            out.write_all(&BLANKS[..id_width + size_width + time_width + 3])?;
            out.write_all(&recipient.address)?;
            out.write_all(b"\n")?;
        }
        self.inside = !entry.complete;
        Ok(())
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.messages == 0 {
            return writeln!(out, "Mail queue is empty");
        }
        let plural = if self.messages == 1 { "" } else { "s" };
        writeln!(out, "\n-- {} Kbytes in {} Request{plural}.", self.bytes / 1024, self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn shown(entries: &[Entry], long: bool) -> String {
        let mut out = Vec::new();
        let mut text = Text::new(long);
        for entry in entries {
            text.entry(entry, &mut out).expect("memory");
        }
        text.end(&mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn as_the_reference_shows_it() {
        let time = clock::local(1_795_222_553).asctime();
        let (time20, time19) = (&time[..20], &time[..19]);
        let expected = format!(
            "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------\n\
             B1E725B00F7*#     277 {time20} s@from.test\n\
             {:66} (defer why)\n\
             {:41}b@other.test\n\
             {:41}c@other.test\n\
             {:57} (reason unavailable)\n\
             {:41}a@site.test\n\
             \n\
             839E45B0003    5276 {time20} MAILER-DAEMON\n\
             {:41}l1@site.test\n\
             {:41}l2@site.test\n\
             \n-- 5 Kbytes in 2 Requests.\n",
            "", "", "", "", "", "", ""
        );
        assert_eq!(shown(&samples(), false), expected);
        let long = shown(&samples()[..1], true);
        let first = format!(
            "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n\
             B1E725B00F7*#          277 {time19} s@from.test\n"
        );
        assert!(long.starts_with(&first), "{long}");
        assert!(long.ends_with("\n-- 0 Kbytes in 1 Request.\n"), "{long}");
        assert_eq!(shown(&[], false), "Mail queue is empty\n");
    }

    #[test]
    fn a_long_reason_starts_at_the_left() {
        let mut entry = samples().remove(0);
        entry.recipients[0].reason = Reason::Delay("x".repeat(200).into());
        assert!(shown(&[entry], false).contains(&format!("\n({})\n", "x".repeat(200))));
    }
}
