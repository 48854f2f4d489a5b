use super::*;

fn file() -> Vec<u8> {
    let mut out = Vec::new();
    let size = format!("{0:>15} {0:>15} {0:>15} {0:>15} {0:>15} {0:>15}", 1);
    let before: [(RecordType, &[u8]); 6] = [
        (RecordType::Size, size.as_bytes()),
        (RecordType::Attribute, b"encoding=8bit"),
        (RecordType::FILTER, b"smtp:[127.0.0.1]:10025"),
        (RecordType::Sender, b""),
        (RecordType::Pointer, b"    0"),
        (RecordType::Message, b""),
    ];
    for (kind, data) in before {
        record::put(&mut out, kind, data);
    }
    record::put(&mut out, RecordType::Text, b"Subject: x");
    record::put(&mut out, RecordType::Padding, b"   0");
    record::put(&mut out, RecordType::Continued, b"X-Long: ");
    record::put(&mut out, RecordType::Text, b"more");
    let pointer = out.len();
    record::put_pointer(&mut out, 0);
    let back = out.len() as u64;
    record::put(&mut out, RecordType::Text, b"");
    record::put(&mut out, RecordType::Text, b"body \0\xff");
    record::put(&mut out, RecordType::Extracted, b"");
    record::put(&mut out, RecordType::End, b"");
    let appended = out.len() as u64;
    record::put(&mut out, RecordType::Text, b"X-New: y");
    record::put_pointer(&mut out, back);
    let mut to_new = Vec::new();
    record::put_pointer(&mut to_new, appended);
    out[pointer..pointer + to_new.len()].copy_from_slice(&to_new);
    out
}

fn shown(bytes: &[u8], options: &Options) -> (String, Vec<String>, bool) {
    let (mut out, mut warnings) = (Vec::new(), Vec::new());
    let result = show(bytes, "F", options, &mut out, &mut |text| warnings.push(text));
    (String::from_utf8_lossy(&out).into_owned(), warnings, result.is_ok())
}

#[test]
fn parts() {
    let none = Options { envelope: false, header: false, body: false, ..Options::default() };
    let (header, ..) = shown(&file(), &Options { header: true, ..none.clone() });
    assert_eq!(header, "Subject: x\nX-Long: more\nX-New: y\n");
    let (body, ..) = shown(&file(), &Options { body: true, ..none.clone() });
    assert_eq!(body, "\nbody \0\u{fffd}\n");
    let (envelope, ..) = shown(&file(), &Options { envelope: true, ..none.clone() });
    let expected = "*** ENVELOPE RECORDS F ***\n\
        message_size:               1               1               1               1               1               1\n\
        named_attribute: encoding=8bit\ncontent_filter: smtp:[127.0.0.1]:10025\nsender: \n*** MESSAGE CONTENTS F ***\n\
        *** HEADER EXTRACTED F ***\n*** MESSAGE FILE END F ***\n";
    assert_eq!(envelope, expected);
    let (raw, ..) = shown(&file(), &Options { header: true, raw: true, ..none });
    assert_eq!(raw, "Subject: x\nX-Long: more\n", "in file order the appended header comes after the end");
}

#[test]
fn prefixes_and_verbose() {
    let options = Options { offsets: true, decimal_types: true, file_names: true, verbose: true, ..Options::default() };
    let (text, ..) = shown(&file(), &options);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "F: *** ENVELOPE RECORDS F ***");
    assert!(lines[1].starts_with("F:         0  67 message_size: "), "{}", lines[1]);
    assert_eq!(lines[5], "F:       138 112 pointer_record:     0");
    assert_eq!(lines[7], "F:       147  78 regular_text: Subject: x");
    assert_eq!(lines[8], "F:       159 119 padding:    0");
    assert_eq!(lines[9], "F:       165  76 unterminated_text: X-Long: ");
}

#[test]
fn broken_files() {
    let (text, warnings, ok) = shown(b"root:x:0:0", &Options::default());
    assert_eq!((text.as_str(), warnings.len(), ok), ("", 1, true));
    let (text, _, ok) = shown(b"A\x03a=bA\x7fx", &Options::default());
    assert!(text.ends_with("named_attribute: a=b\n") && !ok, "{text}");
    let (text, warnings, ok) = shown(b"A\x01xA\x02=xA\x02 a?\x02zz", &Options::default());
    assert!(text.ends_with("unknown_record_type: zz\n"), "{text}");
    assert_eq!(warnings.len(), 3);
    assert!(ok);
    let (text, _, ok) = shown(b"", &Options::default());
    assert!(ok && text.lines().count() == 1, "{text}");
}
