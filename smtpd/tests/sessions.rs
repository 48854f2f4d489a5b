//! Whole sessions: what cleanup is told, and what the log says.

mod world;

use std::path::Path;

use bstr::ByteSlice;
use dsn::{Notify, Return};
use ipc::cleanup::{Action, ToCleanup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use world::World;

async fn start() -> World {
    World::start(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dialogues")).await
}

fn parameters(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Sends the lines one by one, each after the reply to the one before; everything that came back.
async fn talk(client: &mut TcpStream, lines: &[&str]) -> String {
    let mut all = reply(client).await;
    for line in lines {
        client.write_all(line.as_bytes()).await.expect("a write");
        if line.ends_with("\n") {
            all.push_str(&reply(client).await);
        }
    }
    all
}

/// A whole reply, or what came before the end.
async fn reply(client: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let last = text.trim_end_with(|c| c == '\n').lines().next_back().map(<[u8]>::to_vec).unwrap_or_default();
        if text.ends_with(b"\n") && last.get(3) == Some(&b' ') {
            break;
        }
        let mut buffer = [0; 1024];
        match client.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8(text).expect("text")
}

async fn end(client: &mut TcpStream) {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("the end");
}

#[test]
fn cleanup_is_told_what_the_client_said() {
    server::testing::run(async {
        let world = start().await;
        let mut client = world.connect(&[], None).await.expect("a server");
        let text = talk(
            &mut client,
            &[
                "EHLO client.example\r\n",
                "MAIL FROM:<\"a b\"@c.example> BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n",
                "RCPT TO:<user@local.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Us+2Ber@local.example\r\n",
                "RCPT TO:<other@local.example>\r\n",
                "DATA\r\n",
                "Subject: x\r\n\r\n..dot\r\n.\r\n",
                "QUIT\r\n",
            ],
        )
        .await;
        assert!(text.contains("250 2.0.0 Ok: queued as ABCDEF0001\r\n"), "{text}");
        end(&mut client).await;
        let messages = world.messages.borrow();
        let message = &messages[0];
        assert_eq!(message.sender.address, "a b@c.example");
        assert_eq!(message.sender.envelope_id, Some("x+y".into()));
        assert_eq!(message.sender.ret, Some(Return::Headers));
        let [first, second] = &message.recipients[..] else { panic!("{message:?}") };
        assert_eq!(first.notify, Notify::SUCCESS.union(Notify::DELAY));
        assert_eq!(first.original, Some("rfc822;Us+er@local.example".into()));
        assert_eq!(second.original, Some("rfc822;other@local.example".into()));
        assert_eq!(message.content.as_bstr(), "Subject: x\n\n.dot\n");
    });
}

#[test]
fn access_tables_change_the_message() {
    server::testing::run(async {
        let world = start().await;
        let table = "check_recipient_access texthash:$dialogue_tables/actions";
        let settings = parameters(&[("smtpd_recipient_restrictions", table)]);
        let mut client = world.connect(&settings, None).await.expect("a server");
        let mut lines = vec!["EHLO c\r\n".to_owned(), "MAIL FROM:<a@b>\r\n".to_owned()];
        for name in ["hold", "hold", "prepend", "bcc", "redirect", "filter"] {
            lines.push(format!("RCPT TO:<{name}@access.example>\r\n"));
        }
        lines.extend(["DATA\r\n".to_owned(), ".\r\n".to_owned(), "QUIT\r\n".to_owned()]);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let text = talk(&mut client, &lines).await;
        assert!(text.contains("250 2.0.0 Ok: queued as"), "{text}");
        end(&mut client).await;
        let messages = world.messages.borrow();
        assert_eq!(
            messages[0].extras,
            [
                ToCleanup::Action(Action::Hold),
                ToCleanup::Action(Action::Filter("smtp:[127.0.0.1]:10025".into())),
                ToCleanup::Action(Action::Redirect("user@local.example".into())),
                ToCleanup::Bcc("other@local.example".into()),
                ToCleanup::Header("X-Test: yes".into()),
            ]
        );
        assert_eq!(messages[0].recipients.len(), 6);
    });
}

#[test]
fn content_of_any_size_arrives_as_it_is() {
    server::testing::run(async {
        let world = start().await;
        let mut client = world.connect(&parameters(&[("message_size_limit", "0")]), None).await.expect("a server");
        let hello = ["EHLO c\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<user@local.example>\r\n", "DATA\r\n"];
        talk(&mut client, &hello).await;
        let line = "0123456789".repeat(300);
        let wire = format!("{line}\r\n").repeat(700) + ".\r\nQUIT\r\n";
        let (mut input, mut output) = client.split();
        let answer = async {
            let mut text = Vec::new();
            input.read_to_end(&mut text).await.expect("the end");
            text
        };
        let (written, text) = tokio::join!(output.write_all(wire.as_bytes()), answer);
        written.expect("a write");
        assert!(text.contains_str("250 2.0.0 Ok: queued as"), "{}", text.as_bstr());
        let messages = world.messages.borrow();
        assert_eq!(messages[0].content.len(), 3001 * 700);
        assert!(messages[0].content.lines().all(|found| found == line.as_bytes()));
    });
}

#[test]
fn a_silent_client_is_told_and_dropped() {
    server::testing::run(async {
        let world = start().await;
        let settings = parameters(&[("smtpd_timeout", "1s")]);
        let mut client = world.connect(&settings, None).await.expect("a server");
        reply(&mut client).await;
        assert_eq!(reply(&mut client).await, "421 4.4.2 mx.test.example Error: timeout exceeded\r\n");
        end(&mut client).await;
        // Per-request deadlines: drips of content below the minimum rate do not keep the session.
        let settings = parameters(&[("smtpd_timeout", "1s"), ("smtpd_per_request_deadline", "yes")]);
        let mut client = world.connect(&settings, None).await.expect("a server");
        reply(&mut client).await;
        // The client waits for an answer, and says one more letter each time it has none.
        let mut text = [0; 512];
        let length = loop {
            client.write_all(b"N").await.expect("the server listens");
            let answer = client.read(&mut text);
            if let Ok(read) = tokio::time::timeout(std::time::Duration::from_millis(100), answer).await {
                break read.expect("an answer");
            }
        };
        assert_eq!(text[..length].as_bstr(), "421 4.4.2 mx.test.example Error: timeout exceeded\r\n");
    });
}

/// ETRN answered 459 for every site.
#[test]
fn etrn_asks_the_flush_service() {
    server::testing::run(async {
        let world = start().await;
        let mut client = world.connect(&[], None).await.expect("a server");
        reply(&mut client).await;
        for (command, expected) in [
            ("EHLO x", "250"),
            ("ETRN served.example", "250 Queuing started\r\n"),
            ("ETRN failing.example", "458 Unable to queue messages\r\n"),
            ("ETRN other.example", "459 <other.example>: service unavailable\r\n"),
        ] {
            client.write_all(format!("{command}\r\n").as_bytes()).await.expect("written");
            let reply = reply(&mut client).await;
            assert!(reply.starts_with(expected), "{command}: {reply}");
        }
    });
}

#[test]
fn a_relay_for_everybody_does_not_start() {
    server::testing::run(async {
        let world = start().await;
        let settings = parameters(&[
            ("smtpd_relay_restrictions", ""),
            ("smtpd_recipient_restrictions", "permit, reject_unauth_destination"),
        ]);
        let refused = world.connect(&settings, None).await.expect_err("no server");
        assert!(
            refused.starts_with("in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions"),
            "{refused}"
        );
    });
}

/// The log of one session, with the queue id and port made constant.
async fn log_of(world: &World, settings: &[(&str, &str)], lines: &[&str]) -> Vec<String> {
    log::capture();
    let mut client = world.connect(&parameters(settings), None).await.expect("a server");
    talk(&mut client, lines).await;
    drop(client);
    let mut all: Vec<String> = Vec::new();
    while !all.iter().any(|line| line.starts_with("disconnect from")) {
        tokio::task::yield_now().await;
        all.extend(log::capture());
    }
    all
}

/// As Postfix logs these sessions (with the queue id or NOQUEUE that 3.10 put before broken connections).
#[test]
fn log_lines_are_those_of_the_reference() {
    server::testing::run(async {
        let world = start().await;
        let lines = [
            "EHLO x\r\n",
            "MAIL FROM:<a@b>\r\n",
            "RCPT TO:<\"no body\"@local.example>\r\n",
            "RCPT TO:<user@local.example>\r\n",
            "RCPT TO:<nobody@local.example>\r\n",
            "DATA\r\n",
            ".\r\n",
            "FOO\r\n",
            "QUIT\r\n",
        ];
        assert_eq!(
            log_of(&world, &[], &lines).await,
            [
                "connect from localhost[127.0.0.1]",
                "NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <no body@local.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b> to=<\"no body\"@local.example> proto=ESMTP helo=<x>",
                "ABCDEF0001: client=localhost[127.0.0.1]",
                "ABCDEF0001: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <nobody@local.example>: Recipient address rejected: User unknown in local recipient table; from=<a@b> to=<nobody@local.example> proto=ESMTP helo=<x>",
                "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1/3 data=1 quit=1 unknown=0/1 commands=5/8",
            ]
        );
        let lines = ["EHLO x\r\n", "MAIL FROM:<a@b..c>\r\n", "MAIL FROM:<a@b> SIZE=99999999\r\n"];
        assert_eq!(
            log_of(&world, &[], &lines).await[1..],
            [
                "warning: Illegal address syntax from localhost[127.0.0.1] in MAIL command: <a@b..c>",
                "NOQUEUE: reject: MAIL from localhost[127.0.0.1]: 552 5.3.4 Message size exceeds fixed limit; from=<a@b> proto=ESMTP helo=<x>",
                "NOQUEUE: lost connection after MAIL from localhost[127.0.0.1]",
                "disconnect from localhost[127.0.0.1] ehlo=1 mail=0/2 commands=1/3",
            ]
        );
        let lines =
            ["EHLO x\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<user@local.example>\r\n", "DATA\r\n", "some text\r"];
        assert_eq!(
            log_of(&world, &[], &lines).await[1..],
            [
                "ABCDEF0001: client=localhost[127.0.0.1]",
                "ABCDEF0001: lost connection after DATA (10 bytes) from localhost[127.0.0.1]",
                "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4",
            ]
        );
        assert_eq!(
            log_of(&world, &[("smtpd_client_restrictions", "reject"), ("smtpd_delay_reject", "no")], &["QUIT\r\n"])
                .await[1..],
            [
                "NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: 554 5.7.1 <localhost[127.0.0.1]>: Client host rejected: Access denied; proto=SMTP",
                "disconnect from localhost[127.0.0.1] quit=1 commands=1",
            ]
        );
        assert_eq!(
            log_of(&world, &[], &["EHLO x\r\n", "VRFY user\r\nQUIT\r\n"]).await[1..],
            [
                "improper command pipelining after VRFY from localhost[127.0.0.1]: QUIT\\r\\n",
                "disconnect from localhost[127.0.0.1] ehlo=1 vrfy=0/1 commands=1/2",
            ]
        );
        assert_eq!(
            log_of(&world, &[], &["GET / HTTP/1.0\r\n"]).await[1..],
            [
                "warning: non-SMTP command from localhost[127.0.0.1]: GET / HTTP/1.0",
                "disconnect from localhost[127.0.0.1] unknown=0/1 commands=0/1",
            ]
        );
        let settings = [
            ("smtpd_hard_error_limit", "1"),
            ("smtpd_forbid_bare_newline", "reject"),
            ("smtpd_forbid_bare_newline_exclusions", ""),
        ];
        assert_eq!(
            log_of(&world, &settings, &["FOO\r\n"]).await[1..],
            [
                "NOQUEUE: too many errors after UNKNOWN from localhost[127.0.0.1]",
                "disconnect from localhost[127.0.0.1] unknown=0/1 commands=0/1",
            ]
        );
        assert_eq!(
            log_of(&world, &settings, &["EHLO x\r\n", "NOOP\n"]).await[1],
            "NOQUEUE: reject: EHLO from localhost[127.0.0.1]: bare <LF> received; proto=ESMTP helo=<x>"
        );
        let lines = [
            "EHLO x\r\n",
            "MAIL FROM:<bad@x.example>\r\n",
            "RCPT TO:<user@local.example>\r\n",
            "DATA\r\n",
            "x\r\n.\r\n",
            "QUIT\r\n",
        ];
        assert_eq!(
            log_of(
                &world,
                &[("smtpd_end_of_data_restrictions", "check_sender_access inline:{{bad@x.example=REJECT}}")],
                &lines
            )
            .await[2],
            "ABCDEF0001: reject: END-OF-MESSAGE from localhost[127.0.0.1]: 554 5.7.1 <bad@x.example>: Sender address rejected: Access denied; from=<bad@x.example> to=<user@local.example> proto=ESMTP helo=<x>"
        );
    });
}

/// `sendmail -bs`: the whole dialogue at once, with LF line ends, past all restrictions.
#[test]
fn the_invoking_user_may_write_everything_at_once() {
    server::testing::run(async {
        let world = start().await;
        let mut client = world.invoke();
        let dialogue = "HELO me\nMAIL FROM:<a@b>\nRCPT TO:<x@elsewhere.example>\nDATA\nhello\n.\nQUIT\n";
        client.write_all(dialogue.as_bytes()).await.expect("a write");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("the end");
        assert!(text.ends_with("250 2.0.0 Ok: queued as ABCDEF0001\r\n221 2.0.0 Bye\r\n"), "{text}");
        assert_eq!(world.messages.borrow()[0].content.as_bstr(), "hello\n");
    });
}
