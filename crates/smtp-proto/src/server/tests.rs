//! The state machine by table: bytes in, replies and tasks out.

use std::rc::Rc;

use bstr::ByteSlice;
use proptest::prelude::*;

use super::*;
use crate::Keywords;

/// Lists without tables.
struct Words;

impl CommandLists for Words {
    fn is_noop(&self, word: &[u8]) -> bool {
        word.eq_ignore_ascii_case(b"TICK")
    }

    fn is_forbidden(&self, word: &[u8]) -> bool {
        word.eq_ignore_ascii_case(b"GET") || !word.first().is_some_and(u8::is_ascii_alphabetic)
    }

    fn filter(&self, command: &[u8]) -> Option<Vec<u8>> {
        command.strip_prefix(b"X-").map(<[u8]>::to_vec)
    }
}

fn settings() -> Settings {
    Settings { hostname: "mx".into(), banner: "mx ESMTP".into(), ..Settings::default() }
}

/// Feeds pieces and accepts every task; what went out, and how it ended.
fn run(settings: Settings, mode: BareNewline, pieces: &[&[u8]]) -> (Vec<String>, Option<Ending>) {
    let settings_has_tls = settings.hostname == "tls";
    let mut session = Session::new(Rc::new(settings), "client[192.0.2.1]".into(), mode, Keywords::NONE);
    session.greet(None);
    let (mut out, mut ending) = (Vec::new(), None);
    let mut content = Vec::new();
    let tls = settings_has_tls;
    for piece in pieces {
        if ending.is_some() {
            break;
        }
        session.receive(piece);
        loop {
            let step = session.step(&Words);
            match step {
                Step::Read => break,
                Step::Content => {
                    if !session.decode(b"", &mut content) {
                        break;
                    }
                    let reply = format!("250 2.0.0 Ok: {}", content.as_bstr());
                    content.clear();
                    session.finish_content(true, reply.as_bytes());
                }
                Step::Do(Task::StartTls) if tls => {
                    session.accept();
                    session.begin_tls();
                    session.tls_begun();
                }
                Step::Do(Task::StartTls) => {
                    session.refuse(b"454 4.7.0 TLS not available due to local problem", Problems::RESOURCE);
                }
                Step::Do(Task::Mail(mail)) if mail.path.address == "bad" => {
                    session.refuse(b"550 5.7.1 no", Problems::POLICY);
                }
                Step::Do(_) => session.accept(),
                Step::Close(end) => {
                    ending = Some(end);
                    break;
                }
            }
        }
        out.extend(session.take_output().iter().map(|reply| String::from_utf8_lossy(reply).into_owned()));
    }
    out.extend(session.take_output().iter().map(|reply| String::from_utf8_lossy(reply).into_owned()));
    (out, ending)
}

/// Replies without the greeting, to lines that are sent one by one.
fn replies(settings: Settings, lines: &[&str]) -> (Vec<String>, Option<Ending>) {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let pieces: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
    let (mut out, ending) = run(settings, BareNewline::Normalize, &pieces);
    out.remove(0);
    (out, ending)
}

#[test]
fn a_transaction() {
    let (out, ending) =
        replies(settings(), &["EHLO c", "MAIL FROM:<a@b> SIZE=10", "RCPT TO:<c@d>", "DATA", "..x", ".", "QUIT"]);
    assert!(out[0].starts_with("250-mx\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n") && out[0].ends_with("\r\n250 DSN"));
    assert_eq!(
        out[1..],
        ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 End data with <CR><LF>.<CR><LF>", "250 2.0.0 Ok: .x\n", "221 2.0.0 Bye"]
    );
    assert_eq!(ending, Some(Ending::Quit));
}

#[test]
fn errors_count_and_delay() {
    let limits = Settings { soft_error_limit: 2, hard_error_limit: 4, ..settings() };
    let mut session = Session::new(Rc::new(limits), "c[1]".into(), BareNewline::Normalize, Keywords::NONE);
    session.greet(None);
    let mut delays = Vec::new();
    for _ in 0..4 {
        session.receive(b"FOO\r\n");
        let _ = session.step(&Words);
        delays.push(session.take_delays());
    }
    // The replies after the second error wait, and so does the last word, which comes at once.
    assert_eq!(delays, [0, 0, 1, 2]);
    assert!(matches!(session.step(&Words), Step::Close(Ending::TooManyErrors)));
    assert!(session.problems().meets(Problems::PROTOCOL));
    assert_eq!(session.place(), "UNKNOWN");
}

#[test]
fn junk_becomes_errors() {
    let limits = Settings { junk_command_limit: 2, hard_error_limit: 2, ..settings() };
    let (out, ending) = replies(limits, &["NOOP", "TICK", "RSET", "NOOP", "NOOP", "NOOP"]);
    assert_eq!(out.last().map(String::as_str), Some("421 4.7.0 mx Error: too many errors"));
    assert_eq!((out.len(), ending), (6, Some(Ending::TooManyErrors)));
}

#[test]
fn recipients_over_the_limit() {
    let limits = Settings { recipient_limit: 1, recipient_overshoot_limit: 1, hard_error_limit: 1, ..settings() };
    let rcpt = "RCPT TO:<c@d>";
    let (out, ending) = replies(limits, &["HELO c", "MAIL FROM:<>", rcpt, rcpt, rcpt]);
    assert_eq!(out[2..4], ["250 2.1.5 Ok", "452 4.5.3 Error: too many recipients"]);
    assert_eq!(ending, Some(Ending::TooManyErrors));
}

#[test]
fn other_protocols_are_shown_the_door() {
    for line in ["GET / HTTP/1.0", "Subject: x", "\u{1}\u{2}", "{\"json\": 1}"] {
        let (out, ending) = replies(settings(), &[line]);
        assert_eq!(out, ["221 2.7.0 Error: I can break rules, too. Goodbye."], "{line}");
        assert_eq!(ending, Some(Ending::NonSmtp));
    }
}

#[test]
fn commands_before_their_time_end_the_session() {
    let wire: &[u8] = b"HELO c\r\nMAIL FROM:<a@b>\r\n";
    let (out, ending) = run(settings(), BareNewline::Normalize, &[wire]);
    assert_eq!(out[1..], ["554 5.5.0 Error: SMTP protocol synchronization"]);
    assert_eq!(ending, Some(Ending::Pipelining));
    let tolerant = Settings { forbid_unauth_pipelining: false, ..settings() };
    assert_eq!(run(tolerant, BareNewline::Normalize, &[wire]).0[1..], ["250 mx", "250 2.1.0 Ok"]);
}

#[test]
fn bare_newlines_in_commands() {
    let (out, ending) = run(settings(), BareNewline::Reject, &[b"NOOP\n"]);
    assert_eq!(out[1..], ["550 5.5.2 mx Error: bare <LF> received"]);
    assert_eq!(ending, Some(Ending::BareNewline));
    assert_eq!(run(settings(), BareNewline::Normalize, &[b"NOOP\n"]).0[1..], ["250 2.0.0 Ok"]);
}

#[test]
fn a_refused_connection_hears_503() {
    let mut session = Session::new(Rc::new(settings()), "c[1]".into(), BareNewline::Normalize, Keywords::NONE);
    session.greet(Some(b"554 5.7.1 no".to_vec()));
    session.receive(b"EHLO x\r\n");
    assert!(matches!(session.step(&Words), Step::Read));
    session.receive(b"QUIT\r\n");
    assert!(matches!(session.step(&Words), Step::Close(Ending::Quit)));
    let out: Vec<String> = session.take_output().iter().map(|reply| reply.to_str_lossy().into_owned()).collect();
    assert_eq!(out, ["554 5.7.1 no", "503 5.7.0 Error: access denied for c[1]", "221 2.0.0 Bye"]);
}

#[test]
fn replies_that_close() {
    let mut session = Session::new(Rc::new(settings()), "c[1]".into(), BareNewline::Normalize, Keywords::NONE);
    session.greet(None);
    session.receive(b"HELO c\r\n");
    assert!(matches!(session.step(&Words), Step::Do(Task::Hello { .. })));
    session.refuse(b"521 5.7.1 never", Problems::POLICY);
    assert!(matches!(session.step(&Words), Step::Close(Ending::HangUp)));
}

#[test]
fn helo_names_are_made_harmless() {
    let mut session = Session::new(Rc::new(settings()), "c[1]".into(), BareNewline::Normalize, Keywords::NONE);
    session.receive(b"EHLO <x>\"y\"(z);@,\\ caf\xc3\xa9\r\n");
    match session.step(&Words) {
        Step::Do(Task::Hello { name, extended: true }) => assert_eq!(name, "?x??y??z???,??caf??"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn long_and_filtered_commands() {
    let (out, _) = replies(settings(), &[&format!("NOOP {}", "x".repeat(5000)), "X-NOOP", "X-"]);
    assert_eq!(out, ["500 5.5.2 mx Error: command too long", "250 2.0.0 Ok", "500 5.5.2 Error: bad syntax"]);
}

#[test]
fn nothing_goes_in_the_clear_where_tls_is_required() {
    let settings = Settings { tls_required: true, tls_offered: true, ..settings() };
    let (out, _) = replies(settings, &["NOOP", "MAIL FROM:<a@b>", "STARTTLS", "VRFY x", "QUIT"]);
    assert_eq!(
        out,
        [
            "250 2.0.0 Ok",
            "530 5.7.0 Must issue a STARTTLS command first",
            "454 4.7.0 TLS not available due to local problem",
            "530 5.7.0 Must issue a STARTTLS command first",
            "221 2.0.0 Bye",
        ]
    );
}

/// A host called `tls` can do handshakes.
fn with_tls() -> Settings {
    Settings { hostname: "tls".into(), tls_offered: true, ..settings() }
}

#[test]
fn starttls_begins_anew() {
    let (out, _) = replies(
        Settings { tls_required: true, ..with_tls() },
        &["EHLO c", "STARTTLS x", "STARTTLS", "RCPT TO:<c@d>", "STARTTLS", "EHLO c", "MAIL FROM:<a@b>", "QUIT"],
    );
    assert!(out[0].contains("\r\n250-STARTTLS\r\n"), "{out:?}");
    assert_eq!(
        out[1..5],
        [
            "501 5.5.4 Syntax: STARTTLS",
            "220 2.0.0 Ready to start TLS",
            "503 5.5.1 Error: need MAIL command",
            "554 5.5.1 Error: TLS already active",
        ]
    );
    assert!(out[5].starts_with("250-tls\r\n") && !out[5].contains("STARTTLS"), "{out:?}");
    assert_eq!(out[6..], ["250 2.1.0 Ok", "221 2.0.0 Bye"]);
}

#[test]
fn starttls_ends_a_transaction_and_forgets_the_name() {
    let mut session = Session::new(Rc::new(with_tls()), "c[1]".into(), BareNewline::Normalize, Keywords::NONE);
    for line in ["EHLO c\r\n", "MAIL FROM:<a@b>\r\n"] {
        session.receive(line.as_bytes());
        assert!(matches!(session.step(&Words), Step::Do(_)));
        session.accept();
    }
    session.receive(b"STARTTLS\r\n");
    assert!(matches!(session.step(&Words), Step::Do(Task::StartTls)));
    session.accept();
    session.begin_tls();
    session.tls_begun();
    assert_eq!((session.in_transaction(), session.helo(), session.protocol()), (false, None, "SMTP"));
    assert!(session.counts().used().any(|used| used == (Verb::Starttls, 1, 1)));
}

/// CVE-2011-0411: what came in the clear together with STARTTLS must not be taken as said under TLS.
#[test]
fn starttls_injection_is_impossible() {
    let wire: &[u8] = b"STARTTLS\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<c@d>\r\n";
    let mut session = Session::new(Rc::new(with_tls()), "c[1]".into(), BareNewline::Normalize, Keywords::NONE);
    session.receive(b"EHLO c\r\n");
    assert!(matches!(session.step(&Words), Step::Do(Task::Hello { .. })));
    session.accept();
    session.receive(wire);
    assert!(matches!(session.step(&Words), Step::Do(Task::StartTls)));
    session.accept();
    assert!(session.has_input());
    session.begin_tls();
    assert!(!session.has_input());
    let text = "MAIL FROM:<evil@x>\\r\\nRCPT TO:<c@d>\\r\\n";
    assert_eq!(session.take_notes(), [Note::ImproperPipelining(Verb::Starttls, text.into())]);
    // Even what slipped in between.
    session.receive(b"MAIL FROM:<evil@x>\r\n");
    session.tls_begun();
    assert!(matches!(session.step(&Words), Step::Read));
    // Before EHLO nothing may come along at all.
    let (out, ending) = run(with_tls(), BareNewline::Normalize, &[wire]);
    assert_eq!(out[1..], ["554 5.5.0 Error: SMTP protocol synchronization"]);
    assert_eq!(ending, Some(Ending::Pipelining));
}

#[test]
fn starttls_where_it_is_not_offered() {
    let (out, _) = replies(settings(), &["EHLO c", "STARTTLS"]);
    assert!(!out[0].contains("STARTTLS"));
    assert_eq!(out[1], "502 5.5.1 Error: command not implemented");
    let mut session = Session::new(Rc::new(with_tls()), "c[1]".into(), BareNewline::Normalize, Keywords::STARTTLS);
    session.receive(b"STARTTLS\r\n");
    assert!(matches!(session.step(&Words), Step::Read));
    assert_eq!(session.take_output(), [b"502 5.5.1 Error: command not implemented".to_vec()]);
}

#[test]
fn utf8_is_checked() {
    let mut broken = run(settings(), BareNewline::Normalize, &[b"NOOP \xff\r\n"]).0;
    assert_eq!(broken.pop().as_deref(), Some("500 5.5.2 Error: bad UTF-8 syntax"));
    let plain = Settings { utf8: false, ..settings() };
    assert_eq!(run(plain, BareNewline::Normalize, &[b"NOOP \xff\r\n"]).0[1..], ["250 2.0.0 Ok"]);
}

/// Lines of a client that keeps more or less to the protocol.
fn lines() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(
        prop::sample::select(vec![
            "EHLO c\r\n",
            "HELO c\r\n",
            "MAIL FROM:<a@b>\r\n",
            "MAIL FROM:<bad>\r\n",
            "RCPT TO:<c@d>\r\n",
            "DATA\r\n",
            ".\r\n",
            "..\r\n",
            "text\n",
            "\r\n",
            "RSET\r\n",
            "NOOP\r\n",
            "VRFY x\r\n",
            "FOO\r\n",
            "QUIT\r\n",
            "STARTTLS\r\n",
            "\n.\r\n",
            ".\n",
            "a\r.\r\n",
        ]),
        0..30,
    )
}

proptest! {
    /// What goes out depends on the bytes, not on how they arrive (but for the pipelining rules, which are about that).
    #[test]
    fn any_cut_of_the_stream_gives_the_same_replies(lines in lines(), cut in 1usize..40) {
        let wire = lines.concat().into_bytes();
        let tolerant = || Settings { forbid_unauth_pipelining: false, hard_error_limit: 1000, ..settings() };
        for mode in [BareNewline::Allow, BareNewline::Normalize, BareNewline::Reject] {
            let pieces: Vec<&[u8]> = wire.chunks(cut).collect();
            let whole = run(tolerant(), mode, &[&wire]);
            prop_assert_eq!(&whole, &run(tolerant(), mode, &pieces));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, cut in 1usize..50) {
        let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
        run(settings(), BareNewline::Normalize, &pieces);
    }
}
