//! Stock configurations of Postfix, unchanged, in the usual places of a private machine (see [`Machine`]). Needs root and
//! the reference, which `.ci/run` unpacks: its files are read where they are and never copied into this project.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use posthouse_tests::machine::said;
use posthouse_tests::{Log, Machine, Sink, Suite};

/// The configuration that Debian's package makes for an "Internet Site": its answers, in its order, by the reference's own
/// postconf and newaliases.
const DEBIAN: &str = r#"
set -eu
cd /etc/postfix
cp /usr/share/postfix/master.cf.dist master.cf
cp /usr/share/postfix/main.cf.debian main.cf
mkdir -p /etc/ssl/private /etc/ssl/certs
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mail.example.com -days 3 \
    -keyout /etc/ssl/private/ssl-cert-snakeoil.key -out /etc/ssl/certs/ssl-cert-snakeoil.pem 2>/dev/null
chmod 640 /etc/ssl/private/ssl-cert-snakeoil.key
cat /usr/share/postfix/main.cf.tls >>main.cf
postconf -e 'smtpd_relay_restrictions=permit_mynetworks permit_sasl_authenticated defer_unauth_destination'
postconf -e myhostname=mail.example.com
postconf -e alias_maps=hash:/etc/aliases
postconf -e alias_database=hash:/etc/aliases
echo mail.example.com >/etc/mailname
postconf -e myorigin=/etc/mailname
postconf -e 'mydestination=$myhostname, mail.example.com, localhost.example.com, , localhost'
postconf -e relayhost=
postconf -e 'mynetworks=127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128'
postconf -e mailbox_size_limit=0
postconf -e recipient_delimiter=+
postconf -e inet_interfaces=all
postconf -e inet_protocols=all
printf '# See man 5 aliases for format\npostmaster:    root\nroot:\talice\n' >/etc/aliases
cp /usr/share/postfix/main.cf.dist main.cf.proto
cp /usr/share/postfix/master.cf.dist master.cf.proto
grep -v '^#' /usr/share/postfix/dynamicmaps.cf |
    while read -r type rest; do [ ! -e /usr/lib/postfix/postfix-$type.so ] || echo "$type $rest"; done >dynamicmaps.cf
ln -s /usr/share/postfix/makedefs.out makedefs.out
newaliases
"#;

/// What upstream's own installation makes: the annotated main.cf with the places filled in, no service in the jail.
const UPSTREAM: &str = r#"
set -eu
cd /etc/postfix
cp /usr/share/postfix/main.cf.dist main.cf
postconf -e sendmail_path=/usr/sbin/sendmail newaliases_path=/usr/bin/newaliases mailq_path=/usr/bin/mailq \
    setgid_group=postdrop html_directory=no manpage_directory=/usr/share/man sample_directory=/etc/postfix readme_directory=no
awk '/^[a-z]/ { $5 = "n" } { print }' /usr/share/postfix/master.cf.dist >master.cf
printf 'postmaster: root\nroot: alice\n' >/etc/aliases
newaliases
"#;

/// A machine with the reference's package and configuration, and our programs in the place of its own.
fn stock(configuration: &str) -> Machine {
    let machine = Machine::boot();
    machine.unpack_reference();
    machine.ok(configuration);
    machine.ok("rm -r /usr/lib/postfix; rm /usr/sbin/post* /usr/sbin/sendmail");
    machine.install_ours();
    machine
}

const START: &str = "postfix start";

/// Starts it, sends mail every way, and looks at what was said meanwhile.
fn runs_unchanged(configuration: &str) {
    let machine = stock(configuration);
    let before = machine.ok("cd /etc/postfix && sha256sum main.cf master.cf");
    let mut log = machine.log();
    assert_eq!(machine.ok("postfix check"), "", "postfix check is not quiet");
    assert_eq!(log.lines_with("postfix").join("\n"), "", "postfix check is not quiet");
    let started = machine.ok(START);
    assert!(!started.contains("warning") && !started.contains("fatal"), "{started}");
    log.wait_for(&["postfix/master[", "daemon started -- version"]);

    // From an ordinary user, and over port 25: to a user, an alias with an extension, and postmaster.
    machine.ok_as("bob", "sendmail -oi alice", b"Subject: from bob\n\nhello\n");
    machine.greeted().message("", &["alice@mail.example.com"], "Subject: by SMTP\r\n\r\nhello\r\n");
    machine.greeted().message("x@localhost", &["postmaster@localhost"], "Subject: alias\r\n\r\nx\r\n");
    log.wait_for_count("status=sent (delivered to mailbox)", 3);
    let mailbox = machine.text("/var/mail/alice");
    for subject in ["from bob", "by SMTP", "alias"] {
        assert!(mailbox.contains(&format!("\nSubject: {subject}\n")), "{mailbox}");
    }
    assert!(mailbox.contains("\nReceived: by mail.example.com (Posthouse, from userid "), "{mailbox}");
    assert_eq!(machine.ok("stat -c '%U %a' /var/mail/alice").trim(), "alice 600");
    let mut client = machine.greeted();
    client.command("MAIL FROM:<x@client.example>", 250);
    client.command("RCPT TO:<nobody-here@mail.example.com>", 550);
    client.command("QUIT", 221);
    assert_eq!(machine.ok_as("bob", "mailq", b""), "Mail queue is empty\n");

    // A new alias, made by our newaliases beside the reference's database; daemons in the jail see it.
    let said = machine.ok("echo 'info: carol' >>/etc/aliases; newaliases");
    assert!(said.contains("warning: /etc/aliases.db is out of date now"), "{said}");
    assert_eq!(machine.ok("newaliases"), "", "that is said once");
    machine.greeted().message("x@localhost", &["info@mail.example.com"], "Subject: new\r\n\r\nx\r\n");
    log.wait_for_count("status=sent (delivered to mailbox)", 4);
    assert!(machine.text("/var/mail/carol").contains("\nSubject: new\n"), "{}", log.text());
    // There is no name server here, which is no reason to return mail.
    machine.ok_as("bob", "sendmail -f bob carol@dest.example", b"Subject: far away\n\nx\n");
    let line = log.wait_for(&["to=<carol@dest.example>", "status="]);
    assert!(line.contains("status=deferred") && line.contains("dest.example"), "{line}");
    let queue = machine.ok_as("bob", "mailq", b"");
    assert!(queue.contains("carol@dest.example") && queue.contains("in 1 Request."), "{queue}");

    // What the configuration asks for and is not there has one line each, at the start and at a reload.
    let missing = services_without_program(&machine);
    assert!(missing.iter().any(|service| service == "scache"), "{missing:?}");
    one_line_each(&mut log, &missing, 1);

    // A reload, then mail again; and the end.
    assert!(!machine.ok("postfix reload").contains("warning"));
    log.wait_for(&["postfix/master[", "reload -- version"]);
    machine.ok_as("bob", "sendmail -oi -t", b"To: alice\nSubject: after the reload\n\nhello\n");
    log.wait_for_count("status=sent (delivered to mailbox)", 5);
    one_line_each(&mut log, &missing, 2);
    machine.ok("postfix status");
    machine.ok("postfix stop");
    log.wait_for(&["postfix/master[", "terminating on signal 15"]);
    assert!(!machine.run_as("root", "postfix status", b"").status.success());
    let odd = unexpected(log.text(), &missing);
    assert!(odd.is_empty(), "{}", odd.join("\n"));
    let tls = log.lines_with("TLS is not available");
    let programs: BTreeSet<&str> = tls.iter().filter_map(|line| line.split(['/', '[']).nth(1)).collect();
    // A line for each process that would have offered or tried it, and there were few.
    assert!(programs.len() <= 2 && tls.len() <= 4, "{}", tls.join("\n"));
    assert_eq!(machine.ok("cd /etc/postfix && sha256sum main.cf master.cf"), before);
    assert_eq!(machine.ok("postfix check"), "", "postfix check is not quiet after a run");
}

/// The services of master.cf whose programs are not there.
fn services_without_program(machine: &Machine) -> Vec<String> {
    let master = machine.text("/etc/postfix/master.cf");
    let entries = master.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()));
    entries
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let missing = !machine.path("/usr/lib/postfix/sbin").join(words.get(7)?).exists();
            missing.then(|| words[0].to_owned())
        })
        .collect()
}

/// Each service has as many lines that name it, no more and no less.
fn one_line_each(log: &mut Log, services: &[String], times: usize) {
    for service in services {
        let lines = log.lines_with(&format!("service \"{service}\""));
        assert_eq!(lines.len(), times, "lines about {service}: {lines:#?}\n{}", log.text());
    }
}

/// Lines of the log that need a reason, beside those about services without a program.
fn unexpected(log: &str, missing: &[String]) -> Vec<String> {
    let bad = ["warning:", "fatal:", "panic:"];
    let lines = log.lines().filter(|line| bad.iter().any(|word| line.contains(word)));
    let lines = lines.filter(|line| !line.contains("/etc/aliases.db is out of date now"));
    lines
        .filter(|line| !missing.iter().any(|service| line.contains(&format!("service \"{service}\""))))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_stock_debian_configuration_runs_unchanged() {
    runs_unchanged(DEBIAN);
}

#[test]
fn a_stock_upstream_configuration_runs_unchanged() {
    runs_unchanged(UPSTREAM);
}

/// A stock machine whose mail for elsewhere goes to a server that refuses it for now, until it is opened.
struct Relaying {
    machine: Machine,
    sink: Sink,
    open: Arc<AtomicBool>,
    log: Log,
}

impl Relaying {
    fn start(main_cf: &str) -> Relaying {
        let machine = stock(DEBIAN);
        let open = Arc::new(AtomicBool::new(false));
        let is_open = Arc::clone(&open);
        let sink = Sink::over(machine.listen(2525), move |line| {
            let refused = line.starts_with("RCPT") && !is_open.load(Ordering::Relaxed);
            refused.then(|| "450 4.7.1 not now".to_owned())
        });
        machine.ok("postconf -e 'relayhost=[127.0.0.1]:2525' fast_flush_domains=one.example");
        for line in main_cf.lines() {
            machine.ok(&format!("postconf -e '{line}'"));
        }
        machine.ok(START);
        let log = machine.log();
        Relaying { machine, sink, open, log }
    }

    fn open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Queues a message of alice that is not taken now, and returns its id once it is in the deferred queue.
    fn deferred(&mut self, recipient: &str) -> String {
        self.open(false);
        let before = self.log.lines_with(&format!("to=<{recipient}>")).len();
        self.machine.ok_as(
            "alice",
            &format!("sendmail {recipient}"),
            format!("Subject: {recipient}\n\nx\n").as_bytes(),
        );
        let line = self.log.wait_until(&format!("status of {recipient}"), |text| {
            let mut lines = text.lines().filter(|line| line.contains(&format!("to=<{recipient}>")));
            lines.nth(before).map(str::to_owned)
        });
        assert!(line.contains("relay=127.0.0.1[127.0.0.1]:2525,") && line.contains("status=deferred"), "{line}");
        assert!(line.contains("said: 450 4.7.1 not now"), "{line}");
        let id = line.split("]: ").nth(1).and_then(|rest| rest.split(':').next()).expect("an id").to_owned();
        self.is_in("deferred", &id);
        id
    }

    /// Waits until the message is in a queue.
    fn is_in(&self, queue: &str, id: &str) {
        self.machine.wait_until(&format!("find /var/spool/postfix/{queue} -type f -name {id} | grep -q ."));
    }

    fn count_in(&self, queue: &str) -> usize {
        let count = self.machine.ok(&format!("find /var/spool/postfix/{queue} -type f | wc -l"));
        count.trim().parse().expect("a number")
    }

    /// Waits for the message to one of the recipients, and that it has left the queue.
    fn arrives(&mut self, id: &str, recipient: &str) {
        self.sink.wait_until(recipient, |messages| {
            messages
                .iter()
                .any(|message| message.recipients.iter().any(|one| one.starts_with(&format!("<{recipient}>"))))
        });
        self.log.wait_for(&["postfix/qmgr[", &format!("{id}: removed")]);
    }

    fn fails(&self, user: &str, script: &str, status: i32) -> String {
        let output = self.machine.run_as(user, script, b"");
        assert_eq!(output.status.code(), Some(status), "{user}: {script}: {}", said(&output));
        said(&output)
    }
}

#[test]
fn users_list_and_flush_the_queue() {
    let mut relaying = Relaying::start("authorized_flush_users=alice\nauthorized_mailq_users=alice, bob");
    let ids =
        [relaying.deferred("a@one.example"), relaying.deferred("b@one.example"), relaying.deferred("c@two.example")];
    let machine = &relaying.machine;

    let listing = machine.ok_as("bob", "postqueue -p", b"");
    for (id, recipient) in ids.iter().zip(["a@one.example", "b@one.example", "c@two.example"]) {
        assert!(
            listing.contains(&format!("{id} ")) && listing.contains(&format!("         {recipient}\n")),
            "{listing}"
        );
    }
    assert!(listing.contains("said: 450 4.7.1 not now") && listing.ends_with("in 3 Requests.\n"), "{listing}");
    for same in ["mailq", "sendmail -bp", "mailq -v"] {
        assert_eq!(machine.ok_as("bob", same, b""), listing, "{same}");
    }
    let json = machine.ok_as("bob", "postqueue -j", b"");
    assert_eq!(json.lines().count(), 3, "{json}");
    for line in json.lines() {
        assert!(line.contains(r#""queue_name": "deferred""#) && line.contains("not now"), "{line}");
    }

    // Who may what.
    let refused = relaying.fails("carol", "mailq", 69);
    assert!(refused.contains("is not allowed to view the mail queue"), "{refused}");
    for script in ["postqueue -f", "sendmail -q", &format!("postqueue -i {}", ids[0]), "postqueue -s one.example"] {
        let refused = relaying.fails("bob", script, 69);
        assert!(refused.contains("is not allowed to flush the mail queue"), "{refused}");
    }
    let refused = relaying.fails("alice", "postqueue -s two.example", 69);
    assert!(refused.contains("two.example"), "{refused}");
    assert!(!relaying.machine.run_as("alice", "cat /var/spool/postfix/flush/*", b"").status.success());

    // One message, the messages for a site, everything.
    relaying.open(true);
    relaying.machine.ok_as("alice", &format!("postqueue -i {}", ids[2]), b"");
    relaying.arrives(&ids[2], "c@two.example");
    assert_eq!(relaying.count_in("deferred"), 2);
    let other = relaying.deferred("d@two.example");
    relaying.open(true);
    relaying.machine.ok_as("alice", "postqueue -s one.example", b"");
    relaying.arrives(&ids[0], "a@one.example");
    relaying.arrives(&ids[1], "b@one.example");
    assert_eq!(relaying.count_in("deferred"), 1);
    relaying.machine.ok_as("alice", &format!("sendmail -qI{other}"), b"");
    relaying.arrives(&other, "d@two.example");
    for (recipient, script) in [
        ("e@one.example", "sendmail -qRone.example"),
        ("f@two.example", "sendmail -q"),
        ("g@two.example", "postqueue -f"),
        ("h@two.example", "mailq >/dev/null; sendmail -q"),
    ] {
        let id = relaying.deferred(recipient);
        relaying.open(true);
        relaying.machine.ok_as("alice", script, b"");
        relaying.arrives(&id, recipient);
    }
    assert_eq!(relaying.machine.ok_as("bob", "mailq", b""), "Mail queue is empty\n");

    // ETRN asks for the same, over SMTP.
    let id = relaying.deferred("i@one.example");
    relaying.open(true);
    relaying.machine.greeted().command("ETRN one.example", 250);
    relaying.arrives(&id, "i@one.example");

    // While it is down only root sees the queue.
    let id = relaying.deferred("j@one.example");
    relaying.machine.ok("postfix stop");
    let down = relaying.fails("bob", "mailq", 69);
    assert!(down.contains("mail system is down"), "{down}");
    let down = relaying.fails("alice", "postqueue -f", 69);
    assert!(down.contains("mail system is down"), "{down}");
    let listing = relaying.machine.ok("mailq");
    assert!(listing.contains(&id) && listing.contains("not now"), "{listing}");
    relaying.open(true);
    relaying.machine.ok(START);
    relaying.machine.ok_as("alice", "postqueue -s one.example", b"");
    relaying.arrives(&id, "j@one.example");
}

#[test]
fn postsuper_and_a_running_queue_manager() {
    let mut relaying = Relaying::start("");
    let ids: Vec<String> = (0..8).map(|n| relaying.deferred(&format!("r{n}@two.example"))).collect();
    let refused = relaying.machine.run_as("alice", "postsuper -d ALL", b"");
    assert!(!refused.status.success() && said(&refused).contains("superuser"), "{}", said(&refused));
    assert_eq!(relaying.count_in("deferred"), 8);

    // On hold, one and from standard input; what is on hold is not tried.
    let told = relaying.machine.ok(&format!("postsuper -h {}", ids[0]));
    assert!(told.contains("Placed on hold: 1 message"), "{told}");
    let told = relaying.machine.ok_as("root", "postsuper -h -", format!("{}\n{}\n", ids[1], ids[2]).as_bytes());
    assert!(told.contains("Placed on hold: 2 messages"), "{told}");
    let listing = relaying.machine.ok("mailq");
    assert!(ids[..3].iter().all(|id| listing.contains(&format!("{id}!"))), "{listing}");
    relaying.open(true);
    relaying.machine.ok("postqueue -f");
    for (n, id) in ids.iter().enumerate().skip(3) {
        relaying.arrives(id, &format!("r{n}@two.example"));
    }
    assert_eq!((relaying.count_in("hold"), relaying.sink.wait_for(5).len()), (3, 5));

    // Released: to be tried with the next flush.
    let told = relaying.machine.ok(&format!("postsuper -H {}", ids[0]));
    assert!(told.contains("Released from hold: 1 message"), "{told}");
    let told = relaying.machine.ok("postsuper -H ALL");
    assert!(told.contains("Released from hold: 2 messages"), "{told}");
    relaying.machine.ok("postqueue -f");
    for (n, id) in ids.iter().enumerate().take(3) {
        relaying.arrives(id, &format!("r{n}@two.example"));
    }

    // Requeued: through pickup and cleanup again, under another name.
    let id = relaying.deferred("again@two.example");
    let told = relaying.machine.ok(&format!("postsuper -r {id}"));
    assert!(told.contains("Requeued: 1 message"), "{told}");
    relaying.open(true);
    relaying.machine.ok("postkick public pickup W");
    relaying.sink.wait_until("again", |messages| messages.len() == 9);
    let text = String::from_utf8_lossy(&relaying.sink.wait_for(9)[8].content).into_owned();
    assert!(text.contains("Subject: again@two.example\r\n") && text.matches("Message-Id:").count() == 1, "{text}");
    relaying.machine.wait_until("mailq | grep -q 'queue is empty'");

    // Expired by force: returned at the next try; on hold, it is released for that.
    let (expired, held) = (relaying.deferred("expired@two.example"), relaying.deferred("held@two.example"));
    let told = relaying.machine.ok(&format!("postsuper -e {expired}"));
    assert!(told.contains("Force-expired: 1 message"), "{told}");
    assert!(relaying.machine.ok("mailq").contains(&format!("{expired}#")), "{}", relaying.machine.ok("mailq"));
    relaying.machine.ok(&format!("postsuper -h {held}; postsuper -f {held}"));
    assert_eq!(relaying.count_in("hold"), 0);
    relaying.machine.ok("postqueue -f");
    for id in [&expired, &held] {
        relaying.log.wait_for(&[
            "postfix/qmgr[",
            &format!("{id}: from=<alice@mail.example.com>, status=force-expired, returned to sender"),
        ]);
        relaying.log.wait_for(&[&format!("{id}: removed")]);
    }
    relaying.log.wait_for_count("status=sent (delivered to mailbox)", 2);
    let mailbox = relaying.machine.text("/var/mail/alice");
    assert_eq!(mailbox.matches("\nSubject: Undelivered Mail Returned to Sender\n").count(), 2, "{mailbox}");

    // Deleted: one, from standard input, all of a queue, all.
    let ids: Vec<String> = (0..6).map(|n| relaying.deferred(&format!("gone{n}@two.example"))).collect();
    let told = relaying.machine.ok(&format!("postsuper -d {}", ids[0]));
    assert!(told.contains("Deleted: 1 message"), "{told}");
    let told = relaying.machine.ok_as("root", "postsuper -d -", format!("{}\n{}\nABCDEF\n", ids[1], ids[2]).as_bytes());
    assert!(told.contains("Deleted: 2 messages"), "{told}");
    relaying.machine.ok(&format!("postsuper -h {}", ids[3]));
    let told = relaying.machine.ok("postsuper -d ALL hold");
    assert!(told.contains("Deleted: 1 message"), "{told}");
    let told = relaying.machine.ok("postsuper -d ALL");
    assert!(told.contains("Deleted: 2 messages"), "{told}");
    assert_eq!((relaying.count_in("deferred"), relaying.count_in("defer")), (0, 0));
    // The queue manager is told nothing, and minds nothing.
    relaying.machine.ok("postqueue -f");
    let last = relaying.deferred("last@two.example");
    relaying.open(true);
    relaying.machine.ok("postqueue -f");
    relaying.arrives(&last, "last@two.example");
    let odd = unexpected(relaying.log.text(), &services_without_program(&relaying.machine));
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

#[test]
fn only_those_who_may_submit_mail() {
    let mut relaying = Relaying::start("authorized_submit_users=!bob, static:anyone");
    for script in ["sendmail alice", "sendmail -t", "printf '' | postdrop -r"] {
        let output = relaying.machine.run_as("bob", script, b"To: alice\n\nx\n");
        assert!(!output.status.success(), "{script}");
        assert!(said(&output).contains("not allowed to submit mail"), "{script}: {}", said(&output));
    }
    relaying.machine.ok_as("carol", "sendmail alice", b"Subject: carol may\n\nx\n");
    relaying.log.wait_for(&["status=sent (delivered to mailbox)"]);
    assert!(relaying.machine.text("/var/mail/alice").contains("Subject: carol may\n"));
    let dialogue = b"EHLO x\r\nMAIL FROM:<bob>\r\nRCPT TO:<alice>\r\nQUIT\r\n";
    let output = relaying.machine.run_as("bob", "sendmail -bs", dialogue);
    assert!(said(&output).contains("\n451 4.3.0 Error: queue file write error"), "{}", said(&output));
    assert!(said(&output).contains("not allowed to submit mail"), "{}", said(&output));
}

/// It asked cleanup, which ordinary users may not. The reference's dialogue is the same but for HELP, SMTPUTF8 and CHUNKING.
#[test]
fn an_ordinary_user_speaks_smtp_to_sendmail() {
    let mut relaying = Relaying::start("");
    let long = "long ".repeat(2000);
    let dialogue = format!(
        "EHLO x\r\nMAIL FROM:<alice@example.com> BODY=8BITMIME RET=HDRS ENVID=abc\r\n\
         RCPT TO:<bob> NOTIFY=SUCCESS ORCPT=rfc822;x@y\r\nDATA\r\nSubject: bs\r\n\r\n..dot\r\n{long}\r\n.\r\n\
         MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\nRCPT TO:<carol>\r\nDATA\r\nSubject: two\r\n\r\n.\r\nVRFY bob\r\nQUIT\r\n"
    );
    let told = relaying.machine.ok_as("alice", "sendmail -bs", dialogue.as_bytes());
    let codes: Vec<&str> =
        told.lines().filter(|line| line.as_bytes().get(3) == Some(&b' ')).map(|line| &line[..3]).collect();
    assert_eq!(
        codes,
        ["220", "250", "250", "250", "354", "250", "250", "250", "250", "250", "250", "354", "250", "252", "221"],
        "{told}"
    );
    assert_eq!(told.matches("250 2.0.0 Ok: queued as ").count(), 2, "{told}");
    relaying.log.wait_for_count("status=sent (delivered to mailbox)", 3);
    let mailbox = relaying.machine.text("/var/mail/bob");
    assert!(mailbox.contains("\nReceived: by mail.example.com (Posthouse, from userid 1001)\n\tid "), "{mailbox}");
    assert!(
        mailbox
            .contains("\nReceived: from x (localhost [127.0.0.1])\n\tby mail.example.com (Posthouse) with ESMTP id ")
    );
    assert!(mailbox.contains("\n\tfor <bob>; "), "{mailbox}");
    assert!(mailbox.contains(&format!("\n.dot\n{long}\n")), "{mailbox}");
    // NOTIFY=SUCCESS came along.
    relaying.log.wait_for(&["sender delivery status notification"]);
    let listed = relaying.machine.ok("find /var/spool/postfix/maildrop -type f | wc -l");
    assert_eq!(listed.trim(), "0", "what was begun and not ended is gone");
}

/// The shell blocks of the README's part about taking Postfix's place.
fn readme_blocks() -> Vec<String> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    let part =
        readme.split("## In Postfix's place").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the part");
    part.split("```sh\n").skip(1).map(|rest| rest.split("```").next().expect("an end").to_owned()).collect()
}

/// Lets dpkg know that the package is installed, as it is on the machine that README speaks of.
const INSTALLED: &str = r#"
set -eu
(cd "$1" && find usr etc -printf '/%p\n') >/var/lib/dpkg/info/postfix.list
printf '\nPackage: postfix\nStatus: install ok installed\nPriority: optional\nSection: mail\nMaintainer: nobody <nobody@example.com>\nArchitecture: amd64\nVersion: 3.7.11-0+deb12u1\nDescription: mail\n' >>/var/lib/dpkg/status
for account in posthouse-in posthouse-out posthouse-dns posthouse-keys posthouse-tables; do userdel "$account"; done
"#;

#[test]
fn the_way_into_postfix_s_place_and_back() {
    let blocks = readme_blocks();
    let [build, there, back] = &blocks[..] else { panic!("not three blocks: {blocks:#?}") };
    assert_eq!(build, "cargo build --release --workspace\n");
    let machine = Machine::boot();
    machine.unpack_reference();
    machine.ok(DEBIAN);
    machine.ok(&format!("set -- {}; {INSTALLED}", Suite::reference_root().display()));
    machine.ok(&format!("mkdir -p /var/src/target; ln -s {} /var/src/target/release", Suite::ours().daemons.display()));
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let sink = Sink::over(machine.listen(2525), move |line| {
        let refused = line.starts_with("RCPT") && !is_open.load(Ordering::Relaxed);
        refused.then(|| "450 4.7.1 not now".to_owned())
    });
    machine.ok("postconf -e 'relayhost=[127.0.0.1]:2525'");
    let mut log = machine.log();

    // Debian's Postfix, with mail in its queue.
    machine.ok("postfix start");
    machine.ok_as(
        "alice",
        "sendmail one@dest.example; sendmail two@dest.example; sendmail bob",
        b"Subject: old\n\nx\n",
    );
    log.wait_for_count("status=deferred", 2);
    log.wait_for(&["to=<bob@mail.example.com>", "status=sent"]);
    machine.wait_until("[ $(find /var/spool/postfix/deferred -type f | wc -l) = 2 ]");
    let before = machine.ok("dpkg-divert --list; cd /etc/postfix; sha256sum main.cf master.cf");

    // Ours, by the very commands.
    let told = machine.ok(&format!("set -e; cd /var/src; {there}"));
    assert!(!told.contains("warning") && !told.contains("fatal"), "{told}");
    log.wait_for(&["postfix/master[", "daemon started -- version 3.12"]);
    machine.greeted().message("", &["bob@mail.example.com"], "Subject: new\r\n\r\nx\r\n");
    machine.ok_as("alice", "sendmail three@dest.example", b"Subject: new\n\nx\n");
    log.wait_for_count("status=deferred", 3);
    let listing = machine.ok_as("bob", "mailq", b"");
    assert!(listing.contains("one@dest.example") && listing.ends_with("in 3 Requests.\n"), "{listing}");
    let smtpd = machine.ok("ps -o user= -C smtpd,smtp,resolver | sort -u");
    assert_eq!(smtpd.split_whitespace().count(), 3, "an account each: {smtpd}");
    open.store(true, Ordering::Relaxed);
    machine.ok_as(
        "alice",
        &format!(
            "postqueue -i {}",
            listing.lines().nth(1).and_then(|line| line.split([' ', '*']).next()).expect("an id")
        ),
        b"",
    );
    let _ = sink.wait_for(1);
    open.store(false, Ordering::Relaxed);
    machine.wait_until("[ $(find /var/spool/postfix/deferred -type f | wc -l) = 2 ]");
    assert!(machine.text("/var/mail/bob").contains("Subject: new\n"));
    machine.ok("echo 'info: carol' >>/etc/aliases; newaliases");

    // And back: the same queue, the new alias.
    let told = machine.ok(&format!("set -e; cd /var/src; {back}"));
    assert!(!told.contains("fatal"), "{told}");
    log.wait_for(&["postfix/master[", "daemon started -- version 3.7"]);
    assert_eq!(machine.ok("dpkg-divert --list; cd /etc/postfix; sha256sum main.cf master.cf"), before);
    assert!(machine.ok("postconf -d mail_version").contains("3.7"));
    open.store(true, Ordering::Relaxed);
    machine.ok_as("alice", "postqueue -f", b"");
    assert_eq!(sink.wait_for(3).len(), 3);
    machine.greeted().message("", &["info@mail.example.com"], "Subject: after\r\n\r\nx\r\n");
    machine.wait_until("grep -q 'Subject: after' /var/mail/carol");
    assert_eq!(
        machine.ok(
            "find /usr/sbin /usr/lib/postfix -name '*.postfix'; ls /usr/lib/postfix/sbin/resolver 2>/dev/null || true"
        ),
        ""
    );
    machine.ok("postfix stop");
}
