use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use dsn::{Notify, Return};
use proptest::prelude::*;

use super::*;
use crate::error::{Error, Problem};
use crate::record::{self, RecordType};

fn file() -> Arc<File> {
    Arc::new(tempfile::tempfile().expect("temporary file"))
}

fn begin(file: &Arc<File>, options: Options) -> Writer {
    let mut writer = Writer::new(Arc::clone(file), options).expect("new");
    writer.arrival((1_795_170_343, 447_346)).expect("arrival");
    writer.attribute("create_time", b"1795170343").expect("attribute");
    writer.attribute("rewrite_context", b"local").expect("attribute");
    writer
}

fn sample(milter_places: bool) -> (Arc<File>, Summary) {
    let file = file();
    let mut writer = begin(&file, Options { milter_places, ..Options::default() });
    writer.full_name(b"root").expect("full name");
    writer.sender(b"u@x.test").expect("sender");
    writer.verp(*b"+=").expect("verp");
    let both = Notify::SUCCESS.union(Notify::FAILURE);
    writer.recipient(b"a@remote.test", b"a@remote.test", Some(b"rfc822;a@remote.test"), both).expect("recipient");
    writer.recipient(b"b@remote.test", b"", None, Notify::UNSPECIFIED).expect("recipient");
    writer.begin_content().expect("content");
    writer.header(b"Received: by mx.example.test (Postfix, from userid 0)\n\tid 6FE759B8904").expect("header");
    writer.header(b"Subject: t1").expect("header");
    writer.header(b"To: a@x").expect("header");
    writer.end_header(true).expect("end of header");
    writer.chunk(b"body line 1\n.\nla").expect("chunk");
    writer.chunk(b"st").expect("chunk");
    writer.end_content().expect("end of content");
    writer.attribute("message_id", b"<m@x>").expect("attribute");
    let summary = writer.finish().expect("finish");
    (file, summary)
}

fn raw(file: &File) -> Vec<(char, String)> {
    let mut reader = record::Reader::new(file, 0);
    let mut all = Vec::new();
    while let Some(record) = reader.read_raw().expect("read") {
        all.push((record.kind.byte().into(), String::from_utf8_lossy(record.data).into_owned()));
    }
    all
}

#[test]
fn the_order_of_records_with_places_for_milters() {
    let (file, summary) = sample(true);
    let all = raw(&file);
    let kinds: String = all.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, "CTAAFSpVAAOROR".to_owned() + "pMNNNwNwpNNNLNpXApE");
    assert_eq!(all[6].1, "    0", "room for a pointer after a sender of 8 bytes");
    assert_eq!(all[18].1, "Subject: t1");
    assert_eq!(all[19].1, " 0");
    assert_eq!(all[21].1, "     0");
    let size = summary.size;
    let text = format!(
        "{:>15} {:>15} {:>15} {:>15} {:>15} {:>15}",
        size.content_size, size.content_offset, 2, 12, size.content_size, 0
    );
    assert_eq!(all[0].1, text);
    let places = summary.places;
    for place in [places.recipients, places.header, places.body_end, places.meta] {
        let mut pointer = [0u8; record::POINTER_RECORD];
        file.read_exact_at(&mut pointer, place.expect("a place")).expect("read");
        assert_eq!(&pointer, b"p\x0f              0");
    }
}

#[test]
fn the_order_of_records_without() {
    let (file, summary) = sample(false);
    let kinds: String = raw(&file).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, "CTAAFSVAAORORMNNNNNNNLNXAE");
    assert_eq!(summary.file_size, file.metadata().expect("stat").len());
}

#[test]
fn what_is_read_is_what_was_written() {
    for milter_places in [false, true] {
        let (file, summary) = sample(milter_places);
        let mut reader = Reader::open(&*file).expect("open");
        let envelope = reader.envelope().clone();
        assert_eq!(envelope.size, summary.size);
        assert_eq!(envelope.arrival, (1_795_170_343, 447_346));
        assert_eq!(envelope.created(), 1_795_170_343);
        assert_eq!(envelope.sender, "u@x.test");
        assert_eq!(envelope.full_name.as_ref().expect("name"), "root");
        assert_eq!(envelope.verp, Some(*b"+="));
        assert_eq!(envelope.attribute("rewrite_context").expect("context"), "local");
        assert_eq!(envelope.attribute("message_id").expect("id"), "<m@x>");
        assert!(envelope.attribute("dsn_orig_rcpt").is_none());
        let batch = reader.recipients(reader.first_recipient(), 10).expect("recipients");
        assert_eq!(batch.next, None);
        assert_eq!(batch.recipients.len(), 2);
        assert_eq!(batch.recipients[0].address, "a@remote.test");
        assert_eq!(batch.recipients[0].dsn_original.as_ref().expect("orcpt"), "rfc822;a@remote.test");
        assert_eq!(batch.recipients[0].notify, Notify::SUCCESS.union(Notify::FAILURE));
        assert_eq!(batch.recipients[1].notify, Notify::UNSPECIFIED);
        assert_eq!(batch.recipients[1].original, "");
        let mut text = Vec::new();
        let mut content = reader.into_content();
        assert!(!content.read_into(&mut text, usize::MAX, b"\n").expect("content"));
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("Received: by mx"), "{text}");
        assert!(text.ends_with("To: a@x\n\nbody line 1\n.\nlast\n"), "{text}");
    }
}

#[test]
fn batches_go_on_where_they_stopped() {
    let file = file();
    let mut writer = begin(&file, Options::default());
    writer.sender(b"").expect("sender");
    for n in 0..1000 {
        writer.recipient(format!("r{n}@x").as_bytes(), b"", None, Notify::NEVER).expect("recipient");
    }
    writer.begin_content().expect("content");
    writer.chunk(&[b'x'; 200_000]).expect("chunk");
    writer.end_content().expect("end");
    writer.redirect(b"other@x").expect("redirect");
    for n in 1000..1500 {
        writer.recipient(format!("r{n}@x").as_bytes(), b"", None, Notify::DELAY).expect("recipient");
    }
    let summary = writer.finish().expect("finish");
    assert_eq!(summary.size.recipients, 1500);
    assert_eq!(summary.size.notify.bits(), 9);
    let mut reader = Reader::open(&*file).expect("open");
    assert_eq!(reader.envelope().size, summary.size);
    assert_eq!(reader.envelope().redirect.as_ref().expect("redirect"), "other@x");
    let mut position = Some(reader.first_recipient());
    let mut seen = 0;
    while let Some(from) = position {
        let mut again = Reader::open(&*file).expect("open");
        let batch = again.recipients(from, 7).expect("batch");
        for recipient in &batch.recipients {
            assert_eq!(recipient.address, format!("r{seen}@x"));
            if seen % 3 == 0 {
                mark_done(&file, recipient.offset).expect("mark");
                mark_done(&file, recipient.offset).expect("marking twice is harmless");
            }
            seen += 1;
        }
        position = batch.next;
    }
    assert_eq!(seen, 1500);
    let rest = reader.recipients(reader.first_recipient(), usize::MAX).expect("rest");
    assert_eq!((rest.recipients.len(), rest.done), (1000, 500));
    assert!(matches!(mark_done(&file, 3), Err(Error::Malformed { problem: Problem::NotThere, .. })));
    let mut content = Content::new(&*file, summary.size.content_offset);
    content.skip_header().expect("skip");
    assert!(content.next_line().expect("end").is_none());
}

#[test]
fn records_between_recipients_are_not_missed() {
    let file = file();
    let mut writer = begin(&file, Options::default());
    writer.sender(b"s@x").expect("sender");
    writer.recipient(b"a@x", b"", None, Notify::UNSPECIFIED).expect("recipient");
    writer.attribute("envelope_id", b"e1").expect("attribute");
    writer.attribute("ret_flags", b"2").expect("attribute");
    writer.attribute("trace_flags", b"1024").expect("attribute");
    writer.warning_time(1_800_000_000).expect("warning");
    writer.recipient(b"b@x", b"", None, Notify::UNSPECIFIED).expect("recipient");
    writer.begin_content().expect("content");
    writer.line(b"x").expect("line");
    writer.end_content().expect("end");
    writer.recipient(b"c@x", b"", None, Notify::UNSPECIFIED).expect("recipient");
    writer.attribute("encoding", b"8bit").expect("attribute");
    assert!(writer.finish().expect("finish").size.mixed);
    let mut reader = Reader::open(&*file).expect("open");
    let envelope = reader.envelope().clone();
    assert_eq!(envelope.encoding, "8bit");
    assert_eq!(envelope.envelope_id.expect("id"), "e1");
    assert_eq!(envelope.ret, Some(Return::Headers));
    assert_eq!(envelope.trace_flags, 1024);
    assert_eq!(reader.recipients(reader.first_recipient(), 9).expect("recipients").recipients.len(), 3);
    let warning = envelope.warning.expect("warning");
    mark_warned(&file, warning.offset).expect("mark");
    kill_record(&file, envelope.trace_offset.expect("offset")).expect("kill");
    let envelope = Reader::open(&*file).expect("open").envelope().clone();
    assert_eq!(envelope.warning, Some(Warning { time: -1, offset: warning.offset }));
    assert_eq!(envelope.trace_flags, 0);
}

/// The reader's view of a file that was changed as the reference changes files for milters.
#[test]
fn changes_through_pointers() {
    let (file, summary) = sample(true);
    let end = summary.file_size;
    let sender = summary.places.sender.expect("place");
    let recipients = summary.places.recipients.expect("place");
    let pointer = |target: u64| {
        let mut out = Vec::new();
        record::put_pointer(&mut out, target);
        out
    };
    let mut tail = Vec::new();
    record::put(&mut tail, RecordType::Sender, b"new@x");
    let back = sender + record::POINTER_RECORD as u64;
    tail.extend(pointer(back));
    let second = end + tail.len() as u64;
    record::put(&mut tail, RecordType::Original, b"c@x");
    record::put(&mut tail, RecordType::Recipient, b"c@x");
    tail.extend(pointer(recipients + record::POINTER_RECORD as u64));
    file.write_all_at(&tail, end).expect("write");
    file.write_all_at(&pointer(end), sender).expect("write");
    file.write_all_at(&pointer(second), recipients).expect("write");
    let mut reader = Reader::open(&*file).expect("open");
    assert_eq!(reader.envelope().sender, "new@x");
    let mut found = Vec::new();
    let mut position = Some(reader.first_recipient());
    while let Some(from) = position {
        let batch = reader.recipients(from, 1).expect("batch");
        found.extend(batch.recipients.into_iter().map(|recipient| recipient.address));
        position = batch.next;
    }
    assert_eq!(found, ["a@remote.test", "b@remote.test", "c@x"]);
}

#[test]
fn long_lines_are_split() {
    let limit = 512;
    for length in [0, 1, 511, 512, 513, 1023, 1024, 1025, 5000] {
        for cut in [1, 7, 512, 6000] {
            let file = file();
            let mut writer = begin(&file, Options { line_length_limit: limit, milter_places: false });
            writer.sender(b"s@x").expect("sender");
            writer.begin_content().expect("content");
            let line = vec![b'y'; length];
            writer.line(&line).expect("line");
            let mut bytes = line.clone();
            bytes.push(b'\n');
            for piece in bytes.chunks(cut) {
                writer.chunk(piece).expect("chunk");
            }
            writer.end_content().expect("end");
            let summary = writer.finish().expect("finish");
            let texts: Vec<(char, usize)> =
                raw(&file).iter().filter(|(kind, _)| "NL".contains(*kind)).map(|(k, t)| (*k, t.len())).collect();
            let mut expected = vec![('L', limit); length / limit];
            expected.push(('N', length % limit));
            assert_eq!(texts, [expected.clone(), expected].concat(), "{length} {cut}");
            let mut content = Content::new(&*file, summary.size.content_offset);
            let mut out = Vec::new();
            content.read_into(&mut out, usize::MAX, b"\n").expect("content");
            assert_eq!(out, [bytes.clone(), bytes].concat());
        }
    }
}

#[test]
fn wrong_order_is_refused() {
    let file = file();
    let mut writer = begin(&file, Options::default());
    assert!(matches!(writer.line(b"x"), Err(Error::Order('N'))));
    assert!(matches!(writer.end_content(), Err(Error::Order('X'))));
    writer.sender(b"").expect("sender");
    writer.begin_content().expect("content");
    assert!(matches!(writer.sender(b"x"), Err(Error::Order('S'))));
    assert!(matches!(writer.verp(*b"+="), Err(Error::Order('V'))));
    assert!(matches!(writer.finish(), Err(Error::Order('E'))));
}

type Records<'a> = &'a [(RecordType, &'a [u8])];

fn queue_file(size: &[u8], rest: Records<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    record::put(&mut out, RecordType::Size, size);
    for (kind, data) in rest {
        record::put(&mut out, *kind, data);
    }
    out
}

#[test]
fn old_size_records() {
    use RecordType::{Continued, End, Extracted, Message, Recipient, Sender, Text, Time};
    let rest: [(RecordType, &[u8]); 8] = [
        (Time, b"1000000000"),
        (Sender, b"s@x"),
        (Recipient, b"r@x"),
        (Message, b""),
        (Text, b"a"),
        (Continued, b"b"),
        (Extracted, b""),
        (End, b""),
    ];
    let blank = queue_file(&[b' '; SIZE_DATA], &rest);
    assert!(matches!(Reader::open(&blank), Err(Error::Malformed { problem: Problem::Size, .. })));
    let old = queue_file(b"              6", &rest);
    let mut reader = Reader::open(&old).expect("one number");
    assert_eq!(reader.envelope().size.content_size, 6);
    assert_eq!(reader.envelope().size.content_length, 6);
    assert_eq!(reader.envelope().arrival, (1_000_000_000, 0));
    assert_eq!(reader.recipients(reader.first_recipient(), 5).expect("recipients").recipients.len(), 1);
    let offset = reader.envelope().size.content_offset;
    let cases: [(String, Result<(), Problem>); 6] = [
        (format!("6 {} 1", offset - 15 + 31), Err(Problem::Size)),
        ("1 2".to_owned(), Err(Problem::Size)),
        ("0 5 1".to_owned(), Err(Problem::Size)),
        ("-1 -1 -1 -1 -1".to_owned(), Err(Problem::Size)),
        ("6 60 1 32".to_owned(), Err(Problem::Flags)),
        ("junk".to_owned(), Err(Problem::Size)),
    ];
    for (text, expected) in &cases[1..] {
        let file = queue_file(text.as_bytes(), &rest);
        match (Reader::open(&file), expected) {
            (Err(Error::Malformed { problem, .. }), Err(expected)) => assert_eq!(problem, *expected, "{text}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
    // Three numbers, with the right offset for a record of this width.
    let text = format!("{:>15} {:>15} {:>15}", 6, offset - 15 + 47, 1);
    let three = queue_file(text.as_bytes(), &rest);
    let reader = Reader::open(&three).expect("three numbers");
    assert_eq!(reader.envelope().size.content_length, 6);
    assert!(!reader.envelope().size.mixed);
}

#[test]
fn the_size_record_in_maildrop_counts_for_nothing() {
    use RecordType::{End, Extracted, FullName, Message, Recipient, Sender, Text, Time};
    let size = format!("{0:>15} {0:>15} {0:>15} {0:>15} {0:>15} {1:>15}", -1, 0);
    let rest: [(RecordType, &[u8]); 10] = [
        (Time, b"1000000000 7"),
        (FullName, b"first"),
        (FullName, b"second"),
        (Sender, b"s@x"),
        (Recipient, b"r@x"),
        (Message, b""),
        (Text, b"a"),
        (Extracted, b""),
        (Recipient, b"q@x"),
        (End, b""),
    ];
    let file = queue_file(size.as_bytes(), &rest);
    let mut reader = Reader::open_with(record::Reader::new(&file, 0), Place::Maildrop).expect("open");
    assert_eq!(reader.envelope().full_name.as_ref().expect("name"), "first");
    let batch = reader.recipients(reader.first_recipient(), 9).expect("recipients");
    let found: Vec<String> = batch.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
    assert_eq!(found, ["r@x", "q@x"]);
    let mut text = Vec::new();
    reader.into_content().read_into(&mut text, 100, b"\n").expect("content");
    assert_eq!(text, b"a\n");
}

#[test]
fn what_must_be_there() {
    use RecordType::{End, Extracted, Message, Sender, Text, Time};
    let cases: [(Records<'_>, Problem); 6] = [
        (&[(Sender, b""), (Message, b"")], Problem::MissingTime),
        (&[(Time, b"1 2"), (Message, b"")], Problem::MissingSender),
        (&[(Time, b"x")], Problem::Time),
        (&[(Time, b"1"), (Sender, b""), (Sender, b"")], Problem::DuplicateSender),
        (&[(Time, b"1"), (Sender, b""), (Text, b"")], Problem::UnexpectedType('N')),
        (&[(Time, b"1"), (Sender, b""), (End, b"")], Problem::UnexpectedType('E')),
    ];
    let size = SizeRecord { content_size: 4, content_offset: 4, ..SizeRecord::default() }.to_data();
    for (rest, expected) in cases {
        let file = queue_file(&size, rest);
        match Reader::open(&file) {
            Err(Error::Malformed { problem, .. }) => assert_eq!(problem, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let no_end = queue_file(&size, &[(Time, b"1"), (Sender, b""), (Message, b""), (Extracted, b"")]);
    assert!(Reader::open(&no_end).is_err());
}

proptest! {
    #[test]
    fn content_round_trips(text in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..3000),
                           cut in 1usize..700) {
        let file = file();
        let mut writer = begin(&file, Options { line_length_limit: 512, milter_places: cut % 2 == 0 });
        writer.sender(b"s@x").expect("sender");
        writer.begin_content().expect("content");
        for piece in text.chunks(cut) {
            writer.chunk(piece).expect("chunk");
        }
        writer.end_content().expect("end");
        let summary = writer.finish().expect("finish");
        let mut expected = text.clone();
        if !text.is_empty() && !text.ends_with(b"\n") {
            expected.push(b'\n');
        }
        let mut content = Content::new(&*file, summary.size.content_offset);
        let mut out = Vec::new();
        while content.read_into(&mut out, 100, b"\n").expect("content") {
            prop_assert!(out.len() >= 100);
            let front = std::mem::take(&mut out);
            prop_assert!(expected.starts_with(&front));
            expected.drain(..front.len());
        }
        prop_assert_eq!(out, expected);
    }

    /// A good file with some bytes changed gives an answer or an error, in bounded time.
    #[test]
    fn damaged_files(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
                     places in any::<bool>(), cut in any::<prop::sample::Index>()) {
        let (file, _) = sample(places);
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut &*file).expect("rewind");
        (&*file).read_to_end(&mut bytes).expect("read");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut.index(3) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(mut reader) = Reader::open(&bytes) {
            let mut position = Some(reader.first_recipient());
            for _ in 0..20_000 {
                let Some(from) = position else { break };
                let Ok(batch) = reader.recipients(from, 2) else { break };
                position = batch.next;
            }
            let mut content = reader.into_content();
            while let Ok(Some(_)) = content.next_line() {}
        }
    }
}
