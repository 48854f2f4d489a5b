//! Mail through a whole instance: in over SMTP and from `sendmail`, out to a server, to mailboxes, back to the sender.

use posthouse_tests::instance::RunAs;
use posthouse_tests::{Instance, Sink, SmtpClient, Suite};

/// An instance that sends what is not its own to the sink.
fn relay_to(sink: &Sink, more: &str) -> Instance {
    Instance::running(&format!("relayhost = [127.0.0.1]:{}\n{more}", sink.port()))
}

fn body_of(content: &[u8]) -> &[u8] {
    let end = content.windows(4).position(|four| four == b"\r\n\r\n").expect("an end of the header");
    &content[end + 4..]
}

#[test]
fn relayed_content_is_what_came_in() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let long = "x".repeat(2000);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("plain", b"one\r\ntwo\r\n".to_vec()),
        ("dots", b".\r\n..\r\n.x\r\nx.\r\n...\r\n".to_vec()),
        ("8-bit", b"caf\xe9 \xff\xfe\x80 \xc3\xa9\r\n".to_vec()),
        ("empty", Vec::new()),
        ("blank lines", b"\r\n\r\n\r\nend\r\n\r\n".to_vec()),
        ("From", b"From me\r\n>From you\r\n".to_vec()),
        ("control", b"\x01\x02\t\x7f\x1b[0m\r\n".to_vec()),
        ("long", format!("{}\r\nend\r\n", "y".repeat(990)).into_bytes()),
        ("much", format!("{}\r\n", "0123456789 ".repeat(7)).repeat(20_000).into_bytes()),
    ];
    let mut client = SmtpClient::greeted(instance.port());
    for (name, body) in &bodies {
        let mut content = format!("Subject: {name}\r\nFrom: <s@client.example>\r\n\r\n").into_bytes();
        content.extend_from_slice(body);
        client.message_bytes("s@client.example", &["r@dest.example"], &content);
    }
    client.command("QUIT", 221);
    let messages = sink.wait_for(bodies.len());
    for (name, body) in &bodies {
        let header = format!("Subject: {name}\r\n");
        let found = messages.iter().find(|message| contains(&message.content, header.as_bytes()));
        let found = found.unwrap_or_else(|| panic!("{name} did not arrive"));
        assert!(body_of(&found.content) == body.as_slice(), "the body of {name:?} has changed");
        assert!(found.content.starts_with(b"Received: from client.example"), "{name:?} has no Received header");
    }
    // A line longer than smtp_line_length_limit is folded with CRLF and a blank, as RFC 5321 4.5.3.1.6 asks for.
    let id = SmtpClient::greeted(instance.port()).message(
        "s@client.example",
        &["r@dest.example"],
        &format!("Subject: folded\r\n\r\n{long}\r\n"),
    );
    assert!(!id.is_empty());
    let messages = sink.wait_for(bodies.len() + 1);
    let body = body_of(&messages[bodies.len()].content);
    assert!(body.split(|byte| *byte == b'\n').all(|line| line.len() <= 1000), "a line of more than 998 characters");
    assert_eq!(String::from_utf8_lossy(body).replace("\r\n ", "").trim_end(), long);
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[test]
fn recipients_of_one_destination_share_a_delivery() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let mut log = instance.log();
    let recipients: Vec<String> = (0..30).map(|n| format!("r{n}@dest.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = SmtpClient::greeted(instance.port()).message("s@client.example", &recipients, "Subject: x\r\n\r\nx\r\n");
    let messages = sink.wait_for(1);
    assert_eq!(messages[0].recipients.len(), 30, "{messages:?}");
    log.wait_for(&[&id, "removed"]);
    assert_eq!(log.lines_with("status=sent").len(), 30, "a line per recipient, before the message is removed");
    let line = log.wait_for(&["postfix/smtp[", &id, "to=<r7@dest.example>"]);
    for part in ["relay=127.0.0.1[127.0.0.1]:", "delay=", "delays=", "dsn=2.0.0", "status=sent (250 2.0.0 Ok"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    log.wait_for(&["postfix/qmgr[", &id, "from=<s@client.example>, size=", "nrcpt=30 (queue active)"]);
    log.wait_for(&["postfix/smtpd[", &id, "client="]);
    log.wait_for(&["postfix/cleanup[", &id, "message-id=<"]);
    assert!(instance.queue_files("active").is_empty());
}

#[test]
fn a_connection_takes_many_messages_both_ways() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "smtp_connection_cache_destinations = dest.example\n");
    let mut client = SmtpClient::greeted(instance.port());
    for n in 0..40 {
        client.message("s@client.example", &["r@dest.example"], &format!("Subject: {n}\r\n\r\nx\r\n"));
    }
    client.command("QUIT", 221);
    let messages = sink.wait_for(40);
    assert_eq!(messages.len(), 40);
    assert!(sink.connections() < 40, "{} connections: none was used twice", sink.connections());
}

#[test]
fn deferred_mail_goes_after_a_flush() {
    let down = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = down.local_addr().expect("its address").port();
    drop(down);
    let instance = Instance::running(&format!("relayhost = [127.0.0.1]:{port}\n"));
    let mut log = instance.log();
    let id = SmtpClient::greeted(instance.port()).message(
        "s@client.example",
        &["r@dest.example"],
        "Subject: late\r\n\r\nx\r\n",
    );
    let line = log.wait_for(&[&id, "status=deferred"]);
    assert!(line.contains("Connection refused") && line.contains("dsn=4.4.1"), "{line}");
    wait_for_queue(&instance, "deferred", &[&id]);
    assert_eq!(instance.queue_files("defer"), std::slice::from_ref(&id));
    let listing = instance.output("postqueue", &["-p"]);
    assert!(listing.contains(&id) && listing.contains("Connection refused"), "{listing}");
    assert!(listing.contains("r@dest.example") && listing.contains("-- 0 Kbytes in 1 Request."), "{listing}");
    let json = instance.output("postqueue", &["-j"]);
    for part in [r#""queue_name": "deferred""#, &format!(r#""queue_id": "{id}""#), r#""address": "r@dest.example""#] {
        assert!(json.contains(part), "{part} is not in {json}");
    }
    let sink = Sink::start_on(port);
    instance.output("postqueue", &["-f"]);
    let messages = sink.wait_for(1);
    assert_eq!(messages[0].sender, "<s@client.example> SIZE=".to_owned() + size_of(&messages[0].sender));
    log.wait_for(&[&id, "removed"]);
    for queue in ["deferred", "defer", "active", "incoming"] {
        assert!(instance.queue_files(queue).is_empty(), "{queue} is not empty");
    }
    assert_eq!(instance.output("postqueue", &["-p"]).trim(), "Mail queue is empty");
}

fn size_of(mail: &str) -> &str {
    mail.split("SIZE=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default()
}

/// Waits until a queue directory has these files; qmgr logs before it moves.
fn wait_for_queue(instance: &Instance, queue: &str, ids: &[&str]) {
    instance.wait_for_queue(queue, |files| ids.iter().all(|id| files.iter().any(|file| file == id)));
}

#[test]
fn refused_mail_returns_to_the_sender() {
    let sink =
        Sink::with_answers(|line| line.starts_with("RCPT TO:<bad@").then(|| "550 5.1.1 no such user here".to_owned()));
    let instance = relay_to(&sink, "");
    let mut log = instance.log();
    let id = SmtpClient::greeted(instance.port()).message(
        "sender@back.example",
        &["bad@dest.example", "good@dest.example"],
        "Subject: refused\r\nMessage-ID: <original@client.example>\r\n\r\nsecret body\r\n",
    );
    let messages = sink.wait_for(2);
    let notice = messages.iter().find(|message| message.sender.starts_with("<>")).expect("a notice");
    assert!(notice.recipients[0].starts_with("<sender@back.example>"), "{:?}", notice.recipients);
    let text = String::from_utf8_lossy(&notice.content);
    for part in [
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Subject: Undelivered Mail Returned to Sender",
        "Auto-Submitted: auto-replied",
        "From: Mail Delivery System <MAILER-DAEMON@mail.example.com>",
        "To: sender@back.example",
        "Content-Type: message/delivery-status",
        "Reporting-MTA: dns; mail.example.com",
        "X-Posthouse-Sender: rfc822; sender@back.example",
        "Final-Recipient: rfc822; bad@dest.example",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user here",
        "Content-Type: message/rfc822",
        "secret body",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(text.contains(&format!("X-Posthouse-Queue-ID: {id}")), "{text}");
    log.wait_for(&[&id, "postfix/bounce[", "sender non-delivery notification: "]);
    log.wait_for(&[&id, "to=<bad@dest.example>", "dsn=5.1.1", "status=bounced"]);
    log.wait_for(&[&id, "removed"]);
    assert!(instance.queue_files("bounce").is_empty());
}

#[test]
fn a_refused_notice_is_not_answered() {
    let sink = Sink::with_answers(|line| line.starts_with("RCPT").then(|| "550 5.1.1 no".to_owned()));
    let instance = relay_to(&sink, "");
    let mut log = instance.log();
    let id = SmtpClient::greeted(instance.port()).message("", &["bad@dest.example"], "Subject: x\r\n\r\nx\r\n");
    log.wait_for(&[&id, "removed"]);
    assert!(sink.wait_for(0).is_empty());
    assert_eq!(log.lines_with("message-id=").len(), 1, "no further message came to be");
}

#[test]
fn delivery_status_options_are_passed_on() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let mut client = SmtpClient::greeted(instance.port());
    client.command("MAIL FROM:<s@client.example> RET=HDRS ENVID=abc+2Bdef BODY=8BITMIME", 250);
    client.command("RCPT TO:<r@dest.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;orig+2Bx@dest.example", 250);
    client.command("RCPT TO:<n@dest.example> NOTIFY=NEVER", 250);
    client.data(b"Subject: options\r\n\r\ncaf\xe9\r\n");
    let messages = sink.wait_for(1);
    let mail = &messages[0].sender;
    for part in ["RET=HDRS", "ENVID=abc+2Bdef", "BODY=8BITMIME", "SIZE="] {
        assert!(mail.contains(part), "{part} is not in {mail}");
    }
    let first = messages[0].recipients.iter().find(|one| one.starts_with("<r@")).expect("the first recipient");
    assert!(first.contains("NOTIFY=SUCCESS,DELAY") && first.contains("ORCPT=rfc822;orig+2Bx@dest.example"), "{first}");
    let second = messages[0].recipients.iter().find(|one| one.starts_with("<n@")).expect("the second recipient");
    assert!(second.contains("NOTIFY=NEVER"), "{second}");
}

#[test]
fn success_is_reported_where_the_next_hop_cannot() {
    let sink = Sink::with_answers(|line| {
        line.starts_with("EHLO").then(|| "250-sink.example\r\n250-PIPELINING\r\n250 SIZE".to_owned())
    });
    let instance = relay_to(&sink, "");
    let mut client = SmtpClient::greeted(instance.port());
    client.command("MAIL FROM:<s@back.example>", 250);
    client.command("RCPT TO:<r@dest.example> NOTIFY=SUCCESS", 250);
    client.data(b"Subject: success\r\n\r\nx\r\n");
    let messages = sink.wait_for(2);
    let notice = messages.iter().find(|message| message.sender.starts_with("<>")).expect("a notice");
    let text = String::from_utf8_lossy(&notice.content);
    assert!(text.contains("Action: relayed"), "{text}");
    assert!(text.contains("Subject: Successful Mail Delivery Report"), "{text}");
}

#[test]
fn transports_that_deliver_nowhere() {
    let sink = Sink::start();
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    let table = instance.write(
        "transport",
        "gone.example discard:silently\nno.example error:5.7.9 not wanted here\nlater.example retry:4.2.0 try later\n",
    );
    instance.add_main_cf(&format!(
        "relayhost = [127.0.0.1]:{}\ntransport_maps = texthash:{}",
        sink.port(),
        table.display()
    ));
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    client.message("s@back.example", &["a@gone.example"], "Subject: 1\r\n\r\nx\r\n");
    // smtpd refuses this one; from sendmail it is too late for that.
    client.command("MAIL FROM:<s@back.example>", 250);
    let reply = client.command("RCPT TO:<a@no.example>", 550);
    assert!(reply.contains("550 5.7.9 <a@no.example>: Recipient address rejected: not wanted here"), "{reply}");
    client.command("RSET", 250);
    instance.sendmail(&["-f", "s@back.example", "a@no.example"], "Subject: 2\n\nx\n");
    let later = client.message("s@back.example", &["a@later.example"], "Subject: 3\r\n\r\nx\r\n");
    let line = log.wait_for(&["to=<a@gone.example>"]);
    assert!(line.contains("postfix/discard[") && line.contains("dsn=2.0.0, status=sent (silently)"), "{line}");
    let line = log.wait_for(&["to=<a@no.example>", "status="]);
    assert!(line.contains("relay=none") && line.contains("dsn=5.7.9, status=bounced (not wanted here)"), "{line}");
    let line = log.wait_for(&["to=<a@later.example>"]);
    assert!(line.contains("dsn=4.2.0, status=deferred (try later)"), "{line}");
    wait_for_queue(&instance, "deferred", &[&later]);
    let notice = &sink.wait_for(1)[0];
    assert!(contains(&notice.content, b"Status: 5.7.9"), "{}", String::from_utf8_lossy(&notice.content));
}

#[test]
fn an_inline_table_routes() {
    let sink = Sink::start();
    let instance = Instance::running(&format!(
        "transport_maps = inline:{{ {{ dest.example = smtp:[127.0.0.1]:{} }} }}",
        sink.port()
    ));
    let mut client = SmtpClient::greeted(instance.port());
    client.message("s@client.example", &["r@dest.example"], "Subject: x\r\n\r\nx\r\n");
    let _ = sink.wait_for(1);
}

#[test]
fn held_mail_waits_for_its_release() {
    let sink = Sink::start();
    let instance =
        relay_to(&sink, "smtpd_sender_restrictions = check_sender_access inline:{ { hold@client.example = HOLD } }\n");
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    let held = client.message("hold@client.example", &["r@dest.example"], "Subject: held\r\n\r\nthe body\r\n");
    assert_eq!(instance.queue_files("hold"), std::slice::from_ref(&held));
    log.wait_for(&["NOQUEUE: hold: RCPT"]);
    let text = instance.output("postcat", &["-q", &held]);
    for part in [
        "*** ENVELOPE RECORDS hold/",
        "sender: hold@client.example",
        "recipient: r@dest.example",
        "the body",
        "*** MESSAGE FILE END",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let listing = instance.output("postqueue", &["-p"]);
    assert!(listing.contains(&format!("{held}!")), "{listing}");
    instance.output("postsuper", &["-H", &held]);
    instance.output("postqueue", &["-f"]);
    let messages = sink.wait_for(1);
    assert!(contains(&messages[0].content, b"the body"));
    log.wait_for(&[&held, "removed"]);
}

#[test]
fn postsuper_holds_requeues_and_deletes() {
    let sink = Sink::with_answers(|line| line.starts_with("RCPT").then(|| "450 4.7.1 not yet".to_owned()));
    let instance = relay_to(&sink, "");
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    let ids: Vec<String> = (0..3)
        .map(|n| client.message("s@client.example", &["r@dest.example"], &format!("Subject: {n}\r\n\r\nx\r\n")))
        .collect();
    for id in &ids {
        log.wait_for(&[id, "status=deferred"]);
        wait_for_queue(&instance, "deferred", &[id]);
    }
    instance.output("postsuper", &["-h", &ids[0]]);
    assert_eq!(instance.queue_files("hold"), [ids[0].clone()]);
    instance.output("postsuper", &["-d", &ids[1]]);
    assert!(!instance.queue_files("deferred").contains(&ids[1]));
    assert!(!instance.queue_files("defer").contains(&ids[1]));
    instance.output("postsuper", &["-r", &ids[2]]);
    instance.output("postkick", &["public", "pickup", "W"]);
    // pickup takes it from maildrop and gives it a new id.
    log.wait_until("the requeued message", |text| {
        text.lines().filter(|line| line.contains("status=deferred")).count().ge(&4).then_some(())
    });
    let output = instance.run("postsuper", &["-d", "ALL"]);
    assert!(output.status.success());
    assert!(instance.queue_files("hold").is_empty() && instance.queue_files("deferred").is_empty());
}

#[test]
fn sendmail_to_a_relay() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let mut log = instance.log();
    instance.sendmail(
        &["-i", "-f", "me@client.example", "-F", "My Name", "r@dest.example"],
        "Subject: from sendmail\n\nline\n.\nafter the dot\nno newline at the end",
    );
    let messages = sink.wait_for(1);
    let text = String::from_utf8_lossy(&messages[0].content).into_owned();
    assert!(messages[0].sender.starts_with("<me@client.example>"), "{}", messages[0].sender);
    assert!(text.ends_with("line\r\n.\r\nafter the dot\r\nno newline at the end\r\n"), "{text}");
    for header in [
        "From: My Name <me@client.example>",
        "Message-Id: <",
        "Date: ",
        "Received: by mail.example.com (Posthouse, from userid ",
    ] {
        assert!(text.contains(header), "{header} is not in\n{text}");
    }
    log.wait_for(&["postfix/pickup[", "uid=", "from=<me@client.example>"]);
    instance.sendmail(
        &["-t", "-oi"],
        "From: <a@client.example>\nTo: one@dest.example, \"T. W.\" <two@dest.example>\nBcc: hidden@dest.example\nSubject: -t\n\nx\n",
    );
    let messages = sink.wait_for(2);
    let mut recipients: Vec<&str> =
        messages[1].recipients.iter().map(|one| one.split(' ').next().unwrap_or("")).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["<hidden@dest.example>", "<one@dest.example>", "<two@dest.example>"]);
    assert!(!contains(&messages[1].content, b"Bcc:"), "Bcc is for nobody's eyes");
}

#[test]
fn sendmail_speaks_smtp_and_says_why_it_fails() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let output = instance.run_with_input(
        "sendmail",
        &["-bs"],
        b"EHLO x\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<r@dest.example>\r\nDATA\r\nSubject: bs\r\n\r\nx\r\n.\r\nQUIT\r\n",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("queued as ") && text.contains("221 "), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let _ = sink.wait_for(1);
    let output = instance.run_with_input("sendmail", &["-t"], b"Subject: nobody\n\nx\n");
    assert!(!output.status.success());
}

#[test]
fn mail_for_users_of_this_machine() {
    let user = Instance::user_name();
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    let mail = instance.mail().display().to_string();
    instance.add_main_cf(&format!("mail_spool_directory = {mail}/\nrecipient_delimiter = +\n"));
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    client.message(
        "s@client.example",
        &[&format!("{user}+ext@example.com")],
        "Subject: to a Maildir\r\n\r\n.dot\r\n8bit \u{e9}\r\n",
    );
    log.wait_for(&["postfix/local[", "status=sent (delivered to maildir)"]);
    let messages = instance.maildir(&user);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].starts_with("Return-Path: <s@client.example>\nX-Original-To: "), "{}", messages[0]);
    assert!(messages[0].contains(&format!("Delivered-To: {user}+ext@example.com\n")), "{}", messages[0]);
    assert!(messages[0].ends_with("\n\n.dot\n8bit \u{e9}\n"), "{}", messages[0]);
    client.message("s@client.example", &["nobody-of-that-name@example.com"], "Subject: x\r\n\r\nx\r\n");
    let line = log.wait_for(&["postfix/local[", "status=bounced"]);
    assert!(line.contains("dsn=5.1.1") && line.contains("unknown user: \"nobody-of-that-name\""), "{line}");
}

#[test]
fn mbox_of_a_local_user() {
    let user = Instance::user_name();
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    instance.add_main_cf(&format!("mail_spool_directory = {}\n", instance.mail().display()));
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    for n in 0..5 {
        client.message("s@client.example", &[&user], &format!("Subject: {n}\r\n\r\nFrom the start\r\nend {n}\r\n"));
    }
    log.wait_for_count("status=sent (delivered to mailbox)", 5);
    let text = std::fs::read_to_string(instance.mail().join(&user)).expect("the mailbox");
    assert_eq!(text.matches("\nFrom s@client.example  ").count() + 1, 5, "{text}");
    assert!(text.starts_with("From s@client.example  ") && text.ends_with("\n\n"), "{text}");
    assert_eq!(text.matches("\n>From the start\n").count(), 5, "{text}");
}

#[test]
fn virtual_mailboxes() {
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    let (uid, gid) = instance.ids();
    instance.add_main_cf(&format!(
        "virtual_mailbox_domains = v.example\nvirtual_mailbox_base = {}\nvirtual_mailbox_maps = inline:{{ {{ a@v.example = v.example/a/ }}, {{ b@v.example = v.example/b }} }}\n\
         virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\nvirtual_minimum_uid = 1\n",
        instance.mail().display()
    ));
    let domain = instance.mail().join("v.example");
    std::fs::create_dir(&domain).expect("a directory");
    std::os::unix::fs::chown(&domain, Some(uid), Some(gid)).expect("chown");
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    client.message("s@client.example", &["a@v.example", "b@v.example"], "Subject: v\r\n\r\nbody\r\n");
    log.wait_for_count("status=sent", 2);
    log.wait_for(&["postfix/virtual[", "to=<a@v.example>", "relay=virtual", "status=sent (delivered to maildir)"]);
    assert_eq!(instance.maildir("v.example/a").len(), 1);
    let text = std::fs::read_to_string(instance.mail().join("v.example/b")).expect("the mailbox");
    assert!(text.contains("Delivered-To: b@v.example\n"), "{text}");
    client.command("MAIL FROM:<s@client.example>", 250);
    let reply = client.command("RCPT TO:<nobody@v.example>", 550);
    assert!(reply.contains("5.1.1") && reply.contains("User unknown in virtual mailbox table"), "{reply}");
}

#[test]
fn aliases_include_and_files() {
    let user = Instance::user_name();
    let sink = Sink::start();
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    let list = instance.write("list", format!("# members\n{user}, outside@dest.example\n"));
    let aliases = instance
        .write("aliases", format!("team :include:{}\nowner-team boss@dest.example\nnull /dev/null\n", list.display()));
    instance.add_main_cf(&format!(
        "relayhost = [127.0.0.1]:{}\nmail_spool_directory = {}/\nalias_maps = texthash:{}\nallow_mail_to_files = alias,forward,include\n",
        sink.port(),
        instance.mail().display(),
        aliases.display()
    ));
    let mut instance = instance;
    instance.start();
    let mut log = instance.log();
    let mut client = SmtpClient::greeted(instance.port());
    client.message("s@client.example", &["team@example.com"], "Subject: list\r\n\r\nx\r\n");
    let message = &sink.wait_for(1)[0];
    assert!(message.recipients[0].starts_with("<outside@dest.example>"), "{:?}", message.recipients);
    assert!(message.sender.starts_with("<owner-team@"), "{}", message.sender);
    log.wait_for(&["postfix/local[", "status=sent (delivered to maildir)"]);
    assert_eq!(instance.maildir(&user).len(), 1);
    client.message("s@client.example", &["null@example.com"], "Subject: null\r\n\r\nx\r\n");
    log.wait_for(&["postfix/local[", "to=<null@example.com>", "status=sent (delivered to file: /dev/null)"]);
}

/// `local` and `virtual` keep their connection to the queue manager, and looked at their tables only when it was new.
#[test]
fn a_changed_table_counts_for_the_next_message() {
    let user = Instance::user_name();
    let mut instance = Instance::new(&Suite::ours(), RunAs::User);
    let aliases = instance.write("aliases", "old /dev/null\n");
    let boxes = instance.write("boxes", "old@v.example old\n");
    let (uid, gid) = instance.ids();
    instance.add_main_cf(&format!(
        "mail_spool_directory = {}\nalias_maps = texthash:{}\nallow_mail_to_files = alias\n\
         virtual_mailbox_domains = v.example\nvirtual_mailbox_base = {0}\nvirtual_mailbox_maps = texthash:{}\n\
         virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{gid}\nvirtual_minimum_uid = 1\n",
        instance.mail().display(),
        aliases.display(),
        boxes.display()
    ));
    instance.start();
    let mut log = instance.log();
    SmtpClient::greeted(instance.port()).message("", &["old@example.com", "old@v.example"], "Subject: x\r\n\r\nx\r\n");
    log.wait_for_count("status=sent", 2);
    instance.write("aliases", format!("old /dev/null\nnew {user}\n"));
    instance.write("boxes", "old@v.example old\nnew@v.example new\n");
    SmtpClient::greeted(instance.port()).message("", &["new@example.com", "new@v.example"], "Subject: x\r\n\r\nx\r\n");
    log.wait_for(&["postfix/local[", "to=<new@example.com>", "status=sent (delivered to mailbox)"]);
    log.wait_for(&["postfix/virtual[", "to=<new@v.example>", "status=sent (delivered to mailbox)"]);
    for program in ["smtpd", "local", "virtual"] {
        log.wait_for(&[&format!("postfix/{program}["), "table texthash:", " has changed -- restarting"]);
    }
}

#[test]
fn virtual_aliases_canonical_and_bcc() {
    let sink = Sink::start();
    let instance = relay_to(
        &sink,
        "virtual_alias_maps = inline:{ { list@example.com = one@dest.example, two@dest.example } }\n\
         sender_canonical_maps = inline:{ { old@client.example = new@client.example } }\n\
         always_bcc = archive@dest.example\n",
    );
    let mut client = SmtpClient::greeted(instance.port());
    client.message("old@client.example", &["list@example.com"], "From: old@client.example\r\nSubject: x\r\n\r\nx\r\n");
    let messages = sink.wait_for(1);
    let mut recipients: Vec<&str> =
        messages[0].recipients.iter().map(|one| one.split(' ').next().unwrap_or("")).collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["<archive@dest.example>", "<one@dest.example>", "<two@dest.example>"]);
    assert!(messages[0].sender.starts_with("<new@client.example>"), "{messages:?}");
    assert!(contains(&messages[0].content, b"From: new@client.example\r\n"), "{messages:?}");
}

#[test]
fn a_reload_keeps_sessions_and_takes_new_settings() {
    let sink = Sink::start();
    let instance = relay_to(&sink, "");
    let mut old = SmtpClient::greeted(instance.port());
    old.command("MAIL FROM:<s@client.example>", 250);
    instance.add_main_cf("smtpd_banner = $myhostname new banner");
    instance.output("postfix", &["reload"]);
    instance.log().wait_for(&["postfix/master[", "reload -- version"]);
    // A connection may still reach a worker that has not heard of it; soon none does.
    let end = std::time::Instant::now() + posthouse_tests::PATIENCE;
    loop {
        let mut fresh = SmtpClient::connect(instance.port());
        if fresh.expect(220).contains("new banner") {
            fresh.command("QUIT", 221);
            break;
        }
        assert!(std::time::Instant::now() < end, "the old banner stays");
    }
    old.command("RCPT TO:<r@dest.example>", 250);
    old.data(b"Subject: across a reload\r\n\r\nx\r\n");
    let _ = sink.wait_for(1);
}

#[test]
fn a_stop_keeps_the_queue() {
    let down = Sink::with_answers(|line| line.starts_with("RCPT").then(|| "450 4.7.1 not yet".to_owned()));
    let mut instance = relay_to(&down, "");
    let status = |instance: &Instance| instance.run("postfix", &["status"]).status.code();
    assert_eq!(status(&instance), Some(0));
    let mut client = SmtpClient::greeted(instance.port());
    let ids: Vec<String> = (0..20)
        .map(|n| client.message("s@client.example", &["r@dest.example"], &format!("Subject: {n}\r\n\r\nx\r\n")))
        .collect();
    assert!(!instance.run("postfix", &["start"]).status.success(), "it runs already");
    instance.output("postfix", &["stop"]);
    instance.wait_for_master_end();
    assert_eq!(status(&instance), Some(1));
    assert!(!instance.run("postfix", &["stop"]).status.success(), "it does not run");
    let sink = Sink::start();
    instance.add_main_cf(&format!("relayhost = [127.0.0.1]:{}", sink.port()));
    instance.start();
    instance.output("postqueue", &["-f"]);
    assert_eq!(sink.wait_for(ids.len()).len(), ids.len());
}

#[test]
fn start_fg_logs_to_standard_output() {
    let instance = Instance::new(&Suite::ours(), RunAs::User);
    instance.add_main_cf("maillog_file = /dev/stdout");
    let mut foreground = instance.foreground();
    foreground.wait_for("daemon started -- version");
    SmtpClient::greeted(instance.port()).command("QUIT", 221);
    foreground.wait_for("disconnect from ");
    foreground.terminate();
}
