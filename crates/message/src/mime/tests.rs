use proptest::prelude::*;

use super::*;

/// Everything that the parser says about a message, one item a line.
fn trace(message: &str, structure: bool) -> Vec<String> {
    let mut parser = Parser::new(Limits::default(), structure);
    let mut output = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\n', "|");
    for line in message.lines() {
        let step = parser.step(line.as_bytes(), true);
        output.extend(step.header.map(|header| format!("{:?} {}", header.class, text(header.text))));
        output.extend(step.end_of_headers.map(|end| format!("{end:?}")));
        output.extend(step.line.map(|line| {
            format!("{}@{} {}", if line.boundary { "boundary" } else { "body" }, line.offset, text(line.text))
        }));
    }
    let step = parser.finish();
    output.extend(step.header.map(|header| format!("{:?} {}", header.class, text(header.text))));
    output.extend(step.end_of_headers.map(|end| format!("{end:?}")));
    output
}

#[test]
fn a_plain_message() {
    assert_eq!(
        trace("Subject: a\n b\nTo: x\n\nHello\nTo: y\n", true),
        ["Primary Subject: a| b", "Primary To: x", "EmptyLine(Primary)", "body@0 ", "body@0 Hello", "body@5 To: y"]
    );
}

#[test]
fn headers_without_an_empty_line() {
    assert_eq!(trace("To: x\nHello there\n", true), ["Primary To: x", "Other(Primary)", "body@0 Hello there"]);
    assert_eq!(trace("To: x", true), ["Primary To: x", "Other(Primary)"]);
    assert_eq!(trace("", true), ["Other(Primary)"]);
    assert_eq!(trace(" x: y\n", true), ["Other(Primary)", "body@0  x: y"]);
}

#[test]
fn parts_and_messages_inside() {
    let message = "Content-Type: multipart/mixed; boundary=B\n\npreamble\n--B\nX: 1\n\none\n--B\nContent-Type: message/rfc822\n\n\
        Subject: inner\n\nin\n--B--\nepilogue\n";
    assert_eq!(
        trace(message, true),
        [
            "Primary Content-Type: multipart/mixed; boundary=B",
            "EmptyLine(Primary)",
            "body@0 ",
            "body@0 preamble",
            "boundary@0 --B",
            "Part X: 1",
            "EmptyLine(Part)",
            "body@0 ",
            "body@0 one",
            "boundary@0 --B",
            "Part Content-Type: message/rfc822",
            "EmptyLine(Part)",
            "body@0 ",
            "Nested Subject: inner",
            "EmptyLine(Nested)",
            "body@0 ",
            "body@0 in",
            "boundary@0 --B--",
            "body@0 epilogue",
        ]
    );
    assert!(trace(message, false).contains(&"body@11 X: 1".to_owned()));
}

#[test]
fn long_lines_come_in_pieces() {
    let mut parser = Parser::new(Limits { header_size: 10, ..Limits::default() }, true);
    assert_eq!(parser.step(b"To: abc", false), Step::default());
    assert_eq!(parser.step(b"defghi", true), Step::default());
    let step = parser.step(b"", true);
    assert_eq!(step.header.map(|header| header.text), Some(&b"To: abcdef"[..]));
    assert!(parser.problems().contains(Problem::TruncatedHeader));
    assert!(parser.is_opaque());
    assert_eq!(parser.step(b"abc", false).line.map(|line| line.complete), Some(false));
    assert_eq!(parser.step(b"X: y", true).line.map(|line| line.offset), Some(3));
}

#[test]
fn blanks_before_the_colon_go() {
    assert_eq!(trace("Subject \t: a\n\n", true)[0], "Primary Subject: a");
}

#[test]
fn problems() {
    let found = |message: &[u8]| {
        let mut parser = Parser::new(Limits { nesting: 1, ..Limits::default() }, true);
        for line in message.split(|byte| *byte == b'\n') {
            parser.step(line, true);
        }
        parser.problems()
    };
    assert!(found(b"A: \xff\n\n").contains(Problem::EightBitHeader));
    assert!(found(b"A: b\n\n\xff").contains(Problem::EightBitBody));
    assert!(!found(b"Content-Transfer-Encoding: 8bit\n\n\xff").contains(Problem::EightBitBody));
    assert!(
        found(b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nx")
            .contains(Problem::EncodingDomain)
    );
    let nested = b"Content-Type: multipart/a; boundary=x\n\n--x\nContent-Type: multipart/a; boundary=y\n\n--y\n";
    assert!(found(nested).contains(Problem::Nesting));
}

proptest! {
    #[test]
    fn nothing_is_lost(lines in proptest::collection::vec("[ -9;-~]{0,20}|--B|--B--|X: y|Content-Type: multipart/x; boundary=B|", 0..40)) {
        let mut parser = Parser::new(Limits::default(), true);
        let mut output: Vec<u8> = Vec::new();
        fn take(step: &Step<'_>, output: &mut Vec<u8>) {
            for text in step.header.map(|header| header.text).into_iter().chain(step.line.map(|line| line.text)) {
                output.extend_from_slice(text);
                output.push(b'\n');
            }
        }
        let mut input = Vec::new();
        for line in &lines {
            input.extend_from_slice(line.as_bytes());
            input.push(b'\n');
            take(&parser.step(line.as_bytes(), true), &mut output);
        }
        take(&parser.finish(), &mut output);
        prop_assert_eq!(output, input);
    }
}
