//! Ours beside the reference, Debian's Postfix 3.7: the same dialogues, and queues that change hands both ways.
//! These need root (the reference's master does) and the reference (`POSTFIX_ROOT`, unpacked by `.ci/run`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, Sink, SmtpClient, Suite, dialogue, need_root};

/// An instance with a service for every set of parameters.
fn talker(suite: &Suite, services: &BTreeMap<Vec<(String, String)>, u16>) -> Instance {
    let mut instance = Instance::new(suite, RunAs::Root);
    let settings = std::fs::read_to_string(dialogue::directory().join("main.cf")).expect("main.cf");
    instance.add_main_cf(&format!(
        "{settings}\ndialogue_tables = {}\nsmtpd_peername_lookup = yes\n",
        dialogue::directory().display()
    ));
    for (parameters, port) in services {
        let mut line = format!("127.0.0.1:{port} inet n - n - - smtpd");
        for (name, value) in parameters {
            write!(line, "\n  -o {{ {name} = {value} }}").expect("write to a string");
        }
        instance.add_master_cf(&line);
    }
    instance.start();
    instance
}

fn talk(suite: &Suite, dialogues: &[dialogue::Dialogue], services: &BTreeMap<Vec<(String, String)>, u16>) {
    let instance = talker(suite, services);
    let failures: Vec<String> = dialogues.iter().filter_map(|one| one.hold(services[&one.parameters]).err()).collect();
    assert!(
        failures.is_empty(),
        "{} of {} dialogues with {}:\n{}",
        failures.len(),
        dialogues.len(),
        instance.suite().name,
        failures.join("\n")
    );
}

#[test]
fn the_reference_replies_as_recorded() {
    need_root();
    let dialogues = dialogue::all();
    assert!(dialogues.len() >= 100, "{} dialogues", dialogues.len());
    talk(&Suite::reference(), &dialogues, &dialogue::services(&dialogues));
}

#[test]
fn ours_replies_as_the_reference() {
    need_root();
    let dialogues = dialogue::ours(&dialogue::all());
    talk(&Suite::ours(), &dialogues, &dialogue::services(&dialogues));
}

/// What a test queues, by subject: what each recipient is, what must follow the header.
struct Queued {
    id: String,
    sender: String,
    recipients: Vec<String>,
    body: Vec<u8>,
    held: bool,
}

const MESSAGES: usize = 200;

/// Queues messages of all sorts.
fn queue_messages(port: u16) -> Vec<Queued> {
    let mut client = SmtpClient::greeted(port);
    (0..MESSAGES)
        .map(|number| {
            let mut sender = format!("<s{number}@client.example>");
            let mut mail = String::new();
            let mut recipients = vec![format!("<r{number}@dest.example>")];
            let mut body = format!("body {number}\r\n").into_bytes();
            let mut held = false;
            match number % 10 {
                1 => sender = "<>".to_owned(),
                2 => {
                    held = true;
                    sender = format!("<hold{number}@hold.example>");
                }
                3 => {
                    mail = format!(" RET=FULL ENVID=env+2B{number}");
                    recipients = vec![
                        format!(
                            "<a{number}@dest.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x+2By@dest.example"
                        ),
                        format!("<b{number}@dest.example> NOTIFY=NEVER"),
                    ];
                }
                4 => {
                    mail = " BODY=8BITMIME".to_owned();
                    body = b"caf\xe9 \xc3\xa9 \xff\xfe\r\n".to_vec();
                }
                5 => body = format!("{}\r\nend\r\n", "long ".repeat(1000)).into_bytes(),
                6 => body = b".\r\n..\r\n.x\r\n\r\n\r\nFrom me\r\n".to_vec(),
                7 => recipients = (0..17).map(|n| format!("<r{number}.{n}@d{n}.example>")).collect(),
                8 => body = Vec::new(),
                9 => body = format!("{}\r\n", "0123456789".repeat(7)).repeat(1500).into_bytes(),
                _ => {}
            }
            if number == 100 {
                recipients = (0..1000).map(|n| format!("<many{n}@dest.example>")).collect();
            }
            client.command(&format!("MAIL FROM:{sender}{mail}"), 250);
            for recipient in &recipients {
                client.command(&format!("RCPT TO:{recipient}"), 250);
            }
            let mut content = format!("Subject: number {number}.\r\nFrom: <x@client.example>\r\n\r\n").into_bytes();
            content.extend_from_slice(&body);
            let id = client.data(&content);
            sender.push_str(&mail);
            Queued { id, sender, recipients, body, held }
        })
        .collect()
}

/// An instance that keeps what it gets.
fn keeper(suite: &Suite, long_ids: bool) -> Instance {
    let mut instance = Instance::new(suite, RunAs::Root);
    instance.add_main_cf(&format!(
        "defer_transports = smtp\nsmtpd_sender_restrictions = check_sender_access inline:{{ {{ hold.example = HOLD }} }}\n\
         enable_long_queue_ids = {}\n",
        if long_ids { "yes" } else { "no" }
    ));
    instance.start();
    instance
}

fn changes_hands(from: &Suite, to: &Suite, long_ids: bool) {
    let mut first = keeper(from, long_ids);
    let queued = queue_messages(first.port());
    let held = queued.iter().filter(|one| one.held).count();
    first.wait_for_queue("hold", |files| files.len() == held);
    first.wait_for_queue("deferred", |files| files.len() == MESSAGES - held);
    first.stop();

    let sink = Sink::start();
    let mut second = Instance::new(to, RunAs::Root);
    // With other settings `postfix start` would give the files names of the other form.
    let long = if long_ids { "yes" } else { "no" };
    second.add_main_cf(&format!("relayhost = [127.0.0.1]:{}\nenable_long_queue_ids = {long}\n", sink.port()));
    second.take_spool(&first);
    // Both show the same of every file.
    for one in &queued {
        let mut shown = Vec::new();
        for suite in [from, to] {
            let mut postcat = second.command_of(suite, "postcat");
            let output = postcat.args(["-q", &one.id]).output().expect("postcat");
            assert!(output.status.success(), "{} postcat -q {}", suite.name, one.id);
            shown.push(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        assert_eq!(shown[0], shown[1], "postcat -q {}", one.id);
    }
    second.start();
    let listing = second.output("postqueue", &["-p"]);
    for one in &queued {
        let name = if one.held { format!("{}!", one.id) } else { one.id.clone() };
        assert!(
            listing.lines().any(|line| line.split_whitespace().next() == Some(&name) || line.starts_with(&one.id)),
            "{name} is not in\n{listing}"
        );
    }
    assert!(listing.contains(&format!("in {MESSAGES} Requests.")), "{listing}");
    second.output("postsuper", &["-H", "ALL"]);
    second.output("postqueue", &["-f"]);
    let recipients: usize = queued.iter().map(|one| one.recipients.len()).sum();
    sink.wait_until("all recipients", |messages| {
        messages.iter().map(|message| message.recipients.len()).sum::<usize>() >= recipients
    });
    for queue in ["deferred", "hold", "active", "incoming", "defer"] {
        second.wait_for_queue(queue, <[String]>::is_empty);
    }
    let messages = sink.wait_for(MESSAGES);
    for (number, one) in queued.iter().enumerate() {
        let subject = format!("Subject: number {number}.\r\n");
        let copies: Vec<_> =
            messages.iter().filter(|message| String::from_utf8_lossy(&message.content).contains(&subject)).collect();
        let mut arrived: Vec<String> = copies.iter().flat_map(|message| message.recipients.clone()).collect();
        let mut sent = one.recipients.clone();
        arrived = arrived.iter().map(|text| in_order(&without_default_orcpt(text))).collect();
        sent = sent.iter().map(|text| in_order(text)).collect();
        arrived.sort();
        sent.sort();
        assert_eq!(arrived, sent, "recipients of {number}");
        for copy in copies {
            let mail = copy.sender.split(' ').filter(|word| !word.starts_with("SIZE=")).collect::<Vec<_>>().join(" ");
            let mut expected = one.sender.clone();
            if number % 10 == 4 && !mail.contains("BODY=8BITMIME") {
                expected = expected.replace(" BODY=8BITMIME", "");
            }
            assert_eq!(in_order(&mail), in_order(&expected), "sender of {number}");
            let content = copy.content.windows(4).position(|four| four == b"\r\n\r\n").expect("a header end");
            let body = &copy.content[content + 4..];
            if number % 10 == 5 {
                let unfolded = String::from_utf8_lossy(body).replace("\r\n ", "");
                assert!(unfolded.as_bytes() == one.body, "the long lines of {number}");
            } else {
                assert!(body == one.body, "the body of {number}");
            }
        }
    }
}

/// The parameters in one order; theirs and ours differ.
fn in_order(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    words.sort_unstable();
    words.join(" ")
}

/// Both add `ORCPT=rfc822;address` for a recipient that came without.
fn without_default_orcpt(text: &str) -> String {
    let address = text.trim_start_matches('<').split('>').next().unwrap_or_default();
    text.replace(&format!(" ORCPT=rfc822;{address}"), "")
}

#[test]
fn ours_delivers_what_the_reference_queued() {
    need_root();
    changes_hands(&Suite::reference(), &Suite::ours(), false);
}

#[test]
fn ours_delivers_what_the_reference_queued_under_long_ids() {
    need_root();
    changes_hands(&Suite::reference(), &Suite::ours(), true);
}

#[test]
fn the_reference_delivers_what_ours_queued() {
    need_root();
    changes_hands(&Suite::ours(), &Suite::reference(), false);
}

#[test]
fn the_reference_delivers_what_ours_queued_under_long_ids() {
    need_root();
    changes_hands(&Suite::ours(), &Suite::reference(), true);
}
