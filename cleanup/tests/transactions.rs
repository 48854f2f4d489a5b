//! Transactions with cleanup, and the queue files that come of them.

mod house;

use dsn::{Notify, Return};
use house::{House, Message, local, recipient, remote, submit};
use ipc::cleanup::{Action, Encoding, FromCleanup, Options, Recipient, Refusal, ToCleanup};
use ipc::qmgr::ToQmgr;
use server::Callers;
use server::testing::run;

/// The records that say something about recipients.
fn envelope(dump: &[String]) -> Vec<&str> {
    dump.iter().map(String::as_str).filter(|line| "SORWV>L".contains(&line[..1])).collect()
}

/// Content after our Received header.
fn content(dump: &[String]) -> Vec<&str> {
    let lines = dump.iter().map(String::as_str);
    lines
        .filter(|line| "NL".contains(&line[..1]))
        .skip_while(|line| line.starts_with("N Received:") || line.starts_with("N \t"))
        .collect()
}

#[test]
fn remote_mail_is_written_as_it_came() {
    run(async {
        let house = House::start("").await;
        let mut message = remote("a@x.example", &["b@y.example"], "Subject: s\r\nTo : b\nBcc: c\n\n.\nbody\n\nlast");
        message.begin.encoding = Some(Encoding::EightBit);
        message.sender.envelope_id = Some("id".into());
        message.sender.ret = Some(Return::Full);
        let expected = [
            "A log_ident=ID",
            "A rewrite_context=remote",
            "A envelope_id=id",
            "A ret_flags=1",
            "S a@x.example",
            "A encoding=8bit",
            "A log_client_name=client.example",
            "A log_client_address=192.0.2.1",
            "A log_client_port=1234",
            "A log_message_origin=client.example[192.0.2.1]",
            "A log_helo_name=helo.example",
            "A log_protocol_name=ESMTP",
            "A client_name=client.example",
            "A reverse_client_name=client.example",
            "A client_address=192.0.2.1",
            "A client_port=1234",
            "A server_address=192.0.2.2",
            "A server_port=25",
            "A helo_name=helo.example",
            "A protocol_name=ESMTP",
            "A client_address_type=2",
            "A dsn_orig_rcpt=rfc822;b@y.example",
            "O b@y.example",
            "R b@y.example",
            "M ",
            "N Received: from helo.example (client.example [192.0.2.1])",
            "N \tby mx.example.test (Posthouse) with ESMTP id ID",
            "N \tfor <b@y.example>; DATE",
            "N Subject: s ",
            "N To: b",
            "N ",
            "N .",
            "N body",
            "N ",
            "L last",
            "N ",
            "X ",
            "A encoding=8bit",
        ];
        for frame in [1, 2, 7, 1 << 20] {
            message.frame = frame;
            assert_eq!(house.submit(&message).await.expect("queued"), expected, "frames of {frame}");
        }
    });
}

#[test]
fn local_mail_gets_what_it_lacks() {
    run(async {
        let house = House::start("undisclosed_recipients_header = To: undisclosed-recipients:;\n").await;
        let cases: [(Message, &[&str]); 7] = [
            (
                local("u@x", &["v@y"], "A: b\n\nbody\n"),
                &[
                    "N A: b",
                    "N Message-Id: <TIME.ID@mx.example.test>",
                    "N Date: DATE",
                    "N From: root <u@x>",
                    "N To: undisclosed-recipients:;",
                    "N ",
                    "N body",
                ],
            ),
            (
                local("", &["v@y"], "To: a\nDate: x\nMessage-Id: <y>\n"),
                &["N To: a@example.test", "N Date: x", "N Message-Id: <y>", "N From: MAILER-DAEMON"],
            ),
            (
                local("u", &["v@y"], "To: a\nFrom: b\nResent-To: c\n\n"),
                &[
                    "N To: a@example.test",
                    "N From: b@example.test",
                    "N Resent-To: c@example.test",
                    "N Resent-Message-Id: <TIME.ID@mx.example.test>",
                    "N Resent-Date: DATE",
                    "N Resent-From: root <u@example.test>",
                    "N ",
                ],
            ),
            (
                local("u", &["v@y"], "no header\nTo: a\n"),
                &[
                    "N Message-Id: <TIME.ID@mx.example.test>",
                    "N Date: DATE",
                    "N From: root <u@example.test>",
                    "N To: undisclosed-recipients:;",
                    "N ",
                    "N no header",
                    "N To: a",
                ],
            ),
            (
                local(
                    "u",
                    &["v@y"],
                    "Cc: x@y\nReturn-Path: <a>\nContent-Length: 3\nFrom: b@c\nDate: x\nMessage-Id: <x>\nbody",
                ),
                &["N Cc: x@y", "N From: b@c", "N Date: x", "N Message-Id: <x>", "N ", "L body", "N "],
            ),
            (remote("u@x", &["v@y"], "To: a, b\n\n"), &["N To: a, b", "N "]),
            (remote("u@x", &["v@y", "w@y"], ""), &[]),
        ];
        for (message, expected) in cases {
            let dump = house.submit(&message).await.expect("queued");
            assert_eq!(content(&dump), expected, "{}", message.content);
        }
    });
}

#[test]
fn header_addresses_are_rewritten_in_place() {
    run(async {
        let parameters = "recipient_delimiter = +\n\
            canonical_maps = inline:{ {c1=C.One@canon.test}, {c2@y=c2-new}, {@olddom=@newdom} }\n\
            sender_canonical_maps = inline:{ {s1=first}, {first@example.test=c1} }\n\
            masquerade_domains = !x.masq.test masq.test\nmasquerade_exceptions = adm\n";
        let house = House::start(parameters).await;
        let cases = [
            (
                "To: user, Joe <joe@x>, \"A, B\" <ab>, G: a, b@c;",
                &["N To: user@example.test, Joe <joe@x>, \"A, B\" <ab@example.test>,", "N \tG: a@example.test, b@c;"][..],
            ),
            (
                "Cc: <@a,@b:joe@x>, a b@c, <>, J <j> (x) y",
                &["N Cc: <joe@x>, a@example.test, b@c, <>, J <j@example.test>,", "N \ty@example.test (x)"],
            ),
            (
                "To: c1+x, c2@y, c2+d@y, z@olddom, z+1@olddom",
                &["N To: C.One+x@canon.test, c2-new@example.test, c2-new+d@example.test,", "N \tz@newdom, z+1@newdom"],
            ),
            (
                "From: s1, a@b.masq.test, adm@b.masq.test, a@y.x.masq.test",
                &["N From: C.One@canon.test, a@masq.test, adm@b.masq.test, a@y.x.masq.test"],
            ),
            ("Sender: a@b, (c", &["N Sender: a@b, (c"]),
            ("Subject: a, b", &["N Subject: a, b"]),
            ("To: x@y,\n  z@w", &["N To: x@y,", "N   z@w"]),
        ];
        for (header, expected) in cases {
            let message = local("u@x", &["v@y"], &format!("{header}\n\n"));
            let dump = house.submit(&message).await.expect("queued");
            assert_eq!(&content(&dump)[..expected.len()], expected, "{header}");
        }
        // Not in mail from elsewhere.
        let dump = house.submit(&remote("u@x", &["v@y"], "To: c1, c2@y\n\n")).await.expect("queued");
        assert_eq!(content(&dump)[0], "N To: c1, c2@y");
    });
}

#[test]
fn recipients_become_others() {
    run(async {
        let parameters = "recipient_delimiter = +\n\
            virtual_alias_maps = inline:{ {one@v=u1@x}, {two@v=u1@x, u2@x}, {multi@v=one@v, two@v, \"sp ace\"@q, self}, \
              {self@example.test=self, other}, {@cat.v=catch@x}, {@dom.v=@dom.w} }\n\
            recipient_canonical_maps = inline:{ {rc@y=rc2@y} }\n";
        let house = House::start(parameters).await;
        let records = |recipients: &'static [&'static str]| {
            let message = local("u@x", recipients, "\n");
            let house = &house;
            async move {
                let dump = house.submit(&message).await.expect("queued");
                envelope(&dump)[1..].iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
            }
        };
        assert_eq!(records(&["one+e@v"]).await, ["O one+e@v", "R u1+e@x"]);
        assert_eq!(
            records(&["multi@v"]).await,
            [
                "O multi@v",
                "R u1@x",
                "O multi@v",
                "R sp ace@q",
                "O multi@v",
                "R self@example.test",
                "O multi@v",
                "R u2@x",
                "O multi@v",
                "R other@example.test",
            ]
        );
        assert_eq!(records(&["self"]).await, ["O self", "R self@example.test", "O self", "R other@example.test"]);
        assert_eq!(records(&["a@cat.v", "b+c@dom.v"]).await, ["O a@cat.v", "R catch@x", "O b+c@dom.v", "R b+c@dom.w"]);
        assert_eq!(
            records(&["rc@y", "a@b", "A@B", ""]).await,
            ["O rc@y", "R rc2@y", "O a@b", "R a@b", "O ", "R MAILER-DAEMON@example.test",]
        );
    });
}

#[test]
fn aliases_are_bounded() {
    run(async {
        let parameters = "virtual_alias_maps = inline:{ {loop1@v=loop2@v, x@v}, {loop2@v=loop1@v}, {long@v=aaaaaaaaaaaaaaaaaaaa@v}, {many@v=a@v, b@v, c@v, d@v, e@v} }\n\
            virtual_alias_expansion_limit = 4\nvirtual_alias_recursion_limit = 5\nvirtual_alias_address_length_limit = 10\n\
            canonical_maps = inline:{ {c1@v=c2@v}, {c2@v=c1@v} }\n";
        let house = House::start(parameters).await;
        for recipient in ["loop1@v", "long@v", "many@v", "c1@v"] {
            assert_eq!(house.submit(&local("u@x", &[recipient], "\n")).await, Err(Refusal::Lookup), "{recipient}");
        }
        assert!(house.files("incoming").is_empty());
        let lines = log::capture().join("\n");
        assert!(
            lines.contains("unreasonable virtual_alias_maps map expansion size for many@v -- message not accepted"),
            "{lines}"
        );
        assert!(lines.contains("unreasonable canonical_maps map nesting for"), "{lines}");
    });
}

#[test]
fn blind_copies_warnings_and_notices() {
    run(async {
        let parameters = "always_bcc = all\nsender_bcc_maps = static:sbcc\nrecipient_bcc_maps = inline:{ {b1@x=bcc1@z} }\n\
            delay_warning_time = 1h\nvirtual_alias_maps = inline:{ {one@v=u1@x} }\n";
        let house = House::start(parameters).await;
        let mut message = local("u@x", &["b1@x"], "\n");
        message.begin.content_filter = Some("f:n".to_owned());
        message.begin.verp = Some(*b"+=");
        message.begin.arrival = Some((1_000_000, 7));
        message.recipients.push(Recipient {
            notify: Notify::SUCCESS.union(Notify::FAILURE),
            original: Some("rfc822;o@o".into()),
            ..recipient("one@v")
        });
        let id = submit(&mut house.connect(), &message).await.expect("queued");
        let dump = house.dump(&id);
        let start = dump.iter().position(|line| line.starts_with("S ")).expect("sender");
        assert_eq!(dump[0], "L f:n");
        let expected = [
            "S u@x",
            "W         1003600",
            "V +=",
            "A notify_flags=1",
            "O sbcc@example.test",
            "R sbcc@example.test",
            "A dsn_orig_rcpt=rfc822;b1@x",
            "O b1@x",
            "R b1@x",
            "A notify_flags=1",
            "O bcc1@z",
            "R bcc1@z",
            "A notify_flags=4",
            "A dsn_orig_rcpt=rfc822;o@o",
            "O one@v",
            "R u1@x",
            "M ",
        ];
        assert_eq!(&dump[start..start + expected.len()], expected);
        let end = dump.iter().position(|line| line == "X ").expect("extracted");
        let id_attribute = "A message_id=<TIME.ID@mx.example.test>";
        assert_eq!(&dump[end + 1..], [id_attribute, "A notify_flags=1", "O all@example.test", "R all@example.test"]);
        let trace = std::fs::read_to_string(house.spool.path(queue::Directory::Trace, &id)).expect("trace log");
        assert!(trace.contains("recipient=one@v\n") && trace.contains("action=expanded\n"), "{trace}");
        // Nothing of the kind where the client does not want it.
        let mut plain = local("", &["b1@x"], "\n");
        plain.begin.options = Options::default();
        assert_eq!(envelope(&house.submit(&plain).await.expect("queued")), ["S ", "O b1@x", "R b1@x"]);
    });
}

#[test]
fn recipients_from_headers_and_after_the_content() {
    run(async {
        let house = House::start("").await;
        let mut message = local("u@x", &["arg@x"], "To: a@b, c@d\nCc: E@f, a@b (dup)\nBcc: y@y\n\n");
        message.begin.options.extract_recipients = true;
        let dump = house.submit(&message).await.expect("queued");
        assert_eq!(
            envelope(&dump)[1..],
            ["O arg@x", "R arg@x", "O a@b", "R a@b", "O c@d", "R c@d", "O E@f", "R E@f", "O y@y", "R y@y"]
        );
        message.content = "To: a@b\nResent-To: r@s\nResent-Bcc: t@u\n\n".into();
        let dump = house.submit(&message).await.expect("queued");
        assert_eq!(envelope(&dump)[1..], ["O arg@x", "R arg@x", "O r@s", "R r@s", "O t@u", "R t@u"]);
        // As pickup gives what sendmail -t found.
        let mut connection = house.connect();
        for said in [
            ToCleanup::Begin(Box::new(local("", &[], "").begin)),
            ToCleanup::Sender(message.sender.clone()),
            ToCleanup::Content,
            ToCleanup::Recipient(recipient("late@x")),
            ToCleanup::End,
        ] {
            connection.queue(&said).expect("queue");
        }
        connection.flush().await.expect("flush");
        let FromCleanup::Opened(id) = connection.expect().await.expect("answer") else { panic!("not opened") };
        assert_eq!(connection.expect::<FromCleanup>().await.expect("answer"), FromCleanup::Queued);
        assert_eq!(envelope(&house.dump(&id))[1..], ["O late@x", "R late@x"]);
    });
}

#[test]
fn refusals_leave_nothing() {
    run(async {
        let parameters = "message_size_limit = 3000\nhopcount_limit = 3\nheader_checks = pcre:{{/^bad:/ REJECT 5.7.9 bad header}}\n\
            body_checks = inline:{ {bad line=REJECT}, {later=REJECT 4.7.0 busy} }\nmessage_reject_characters = \\0\n";
        let house = House::start(parameters).await;
        let hops = "Received: x\n".repeat(2);
        let cases: [(Message, Refusal); 9] = [
            (remote("u@x", &["v@y"], &format!("\n{}", "x\n".repeat(2000))), Refusal::Size),
            (remote("u@x", &["v@y"], &hops), Refusal::Hops),
            (remote("u@x", &[], "a: b\n"), Refusal::NoRecipients),
            (remote("u@x", &["v@y"], "Bad: x\n y\n\n"), Refusal::Content("550 5.7.9 bad header".into())),
            (remote("u@x", &["v@y"], "\nbad line\n"), Refusal::Content("550 5.7.1 message content rejected".into())),
            (remote("u@x", &["v@y"], "\nlater\n"), Refusal::Content("451 4.7.0 busy".into())),
            (remote("u@x", &["v@y"], "\na\0b\n"), Refusal::Content("550 5.7.1 disallowed character".into())),
            (
                Message { extra: vec![ToCleanup::Sender(Default::default())], ..remote("u@x", &["v@y"], "") },
                Refusal::Protocol,
            ),
            (Message { extra: vec![ToCleanup::Content], ..remote("u@x", &["v@y"], "") }, Refusal::Protocol),
        ];
        let mut connection = house.connect();
        for (message, refusal) in cases {
            assert_eq!(submit(&mut connection, &message).await, Err(refusal), "{}", message.content);
            assert_eq!(house.files("incoming"), Vec::<String>::new());
        }
        // The same connection goes on.
        let good = submit(&mut connection, &remote("u@x", &["v@y"], "\nfine\n")).await.expect("queued");
        assert_eq!(house.files("incoming"), [good.to_string()]);
        let lines = log::capture().join("\n");
        assert!(lines.contains(": reject: header Bad: x? y from client.example[192.0.2.1]; from=<u@x> to=<v@y> proto=ESMTP helo=<helo.example>: 5.7.9 bad header"), "{lines}");
    });
}

#[test]
fn an_abandoned_transaction_leaves_nothing() {
    run(async {
        let house = House::start("").await;
        let mut connection = house.connect();
        let begin = || ToCleanup::Begin(Box::new(remote("", &[], "").begin));
        connection.send(&begin()).await.expect("send");
        assert!(matches!(connection.expect().await.expect("answer"), FromCleanup::Opened(_)));
        assert_eq!(house.files("incoming").len(), 1);
        connection.queue(&ToCleanup::Abort).expect("queue");
        connection.send(&begin()).await.expect("send");
        assert!(matches!(connection.expect().await.expect("answer"), FromCleanup::Opened(_)));
        assert_eq!(house.files("incoming").len(), 1);
        drop(connection);
        let House { root, harness, .. } = house;
        harness.finish().await;
        assert_eq!(std::fs::read_dir(root.path().join("incoming")).expect("directory").count(), 0);
    });
}

#[test]
fn actions_on_the_whole_message() {
    run(async {
        let house = House::start("header_checks = pcre:{{/^x-(\\w+):/ $$1}}\n").await;
        let mut message = remote("u@x", &["v@y"], "a: b\n\n");
        message.extra = vec![
            ToCleanup::Action(Action::Filter("f:n".to_owned())),
            ToCleanup::Action(Action::Redirect("r@z".into())),
            ToCleanup::Bcc("bcc".into()),
            ToCleanup::Header("X-Top: 1\n".into()),
        ];
        let dump = house.submit(&message).await.expect("queued");
        assert_eq!(envelope(&dump)[3..], ["L f:n", "> r@z", "O bcc@example.test", "R bcc@example.test"]);
        assert_eq!(dump.iter().find(|line| line.starts_with('N')).map(String::as_str), Some("N X-Top: 1"));

        message.extra = vec![ToCleanup::Action(Action::Hold)];
        let id = submit(&mut house.connect(), &message).await.expect("queued");
        assert_eq!(house.files("hold"), [id.to_string()]);
        message.extra = vec![ToCleanup::Action(Action::Discard)];
        let before = house.files("incoming").len();
        assert!(house.submit(&message).await.expect("queued").is_empty());
        assert_eq!(house.files("incoming").len(), before);
        assert!(log::capture().iter().any(|line| line.ends_with("removed (discarded)")));
        // By a header.
        assert!(house.submit(&remote("u@x", &["v@y"], "X-Discard: 1\n\nbody\n")).await.expect("queued").is_empty());
        message.extra = vec![ToCleanup::Action(Action::Delay(3600))];
        let id = submit(&mut house.connect(), &message).await.expect("queued");
        assert_eq!(house.files("deferred"), [id.to_string()]);
    });
}

#[test]
fn checks_change_headers_and_lines() {
    run(async {
        let parameters = "header_checks = pcre:{{/^replace:/ REPLACE New: 1}, {/^ignore:/ IGNORE}, {/^prepend:/ PREPEND Before: 1}, \
              {/^strip:/ STRIP}, {/^pass:/ PASS}, {/^warn:/ WARN hm}, {/^odd:/ ODD}, {/^bad:/ REPLACE none}}\n\
            nested_header_checks = pcre:{{/^inner:/ REPLACE Inner: changed}}\nmime_header_checks = pcre:{{/^content-id:/ IGNORE}}\n\
            body_checks = pcre:{{/^drop/ IGNORE}, {/^swap/ REPLACE swapped}, {/^add/ PREPEND added}}\n";
        let house = House::start(parameters).await;
        let text = "Replace: x\nIgnore: x\n y\nPrepend: x\nStrip: x\nWarn: x\nOdd: x\nBad: x\nContent-Id: x\n\
            Content-Type: multipart/mixed; boundary=B\n\ndrop\nswap\nadd\n--B\nContent-Id: y\nContent-Type: message/rfc822\n\nInner: x\n\nend\n";
        let dump = house.submit(&remote("u@x", &["v@y"], text)).await.expect("queued");
        assert_eq!(
            content(&dump),
            [
                "N New: 1",
                "N Before: 1",
                "N Prepend: x",
                "N Warn: x",
                "N Odd: x",
                "N Bad: x",
                "N Content-Type: multipart/mixed; boundary=B",
                "N ",
                "N swapped",
                "N added",
                "N add",
                "N --B",
                "N Content-Type: message/rfc822",
                "N ",
                "N Inner: changed",
                "N ",
                "N end",
            ]
        );
        let dump = house.submit(&remote("u@x", &["v@y"], "Pass: x\nIgnore: x\n\ndrop\n")).await.expect("queued");
        assert_eq!(content(&dump), ["N Pass: x", "N Ignore: x", "N ", "N drop"]);
        let lines = log::capture().join("\n");
        for part in
            [": warning: header Warn: x from", "unknown command in header_checks map: ODD", "bad REPLACE header text"]
        {
            assert!(lines.contains(part), "{part}: {lines}");
        }
    });
}

#[test]
fn characters_and_long_lines() {
    run(async {
        let house = House::start("message_strip_characters = \\177\nline_length_limit = 512\n").await;
        let long = "0123456789abcdef".repeat(32);
        let mut message = remote("u@x", &["v@y"], &format!("A: b\n\na\u{7f}b\rc\r\n{long}xy\n{long}\n"));
        message.begin.received = None;
        for frame in [1, 3, 511, 512, 513, 10_000] {
            message.frame = frame;
            let dump = house.submit(&message).await.expect("queued");
            let long = format!("L {long}");
            assert_eq!(content(&dump), ["N A: b", "N ", "N ab c ", &long, "N xy", &long, "N "], "{frame}");
        }
    });
}

#[test]
fn eight_bit_content() {
    run(async {
        let house = House::start("force_mime_input_conversion = yes\n").await;
        let text = "Content-Transfer-Encoding: 8bit\nX: y\n\nü\n";
        let dump = house.submit(&remote("u@x", &["v@y"], text)).await.expect("queued");
        assert_eq!(content(&dump), ["N X: y", "N Content-Transfer-Encoding: quoted-printable", "N ", "N =C3=BC"]);
        let house = House::start("").await;
        let dump = house.submit(&remote("u@x", &["v@y"], text)).await.expect("queued");
        assert!(dump.contains(&"A encoding=8bit".to_owned()));
        let house = House::start("strict_8bitmime = yes\n").await;
        assert!(matches!(house.submit(&remote("u@x", &["v@y"], "A: ü\n\n")).await, Err(Refusal::Content(_))));
        assert!(matches!(house.submit(&remote("u@x", &["v@y"], "A: u\n\nü\n")).await, Err(Refusal::Content(_))));
    });
}

#[test]
fn mail_that_cannot_be_accepted_goes_back() {
    run(async {
        let house = House::start("message_size_limit = 2000\n").await;
        let listener = tokio::net::UnixListener::bind(house.root.path().join("private/bounce")).expect("bind");
        let mut message = local("u@x", &["v@y", "w@y"], &format!("\n{}", "x\n".repeat(2000)));
        message.begin.options.bounce = true;
        let mut client = house.connect();
        let (outcome, log) = tokio::join!(submit(&mut client, &message), async {
            let mut bounce = ipc::Connection::new(listener.accept().await.expect("accept").0);
            let request: ipc::bounce::Request = bounce.expect().await.expect("request");
            let log =
                std::fs::read_to_string(house.spool.path(queue::Directory::Bounce, &request.queue_id)).expect("log");
            assert!(house.files("incoming").contains(&request.queue_id.to_string()));
            bounce.send(&ipc::bounce::Answer::Done).await.expect("send");
            log
        });
        outcome.expect("taken off the client's hands");
        assert!(
            log.contains("recipient=v@y\n") && log.contains("status=5.3.4\n") && log.contains("recipient=w@y\n"),
            "{log}"
        );
        assert!(house.files("incoming").is_empty());
        let lines = log::capture().join("\n");
        assert!(lines.contains("to=<v@y>, relay=none, delay="), "{lines}");
        assert!(lines.contains("dsn=5.3.4, status=bounced (message file too big)"), "{lines}");
    });
}

#[test]
fn the_queue_manager_hears_of_each_message() {
    run(async {
        let house = House::start("").await;
        let listener = tokio::net::UnixListener::bind(house.root.path().join("public/qmgr")).expect("bind");
        let mut client = house.connect();
        let first = submit(&mut client, &remote("u@x", &["v@y"], "\n")).await.expect("queued");
        let mut manager = ipc::Connection::new(listener.accept().await.expect("accept").0);
        assert_eq!(manager.expect::<ToQmgr>().await.expect("message"), ToQmgr::Ready(first));
        let second = submit(&mut client, &remote("u@x", &["v@y"], "\n")).await.expect("queued");
        assert_eq!(manager.expect::<ToQmgr>().await.expect("message"), ToQmgr::Ready(second.clone()));
        use std::os::unix::fs::PermissionsExt;
        let path = house.spool.path(queue::Directory::Incoming, &second);
        assert_eq!(std::fs::metadata(path).expect("stat").permissions().mode() & 0o777, 0o700);
    });
}

/// Fixed: a receiver of mail was believed to be pickup, bounce or local when it said so.
#[test]
fn a_receiver_may_not_claim_to_be_somebody_else() {
    run(async {
        let house = House::start_for("", Some(Callers::MAIL_IN)).await;
        let network = remote("a@x.example", &["b@y.example"], "Subject: s\n\nx\n");
        assert!(house.submit(&network).await.is_ok());
        let local = local("a@x.example", &["b@y.example"], "Subject: s\n\nx\n");
        assert_eq!(house.submit(&local).await, Err(Refusal::Protocol));
        let mut notice = network.clone();
        notice.begin.origin = ipc::cleanup::Origin::Notice;
        notice.begin.received = None;
        assert_eq!(house.submit(&notice).await, Err(Refusal::Protocol), "a notice with a sender of its own");
        notice.sender.address = "double-bounce@example.test".into();
        assert_eq!(house.submit(&notice).await, Err(Refusal::Protocol), "a notice to somebody else");
        notice.recipients = vec![recipient("postmaster@example.test")];
        assert!(house.submit(&notice).await.is_ok());
        let mut attribute = network.clone();
        attribute.extra.push(ToCleanup::Attribute("rewrite_context".to_owned(), "local".into()));
        assert_eq!(house.submit(&attribute).await, Err(Refusal::Protocol));
        // The same connection takes the next message.
        let mut connection = house.connect();
        assert_eq!(submit(&mut connection, &local).await, Err(Refusal::Protocol));
        assert!(submit(&mut connection, &network).await.is_ok());
        assert_eq!(house.files("incoming").len(), 3);
    });
}

/// Fixed: header_checks could be left out by any receiver.
#[test]
fn a_receiver_cannot_leave_out_checks() {
    run(async {
        let checks = "header_checks = regexp:{ {/^Subject: bad/ REJECT no} }\n";
        let mut message = remote("a@x.example", &["b@y.example"], "Subject: bad\n\nx\n");
        message.begin.options.header_body_checks = false;
        let house = House::start_for(checks, Some(Callers::MAIL_IN)).await;
        assert!(matches!(house.submit(&message).await, Err(Refusal::Content(_))));
        let house = House::start_for(checks, Some(Callers::MAIL_OWNER)).await;
        assert!(house.submit(&message).await.is_ok());
        let may = format!("{checks}receive_override_options = no_header_body_checks\n");
        let house = House::start_for(&may, Some(Callers::MAIL_IN)).await;
        assert!(house.submit(&message).await.is_ok());
    });
}
