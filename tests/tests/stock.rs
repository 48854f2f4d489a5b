//! Stock configurations of Postfix, unchanged, in the usual places of a private machine (see [`Machine`]). Needs root and
//! the reference, which `.ci/run` unpacks: its files are read where they are and never copied into this project.

use std::collections::BTreeSet;

use posthouse_tests::{Log, Machine};

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
