use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Problem};

fn problem(bytes: &[u8]) -> Problem {
    let mut reader = Reader::new(bytes, 0);
    loop {
        match reader.read() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no error"),
            Err(Error::Malformed { problem, .. }) => return problem,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn known_bytes() {
    let mut out = Vec::new();
    put(&mut out, RecordType::Message, b"");
    put(&mut out, RecordType::Text, b"ab");
    put(&mut out, RecordType::Text, &[b'x'; 300]);
    assert_eq!(&out[..7], b"M\0N\x02abN");
    assert_eq!(&out[7..9], [0xac, 0x02]);
    let mut pointer = Vec::new();
    put_pointer(&mut pointer, 0);
    assert_eq!(pointer, b"p\x0f              0");
    assert_eq!(pointer.len(), POINTER_RECORD);
}

#[test]
fn every_type_has_its_byte() {
    for kind in RecordType::ALL {
        assert_eq!(RecordType::from_byte(kind.byte()), Some(*kind));
    }
    assert_eq!(RecordType::from_byte(b'?'), None);
}

#[test]
fn numbers_and_attributes() {
    assert_eq!(number(b"              0"), Some(0));
    assert_eq!(number(b"             -1"), Some(-1));
    assert_eq!(number(b" +17 "), Some(17));
    assert_eq!(number(b"9223372036854775807"), Some(i64::MAX));
    for bad in [&b"9223372036854775808"[..], b"1x", b"-", b"+", b"--1", b"0x1"] {
        assert_eq!(number(bad), None, "{bad:?}");
    }
    assert_eq!(number(b"1 2"), None);
    assert_eq!(number(b""), None);
    assert_eq!(attribute(b"a=b=c"), Some(("a", &b"b=c"[..])));
    assert_eq!(attribute(b" a = b c "), Some(("a", &b"b c"[..])));
    assert_eq!(attribute(b"a="), Some(("a", &b""[..])));
    for bad in [&b"=b"[..], b"ab", b"", b"a b=c", b"\xff=c"] {
        assert_eq!(attribute(bad), None, "{bad:?}");
    }
}

#[test]
fn malformed_files() {
    let cases: [(&[u8], Problem); 6] = [
        (b"?\x01a", Problem::UnknownType(b'?')),
        (b"N\x05ab", Problem::TruncatedRecord),
        (b"N", Problem::TruncatedRecord),
        (b"N\x80\x80\x80\x80\x01", Problem::LengthBits),
        (b"N\xff\xff\xff\x7f", Problem::RecordTooLong((1 << 28) - 1)),
        (b"p\x03abc", Problem::Pointer),
    ];
    for (bytes, expected) in cases {
        assert_eq!(problem(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn pointers_in_a_circle_come_to_an_end() {
    let mut circle = Vec::new();
    put(&mut circle, RecordType::Message, b"");
    put_pointer(&mut circle, 2);
    assert_eq!(problem(&circle), Problem::PointerLoop);
    let mut negative = Vec::new();
    put(&mut negative, RecordType::Pointer, b"             -1");
    assert_eq!(problem(&negative), Problem::Pointer);
}

#[test]
fn pointers_are_followed_and_padding_is_skipped() {
    let mut file = Vec::new();
    put_pointer(&mut file, 0);
    put_pointer(&mut file, 50);
    file.resize(50, b'?');
    put(&mut file, RecordType::Padding, b"  0");
    put(&mut file, RecordType::Text, b"here");
    let mut reader = Reader::new(&file[..], 0);
    let record = reader.read().expect("read").expect("record");
    assert_eq!((record.kind, record.offset, record.data), (RecordType::Text, 55, &b"here"[..]));
    assert!(reader.read().expect("read").is_none());
    let mut raw = Reader::new(&file[..], 0);
    assert_eq!(raw.read_raw().expect("read").map(|record| record.kind), Some(RecordType::Pointer));
}

#[test]
fn a_stream_is_read_onwards_only() {
    let mut file = Vec::new();
    put(&mut file, RecordType::Text, &[b'a'; 700]);
    put_pointer(&mut file, 5_000);
    file.resize(5_000, 0);
    put(&mut file, RecordType::Text, b"b");
    put_pointer(&mut file, 702);
    let mut reader = Reader::with_buffer(Sequential::new(&file[..]), 0, Vec::new());
    assert_eq!(reader.read().expect("read").expect("record").data.len(), 700);
    assert_eq!(reader.read().expect("read").expect("record").data, b"b");
    assert!(matches!(reader.read(), Err(Error::Io(_))));
}

#[test]
fn memory_follows_the_file_and_not_its_claims() {
    let mut reader = Reader::with_buffer(&b"N\x80\x80\x80\x01abc"[..], 0, Vec::new());
    assert!(reader.read().is_err());
    assert!(reader.into_buffer().len() <= 4096);
}

fn records() -> impl Strategy<Value = Vec<(RecordType, Vec<u8>)>> {
    let kinds: Vec<RecordType> = RecordType::ALL.iter().copied().filter(|kind| *kind != RecordType::Pointer).collect();
    let data = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 0..70_000),
    ];
    prop::collection::vec((prop::sample::select(kinds), data), 0..20)
}

proptest! {
    #[test]
    fn records_round_trip(records in records(), block in 1usize..5_000) {
        let file = Arc::new(tempfile::tempfile().expect("file"));
        let mut writer = Writer::new(Arc::clone(&file));
        let mut offsets = Vec::new();
        for (kind, data) in &records {
            offsets.push(writer.put(*kind, data).expect("put"));
        }
        let end = writer.offset();
        writer.finish().expect("finish");
        let mut reader = Reader::with_buffer(&*file, 0, vec![0; block]);
        for ((kind, data), offset) in records.iter().zip(&offsets) {
            let record = reader.read_raw().expect("read").expect("record");
            prop_assert_eq!(record, Record { kind: *kind, offset: *offset, data });
        }
        prop_assert!(reader.read_raw().expect("read").is_none());
        prop_assert_eq!(reader.offset(), end);
        for ((kind, data), offset) in records.iter().zip(&offsets).rev() {
            reader.seek(*offset);
            let record = reader.read_raw().expect("read").expect("record");
            prop_assert_eq!(record, Record { kind: *kind, offset: *offset, data });
        }
    }

    #[test]
    fn any_bytes_are_taken_calmly(bytes in prop::collection::vec(any::<u8>(), 0..400), block in 1usize..600) {
        let mut reader = Reader::with_buffer(&bytes[..], 0, vec![0; block]);
        while let Ok(Some(_)) = reader.read() {}
    }
}
